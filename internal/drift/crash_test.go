package drift

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	played "dbops/internal/sandbox/stage"

	"dbops/internal/cloud"
	"dbops/internal/op"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/state"
	"dbops/internal/state/audit"
)

// Variables that a child process of a crash test reads, beside those of its store and of the credentials.
const (
	crashCloud = "DBOPS_TEST_CLOUD" // kind, address, name of the instance
	crashPlan  = "DBOPS_TEST_PLAN"  // the plan to run
	crashAt    = "DBOPS_TEST_CRASH" // the point at which to die, as "before modify 1"; empty: live
)

// child runs a plan in a process that may be told to kill itself. It returns false in the test's own process.
func child() bool {
	p, ok := statetest.FromEnv()
	if !ok {
		return false
	}
	if err := runChild(p); err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
	return true
}

func runChild(p statetest.Place) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	store, err := p.Open(ctx, "tester")
	if err != nil {
		return err
	}
	at := strings.Fields(os.Getenv(crashCloud))
	kind, url, name := cloud.Kind(at[0]), at[1], at[2]
	c, err := played.Client(ctx, kind, url, &http.Transport{})
	if err != nil {
		return err
	}
	m := &mortal{Changer: c, at: os.Getenv(crashAt), n: map[string]int{}}
	deps := depsOf(configOf(kind, name), m, name, store)
	record := deps.Record
	deps.Record = func(ctx context.Context, all []state.Baseline) error {
		defer m.point("record")()
		return record(ctx, all)
	}
	_, e, err := engineOf(deps, store, time.Minute)
	if err != nil {
		return err
	}
	plan := &op.Plan{}
	if err := json.Unmarshal([]byte(os.Getenv(crashPlan)), plan); err != nil {
		return err
	}
	run, _, err := e.Submit(ctx, plan, op.SubmitOptions{Actor: actor(), Confirm: "main"})
	if err != nil {
		return err
	}
	if run, err = e.Attach(ctx, run.ID, 0, nil); err != nil {
		return err
	}
	if run.State != state.Done {
		return fmt.Errorf("the run is %s: %s", run.State, run.Problem)
	}
	return store.Close()
}

// mortal is a cloud whose process may die before and after each call.
type mortal struct {
	cloud.Changer
	at string
	mu sync.Mutex
	n  map[string]int
}

// point dies before a call if it is told to, and returns what may die after it.
func (m *mortal) point(call string) (after func()) {
	m.mu.Lock()
	m.n[call]++
	name := fmt.Sprintf("%s %d", call, m.n[call])
	m.mu.Unlock()
	die := func(when string) {
		if m.at == when+" "+name {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	die("before")
	return func() { die("after") }
}

func (m *mortal) Get(ctx context.Context, name string) (*cloud.Instance, error) {
	defer m.point("get")()
	return m.Changer.Get(ctx, name)
}

func (m *mortal) Modify(ctx context.Context, name string, c cloud.Modify) (cloud.Receipt, error) {
	defer m.point("modify")()
	return m.Changer.Modify(ctx, name, c)
}

func (m *mortal) Progress(ctx context.Context, r cloud.Receipt) (cloud.Progress, error) {
	defer m.point("progress")()
	return m.Changer.Progress(ctx, r)
}

// Each process goes on where the last one died, and dies at the next point; calls are counted anew in each. The last one lives.
func TestAKilledFixIsResumed(t *testing.T) {
	t.Parallel()
	all := []string{
		"before get 1", "after get 1", // the comparison
		"before get 2", // the look before the change
		"after get 1", "before modify 1", "after modify 1",
		"before progress 1", "after progress 1", "before get 1", "after get 1", // waiting
		"before record 1", "after record 1",
	}
	for at, points := range map[where][]string{
		{cloud.RDS, "sqlite"}: all, {cloud.CloudSQL, "sqlite"}: all, {cloud.RDS, "postgres"}: {"after modify 1", "before record 1", "after record 1"},
	} {
		t.Run(at.String(), func(t *testing.T) {
			t.Parallel()
			b := newBench(t, at)
			b.crash(t, points)
		})
	}
}

// crash makes drift, and lets processes that fix it die.
func (b *bench) crash(t *testing.T, points []string) {
	t.Helper()
	b.elsewhere(t, cloud.Settings{DeletionProtection: new(false), Availability: new(cloud.Zonal)})
	p := b.plan(t, FixRequest{})
	for _, at := range points {
		if killed := b.start(t, p, at); !killed {
			t.Fatalf("%s: the process lived", at)
		}
	}
	b.start(t, p, "")
	same(t, "what is left", b.statuses(t), "")
	same(t, "baselines", b.baselines(t), b.applied(nil))
	steps, err := b.Journal(t.Context(), p.RunID())
	must(t, err)
	var journal []string
	for _, s := range steps {
		journal = append(journal, fmt.Sprintf("%s %s #%d %s", s.Phase, s.Name, s.Attempt, s.State))
	}
	same(t, "journal", strings.Join(journal, "; "), "do check #1 done; do modify #1 done; do wait #1 done; do record #1 done")
	same(t, "audit log", b.audited(t, p.RunID()), "note; intent check; result check done; intent modify; result modify done "+
		"availability zonal>regional deletion_protection false>true; intent wait; result wait done; intent record; result record done; note done")
	b.verified(t)
}

// audited is what the audit log says of a run.
func (b *bench) audited(t *testing.T, run string) string {
	t.Helper()
	var out []string
	all, err := b.Store().Log.List(t.Context(), b.Store().DB.Read(), audit.Filter{Run: run})
	must(t, err)
	for _, e := range all {
		if e.Phase == audit.Note && e.Text == "resumed" { // once for each process that comes after one that is known to be dead
			continue
		}
		words := []string{string(e.Phase), e.Step, e.Outcome}
		if e.Phase == audit.Result {
			for _, c := range e.Changes {
				words = append(words, c.Setting+" "+c.From+">"+c.To)
			}
		}
		out = append(out, strings.Join(strings.Fields(strings.Join(words, " ")), " "))
	}
	return strings.Join(out, "; ")
}

// start runs a plan in a process of its own, and tells whether that was killed.
func (b *bench) start(t *testing.T, p *op.Plan, at string) (killed bool) {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	body, err := p.Encode()
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), b.place.Env(t), crashPlan+"="+string(body), crashAt+"="+at,
		crashCloud+"="+strings.Join([]string{string(b.Kind), b.URL, b.name}, " "))
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && ctx.Err() == nil && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		b.place.EndLeases(t)
		return true
	}
	if err != nil {
		t.Fatalf("the process that dies %s failed: %v\n%s", at, err, out)
	}
	return false
}
