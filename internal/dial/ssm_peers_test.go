//go:build peers

package dial

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/fault"
	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/island"
	"dbops/internal/sandbox/play"
	"dbops/internal/sandbox/ssmapi"
)

const node = "i-0123456789abcdef0"

// managed is a played Systems Manager with a node on the island.
type managed struct {
	*ssmapi.API
	keys   *awsid.Keys
	faults *play.Faults
	url    string
}

func startSSM(t *testing.T, is *islandServer) *managed {
	t.Helper()
	keys, err := awsid.Open(awsid.Config{Account: "123456789012", Region: "eu-west-1", Principals: []awsid.Principal{
		{Name: "user/dbops", Allow: awsid.Actions("ssm:*")}, {Name: "user/alice"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	m := &managed{keys: keys, faults: &play.Faults{}}
	m.API = ssmapi.New(ssmapi.Config{Keys: keys, Faults: m.faults, Nodes: []ssmapi.Node{{ID: node, Dial: is.Dial}}})
	srv := httptest.NewServer(m.API)
	m.url = srv.URL
	t.Cleanup(func() {
		m.Close()
		srv.Close()
	})
	empty := filepath.Join(t.TempDir(), "none")
	for name, value := range map[string]string{
		"AWS_CONFIG_FILE": empty, "AWS_SHARED_CREDENTIALS_FILE": empty, "AWS_PROFILE": "", "AWS_REGION": "", "AWS_SESSION_TOKEN": "",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1",
	} {
		t.Setenv(name, value)
	}
	m.as(t, "user/dbops")
	return m
}

// as makes the standard chain hold somebody's credentials.
func (m *managed) as(t *testing.T, who string) {
	t.Helper()
	id, key, _ := m.keys.Credentials(who)
	t.Setenv("AWS_ACCESS_KEY_ID", id)
	t.Setenv("AWS_SECRET_ACCESS_KEY", key.Reveal())
}

func (m *managed) open(t *testing.T) *SSM {
	t.Helper()
	s := NewSSM(SSMOptions{Target: node, Region: "eu-west-1", Endpoint: m.url, Plugin: island.Program(t, "DBOPS_PEER_SESSION_MANAGER_PLUGIN")})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestThroughSystemsManager(t *testing.T) {
	is := startIsland(t, island.Spec{})
	is.wantNoWay(t)
	m := startSSM(t, is)

	t.Run("a server that cannot be reached otherwise is logged in to, many times in one session", func(t *testing.T) {
		leakless(t)
		way := m.open(t)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if err := query(brief(t), is.config(t, dbHost, way.Dial)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := m.Sessions(); n != 1 {
			t.Errorf("%d sessions", n)
		}
		if err := way.Close(); err != nil {
			t.Error(err)
		}
		if n := m.Sessions(); n != 0 {
			t.Errorf("%d sessions are left open", n)
		}
	})

	t.Run("a certificate for another name is refused", func(t *testing.T) {
		err := query(brief(t), is.config(t, otherHost, m.open(t).Dial))
		if wrong, ok := errors.AsType[x509.HostnameError](err); !ok || wrong.Host != otherHost {
			t.Fatalf("got %v", err)
		}
	})

	t.Run("the session's token is in no argument", func(t *testing.T) {
		if runtime.GOOS != "linux" {
			t.Fatal("the arguments of processes are read in /proc")
		}
		way := m.open(t)
		if err := query(brief(t), is.config(t, dbHost, way.Dial)); err != nil {
			t.Fatal(err)
		}
		way.mu.Lock()
		p := way.to[dbHost+":5432"].plugin
		way.mu.Unlock()
		args, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/cmdline")
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"TokenValue", "StreamUrl", os.Getenv("AWS_SECRET_ACCESS_KEY")} {
			if bytes.Contains(args, []byte(secret)) {
				t.Errorf("the arguments hold %s", secret)
			}
		}
		if !bytes.Contains(args, []byte(responseVariable)) {
			t.Errorf("the arguments are %q", args)
		}
	})

	t.Run("what a session says is not altered, though its WebSocket is lost in between", func(t *testing.T) {
		way := m.open(t)
		conn, err := pgconn.ConnectConfig(brief(t), is.config(t, dbHost, way.Dial))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		const sql = "select md5(string_agg(g::text, ',')), string_agg(g::text, ',') from generate_series(1, 100000) g"
		for i := range 2 {
			if i > 0 {
				m.CutAll()
				eventually(t, func() error {
					if m.Connected() != 1 {
						return errors.New("it is not resumed")
					}
					return nil
				})
			}
			got, err := conn.Exec(brief(t), sql).ReadAll()
			if err != nil {
				t.Fatal(err)
			}
			if sum := md5Of(got[0].Rows[0][1]); sum != string(got[0].Rows[0][0]) {
				t.Errorf("%d bytes with the sum %s came, not %s", len(got[0].Rows[0][1]), sum, got[0].Rows[0][0])
			}
		}
	})

	t.Run("no session hangs whose WebSocket is lost while it speaks", func(t *testing.T) {
		leakless(t)
		way := m.open(t)
		way.opts.every = 100 * time.Millisecond
		conn, err := pgconn.ConnectConfig(brief(t), is.config(t, dbHost, way.Dial))
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			for {
				if _, err := conn.Exec(brief(t), "select 1").ReadAll(); err != nil {
					done <- err
					return
				}
			}
		}()
		for ended := false; !ended; {
			m.CutAll()
			select {
			case err := <-done:
				if errors.Is(err, context.DeadlineExceeded) {
					t.Error("it hangs")
				}
				ended = true
			case <-time.After(50 * time.Millisecond):
			}
		}
		eventually(t, func() error { return query(brief(t), is.config(t, dbHost, way.Dial)) })
	})

	t.Run("a session that ends, and a plugin that is killed, are started again", func(t *testing.T) {
		leakless(t)
		way := m.open(t)
		for name, loss := range map[string]func(){
			"the session ends": func() { m.EndAll("Session timed out.") },
			"the plugin dies": func() {
				way.mu.Lock()
				defer way.mu.Unlock()
				_ = way.to[dbHost+":5432"].plugin.cmd.Process.Kill()
			},
		} {
			conn, err := pgconn.ConnectConfig(brief(t), is.config(t, dbHost, way.Dial))
			if err != nil {
				t.Fatalf("before %s: %v", name, err)
			}
			loss()
			if _, err := conn.Exec(brief(t), "select 1").ReadAll(); err == nil {
				t.Errorf("%s, and a session goes on", name)
			}
			eventually(t, func() error { return query(brief(t), is.config(t, dbHost, way.Dial)) })
		}
	})

	t.Run("a server that the node cannot connect to", func(t *testing.T) {
		conn, err := m.open(t).Dial(brief(t), "tcp", dbHost+":5433")
		if err != nil {
			t.Fatal(err) // it shows when something is read
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
		_, err = conn.Read(make([]byte, 1))
		wantFault(t, err, fault.Unavailable, []string{node + " cannot connect to " + dbHost + ":5433"}, []string{"security group", "resolved there"})
	})

	t.Run("what AWS refuses is told", func(t *testing.T) {
		leakless(t)
		refuse := func(o SSMOptions) error {
			if o.Target == "" {
				o.Target = node
			}
			if o.Plugin == "" {
				o.Plugin = island.Program(t, "DBOPS_PEER_SESSION_MANAGER_PLUGIN")
			}
			o.Region, o.Endpoint = "eu-west-1", m.url
			way := NewSSM(o)
			defer way.Close()
			_, err := way.Dial(brief(t), "tcp", dbHost+":5432")
			return err
		}
		wantFault(t, refuse(SSMOptions{Target: "i-0fffffffffffffff0"}), fault.Unavailable, []string{"i-0fffffffffffffff0 is not connected"}, []string{"SSM agent", "describe-instance-information"})
		m.Connect(node, false)
		wantFault(t, refuse(SSMOptions{}), fault.Unavailable, []string{"TargetNotConnected"}, nil)
		m.Connect(node, true)
		m.as(t, "user/alice")
		err := refuse(SSMOptions{})
		wantFault(t, err, fault.Denied, []string{"ssm:StartSession"}, []string{"allow ssm:StartSession"})
		if fault.PermissionOf(err) != "ssm:StartSession" {
			t.Errorf("permission %q", fault.PermissionOf(err))
		}
		m.as(t, "user/dbops")
		t.Setenv("AWS_SESSION_TOKEN", "of-yesterday")
		wantFault(t, refuse(SSMOptions{}), fault.Denied, nil, []string{"log in again"})
		t.Setenv("AWS_SESSION_TOKEN", "")
		m.faults.Add(play.Fault{Service: "ssm", Action: "StartSession", Effect: play.Unavailable, Count: 10})
		wantFault(t, refuse(SSMOptions{}), fault.Unavailable, nil, []string{"health.aws.amazon.com"})
		m.faults.Clear()
	})

	t.Run("without the plugin the error says how to install it", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		way := NewSSM(SSMOptions{Target: node, Region: "eu-west-1", Endpoint: m.url})
		defer way.Close()
		_, err := way.Dial(brief(t), "tcp", dbHost+":5432")
		wantFault(t, err, fault.Config, []string{"session-manager-plugin is not installed"}, []string{"install it: https://docs.aws.amazon.com"})
	})

	t.Run("a plugin that gives up is told in its own words", func(t *testing.T) {
		dir := t.TempDir()
		plugin := filepath.Join(dir, "plugin")
		writeFile(t, plugin, "#!/bin/sh\necho 'Cannot perform start session: nobody is in'\n")
		if err := os.Chmod(plugin, 0o700); err != nil {
			t.Fatal(err)
		}
		way := NewSSM(SSMOptions{Target: node, Region: "eu-west-1", Endpoint: m.url, Plugin: plugin})
		defer way.Close()
		_, err := way.Dial(brief(t), "tcp", dbHost+":5432")
		wantFault(t, err, fault.Unavailable, []string{"nobody is in"}, []string{"WebSockets"})
	})
}

// The plugin ends with dbops, however that ends.
func TestThePluginDoesNotOutliveItsParent(t *testing.T) {
	if os.Getenv("DIAL_PARENT") != "" {
		p, err := startPlugin("/bin/sh", "", []string{"-c", "exit 0"})
		if err != nil {
			t.Fatal(err)
		}
		<-p.done
		p, err = startPlugin(os.Getenv("DIAL_PARENT"), "", nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = os.Stdout.WriteString("child " + strconv.Itoa(p.cmd.Process.Pid) + "\n")
		select {}
	}
	sleeper := filepath.Join(t.TempDir(), "sleeper")
	writeFile(t, sleeper, "#!/bin/sh\nexec sleep 600\n")
	if err := os.Chmod(sleeper, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "DIAL_PARENT="+sleeper)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64)
	n, err := out.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	pid := strings.TrimSpace(strings.TrimPrefix(string(b[:n]), "child "))
	if _, err := os.Stat("/proc/" + pid); err != nil {
		t.Fatalf("%q: %v", b[:n], err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	eventually(t, func() error {
		if state, err := os.ReadFile("/proc/" + pid + "/stat"); err == nil && !bytes.Contains(state, []byte(") Z ")) {
			return errors.New("it is still there")
		}
		return nil
	})
}
