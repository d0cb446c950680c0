package tui_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dbops/internal/tui/tuitest/console"
)

// quoted is a word for a shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// shell is an interactive one with job control.
func shell(t *testing.T) terminal {
	t.Helper()
	x := start(t, "bash", console.Options{Cols: 100, Rows: 30, Env: console.Env("PS1=ready> ", "HISTFILE=")}, "--norc", "--noprofile", "-i")
	x.want("ready>")
	return x
}

// until waits until something is so, and tells whether it came about.
func until(is func() bool) bool {
	late := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-late:
			return is()
		}
	}
	return true
}

// ended waits until a process is gone.
func ended(t *testing.T, pid int) {
	t.Helper()
	if !until(func() bool { return syscall.Kill(pid, 0) != nil }) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		t.Fatalf("process %d still runs", pid)
	}
}

func pidIn(t *testing.T, file string) int {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestABadTerminal(t *testing.T) {
	bin := demo(t)
	t.Run("suspended and continued by a shell", func(t *testing.T) {
		t.Parallel()
		x := shell(t)
		x.press(quoted(bin)+" -slow 10ms", "enter")
		x.want("live")
		x.press("ctrl+z")
		x.want("Stopped")
		if x.AltScreen() {
			t.Error("the alternate screen is on while it is stopped")
		}
		x.press("stty -a", "enter")
		x.want("icanon")
		if strings.Contains(x.Screen(), "-icanon") {
			t.Errorf("the terminal is in raw mode:\n%s", x.Screen())
		}
		x.press("fg", "enter")
		x.want("q quit")
		x.press("?")
		x.want("Keys of Fleet")
		x.press("q")
		if err := x.WaitGone("Keys of Fleet", patience); err != nil {
			t.Fatal(err)
		}
		x.press("q")
		x.want("ready>")
		x.press("exit", "enter")
		x.wantExit(0)
	})
	t.Run("suspended where no shell is", func(t *testing.T) {
		t.Parallel()
		x := start(t, bin, console.Options{Cols: 100, Rows: 30}, "-slow", "10ms")
		x.want("live")
		x.press("ctrl+z")
		x.want("not suspended: no shell with job control started this dbops")
		x.press("?")
		x.want("Keys of Fleet")
		x.press("ctrl+c", "ctrl+c")
		x.wantExit(0)
	})
	t.Run("closed", func(t *testing.T) {
		t.Parallel()
		x := start(t, bin, console.Options{}, "-drain", "50ms")
		x.want("live")
		x.press("p", "t")
		x.want("1 open")
		if err := x.Hangup(); err != nil {
			t.Fatal(err)
		}
		if status, err := x.Exit(patience); err != nil || status != 130 {
			t.Errorf("exit status %d, %v", status, err)
		}
	})
	for name, line := range map[string]string{
		// the shell passes the SIGHUP on that the system has sent already
		"closed below a shell": "sh -c 'echo $$ >%[1]s; exec \"$0\" -drain 300ms; ' %[2]s; echo $? >%[3]s",
		// no SIGHUP comes where the terminal is not that of the session
		"closed without a signal": "setsid -w sh -c 'echo $$ >%[1]s; exec \"$0\" -drain 300ms' %[2]s",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			pid, status := filepath.Join(dir, "pid"), filepath.Join(dir, "status")
			x := shell(t)
			x.press(fmt.Sprintf(line, quoted(pid), quoted(bin), quoted(status)), "enter")
			x.want("live")
			x.press("p", "t")
			x.want("1 open")
			if err := x.Hangup(); err != nil {
				t.Fatal(err)
			}
			ended(t, pidIn(t, pid))
		})
	}
	t.Run("sizes by the hundred", func(t *testing.T) {
		t.Parallel()
		x := start(t, bin, console.Options{}, "-slow", "10ms")
		x.want("live")
		for i := range 300 {
			if err := x.Resize(1+i*37%300, 1+i*17%100); err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range [][2]int{{1, 1}, {20, 5}, {300, 100}} {
			if err := x.Resize(s[0], s[1]); err != nil {
				t.Fatal(err)
			}
		}
		if !until(func() bool {
			rows := strings.Split(x.Screen(), "\n")
			return len(rows) == 100 && strings.Contains(rows[99], "q quit")
		}) {
			t.Errorf("the last frame does not fit its size:\n%s", x.Screen())
		}
		if err := x.Resize(30, 5); err != nil {
			t.Fatal(err)
		}
		x.want("dbops needs 60x15 cells, this")
		x.press("q") // does nothing that nobody sees
		if err := x.Resize(100, 30); err != nil {
			t.Fatal(err)
		}
		x.want("q quit")
		x.press("q")
		x.wantExit(0)
	})
	t.Run("a megabyte pasted into a filter", func(t *testing.T) {
		t.Parallel()
		x := start(t, bin, console.Options{}, "-slow", "10ms")
		x.want("live")
		x.press("/")
		x.want("enter keep")
		paste := "\x1b[200~" + strings.Repeat("orders and \x1b[31mmore\n", 1<<20/20) + "\x1b[201~"
		if _, err := x.Write([]byte(paste)); err != nil {
			t.Fatal(err)
		}
		x.want("no instance matches the filter")
		x.press("esc")
		x.want("billing")
		x.press("q")
		x.wantExit(0)
	})
	t.Run("bytes that are no keys", func(t *testing.T) {
		t.Parallel()
		x := start(t, bin, console.Options{}, "-slow", "10ms", "-drain", "10ms")
		x.want("live")
		r := rand.New(rand.NewPCG(1, 2))
		for _, s := range []string{
			"\x1b[", "\x1b[999999999999999999999A", "\x1b[<0;99999;99999M", "\x1b[<0;1", "\x1b]52;c;%%%", "\x1bP+r", "\x1b[200~never ended", "\x1b[201~",
			"\x1b[M\xff\xff\xff", "\xc3", "\xff\xfe\xfd", "\x1b\x1b\x1b", "\x1b[?2026;9$y", "\x1b]11;rgb:zz/zz/zz\x07", "\x1b[48;0;0;0;0t", "\x00\x1c\x1d\x1e\x1f",
		} {
			if _, err := x.Write([]byte(s)); err != nil {
				t.Fatal(err)
			}
		}
		for range 8 {
			noise := make([]byte, 128)
			for i := range noise {
				noise[i] = byte(r.IntN(256))
				if c := noise[i]; c == 'q' || c == 'y' || c == 3 || c == 26 { // which would end it, or suspend it
					noise[i] = 'j'
				}
			}
			if _, err := x.Write(noise); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := x.Write([]byte("\x1b\\\x1b[201~")); err != nil { // whatever was begun
			t.Fatal(err)
		}
		for range 3 {
			x.press("esc")
		}
		for range 4 { // the first may be taken for the end of a sequence
			if x.Send("ctrl+c") != nil {
				break // it has ended
			}
		}
		status, err := x.Exit(patience)
		if err != nil || status != 0 {
			t.Errorf("exit status %d, %v\n%s", status, err, x.Screen())
		}
	})
}
