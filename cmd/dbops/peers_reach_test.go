//go:build peers

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/island"
	"dbops/internal/sandbox/ssmapi"
)

// away is prod of the sandbox as seen from an island, whose own loopback interface leads to it.
type away struct {
	*island.Island
	bridges []*island.Gate
}

const managedNode = "i-0123456789abcdef0"

func goAway(t *testing.T, spec island.Spec) *away {
	t.Helper()
	spec.Bridges = map[string]string{}
	for _, s := range shared.sandbox.Status().Servers {
		if s.Environment != "prod" {
			continue
		}
		addr := s.Address
		if s.Provider == "cloudsql" { // its connectors' port
			host, _, err := net.SplitHostPort(addr)
			if err != nil {
				t.Fatal(err)
			}
			addr = net.JoinHostPort(host, "3307")
		}
		spec.Bridges[addr] = "to-" + s.Instance
	}
	a := &away{Island: island.Start(t, spec)}
	for addr, socket := range spec.Bridges {
		a.bridges = append(a.bridges, island.NewBridge(t, a.Socket(socket), "tcp", addr))
	}
	return a
}

// open counts the connections that are open through the island.
func (a *away) open() (n int) {
	for _, b := range a.bridges {
		n += b.Count()
	}
	return n
}

// through is the sandbox's dbops.yaml with a way to prod.
func through(t *testing.T, name, via string) string {
	t.Helper()
	dir := filepath.Join(shared.dir, "cloud")
	text, err := os.ReadFile(filepath.Join(dir, "dbops.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	before, after, ok := strings.Cut(string(text), "  prod:\n")
	if !ok {
		t.Fatal("the sandbox has no prod")
	}
	path := filepath.Join(dir, "reach-"+name+".yaml")
	if err := os.WriteFile(path, []byte(before+"  prod:\n    via: {"+via+"}\n"+after), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(path) })
	return path
}

// dbops runs the program and returns its exit status and what it said.
func dbops(t *testing.T, env []string, args ...string) (status int, said string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, shared.program, args...)
	cmd.Env = env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), out.String()
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0, out.String()
}

// Both clouds through every way: it works, it is the way that is said, and what is wrong with it is told.
func TestReachGoesTheWayThatIsSaid(t *testing.T) {
	sshd := island.NewSSHD(t)
	socks := island.Program(t, "DBOPS_PEER_MICROSOCKS")
	a := goAway(t, island.Spec{
		Addresses: []string{"10.213.11.2"}, Servers: map[string][]string{"ssh": sshd.Argv()},
		Programs: [][]string{{socks, "-i", "10.213.11.2", "-p", "1080"}}, Doors: map[string]string{"socks": "10.213.11.2:1080"},
	})
	ssh, proxy := island.NewGate(t, "unix", a.Socket("ssh")), island.NewGate(t, "unix", a.Socket("socks"))
	keys, err := awsid.Open(awsid.Config{Account: "123456789012", Region: "eu-west-1", Principals: []awsid.Principal{{Name: "user/ssm", Allow: awsid.Actions("ssm:*")}}})
	if err != nil {
		t.Fatal(err)
	}
	manager := ssmapi.New(ssmapi.Config{Keys: keys, Nodes: []ssmapi.Node{{ID: managedNode, Dial: a.Dial}}})
	api := httptest.NewServer(manager)
	t.Cleanup(func() {
		manager.Close()
		api.Close()
	})
	plugins := t.TempDir()
	if err := os.Symlink(island.Program(t, "DBOPS_PEER_SESSION_MANAGER_PLUGIN"), filepath.Join(plugins, "session-manager-plugin")); err != nil {
		t.Fatal(err)
	}
	id, key, _ := keys.Credentials("user/ssm")
	profile := filepath.Join(plugins, "config")
	if err := os.WriteFile(profile, fmt.Appendf(nil, "[default]\nregion = eu-west-1\n[profile ssm]\naws_access_key_id = %s\naws_secret_access_key = %s\n", id, key.Reveal()), 0o600); err != nil {
		t.Fatal(err)
	}
	viaSSH := func(known string) string {
		return fmt.Sprintf("ssh: {host: 127.0.0.1, port: %s, user: %s, key_file: %q, known_hosts: %q, config_file: none}", ssh.Port(), sshd.User, sshd.KeyFile, known)
	}
	env := func(path string) []string {
		return append(environ(t), "AWS_CONFIG_FILE="+profile, "PATH="+path+":"+os.Getenv("PATH"))
	}

	for name, way := range map[string]struct {
		via         string
		close, open func()
		why         string
	}{
		"ssh":    {viaSSH(sshd.KnownAs(t, ssh.Addr)), ssh.Close, func() { ssh.Open(t) }, "nobody listens at " + ssh.Addr},
		"socks5": {"socks5: {address: \"" + proxy.Addr + "\"}", proxy.Close, func() { proxy.Open(t) }, "the proxy is not reached"},
		"ssm": {
			"ssm: {target: " + managedNode + ", region: eu-west-1, profile: ssm, endpoint: \"" + api.URL + "\"}",
			func() { manager.Connect(managedNode, false) }, func() { manager.Connect(managedNode, true) }, "is not connected to Systems Manager",
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := through(t, name, way.via)
			if status, said := dbops(t, env(plugins), "--config", file, "proxy", "-e", "prod", "--check"); status != 0 {
				t.Fatalf("status %d: %s", status, said)
			}
			if status, said := dbops(t, env(plugins), "--config", file, "certs", "check", "-e", "prod"); status != 0 {
				t.Errorf("certificates: status %d: %s", status, said)
			}
			way.close()
			status, said := dbops(t, env(plugins), "--config", file, "proxy", "-e", "prod", "--check")
			way.open()
			if status != 5 || strings.Count(said, way.why) < 2 { // of both clouds
				t.Errorf("without the way: status %d, want %q: %s", status, way.why, said)
			}
		})
	}

	t.Run("a session ends with its way, and the next one works", func(t *testing.T) {
		file := through(t, "session", viaSSH(sshd.KnownAs(t, ssh.Addr)))
		p := startProxy(t, "--config", file, "-e", "prod")
		for _, database := range []string{"billing", "shop"} {
			conn, err := pgx.Connect(t.Context(), p.uri(t, database))
			if err != nil {
				t.Fatal(err)
			}
			if a.open() == 0 {
				t.Errorf("the session of %s is not on the island", database)
			}
			ssh.Cut()
			_, err = conn.Exec(t.Context(), "select 1")
			if err == nil {
				t.Errorf("the session of %s outlives its way", database)
			}
			_ = conn.Close(t.Context())
			again, err := pgx.Connect(t.Context(), p.uri(t, database))
			if err != nil {
				t.Errorf("afterwards: %v", err)
				continue
			}
			_ = again.Close(t.Context())
		}
	})

	t.Run("what is wrong is told, with what to do", func(t *testing.T) {
		nobody := filepath.Join(t.TempDir(), "known_hosts")
		sshd.Key(t, "stranger")
		stranger := strings.Replace(viaSSH(sshd.KnownAs(t, ssh.Addr)), sshd.KeyFile, sshd.Path("stranger"), 1)
		for name, c := range map[string]struct {
			via  string
			path string
			want []string
		}{
			"an unknown host":    {viaSSH(nobody), plugins, []string{"not among the known hosts", "UserKnownHostsFile=" + nobody}},
			"a refused key":      {stranger, plugins, []string{"it accepts none of the keys", "authorized_keys of " + sshd.User}},
			"a missing plugin":   {"ssm: {target: " + managedNode + ", region: eu-west-1, profile: ssm, endpoint: \"" + api.URL + "\"}", t.TempDir(), []string{"session-manager-plugin is not installed", "install it"}},
			"a node nobody runs": {"ssm: {target: i-0fffffffffffffff0, region: eu-west-1, profile: ssm, endpoint: \"" + api.URL + "\"}", plugins, []string{"i-0fffffffffffffff0 is not connected", "SSM agent"}},
		} {
			status, said := dbops(t, env(c.path), "--config", through(t, "wrong", c.via), "proxy", "-e", "prod", "--check")
			if status != 5 {
				t.Errorf("%s: status %d: %s", name, status, said)
			}
			for _, w := range c.want {
				if !strings.Contains(said, w) {
					t.Errorf("%s: it does not say %q: %s", name, w, said)
				}
			}
		}
	})

	t.Run("an instance that the bastion cannot reach", func(t *testing.T) {
		lonely := island.Start(t, island.Spec{Servers: map[string][]string{"ssh": sshd.Argv()}})
		gate := island.NewGate(t, "unix", lonely.Socket("ssh"))
		via := strings.Replace(viaSSH(sshd.KnownAs(t, gate.Addr)), "port: "+ssh.Port(), "port: "+gate.Port(), 1)
		status, said := dbops(t, env(plugins), "--config", through(t, "lonely", via), "proxy", "-e", "prod", "--check")
		if status != 5 || strings.Count(said, "127.0.0.1 cannot connect to") < 2 || !strings.Contains(said, "security group") {
			t.Errorf("status %d: %s", status, said)
		}
	})
}
