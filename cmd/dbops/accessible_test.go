package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dbops/internal/tui/tuitest/console"
)

// listener is somebody who hears the terminal UI, through pipes: there is no terminal.
type listener struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser

	mu    sync.Mutex
	heard strings.Builder
	news  chan struct{} // something was said
	at    int           // up to where it was waited for
	done  chan error
}

func listen(t *testing.T, args []string, env ...string) *listener {
	t.Helper()
	l := &listener{t: t, news: make(chan struct{}, 1), done: make(chan error, 1)}
	l.cmd = exec.CommandContext(t.Context(), shared.program, append([]string{"--config", filepath.Join(shared.dir, "cloud", "dbops.yaml")}, args...)...)
	l.cmd.Env = environ(t, append([]string{"DBOPS_STATE_DIR=" + filepath.Join(t.TempDir(), "state")}, env...)...)
	l.cmd.Stdout, l.cmd.Stderr = l, t.Output()
	var err error
	if l.in, err = l.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { l.done <- l.cmd.Wait() }()
	t.Cleanup(func() { _ = l.in.Close() })
	return l
}

// Write implements [io.Writer].
func (l *listener) Write(p []byte) (int, error) {
	l.mu.Lock()
	l.heard.Write(p)
	l.mu.Unlock()
	select {
	case l.news <- struct{}{}:
	default:
	}
	return len(p), nil
}

// want waits until the texts were said in this order, behind what was waited for before.
func (l *listener) want(texts ...string) {
	l.t.Helper()
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	for _, text := range texts {
		for {
			l.mu.Lock()
			all := l.heard.String()
			l.mu.Unlock()
			if i := strings.Index(all[l.at:], text); i >= 0 {
				l.at += i + len(text)
				break
			}
			select {
			case <-l.news:
			case <-late.C:
				l.t.Fatalf("%q was not said:\n%s", text, all)
			}
		}
	}
}

func (l *listener) say(line string) {
	l.t.Helper()
	if _, err := io.WriteString(l.in, line+"\n"); err != nil {
		l.t.Fatal(err)
	}
}

// ends waits for the end of the program.
func (l *listener) ends() {
	l.t.Helper()
	select {
	case err := <-l.done:
		if err != nil {
			l.t.Error(err)
		}
	case <-time.NewTimer(time.Minute).C:
		l.t.Fatalf("it has not ended:\n%s", l.heard.String())
	}
	if strings.ContainsRune(l.heard.String(), '\x1b') {
		l.t.Errorf("an escape sequence was written: %q", l.heard.String())
	}
}

func TestANightByEar(t *testing.T) {
	l := listen(t, []string{"--accessible"})
	l.want("dbops, line by line", "Fleet.", "PROTECTED prod", "billing, state available", "\n> ")
	l.say("prod/billing")
	l.want("the same by: dbops status -e prod billing", "PROTECTED environment prod. billing. Overview.", "connections", "\n> ")
	l.say("sessions")
	l.want("Sessions.", "the same by: dbops sessions list -e prod billing", "\n> ")
	l.say("proxy")
	l.want("proxy, not started", "\n> ")
	l.say("t")
	l.want("proxy of prod listens on 127.0.0.1:")
	l.say("billing")
	l.want("chosen: billing", "\n> ")
	l.say("y")
	l.want("A secret will stand in this terminal", "yes: write it here")
	l.say("yes")
	l.want("postgresql://")
	l.say("backups")
	l.want("Backups.", "Recovery:", "\n> ")
	l.say("back up")
	l.want("Back up", "b to leave it", "\n> ")
	l.say("")
	l.want("PLAN.", "Steps:", "1, back up prod/billing", "the approval of 1 other", "the same by: dbops backup create -e prod billing --plan", "\n> ")
	l.say("R")
	l.want("Run it, in environment prod, PROTECTED.", "type billing to go on", "\n> ")
	l.say("bill")
	l.want(`"bill" is not billing`, "\n> ")
	l.say("billing")
	l.want("is asked for: somebody else has to give it", "\n> ")
	l.say("approvals")
	l.want("Approvals.", "prod/billing", "\n> ")
	l.say("fleet")
	l.want("Fleet.", "\n> ")
	l.say("staging/billing")
	l.want("Environment staging. billing. Overview.", "\n> ")
	l.say("backups")
	l.want("Backups.", "\n> ")
	l.say("back up")
	l.want("Back up", "\n> ")
	l.say("by-ear")
	l.want("PLAN.", "dbops backup create -e staging billing --label by-ear --plan", "\n> ")
	l.say("R")
	l.want("Run it, in environment staging.", "yes: run it; no: leave it", "\n> ")
	l.say("")
	l.want("answer yes or no", "\n> ")
	l.say("yes")
	l.want("run r", "the run has ended", "done, took")
	l.say("runs")
	l.want("Runs.", "done", "staging/billing", "\n> ")
	l.say("audit")
	l.want("Audit.", "backup.create")
	if err := l.in.Close(); err != nil { // as when the terminal goes
		t.Fatal(err)
	}
	l.want("closing 1 proxy")
	l.ends()
}

func TestByEarNothingIsChangedWithReadOnly(t *testing.T) {
	l := listen(t, []string{"--read-only"}, "DBOPS_ACCESSIBLE=1")
	l.want("Fleet.", "\n> ")
	l.say("prod/billing")
	l.want("Overview.", "\n> ")
	l.say("availability")
	l.want("Fail over to the standby:", "\n> ")
	l.say("f")
	l.want("PLAN.", "\n> ")
	l.say("R")
	l.want("nothing is changed from here: --read-only", "\n> ")
	if err := l.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	l.ends()
}

func TestByEarCtrlCLeavesAQuestionFirst(t *testing.T) {
	l := listen(t, []string{"--accessible"})
	l.want("Fleet.", "\n> ")
	l.say("a")
	l.want("What can be done here", "b to leave it.", "\n> ")
	if err := l.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	l.want("cancelled", "\n> ")
	if err := l.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	l.ends()
}

func TestAccessibleIsTrueOrFalse(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), shared.program)
	cmd.Env = environ(t, "DBOPS_ACCESSIBLE=perhaps")
	out, err := cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), `"perhaps" is neither true nor false`) {
		t.Errorf("%v: %s", err, out)
	}
}

func TestATerminalThatCannotBeDrawnOnIsReadTo(t *testing.T) {
	t.Parallel()
	env := environ(t, "DBOPS_STATE_DIR="+filepath.Join(t.TempDir(), "state"), "TERM=dumb")
	term, err := console.Start(t.Context(), console.Options{Cols: 62, Rows: 100, Env: env}, shared.program, "--config", filepath.Join(shared.dir, "cloud", "dbops.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	defer term.Close()
	if err := term.Wait("the same by: dbops status", time.Minute); err != nil {
		t.Fatal(err)
	}
	if screen := term.Screen(); !strings.Contains(screen, "\nwhat can be done, ? for help") {
		t.Errorf("a word is broken at the edge:\n%s", screen)
	}
	if err := term.Send("q", "enter"); err != nil {
		t.Fatal(err)
	}
	if status, err := term.Exit(time.Minute); status != 0 || err != nil {
		t.Errorf("status %d, %v", status, err)
	}
}
