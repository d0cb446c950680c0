package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"dbops/internal/tui/tuitest/console"
)

// A window that is closed sends SIGHUP twice, from the system and from the shell. What is in a transaction may finish it, a run goes on, and
// nothing is left behind.
func TestATerminalThatIsClosedLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	env := environ(t, "DBOPS_STATE_DIR="+filepath.Join(t.TempDir(), "state"), "TERM=xterm-256color", "PS1=ready> ", "HISTFILE=")
	dbops := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), shared.program, args...)
		cmd.Env = env
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return string(out)
	}
	term, err := console.Start(t.Context(), console.Options{Cols: 120, Rows: 40, Env: env}, "bash", "--norc", "--noprofile", "-i")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(term.Close)
	p := person{term, t}
	p.want("ready>")
	status := filepath.Join(t.TempDir(), "status")
	p.press(`sh -c 'trap : HUP; dbops; echo $? >'`+status, "enter")
	p.want("PROTECTED", "live")
	p.press("/")
	p.press(strings.Split("staging", "")...)
	p.press("enter", "p", "t")
	p.want("listening on")
	uri := strings.TrimSpace(dbops("conn-uri", "-e", "staging", "shop"))
	c, err := pgx.Connect(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.WithoutCancel(t.Context())) }()
	if _, err := c.Exec(t.Context(), "begin"); err != nil {
		t.Fatal(err)
	}
	if err := p.Hangup(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the proxy drains", func() bool {
		var list proxyListJSON
		if err := json.Unmarshal([]byte(dbops("proxy", "list", "-o", "json")), &list); err != nil {
			t.Fatal(err)
		}
		return len(list.Proxies) == 0 || !list.Proxies[0].Ready
	})
	for _, q := range []string{"select 1", "commit"} {
		if _, err := c.Exec(t.Context(), q); err != nil {
			t.Errorf("%s: the transaction was cut: %v", q, err)
		}
	}
	eventually(t, "the program ends in order", func() bool {
		text, err := os.ReadFile(status)
		return err == nil && string(text) == "130\n"
	})
	if out := dbops("proxy", "list", "-o", "json"); !strings.Contains(out, `"proxies": []`) && !strings.Contains(out, `"proxies":[]`) {
		t.Errorf("a proxy is left: %s", out)
	}
}
