//go:build peers

package dial

import (
	"context"
	"crypto/md5"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"dbops/internal/fault"
	"dbops/internal/sandbox/island"
)

// bastion is a way through a server of OpenSSH's, whose gate is the test's own.
type bastion struct {
	*island.SSHD
	gate *island.Gate
	port int
}

func newBastion(t *testing.T, s *island.SSHD, i *island.Island, server string) *bastion {
	t.Helper()
	b := &bastion{SSHD: s, gate: island.NewGate(t, "unix", i.Socket(server))}
	var err error
	if b.port, err = strconv.Atoi(b.gate.Port()); err != nil {
		t.Fatal(err)
	}
	return b
}

// options are the right ones, and read nothing of who runs the test.
func (b *bastion) options(t *testing.T) SSHOptions {
	t.Helper()
	return SSHOptions{
		Host: "127.0.0.1", Port: b.port, User: b.User, KeyFile: b.KeyFile, KnownHosts: b.KnownAs(t, b.gate.Addr), ConfigFile: "none",
		Getenv: func(string) string { return "" },
	}
}

func open(t *testing.T, o SSHOptions) *SSH {
	t.Helper()
	s := NewSSH(o)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func brief(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestThroughAnSSHBastion(t *testing.T) {
	sshd := island.NewSSHD(t)
	closed := island.NewSSHD(t, "AllowTcpForwarding no")
	is := startIsland(t, island.Spec{Servers: map[string][]string{"ssh": sshd.Argv(), "closed": closed.Argv()}})
	is.wantNoWay(t)

	t.Run("a server that cannot be reached otherwise is logged in to, by a name that only the bastion knows", func(t *testing.T) {
		leakless(t)
		b := newBastion(t, sshd, is.Island, "ssh")
		way := open(t, b.options(t))
		for range 2 {
			if err := query(brief(t), is.config(t, dbHost, way.Dial)); err != nil {
				t.Fatal(err)
			}
		}
		conn, err := way.Dial(brief(t), "tcp", dbHost+":5432")
		if err != nil {
			t.Fatal(err)
		}
		if a := conn.RemoteAddr(); a.String() != dbHost+":5432" || a.Network() != "tcp" {
			t.Errorf("it leads to %s %s", a.Network(), a)
		}
		_ = conn.Close()
	})

	t.Run("a certificate for another name is refused", func(t *testing.T) {
		b := newBastion(t, sshd, is.Island, "ssh")
		err := query(brief(t), is.config(t, otherHost, open(t, b.options(t)).Dial))
		if wrong, ok := errors.AsType[x509.HostnameError](err); !ok || wrong.Host != otherHost {
			t.Fatalf("got %v", err)
		}
	})

	t.Run("many connections share one", func(t *testing.T) {
		leakless(t)
		b := newBastion(t, sshd, is.Island, "ssh")
		way := open(t, b.options(t))
		conns := make([]*pgconn.PgConn, 8)
		var wg sync.WaitGroup
		for i := range conns {
			wg.Go(func() {
				var err error
				if conns[i], err = pgconn.ConnectConfig(brief(t), is.config(t, dbHost, way.Dial)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := b.gate.Count(); n != 1 {
			t.Errorf("%d connections to the bastion", n)
		}
		for _, c := range conns {
			if c == nil {
				continue
			}
			if _, err := c.Exec(brief(t), "select 1").ReadAll(); err != nil {
				t.Error(err)
			}
			if err := c.Close(brief(t)); err != nil {
				t.Error(err)
			}
		}
	})

	t.Run("a statement can be cancelled, and a wait ends with its context", func(t *testing.T) {
		b := newBastion(t, sshd, is.Island, "ssh")
		way := open(t, b.options(t))
		conn, err := pgconn.ConnectConfig(brief(t), is.config(t, dbHost, way.Dial))
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			_, err := conn.Exec(brief(t), "select pg_sleep(300)").ReadAll()
			done <- err
		}()
		for answered := false; !answered; {
			if err := conn.CancelRequest(brief(t)); err != nil {
				t.Fatal(err)
			}
			select {
			case err = <-done:
				answered = true
			case <-time.After(100 * time.Millisecond): // it may not have begun
			}
		}
		if pe, ok := errors.AsType[*pgconn.PgError](err); !ok || pe.Code != "57014" {
			t.Errorf("cancelled: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := conn.Exec(ctx, "select pg_sleep(300)").ReadAll(); !errors.Is(err, context.DeadlineExceeded) && !pgconn.Timeout(err) {
			t.Errorf("after its time: %v", err)
		}
	})

	t.Run("what a session says is not altered", func(t *testing.T) {
		b := newBastion(t, sshd, is.Island, "ssh")
		conn, err := pgconn.ConnectConfig(brief(t), is.config(t, dbHost, open(t, b.options(t)).Dial))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		const sql = "select md5(string_agg(g::text, ',')), string_agg(g::text, ',') from generate_series(1, 500000) g"
		got, err := conn.Exec(brief(t), sql).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if sum := md5Of(got[0].Rows[0][1]); sum != string(got[0].Rows[0][0]) {
			t.Errorf("%d bytes with the sum %s came, not %s", len(got[0].Rows[0][1]), sum, got[0].Rows[0][0])
		}
	})

	t.Run("after a loss the session ends with the reason, and the next connection works", func(t *testing.T) {
		leakless(t)
		b := newBastion(t, sshd, is.Island, "ssh")
		way := open(t, b.options(t))
		conn, err := pgconn.ConnectConfig(brief(t), is.config(t, dbHost, way.Dial))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := way.Dial(brief(t), "tcp", dbHost+":5432")
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		b.gate.Cut()
		if _, err = conn.Exec(brief(t), "select 1").ReadAll(); err == nil {
			t.Error("a session outlives the connection that it was in")
		}
		if _, err := raw.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "the SSH connection to 127.0.0.1 was lost") {
			t.Errorf("in mid-session: %v", err)
		}
		if err := query(brief(t), is.config(t, dbHost, way.Dial)); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})

	t.Run("a bastion that falls silent is noticed", func(t *testing.T) {
		b := newBastion(t, sshd, is.Island, "ssh")
		o := b.options(t)
		o.every, o.within = 50*time.Millisecond, 500*time.Millisecond
		way := open(t, o)
		conn, err := way.Dial(brief(t), "tcp", dbHost+":5432")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		b.gate.Silence(true)
		if _, err = conn.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "does not answer any more") {
			t.Errorf("in mid-session: %v", err)
		}
		b.gate.Silence(false)
		if err := query(brief(t), is.config(t, dbHost, way.Dial)); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})

	t.Run("a bastion that is not there", func(t *testing.T) {
		b := newBastion(t, sshd, is.Island, "ssh")
		b.gate.Close()
		way := open(t, b.options(t))
		_, err := way.Dial(brief(t), "tcp", dbHost+":5432")
		wantFault(t, err, fault.Unavailable, []string{"reach " + dbHost + ":5432 via ssh 127.0.0.1", "nobody listens"}, []string{"is its sshd running, on port " + b.gate.Port()})
		b.gate.Open(t)
		if err := query(brief(t), is.config(t, dbHost, way.Dial)); err != nil {
			t.Errorf("once it is there: %v", err)
		}
	})

	t.Run("a bastion that says nothing", func(t *testing.T) {
		leakless(t)
		b := newBastion(t, sshd, is.Island, "ssh")
		b.gate.Silence(true)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, err := open(t, b.options(t)).Dial(ctx, "tcp", dbHost+":5432")
		wantFault(t, err, fault.Unavailable, []string{"not connected in time"}, []string{"does its network let this machine in"})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it is no time-out: %v", err)
		}
	})

	t.Run("a name that the bastion does not know", func(t *testing.T) {
		b := newBastion(t, sshd, is.Island, "ssh")
		_, err := open(t, b.options(t)).Dial(brief(t), "tcp", "nowhere.island.test:5432")
		wantFault(t, err, fault.Unavailable, []string{"127.0.0.1 cannot connect to nowhere.island.test:5432"}, []string{"127.0.0.1"})
	})

	t.Run("a port where nobody listens, behind the bastion", func(t *testing.T) {
		b := newBastion(t, sshd, is.Island, "ssh")
		way := open(t, b.options(t))
		_, err := way.Dial(brief(t), "tcp", dbHost+":5433")
		wantFault(t, err, fault.Unavailable, []string{"127.0.0.1 cannot connect to " + dbHost + ":5433", "efused"}, []string{"security group"})
		if err := query(brief(t), is.config(t, dbHost, way.Dial)); err != nil {
			t.Errorf("the bastion is of no more use: %v", err)
		}
	})

	t.Run("a bastion that forwards nothing", func(t *testing.T) {
		b := newBastion(t, closed, is.Island, "closed")
		_, err := open(t, b.options(t)).Dial(brief(t), "tcp", dbHost+":5432")
		wantFault(t, err, fault.Denied, []string{"does not allow forwarding"}, []string{"AllowTcpForwarding"})
	})

	t.Run("a key that is not accepted", func(t *testing.T) {
		b := newBastion(t, sshd, is.Island, "ssh")
		sshd.Key(t, "stranger")
		o := b.options(t)
		o.KeyFile = sshd.Path("stranger")
		_, err := open(t, o).Dial(brief(t), "tcp", dbHost+":5432")
		wantFault(t, err, fault.Denied, []string{"it accepts none of the keys", o.KeyFile}, []string{"authorized_keys of " + b.User})
	})

	t.Run("a host that is not known is refused, with its fingerprint", func(t *testing.T) {
		b := newBastion(t, sshd, is.Island, "ssh")
		o := b.options(t)
		o.KnownHosts = filepath.Join(t.TempDir(), "none")
		for _, text := range []string{"", "elsewhere " + string(ssh.MarshalAuthorizedKey(sshd.HostKey))} {
			if text != "" {
				writeFile(t, o.KnownHosts, text)
			}
			_, err := open(t, o).Dial(brief(t), "tcp", dbHost+":5432")
			wantFault(t, err, fault.Denied, []string{"not among the known hosts", o.KnownHosts, ssh.FingerprintSHA256(sshd.HostKey)},
				[]string{"UserKnownHostsFile=" + o.KnownHosts, "-p " + b.gate.Port(), b.User + "@127.0.0.1"})
		}
	})

	t.Run("a host that shows another key is refused, and the line is named", func(t *testing.T) {
		b := newBastion(t, sshd, is.Island, "ssh")
		o := b.options(t)
		writeFile(t, o.KnownHosts, fmt.Sprintf("# ours\n[127.0.0.1]:%d %s", b.port, ssh.MarshalAuthorizedKey(closed.HostKey)))
		_, err := open(t, o).Dial(brief(t), "tcp", dbHost+":5432")
		wantFault(t, err, fault.Denied, []string{o.KnownHosts + ":2", ssh.FingerprintSHA256(sshd.HostKey), "somebody in between"},
			[]string{"ssh-keygen -R '[127.0.0.1]:" + b.gate.Port() + "' -f " + o.KnownHosts})
	})

	t.Run("a host whose key is revoked is refused", func(t *testing.T) {
		b := newBastion(t, sshd, is.Island, "ssh")
		o := b.options(t)
		text, err := os.ReadFile(o.KnownHosts)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, o.KnownHosts, string(text)+"@revoked * "+string(ssh.MarshalAuthorizedKey(sshd.HostKey)))
		_, err = open(t, o).Dial(brief(t), "tcp", dbHost+":5432")
		wantFault(t, err, fault.Denied, []string{"revoked", o.KnownHosts + ":2"}, []string{"do not connect"})
	})

	t.Run("a key of the agent, and one whose passphrase nobody knows", func(t *testing.T) {
		b := newBastion(t, sshd, is.Island, "ssh")
		locked := lockedKey(t)
		o := b.options(t)
		o.KeyFile = locked
		_, err := open(t, o).Dial(brief(t), "tcp", dbHost+":5432")
		wantFault(t, err, fault.Denied, []string{"no key to log in with", locked + " has a passphrase"}, []string{"ssh-add " + locked})
		o.KeyFile = ""
		o.Getenv = agentWith(t, b.KeyFile)
		if err := query(brief(t), is.config(t, dbHost, open(t, o).Dial)); err != nil {
			t.Errorf("with the agent: %v", err)
		}
	})

	t.Run("a key file that is not there", func(t *testing.T) {
		b := newBastion(t, sshd, is.Island, "ssh")
		o := b.options(t)
		o.KeyFile = filepath.Join(t.TempDir(), "id_none")
		_, err := open(t, o).Dial(brief(t), "tcp", dbHost+":5432")
		wantFault(t, err, fault.Config, []string{o.KeyFile}, []string{"key_file"})
	})

	t.Run("a closed way refuses, and ends what went it", func(t *testing.T) {
		leakless(t)
		b := newBastion(t, sshd, is.Island, "ssh")
		way := NewSSH(b.options(t))
		conn, err := pgconn.ConnectConfig(brief(t), is.config(t, dbHost, way.Dial))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := way.Close(); err != nil {
				t.Error(err)
			}
		}
		if _, err := conn.Exec(brief(t), "select 1").ReadAll(); err == nil {
			t.Error("a session goes on")
		}
		if _, err := way.Dial(brief(t), "tcp", dbHost+":5432"); err == nil {
			t.Error("it dialled")
		}
	})

	t.Run("as OpenSSH's configuration says", func(t *testing.T) {
		b := newBastion(t, sshd, is.Island, "ssh")
		config := filepath.Join(t.TempDir(), "config")
		writeFile(t, config, fmt.Sprintf(
			"Host gateway\n HostName 127.0.0.1\n Port %d\n User %s\n IdentityFile %s\n IdentitiesOnly yes\n UserKnownHostsFile %s\n GlobalKnownHostsFile none\n",
			b.port, b.User, b.KeyFile, b.KnownAs(t, b.gate.Addr)))
		way := open(t, SSHOptions{Host: "gateway", ConfigFile: config})
		if err := query(brief(t), is.config(t, dbHost, way.Dial)); err != nil {
			t.Error(err)
		}
	})
}

func TestThroughSeveralSSHHosts(t *testing.T) {
	outer, inner := island.NewSSHD(t), island.NewSSHD(t)
	behind := startIsland(t, island.Spec{Servers: map[string][]string{"ssh": inner.Argv()}})
	before := island.Start(t, island.Spec{
		Addresses: []string{"10.213.9.1"}, Hosts: map[string]string{"inner.island.test": "10.213.9.1"},
		Bridges: map[string]string{"10.213.9.1:2222": "inner"}, Servers: map[string][]string{"ssh": outer.Argv()},
	})
	between := island.NewBridge(t, before.Socket("inner"), "unix", behind.Socket("ssh"))
	b := newBastion(t, outer, before, "ssh")
	known := filepath.Join(t.TempDir(), "known_hosts")
	writeFile(t, known, fmt.Sprintf("[127.0.0.1]:%d %s[inner.island.test]:2222 %s", b.port,
		ssh.MarshalAuthorizedKey(outer.HostKey), ssh.MarshalAuthorizedKey(inner.HostKey)))
	keyring := agentWith(t, outer.KeyFile, inner.KeyFile)
	o := SSHOptions{
		Host: "inner.island.test", Port: 2222, User: inner.User, KnownHosts: known, ConfigFile: "none", Getenv: keyring,
		Jump: []SSHJump{{Host: "127.0.0.1", Port: b.port, User: outer.User}},
	}

	t.Run("each host is logged in to through the one before", func(t *testing.T) {
		leakless(t)
		way := open(t, o)
		if err := query(brief(t), behind.config(t, dbHost, way.Dial)); err != nil {
			t.Fatal(err)
		}
		between.Cut()
		if err := query(brief(t), behind.config(t, dbHost, way.Dial)); err != nil {
			t.Errorf("after a loss between the two: %v", err)
		}
	})

	t.Run("by the ProxyJump of OpenSSH's configuration", func(t *testing.T) {
		config := filepath.Join(t.TempDir(), "config")
		writeFile(t, config, fmt.Sprintf("Host outer\n HostName 127.0.0.1\n Port %d\n User %s\nHost db-net\n HostName inner.island.test\n Port 2222\n ProxyJump outer\nHost *\n IdentityAgent %s\n",
			b.port, outer.User, keyring("SSH_AUTH_SOCK")))
		way := open(t, SSHOptions{Host: "db-net", User: inner.User, KnownHosts: known, ConfigFile: config})
		if err := query(brief(t), behind.config(t, dbHost, way.Dial)); err != nil {
			t.Error(err)
		}
	})

	t.Run("through the command that OpenSSH's configuration names", func(t *testing.T) {
		leakless(t)
		config := filepath.Join(t.TempDir(), "config")
		writeFile(t, config, fmt.Sprintf("Host db-net\n HostName inner.island.test\n Port 2222\n ProxyCommand ssh -F none -o UserKnownHostsFile=%s -o IdentitiesOnly=yes -i %s -p %d -W %%h:%%p %s@127.0.0.1\n",
			known, outer.KeyFile, b.port, outer.User))
		way := open(t, SSHOptions{Host: "db-net", User: inner.User, KeyFile: inner.KeyFile, KnownHosts: known, ConfigFile: config})
		if err := query(brief(t), behind.config(t, dbHost, way.Dial)); err != nil {
			t.Fatal(err)
		}
		writeFile(t, config, "Host db-net\n ProxyCommand echo no\n")
		_, err := open(t, SSHOptions{Host: "db-net", User: inner.User, KeyFile: inner.KeyFile, KnownHosts: known, ConfigFile: config}).Dial(brief(t), "tcp", dbHost+":5432")
		wantFault(t, err, fault.Unavailable, []string{"connect to " + inner.User + "@db-net"}, nil)
	})

	t.Run("the host that fails is named", func(t *testing.T) {
		leakless(t)
		wrong := o
		wrong.KnownHosts = outer.KnownAs(t, b.gate.Addr)
		_, err := open(t, wrong).Dial(brief(t), "tcp", dbHost+":5432")
		wantFault(t, err, fault.Denied, []string{"inner.island.test:2222 (host 2 of 2)", "not among the known hosts"}, []string{"-J " + outer.User + "@127.0.0.1:" + b.gate.Port()})
		wrong = o
		wrong.Port = 2223
		_, err = open(t, wrong).Dial(brief(t), "tcp", dbHost+":5432")
		wantFault(t, err, fault.Unavailable, []string{"inner.island.test:2223 (host 2 of 2)", "127.0.0.1 cannot connect to it"}, []string{"127.0.0.1"})
		wrong = o
		wrong.Getenv = agentWith(t, outer.KeyFile)
		_, err = open(t, wrong).Dial(brief(t), "tcp", dbHost+":5432")
		wantFault(t, err, fault.Denied, []string{"host 2 of 2", "accepts none of the keys", "of the agent"}, []string{"authorized_keys"})
		b.gate.Close()
		_, err = open(t, o).Dial(brief(t), "tcp", dbHost+":5432")
		wantFault(t, err, fault.Unavailable, []string{"host 1 of 2", "nobody listens"}, nil)
	})
}

// agentWith serves an agent that holds keys, and returns the environment that names it.
func agentWith(t *testing.T, files ...string) func(string) string {
	t.Helper()
	ring := agent.NewKeyring()
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		key, err := ssh.ParseRawPrivateKey(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
			t.Fatal(err)
		}
	}
	socket := filepath.Join(island.Dir(t), "agent")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				_ = agent.ServeAgent(ring, c)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		wg.Wait()
	})
	return func(name string) string {
		if name == "SSH_AUTH_SOCK" {
			return socket
		}
		return ""
	}
}

// lockedKey is a key file with a passphrase.
func lockedKey(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "id_locked")
	if out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-a", "1", "-N", "nobody knows", "-f", path).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

func md5Of(b []byte) string { return fmt.Sprintf("%x", md5.Sum(b)) }
