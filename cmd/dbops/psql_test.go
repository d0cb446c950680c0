package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
)

// screen collects what a program writes to its terminal.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

// wait waits until text has been shown n times.
func (s *screen) wait(t *testing.T, text string, n int) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		s.mu.Lock()
		got := s.text.String()
		s.mu.Unlock()
		if strings.Count(got, text) >= n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not %d times %q in:\n%s", n, text, got)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestCtrlCIsPsqlsAnyNumberOfTimes(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), shared.program, "psql", "-e", "staging", "shop", "--", "-X", "-P", "pager=off")
	cmd.Env = environ(t, "TERM=xterm")
	tty, err := pty.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	var shown screen
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = shown.ReadFrom(tty)
	}()
	send := func(s string) {
		t.Helper()
		if _, err := tty.WriteString(s); err != nil {
			t.Fatal(err)
		}
	}
	shown.wait(t, "shop=", 1)
	for i, word := range []string{"first", "second", "third"} {
		send("select '" + word + "', pg_sleep(60);\n")
		waitForStatement(t, word)
		send("\x03")
		shown.wait(t, "canceling statement due to user request", i+1)
	}
	send("select 'answer ' || (41 + 1);\n")
	shown.wait(t, "answer 42", 1)
	send("\\q\n")
	_ = cmd.Wait()
	<-done
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit status %d:\n%s", code, shown.text.String())
	}
}

// waitForStatement waits until the server runs a statement with word in it.
func waitForStatement(t *testing.T, word string) {
	t.Helper()
	c, err := shared.sandbox.Server("staging", "main").DB(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.WithoutCancel(t.Context())) }()
	deadline := time.Now().Add(20 * time.Second)
	for {
		var runs bool
		err := c.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity
			WHERE state = 'active' AND wait_event = 'PgSleep' AND query LIKE '%''' || $1 || '''%' AND pid <> pg_backend_pid())`, word).Scan(&runs)
		if err != nil {
			t.Fatal(err)
		}
		if runs {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server does not run the %s statement", word)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (s *screen) ReadFrom(tty *os.File) (int64, error) {
	var n int64
	b := make([]byte, 4096)
	for {
		k, err := tty.Read(b)
		n += int64(k)
		_, _ = s.Write(b[:k])
		if err != nil {
			return n, err
		}
	}
}

// A proxy left in the background holds nothing of its caller's: a pipe to it would not end, a lock would not open.
func TestABackgroundProxyKeepsNoDescriptorOfItsCaller(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.CommandContext(t.Context(), shared.program, "conn-uri", "-e", "local", "events", "--idle-exit", "30s")
	cmd.Env = environ(t)
	cmd.ExtraFiles = []*os.File{w}
	out, err := cmd.Output()
	if err != nil || !strings.HasPrefix(string(out), "postgresql://") {
		t.Fatalf("%v: %s", err, out)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || err == nil || os.IsTimeout(err) {
		t.Errorf("the pipe is still open: %v", err)
	}
	for _, kv := range cmd.Env {
		if dir, ok := strings.CutPrefix(kv, "XDG_RUNTIME_DIR="); ok {
			endProxies(t, filepath.Join(dir, "dbops"))
		}
	}
}

// endProxies ends the proxies listed in a runtime folder.
func endProxies(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "proxy-*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no proxy is listed in %s: %v", dir, err)
	}
	for _, f := range files {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(f), "proxy-"), "-")
		if err := exec.CommandContext(t.Context(), "kill", pid).Run(); err != nil {
			t.Error(err)
		}
	}
}
