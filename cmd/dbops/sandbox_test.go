package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"dbops/internal/sandbox"
)

// sandboxCommand runs `dbops sandbox VERB --dir DIR` and returns its output.
func sandboxCommand(t *testing.T, dir, verb string, args ...string) (stdout string, err error) {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), shared.program, append([]string{"sandbox", verb, "--dir", dir}, args...)...)
	cmd.Env = environ(t)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err = cmd.Run(); err != nil {
		err = errors.Join(err, errors.New(complaint.String()))
	}
	return out.String(), err
}

// processesOf lists the processes that work in, or were started for, a folder.
func processesOf(t *testing.T, dir string) []string {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range all {
		args, err := os.ReadFile(f)
		cwd, _ := os.Readlink(filepath.Join(filepath.Dir(f), "cwd"))
		if err == nil && (bytes.Contains(args, []byte(dir)) || strings.HasPrefix(cwd, dir)) && len(args) > 0 {
			found = append(found, strings.ReplaceAll(string(args), "\x00", " "))
		}
	}
	return found
}

func TestTheSandboxComesBackAfterACrashAndLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(shared.dir, "crash")
	t.Cleanup(func() {
		if _, err := sandboxCommand(t, dir, "down"); err != nil {
			t.Error(err)
		}
	})
	if _, err := sandboxCommand(t, dir, "status"); err == nil {
		t.Error("a sandbox that never was has a status")
	}
	if _, err := sandboxCommand(t, dir, "up"); err != nil {
		t.Fatal(err)
	}
	out, err := sandboxCommand(t, dir, "status", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var before sandboxJSON
	if err := json.Unmarshal([]byte(out), &before); err != nil || len(before.Servers) != 5 || !before.Ready {
		t.Fatalf("status: %v: %s", err, out)
	}
	e, err := sandbox.Environ(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	psql := func(access, statement string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), shared.program, "psql", "-e", "staging", "shop", "--access", access, "--", "-XqAtc", statement)
		cmd.Env = append(environ(t), sandboxEnv(e)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", statement, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	psql("admin", "create table public.kept as select 42 as n")

	// A dirty crash of everything: no server outlives the supervisor, and the next up finds data, ports and files as they were.
	if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for len(processesOf(t, dir)) > 0 {
		if time.Now().After(deadline) {
			t.Fatalf("left after a kill: %q", processesOf(t, dir))
		}
		time.Sleep(20 * time.Millisecond)
	}
	if _, err := sandboxCommand(t, dir, "up"); err != nil {
		t.Fatal(err)
	}
	if n := psql("admin", "select n from public.kept"); n != "42" {
		t.Errorf("the row that was there says %q", n)
	}
	out, err = sandboxCommand(t, dir, "status", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var after sandboxJSON
	if err := json.Unmarshal([]byte(out), &after); err != nil {
		t.Fatal(err)
	}
	after.PID = before.PID
	if !equalJSON(t, before, after) {
		t.Errorf("before %+v, after %+v", before, after)
	}
	// Up again is up already.
	if _, err := sandboxCommand(t, dir, "up"); err != nil {
		t.Error(err)
	}
	// Asked for failures, over the control socket.
	if out, err := sandboxCommand(t, dir, "fault", "deny", "--service", "rds", "--count", "1"); err != nil || !strings.Contains(out, "deny") {
		t.Errorf("fault: %v: %s", err, out)
	}
	if _, err := sandboxCommand(t, dir, "fault", "--clear"); err != nil {
		t.Error(err)
	}

	if _, err := sandboxCommand(t, dir, "down"); err != nil {
		t.Fatal(err)
	}
	if left := processesOf(t, dir); len(left) > 0 {
		t.Errorf("left after down: %q", left)
	}
	if _, err := sandboxCommand(t, dir, "down"); err != nil {
		t.Errorf("down again: %v", err)
	}

	// Reset brings back the first day.
	if _, err := sandboxCommand(t, dir, "reset"); err != nil {
		t.Fatal(err)
	}
	if e, err = sandbox.Environ(dir, ""); err != nil { // it has new ports
		t.Fatal(err)
	}
	if got := psql("admin", "select to_regclass('public.kept') is null"); got != "t" {
		t.Errorf("after a reset the table is still there: %s", got)
	}
}

func equalJSON(t *testing.T, a, b any) bool {
	t.Helper()
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

func TestResetRefusesAFolderThatIsNoSandbox(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keep := filepath.Join(dir, "thesis.txt")
	if err := os.WriteFile(keep, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := sandboxCommand(t, dir, "reset")
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 2 {
		t.Errorf("reset: %v", err)
	}
	if _, err := os.Stat(keep); err != nil {
		t.Error(err)
	}
}

func TestASandboxWhereTheServersCannotGoIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("only root's servers run as somebody else")
		return
	}
	t.Parallel()
	closed := filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := sandboxCommand(t, filepath.Join(closed, "cloud"), "up")
	if err == nil || !strings.Contains(err.Error(), "cannot pass through") || !strings.Contains(err.Error(), "--dir") {
		t.Errorf("up: %v", err)
	}
}
