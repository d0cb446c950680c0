package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"dbops/internal/cloud"
	theatre "dbops/internal/sandbox/stage"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/state"
)

const childVariable = "DBOPS_BACKUP_CHILD"

// life is what a child process gets.
type life struct {
	Place  place
	Store  statetest.Place
	Run    string
	Target string
	Marks  string // the folder where it says at which calls it died
}

// child works on a run until it kills itself, in a process that the crash test started.
func child() bool {
	text := os.Getenv(childVariable)
	if text == "" {
		return false
	}
	if err := live(text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	return true
}

func live(text string) error {
	var l life
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	c, err := l.Place.open(ctx)
	if err != nil {
		return err
	}
	s, err := l.Store.Open(ctx, "tester")
	if err != nil {
		return err
	}
	e, err := engine(s, l.Place.deps(&mortal{Cloud: &busy{Cloud: c, p: l.Place}, marks: l.Marks}, l.Target))
	if err != nil {
		return err
	}
	run, err := e.Attach(ctx, l.Run, 0, nil)
	if err != nil {
		return err
	}
	if run.State != state.Done && run.State != state.Gate {
		return fmt.Errorf("the run is %s at %s: %s", run.State, run.Step, run.Problem)
	}
	return s.Close()
}

// mortal is a cloud whose caller dies before and after the first call of every sort.
type mortal struct {
	Cloud
	marks string
}

func (m *mortal) at(when, what string) {
	// Where in the operations the call is made tells the sorts apart.
	caller, _, _, _ := runtime.Caller(3)
	where := filepath.Base(runtime.FuncForPC(caller).Name())
	name := strings.NewReplacer("/", "-", " ", "_").Replace(when + " " + what + " in " + where)
	f, err := os.OpenFile(filepath.Join(m.marks, name), os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return // died here before
	}
	_ = f.Close()
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// around dies before a call, and after it if it may have changed something: to die after one that only looks is to die before the next.
// What was accepted is noted.
func around[T any](m *mortal, changes bool, what string, call func() (T, error)) (T, error) {
	m.at("before", what)
	out, err := call()
	if looks := strings.HasPrefix(what, "Get ") || what == "Backups" || what == "Restoring"; looks {
		return out, err
	}
	if err == nil && changes {
		if f, err := os.OpenFile(filepath.Join(m.marks, "effects"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err == nil {
			_, _ = f.WriteString(what + "\n")
			_ = f.Close()
		}
	}
	m.at("after", what)
	return out, err
}

func (m *mortal) Get(ctx context.Context, name string) (*cloud.Instance, error) {
	return around(m, false, "Get "+strings.TrimRight(name, "0123456789abcdef"), func() (*cloud.Instance, error) { return m.Cloud.Get(ctx, name) })
}

func (m *mortal) Backups(ctx context.Context, name string) ([]cloud.Backup, error) {
	return around(m, false, "Backups", func() ([]cloud.Backup, error) { return m.Cloud.Backups(ctx, name) })
}

func (m *mortal) Progress(ctx context.Context, r cloud.Receipt) (cloud.Progress, error) {
	return around(m, false, "Progress "+r.Change, func() (cloud.Progress, error) { return m.Cloud.Progress(ctx, r) })
}

func (m *mortal) Restoring(ctx context.Context, r cloud.Restore, since time.Time) (cloud.Receipt, error) {
	return around(m, false, "Restoring", func() (cloud.Receipt, error) { return m.Cloud.Restoring(ctx, r, since) })
}

func (m *mortal) CreateBackup(ctx context.Context, name, label string) (cloud.Receipt, error) {
	return around(m, true, "CreateBackup", func() (cloud.Receipt, error) { return m.Cloud.CreateBackup(ctx, name, label) })
}

func (m *mortal) Restore(ctx context.Context, r cloud.Restore) (cloud.Receipt, error) {
	return around(m, true, "Restore", func() (cloud.Receipt, error) { return m.Cloud.Restore(ctx, r) })
}

func (m *mortal) Modify(ctx context.Context, name string, c cloud.Modify) (cloud.Receipt, error) {
	return around(m, false, "Modify", func() (cloud.Receipt, error) { return m.Cloud.Modify(ctx, name, c) })
}

func (m *mortal) Rename(ctx context.Context, name, to string) (cloud.Receipt, error) {
	return around(m, true, "Rename", func() (cloud.Receipt, error) { return m.Cloud.Rename(ctx, name, to) })
}

func (m *mortal) Delete(ctx context.Context, name string) (cloud.Receipt, error) {
	return around(m, true, "Delete", func() (cloud.Receipt, error) { return m.Cloud.Delete(ctx, name) })
}

// A process that dies before or after any call to the cloud leaves nothing twice and nothing behind.
func killedAtEveryCall(t *testing.T, b *bench) {
	t.Helper()
	g := b.g
	t.Run("a drill", func(t *testing.T) {
		c := b.crash(t, DrillKind, DrillRequest{}, source)
		c.effects("Restore", "Delete")
		r := b.report(t, c.run)
		if !r.Met || !r.Exact || !r.Interrupted || r.RTO <= 0 {
			t.Errorf("got %+v", r)
		}
		g.gone(t, scratch(c.run))
	})
	t.Run("a backup, and a restore from it", func(t *testing.T) {
		c := b.crash(t, CreateKind, CreateRequest{Label: "killed"}, source)
		c.effects("CreateBackup")
		if g.kind == cloud.RDS {
			return // it restores backups as it restores moments, in one request; Cloud SQL in two
		}
		made := output[CreateReport](t, b.Engine, c.run, "backup")
		to := newNameOf("copy")
		c = b.crash(t, RestoreKind, RestoreRequest{Backup: made.ID, To: to}, source)
		c.effects("Restore")
		if n := g.query(t, to, "select count(*) from item"); n != "200" {
			t.Errorf("%s items", n)
		}
		if live := g.get(t, to); live.Labels[RunLabel] != c.run {
			t.Errorf("labels %v", live.Labels)
		}
		g.drop(t, to)
	})
	if g.kind == cloud.RDS {
		t.Run("a rename", func(t *testing.T) {
			old, to := newNameOf("old"), newNameOf("new")
			g.spare(t, old)
			b.use(t, g.cloud, old)
			c := b.crash(t, RenameKind, RenameRequest{To: to}, old)
			c.effects("Rename")
			g.gone(t, old)
			g.drop(t, to)
		})
	}
}

// crash is a run that one process after another died of.
type crash struct {
	t     *testing.T
	run   string
	marks string
}

func (b *bench) crash(t *testing.T, kind string, request any, target string) *crash {
	t.Helper()
	g := b.g
	c := &crash{t: t, marks: t.TempDir(), run: b.submit(t, b.plan(t, kind, request))}
	text, err := json.Marshal(life{Place: g.place, Store: b.place, Run: c.run, Target: target, Marks: c.marks})
	if err != nil {
		t.Fatal(err)
	}
	deaths := 0
	for ; ; deaths++ {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childVariable+"="+string(text), theatre.KeysVariable(g.kind)+"="+g.Keys)
		said, err := cmd.CombinedOutput()
		if err == nil {
			break
		}
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL || deaths > 60 {
			t.Fatalf("after %d deaths: %v: %s", deaths, err, said)
		}
	}
	t.Logf("%s: %d deaths", kind, deaths)
	if deaths < 4 {
		t.Errorf("it died only %d times", deaths)
	}
	run, err := b.Run(t.Context(), c.run)
	if err != nil {
		t.Fatal(err)
	}
	b.done(t, run)
	return c
}

// effects demands which changes the cloud accepted, each once.
func (c *crash) effects(want ...string) {
	c.t.Helper()
	b, err := os.ReadFile(filepath.Join(c.marks, "effects"))
	if got := strings.TrimSpace(string(b)); err != nil || got != strings.Join(want, "\n") {
		c.t.Errorf("the cloud was asked for %q, %v, want %q", got, err, want)
	}
}
