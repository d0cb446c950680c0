package tui_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"dbops/internal/tui/internal/fake"
	"dbops/internal/tui/tuitest/console"
)

const patience = 15 * time.Second

// demo builds the demonstration, which is Run with a fake core, as a program.
func demo(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "demo")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "./internal/demo").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return bin
}

type terminal struct {
	*console.Term
	t *testing.T
}

func start(t *testing.T, bin string, o console.Options, args ...string) terminal {
	t.Helper()
	term, err := console.Start(t.Context(), o, bin, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(term.Close)
	return terminal{term, t}
}

func (x terminal) want(text string) {
	x.t.Helper()
	if err := x.Wait(text, patience); err != nil {
		x.t.Fatal(err)
	}
}

func (x terminal) press(keys ...string) {
	x.t.Helper()
	if err := x.Send(keys...); err != nil {
		x.t.Fatal(err)
	}
}

func (x terminal) wantExit(status int) {
	x.t.Helper()
	got, err := x.Exit(patience)
	if err != nil || got != status {
		x.t.Fatalf("exit status %d, want %d (%v)\n%s", got, status, err, x.Screen())
	}
	if x.AltScreen() {
		x.t.Error("the alternate screen was left on")
	}
}

func TestInATerminal(t *testing.T) {
	bin := demo(t)
	t.Run("a night with it", func(t *testing.T) {
		t.Parallel()
		x := start(t, bin, console.Options{Cols: 100, Rows: 30}, "-drain", "50ms")
		x.want("live")
		x.press("p", "t")
		x.want("listening on 127.0.0.1:6432")
		x.want("1 open")
		x.press("y")
		x.want("copied the URI")
		if got := x.Clipboard(patience); !strings.Contains(got, fake.Password) {
			t.Errorf("copied %q", got)
		}
		if strings.Contains(x.Screen(), fake.Password) {
			t.Error("the password is on the screen")
		}
		if got := x.Title(); got != "dbops prod proxy" {
			t.Errorf("title %q", got)
		}
		if err := x.Resize(60, 15); err != nil {
			t.Fatal(err)
		}
		x.want("0s  live")
		x.press("esc")
		x.want("dbops  Fleet") // a key that comes with the esc would be alt and that key
		x.press("q")
		x.want("Quit dbops")
		x.press("y")
		x.wantExit(0)
	})
	t.Run("NO_COLOR", func(t *testing.T) {
		t.Parallel()
		x := start(t, bin, console.Options{Env: console.Env("NO_COLOR=1")})
		x.want("live")
		if s := x.Render(); strings.Contains(s, "[38;") || strings.Contains(s, "[48;") || strings.Contains(s, "[31") {
			t.Errorf("colour without colours: %q", s)
		}
		x.press("q")
		x.wantExit(0)
	})
	t.Run("light background", func(t *testing.T) {
		t.Parallel()
		x := start(t, bin, console.Options{Light: true})
		x.want("live")
		if s := x.Render(); !strings.Contains(s, "38;2;28;28;28") { // #1c1c1c
			t.Errorf("no dark text on a light background: %q", s)
		}
		x.press("ctrl+c", "ctrl+c")
		x.wantExit(0)
	})
	t.Run("SIGTERM closes proxies and gives the terminal back", func(t *testing.T) {
		t.Parallel()
		x := start(t, bin, console.Options{}, "-drain", "50ms")
		x.want("live")
		x.press("p", "t")
		x.want("1 open")
		if err := x.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		x.wantExit(130)
	})
	t.Run("a panic gives the terminal back", func(t *testing.T) {
		t.Parallel()
		state := t.TempDir()
		x := start(t, bin, console.Options{Cols: 150, Rows: 50}, "-panic", "-state", state)
		x.wantExit(1)
		x.want("this is a bug in dbops: report it with")
		x.want("a bug on purpose")
		all, err := filepath.Glob(filepath.Join(state, "crash-*.txt"))
		if err != nil || len(all) != 1 {
			t.Fatalf("%v, %v", all, err)
		}
		report, err := os.ReadFile(all[0])
		if err != nil || !strings.Contains(string(report), "panic: a bug on purpose") || !strings.Contains(string(report), "demo.(*demo).Instances") && !strings.Contains(string(report), "main.(*demo).Instances") {
			t.Errorf("%v: %s", err, report)
		}
	})
	t.Run("SIGHUP ends it in order", func(t *testing.T) {
		t.Parallel()
		x := start(t, bin, console.Options{}, "-drain", "50ms")
		x.want("live")
		x.press("p", "t")
		x.want("1 open")
		if err := x.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		x.wantExit(130)
	})
	t.Run("no terminal", func(t *testing.T) {
		t.Parallel()
		cmd := exec.CommandContext(t.Context(), bin)
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), "is not a terminal") {
			t.Errorf("%v: %s", err, out)
		}
	})
	t.Run("a terminal of type dumb", func(t *testing.T) {
		t.Parallel()
		x := start(t, bin, console.Options{Env: append(console.Env(), "TERM=dumb")})
		x.want("cannot be drawn on")
		x.wantExit(2)
	})
}
