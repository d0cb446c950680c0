package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// People are told of a gate, of the end of its run, and of an approval that somebody asks for; who is away is told later.
func TestPeopleAreToldByWebhook(t *testing.T) {
	told := make(chan map[string]string, 10)
	var away atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if away.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		b, _ := io.ReadAll(r.Body)
		n := map[string]string{}
		if err := json.Unmarshal(b, &n); err != nil {
			t.Errorf("%v: %s", err, b)
		}
		told <- n
	}))
	defer server.Close()

	dir := t.TempDir()
	env := environ(t, "DBOPS_STATE_DIR="+filepath.Join(dir, "state"))
	var config string
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "DBOPS_CONFIG="); ok {
			config = v
		}
	}
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.CreateTemp(filepath.Dir(config), "notified-*.yaml") // beside it: its paths are relative
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(own.Name()) })
	_, err = own.WriteString(string(text) + "\nnotifications:\n  on-call: {url_secret: env:HOOK}\n")
	if err = errors.Join(err, own.Close()); err != nil {
		t.Fatal(err)
	}
	book := filepath.Join(dir, "book.yaml")
	if err := os.WriteFile(book, []byte("schema: dbops/runbook/v1\ntitle: look\nenvironment: staging\ninstance: main\nsteps:\n  - gate: look at it\n  - {operation: creds rotate, with: {older-than: 9999d}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dbops := func(status int, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), shared.program, args...)
		cmd.Dir, cmd.Env = dir, append(env, "DBOPS_CONFIG="+own.Name(), "HOOK="+server.URL+"/hidden")
		out, err := cmd.CombinedOutput()
		exit := &exec.ExitError{}
		if errors.As(err, &exit) && exit.ExitCode() != status || err == nil && status != 0 {
			t.Fatalf("dbops %v: %v, want status %d:\n%s", args, err, status, out)
		}
		if strings.Contains(string(out), "/hidden") {
			t.Errorf("dbops %v tells the URL:\n%s", args, out)
		}
		return string(out)
	}
	next := func(want map[string]string) map[string]string {
		t.Helper()
		select {
		case n := <-told:
			for k, v := range want {
				if n[k] != v {
					t.Errorf("%s is %q, want %q: %v", k, n[k], v, n)
				}
			}
			return n
		default: // a command does not end before it has sent what it can
			t.Fatalf("nobody was told: %s", dbops(0, "notifications", "list"))
			return nil
		}
	}

	dbops(0, "notifications", "test", "on-call")
	next(map[string]string{"on": "test", "environment": "local"})
	dbops(2, "notifications", "test", "on-cal")

	dbops(4, "runbook", "run", book, "--yes")
	n := next(map[string]string{
		"schema": "dbops/notice/v1", "on": "gate", "environment": "staging", "instance": "main", "title": "runbook: look", "text": "look at it", "state": "gate",
	})
	if n["next"] != "dbops runs show "+n["run"] || n["requester"] == "" {
		t.Errorf("it says %v", n)
	}
	away.Store(true)
	dbops(0, "runs", "decide", n["run"], "continue", "--yes")
	if list := dbops(0, "notifications", "list"); !strings.Contains(list, "! due") || !strings.Contains(list, "it answered 503 Service Unavailable, again at ") {
		t.Errorf("the list says:\n%s", list)
	}
	dbops(1, "notifications", "test", "on-call")
	away.Store(false)
	for len(told) == 0 { // when its time comes
		dbops(0, "notifications", "send")
	}
	next(map[string]string{"on": "finished", "run": n["run"], "state": "done"})

	dbops(4, "backup", "create", "-e", "prod", "billing", "--label", "told", "--confirm", "billing")
	n = next(map[string]string{"on": "approval", "environment": "prod", "instance": "billing", "kind": "backup.create"})
	if n["approval"] == "" || n["next"] != "dbops approvals show "+n["approval"] {
		t.Errorf("it says %v", n)
	}
	if list := dbops(0, "notifications", "list", "-o", "json"); strings.Count(list, `"state":"sent"`) != 3 {
		t.Errorf("the list says:\n%s", list)
	}
}
