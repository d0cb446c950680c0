//go:build peers

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dbops/internal/sandbox"
	"dbops/internal/sandbox/play"
	"dbops/internal/tui/tuitest/console"
)

// nightPatience is how long a page, or a run of the played clouds, may take on a machine that does much else.
const nightPatience = 5 * time.Minute

// tmuxConf lets tmux show nothing but the program, and hand on what it copies.
const tmuxConf = `
set -g default-terminal tmux-256color
set -g status off
set -g set-clipboard on
set -s escape-time 10
`

// night is somebody on call in front of the terminal UI, with a cloud of their own.
type night struct {
	*console.Term
	t     *testing.T
	dir   string
	env   []string
	cloud *sandbox.Sandbox
}

func newNight(t *testing.T, cols, rows int) *night {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	n := &night{t: t, dir: filepath.Join(shared.dir, "night")}
	var err error
	if n.cloud, err = sandbox.Start(ctx, sandbox.Options{Dir: n.dir, Pace: play.Pace(0.002), Program: shared.program}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.cloud.Close(); err != nil {
			t.Error(err)
		}
	})
	control, err := n.cloud.ServeControl(ctx, func() {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = control.Close() })
	e, err := sandbox.Environ(n.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	n.env = append(environ(t, sandboxEnv(e)...), "DBOPS_STATE_DIR="+filepath.Join(t.TempDir(), "state"), "TERM=xterm-256color")
	conf, sock := filepath.Join(t.TempDir(), "tmux.conf"), filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(conf, []byte(tmuxConf), 0o600); err != nil {
		t.Fatal(err)
	}
	tmux := peer(t, "DBOPS_PEER_TMUX")
	n.Term, err = console.Start(ctx, console.Options{Cols: cols, Rows: rows, Env: n.env, Dir: t.TempDir()}, tmux, "-S", sock, "-f", conf, "new-session", shared.program)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = exec.CommandContext(ctx, tmux, "-S", sock, "kill-server").Run() // which outlives its terminal; it has ended where the test went well
		n.Close()
	})
	return n
}

func (n *night) want(texts ...string) {
	n.t.Helper()
	for _, text := range texts {
		if err := n.Wait(text, nightPatience); err != nil {
			n.t.Fatal(err)
		}
	}
}

func (n *night) press(keys ...string) {
	n.t.Helper()
	if err := n.Send(keys...); err != nil {
		n.t.Fatal(err)
	}
}

func (n *night) write(text string) { n.t.Helper(); n.press(strings.Split(text, "")...) }

// open goes from the fleet to an instance.
func (n *night) open(env, instance string) {
	n.t.Helper()
	n.press("/")
	n.write(env + " " + instance)
	n.want("1 of 5 instances")
	n.press("enter", "enter")
	n.want("[1 Overview]", env+"  "+instance)
}

// run runs the plan in front, which is of no protected environment, and comes back when the run has ended well.
func (n *night) run() {
	n.t.Helper()
	n.begin()
	n.want("- done", "DONE")
	n.press("esc")
}

// begin runs the plan in front.
func (n *night) begin() {
	n.t.Helper()
	n.want("R run it")
	n.press("R")
	n.want("leave it")
	n.press("y")
	n.want("› run r")
}

// fill writes into the field of a form that is so many further down.
func (n *night) fill(down int, text string) {
	n.t.Helper()
	for range down {
		n.press("down")
	}
	n.press("ctrl+u")
	n.write(text)
}

// command runs a program in the environment of the night.
func (n *night) command(name string, args ...string) string {
	n.t.Helper()
	cmd := exec.CommandContext(n.t.Context(), name, args...)
	cmd.Env = n.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		n.t.Fatalf("%s %v: %v: %s\n%s", name, args, err, out, n.Screen())
	}
	return string(out)
}

func TestANightAtTheTerminal(t *testing.T) {
	n := newNight(t, 120, 40)
	n.want("PROTECTED", "staging", "live")

	// A proxy is opened, and a client queries through it.
	n.open("staging", "billing")
	n.press("2")
	n.want("[2 Proxy]", "not started")
	n.press("t")
	n.want("listening on 127.0.0.1:", "postgresql://dbops:****@127.0.0.1:")
	n.press("y")
	n.want("copied")
	uri := n.Clipboard(nightPatience)
	if got := n.command(psqlPath(t), "-XAtc", "select count(*) > 0 from billing.plans", uri); got != "t\n" {
		t.Errorf("through the proxy: %q", got)
	}
	n.want("opened by psql", "the client said goodbye")

	// What is pending is applied.
	n.press("3")
	n.want("[3 Migrate]", "at 4 of 6")
	n.press("u")
	n.want("Apply what is pending")
	n.press("ctrl+s")
	n.run()
	n.want("[3 Migrate]", "at 6 of 6")

	// A container gets a new credential.
	n.press("4")
	n.want("[4 Creds]", "billing_invoicing_a")
	n.press("t")
	n.want("Rotate credentials")
	n.fill(2, "1s")
	n.fill(1, "1s")
	n.press("ctrl+s")
	n.run()
	n.want("[4 Creds]", "login        billing_invoicing_b")

	// The files that clients need are written.
	files := filepath.Join(t.TempDir(), "files")
	n.press("5")
	n.want("[5 TLS]", "right: a handshake works", "required (rds.force_ssl=1)")
	n.press("f")
	n.want("Files for clients of billing")
	n.fill(0, files)
	n.press("ctrl+s")
	n.want("truststore.p12")
	if pem, err := os.ReadFile(filepath.Join(files, "root.crt")); err != nil || !strings.Contains(string(pem), "BEGIN CERTIFICATE") {
		t.Errorf("%v: %s", err, pem)
	}

	// It gets a standby.
	n.press("6")
	n.want("[6 Avail]", "MAKE IT REGIONAL")
	n.press("z")
	n.want("Switch the availability of billing")
	n.press("ctrl+s")
	n.run()
	n.want("[6 Avail]", "MAKE IT ZONAL")

	// It goes to the next major version, with the cut-over when a person says so.
	n.press("7")
	n.want("[7 Upgrade]", "becomes 18", "> copy")
	n.press("j")
	n.want("> copy, catch-up")
	n.press("o")
	n.want("watch who logs in for")
	n.fill(7, "1s")
	n.press("ctrl+s", "enter")
	n.want("[. rehearse]")
	n.press("u")
	n.begin()
	n.want("WAITS FOR A PERSON", "c go on")
	n.press("c")
	n.want("why, for the audit log")
	n.press("enter")
	n.want("y continue")
	n.press("y")
	n.want("watch who logs in where", "DONE")
	n.press("esc")
	n.want("[7 Upgrade]", "[✓ observe]", "billing-staging-pg18")
	if got := n.command(shared.program, "status", "-e", "staging", "billing"); !strings.Contains(got, " 18.") {
		t.Errorf("it is not of the new version: %s", got)
	}

	// Who leaves takes the proxy along, and nothing else.
	n.press("ctrl+c", "ctrl+c")
	if status, err := n.Exit(nightPatience); status != 0 || err != nil {
		t.Errorf("tmux ended with %d, %v", status, err)
	}
	if got := n.command(shared.program, "proxy", "list"); strings.Contains(got, "staging") {
		t.Errorf("a proxy is left: %s", got)
	}
}
