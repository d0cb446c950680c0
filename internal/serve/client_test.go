package serve

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestOpenSSHGetsATerminalByItsKeyAndNothingElse(t *testing.T) {
	t.Parallel()
	p := open(t, Options{})
	alice, key := p.key("alice@example.com")
	nobody, unknown := p.key("")
	for name, c := range map[string]struct {
		key    string
		args   []string
		stdin  string
		status int
		want   string
	}{
		"a key that is known":     {alice, []string{"-tt", "127.0.0.1"}, "xq", 0, "hello alice@example.com 80x24"},
		"another user name":       {alice, []string{"-tt", "root@127.0.0.1"}, "q", 0, "hello alice@example.com"},
		"a key that is not known": {nobody, []string{"-tt", "127.0.0.1"}, "q", 255, "Permission denied (publickey)"},
		"no terminal":             {alice, []string{"-T", "127.0.0.1"}, "q", 2, "hint: ssh -t -p "},
		"a command":               {alice, []string{"-tt", "127.0.0.1", "sh", "-i"}, "q", 2, "no commands are run here"},
		"files":                   {alice, []string{"-s", "127.0.0.1", "sftp"}, "", 255, "subsystem request failed"},
		"input that ends":         {alice, []string{"-tt", "127.0.0.1"}, "x", 130, "the terminal's input ended"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := p.openssh(c.key, c.args...)
			cmd.Env = []string{"TERM=xterm-256color", "PATH=/usr/bin:/bin", "HOME=" + p.dir}
			cmd.Stdin = strings.NewReader(c.stdin)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			_ = cmd.Run()
			if got := cmd.ProcessState.ExitCode(); got != c.status || !strings.Contains(out.String(), c.want) {
				t.Errorf("status %d, want %d:\n%s", got, c.status, &out)
			}
			if c.status != 0 && strings.Contains(out.String(), "hello") && name != "input that ends" {
				t.Errorf("a terminal was shown:\n%s", &out)
			}
		})
	}
	t.Cleanup(func() {
		p.log.want(t, ssh.FingerprintSHA256(unknown.PublicKey()))
		p.note.want(t, "alice@example.com: SSH session opened from 127.0.0.1:")
		p.note.want(t, "with the key "+ssh.FingerprintSHA256(key.PublicKey())+", may read after 0s: left")
	})
}

func TestNothingIsForwarded(t *testing.T) {
	t.Parallel()
	p := open(t, Options{})
	_, key := p.key("alice@example.com")
	c := p.shell(key)
	c.out.want(t, "hello")
	if conn, err := c.conn.Dial("tcp", p.addr); err == nil {
		_ = conn.Close()
		t.Error("a connection was forwarded")
	}
	if l, err := c.conn.Listen("tcp", "127.0.0.1:0"); err == nil {
		_ = l.Close()
		t.Error("a port was forwarded")
	}
	for _, kind := range []string{"auth-agent-req@openssh.com", "x11-req", "subsystem", "exec", "shell", "pty-req", "break"} {
		if ok, err := c.SendRequest(kind, true, ssh.Marshal(struct{ S string }{"sftp"})); ok || err != nil {
			t.Errorf("%s: %t, %v", kind, ok, err)
		}
	}
	if _, err := c.conn.NewSession(); err == nil || !strings.Contains(err.Error(), "one session in a connection") {
		t.Error(err)
	}
	c.press("q")
	if got := c.status(); got != 0 {
		t.Errorf("status %d", got)
	}
}

func TestTwoAtOnceEachWithTheirOwnWindow(t *testing.T) {
	t.Parallel()
	p := open(t, Options{})
	_, alice := p.key("alice@example.com")
	_, bob := p.key("bob@example.com")
	a, b := p.shell(alice), p.shell(bob)
	a.out.want(t, "hello alice@example.com 80x24 TERM=xterm\r\n")
	b.out.want(t, "hello bob@example.com 80x24")
	if err := a.WindowChange(40, 120); err != nil {
		t.Fatal(err)
	}
	a.out.want(t, "now 120x40")
	if err := a.WindowChange(1<<31, 1<<31); err != nil { // of which no frame is made
		t.Fatal(err)
	}
	a.out.want(t, "now 1000x1000")
	a.press("p") // a bug
	if got := a.status(); got != 1 {
		t.Errorf("status %d", got)
	}
	a.err.want(t, "this is a bug in dbops")
	b.press("x")
	b.out.want(t, "key x")
	if strings.Contains(b.out.String(), "now") {
		t.Errorf("bob's window:\n%s", b.out)
	}
	b.press("q")
	if got := b.status(); got != 0 {
		t.Errorf("status %d", got)
	}
	p.log.want(t, "on purpose")
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	v := &visit{}
	ask := func(name, value string) bool {
		return v.environment(ssh.Marshal(struct{ Name, Value string }{name, value}))
	}
	for _, bad := range [][2]string{{"LD_PRELOAD", "x"}, {"DBOPS_CONFIG", "x"}, {"LANG", ""}, {"LANG", "C\nTERM=x"}, {"LANG", strings.Repeat("x", 300)}} {
		if ask(bad[0], bad[1]) {
			t.Error(bad)
		}
	}
	for range 100 {
		ask("LANG", "C.UTF-8")
	}
	if len(v.env) != maxEnv || v.env[0] != "LANG=C.UTF-8" {
		t.Error(v.env)
	}
	if v.environment([]byte{1}) || v.terminal([]byte{1}) || v.resized(nil) {
		t.Error("what is malformed was taken")
	}
}
