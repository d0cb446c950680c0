package secret_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"dbops/internal/secret"
	"dbops/internal/secret/secrettest"
)

func TestAFileKeepsItsPromises(t *testing.T) {
	t.Parallel()
	dir := inMemory(t)
	places := 0
	secrettest.Run(t, &secrettest.Stage{
		Store: secret.File{},
		New: func(*testing.T) secret.Ref {
			places++
			return secret.Ref{Scheme: secret.SchemeFile, Name: filepath.Join(dir, fmt.Sprint("api-", places))}
		},
		Doomed: func(t *testing.T, n int, after bool) (secret.Store, context.Context, func() bool) {
			t.Helper()
			if after { // is before the next step
				n++
			}
			d := &doomed{left: n}
			d.File = secret.Stepping(d.step)
			return d, t.Context(), func() bool { return d.died }
		},
		ByHand: func(t *testing.T, r secret.Ref, text string) {
			t.Helper()
			if err := os.WriteFile(r.Name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		Kept: func(t *testing.T, r secret.Ref) int {
			t.Helper()
			return len(texts(t, r.Name))
		},
		Forgets: true,
	})
}

// inMemory is a folder where flushing costs nothing, if there is one.
func inMemory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "dbops-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// doomed is a process that is killed at a step. No clean-up of its own runs then but defers.
type doomed struct {
	secret.File
	left int
	died bool
}

var errKilled = errors.New("killed")

func (d *doomed) step(string) error {
	if d.left--; d.left < 0 {
		d.died = true
		panic(errKilled)
	}
	return nil
}

func (d *doomed) Create(ctx context.Context, r secret.Ref) (err error) {
	defer caught(&err)
	return d.File.Create(ctx, r)
}

func (d *doomed) Stage(ctx context.Context, r secret.Ref, token string, v secret.Value) (_ secret.Version, err error) {
	defer caught(&err)
	return d.File.Stage(ctx, r, token, v)
}

func (d *doomed) Promote(ctx context.Context, r secret.Ref, from, to string) (err error) {
	defer caught(&err)
	return d.File.Promote(ctx, r, from, to)
}

func (d *doomed) Retire(ctx context.Context, r secret.Ref, version string) (err error) {
	defer caught(&err)
	return d.File.Retire(ctx, r, version)
}

func caught(err *error) {
	if v := recover(); v != nil {
		if v != any(errKilled) {
			panic(v)
		}
		*err = errKilled
	}
}

// texts are those that a sidecar holds, by version.
func texts(t *testing.T, path string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(path + ".dbops")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var s struct {
		Versions []struct {
			ID   string
			Text []byte
		}
	}
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, v := range s.Versions {
		if len(v.Text) > 0 {
			out[v.ID] = string(v.Text)
		}
	}
	return out
}

// errand is what a child process is told.
type errand struct {
	Path     string
	At       int // the step to be killed before
	Token    string
	Text     string // to stage; empty: promote
	From, To string
}

const childEnv = "DBOPS_SECRET_TEST_CHILD"

// TestChild is the child process of the test below.
func TestChild(t *testing.T) {
	if os.Getenv(childEnv) == "" {
		return
	}
	var e errand
	if err := json.NewDecoder(os.Stdin).Decode(&e); err != nil {
		t.Fatal(err)
	}
	store := secret.Stepping(func(string) error {
		if e.At--; e.At < 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		return nil
	})
	r := secret.Ref{Scheme: secret.SchemeFile, Name: e.Path}
	var err error
	if e.Text != "" {
		_, err = store.Stage(t.Context(), r, e.Token, secret.New(e.Text))
	} else {
		err = store.Promote(t.Context(), r, e.From, e.To)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// send runs a child and tells whether it was killed.
func send(t *testing.T, e errand) bool {
	t.Helper()
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.Stdin = strings.NewReader(string(b))
	out, err := cmd.CombinedOutput()
	if err == nil {
		return false
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("%v: %s", err, out)
	}
	return true
}

func TestAKilledProcessLosesNothing(t *testing.T) {
	t.Parallel()
	for _, promote := range []bool{false, true} {
		kills := 0
		for killed(t, filepath.Join(t.TempDir(), "api"), promote, kills) {
			kills++
		}
		if kills < map[bool]int{false: 6, true: 11}[promote] {
			t.Errorf("promoting: %t; killed at %d steps", promote, kills)
		}
	}
}

// killed stages or promotes in a child that is killed at a step, then again, and tells whether it came to that.
func killed(t *testing.T, path string, promote bool, at int) bool {
	t.Helper()
	ctx, store, r := t.Context(), secret.File{}, secret.Ref{Scheme: secret.SchemeFile, Name: path}
	write(t, path, "one", 0o640)
	e := errand{Path: path, At: at, Token: "two", Text: "two"}
	if promote {
		two, err := store.Stage(ctx, r, "two", secret.New("two"))
		if err != nil {
			t.Fatal(err)
		}
		h, err := store.Inspect(ctx, r)
		if err != nil {
			t.Fatal(err)
		}
		e = errand{Path: path, At: at, From: h.Current.ID, To: two.ID}
	}
	died := send(t, e)
	b, err := os.ReadFile(path)
	if err != nil || string(b) != "one" && !(promote && string(b) == "two") {
		t.Fatalf("killed at step %d: the file is %q, %v", at, b, err)
	}
	h, err := store.Inspect(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	if now, err := store.Read(ctx, r, h.Current.ID); err != nil || !now.Equal(string(b)) {
		t.Fatalf("killed at step %d: the current version is another than the file, %v", at, err)
	}
	two, err := store.Stage(ctx, r, "two", secret.New("another two"))
	if err != nil {
		t.Fatal(err)
	}
	if promote {
		if err := store.Promote(ctx, r, e.From, e.To); err != nil {
			t.Fatalf("killed at step %d: again: %v", at, err)
		}
		h, err = store.Inspect(ctx, r)
		if b, readErr := os.ReadFile(path); readErr != nil || string(b) != "two" || err != nil || h.Current.ID != e.To || h.Previous.ID != e.From {
			t.Fatalf("killed at step %d: %+v, %v, %v", at, h, err, readErr)
		}
		if one, err := store.Read(ctx, r, e.From); err != nil || !one.Equal("one") {
			t.Fatalf("killed at step %d: the text from before is lost: %v", at, err)
		}
	} else if v, err := store.Read(ctx, r, two.ID); err != nil || !v.Equal("two") && !v.Equal("another two") {
		t.Fatalf("killed at step %d: the pending text is lost: %v", at, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Fatalf("its mode is %#o, %v", info.Mode().Perm(), err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 3 {
		t.Fatalf("killed at step %d: %v is left, %v", at, left, err)
	}
	return died
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}
