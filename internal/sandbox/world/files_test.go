package world

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/fault"
	"dbops/internal/sandbox/pgbin"
)

// list is the names in a folder, as far as it can be read.
func list(dir string) []string {
	names, _ := entries(dir)
	return names
}

func TestOnlyTheirOwnerReadsTheFiles(t *testing.T) {
	t.Parallel()
	s := sharedServer(t, 16)
	if err := s.archiveNow(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	err := filepath.WalkDir(shared.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // the servers come and go
		}
		info, err := d.Info()
		if err != nil {
			return nil //nolint:nilerr // likewise
		}
		open := fs.FileMode(0o077)
		if d.IsDir() && path != shared.dir {
			open = 0o066 // the servers' user passes through
		}
		if path != shared.dir && info.Mode().Perm()&open != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		seen[filepath.Base(path)] = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"server.key", "roleca.json", "server.json", "postgres.log", "PG_VERSION", "pg_hba.conf"} {
		if !seen[name] {
			t.Errorf("no file %s was seen", name)
		}
	}
}

func TestNoSecretIsLogged(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var log bytes.Buffer
	w, err := Open(t.Context(), Options{
		Dir: newFolder(t), Log: slog.New(slog.NewTextHandler(locked{&mu, &log}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	s := create(t, w, spec("a", 15))
	super(t, s, "postgres", "CREATE ROLE token LOGIN IN ROLE "+group)
	s.SetTokenCheck(func(string, string) error { return errors.New("not that one") })
	for user, word := range map[string]string{master: "a-wrong-word", "token": "a-wrong-token"} {
		if _, err := pgconn.ConnectConfig(t.Context(), config(t, s, user, word, "postgres")); err == nil {
			t.Errorf("%s logs in with %s", user, word)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	server, err := os.ReadFile(s.cluster.log())
	if err != nil {
		t.Fatal(err)
	}
	got := log.String() + string(server)
	for _, secret := range []string{password, "a-wrong-word", "a-wrong-token", "SCRAM-SHA-256$"} {
		if strings.Contains(got, secret) {
			t.Errorf("%s is in:\n%s", secret, got)
		}
	}
	for _, line := range []string{"session ended", "not that one", "password authentication failed"} {
		if !strings.Contains(got, line) {
			t.Errorf("no word of %q", line)
		}
	}
}

// locked is a writer for several goroutines.
type locked struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (l locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func TestARemovalHeedsItsContext(t *testing.T) {
	t.Parallel()
	s := own(t, "wanted", 16)
	w := sharedWorld(t)
	s.change <- struct{}{} // somebody changes it, and takes his time
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := w.Remove(ctx, s.Spec().ID); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	<-s.change
	if w.Server(s.Spec().ID) != s {
		t.Error("it is gone")
	}
	login(t, s, "postgres")
}

func TestWhoClosesAWorldWaitsForItsEnd(t *testing.T) {
	t.Parallel()
	w := openWorld(t, newFolder(t))
	ctx, done, err := w.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	for range 2 {
		go func() { ended <- w.Close() }()
	}
	<-ctx.Done()
	if cause := context.Cause(ctx); !errors.Is(cause, errClosed) {
		t.Error(cause)
	}
	select {
	case err := <-ended:
		t.Errorf("somebody did not wait for what is under way: %v", err)
		ended <- err
	case <-time.After(50 * time.Millisecond):
	}
	done()
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func TestAMajorThatIsNotHereIsNamed(t *testing.T) {
	t.Parallel()
	_, err := sharedWorld(t).Create(t.Context(), spec("missing", 9), certificate())
	if fault.KindOf(err) != fault.NotFound || !strings.Contains(fault.HintOf(err), "make postgres") || !strings.Contains(err.Error(), "PostgreSQL 9") {
		t.Errorf("%v (%s)", err, fault.HintOf(err))
	}
}

func TestARemovalWaitsForTheLastWriters(t *testing.T) {
	t.Parallel()
	busy := &fs.PathError{Op: "unlinkat", Path: "data", Err: syscall.ENOTEMPTY}
	for name, test := range map[string]struct {
		says []error // one after the other
		want error
	}{
		"nobody writes":   {[]error{nil}, nil},
		"somebody writes": {[]error{busy, busy, nil}, nil},
		"it may not":      {[]error{fs.ErrPermission}, fs.ErrPermission},
	} {
		synctest.Test(t, func(t *testing.T) {
			tries := 0
			err := untilEmpty(func() error {
				tries++
				return test.says[tries-1]
			})
			if !errors.Is(err, test.want) || tries != len(test.says) {
				t.Errorf("%s: %v after %d tries", name, err, tries)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		if err := untilEmpty(func() error { return busy }); !errors.Is(err, syscall.ENOTEMPTY) || time.Since(begun) > 6*time.Second {
			t.Errorf("somebody who never stops: %v after %v", err, time.Since(begun))
		}
	})
}

// templateChild makes this binary a process that makes a template of the folder's world.
const templateChild = "WORLD_TEST_TEMPLATE"

const templateMajor = 17

func makeTemplate(dir string) {
	w, err := Open(context.Background(), Options{Dir: dir})
	if err != nil {
		fmt.Println("open:", err)
		return
	}
	defer w.Close()
	bin, err := pgbin.Server(templateMajor)
	if err != nil {
		fmt.Println(err)
		return
	}
	path, err := w.template(context.Background(), bin, templateMajor)
	fmt.Println(path, err)
}

func TestTwoProcessesMakeATemplateTogether(t *testing.T) {
	t.Parallel()
	dir := newFolder(t)
	bin, err := pgbin.Server(templateMajor)
	if err != nil {
		t.Fatal(err, fault.HintOf(err))
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out [2]bytes.Buffer
	var children []*exec.Cmd
	for i := range out {
		c := exec.CommandContext(t.Context(), exe)
		c.Env = append(os.Environ(), fmt.Sprintf("%s=%s/world-%d", templateChild, dir, i), "DBOPS_PG_CACHE="+dir+"/cache", fmt.Sprintf("DBOPS_PG_%d=%s", templateMajor, bin))
		c.Stdout, c.Stderr = &out[i], &out[i]
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		children = append(children, c)
	}
	for _, c := range children {
		if err := c.Wait(); err != nil {
			t.Error(err)
		}
	}
	made := list(filepath.Join(dir, "cache", "template"))
	if len(made) != 2 || made[1] != made[0]+".lock" {
		t.Fatalf("%v; the processes say %s, %s", made, &out[0], &out[1])
	}
	want := filepath.Join(dir, "cache", "template", made[0])
	for i := range out {
		if got := out[i].String(); got != want+" <nil>\n" {
			t.Errorf("process %d says %q", i, got)
		}
	}
	if b, err := os.ReadFile(filepath.Join(want, "PG_VERSION")); err != nil || string(b) != fmt.Sprintln(templateMajor) {
		t.Errorf("%q, %v", b, err)
	}
}
