package op

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dbops/internal/sandbox/statetest"
	"dbops/internal/state"
)

// workChild is a worker process. It ends with SIGTERM.
func workChild(ctx context.Context, c childSpec) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	s, err := c.Place.Open(context.WithoutCancel(ctx), "tester")
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	y := &toys{world: toyWorld{c.World}}
	y.inside = func(run string, in bool) { y.world.note(fmt.Sprintf("%s %d %t", run, os.Getpid(), in)) }
	e, err := c.engine(s, y, func(o *Options) {
		o.hook = func(at string) {
			if at == c.DieOn {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		}
	})
	if err != nil {
		return err
	}
	return e.Work(ctx)
}

// note adds a line to the log of who works on what.
func (w toyWorld) note(line string) {
	f, err := os.OpenFile(filepath.Join(w.dir, "notes"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	_, _ = f.WriteString(line + "\n")
	_ = f.Close()
}

// fleet is some worker processes over one store, which a test kills as it likes.
type fleet struct {
	tb    testing.TB
	spec  childSpec
	world toyWorld

	mu      sync.Mutex
	workers []*worker
	over    bool
	wg      sync.WaitGroup
	kills   int
	ends    []string // of workers that ended by themselves
}

type worker struct {
	cmd *exec.Cmd
}

func newFleet(tb testing.TB, spec childSpec, size int) *fleet {
	tb.Helper()
	f := &fleet{tb: tb, spec: spec, world: toyWorld{spec.World}, workers: make([]*worker, size)}
	for i := range size {
		f.wg.Go(func() { f.keep(i) })
	}
	return f
}

// keep starts a worker again and again, as a supervisor does.
func (f *fleet) keep(i int) {
	for {
		cmd := f.spec.command(f.tb)
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		f.mu.Lock()
		if f.over {
			f.mu.Unlock()
			return
		}
		err := cmd.Start()
		f.workers[i] = &worker{cmd}
		f.mu.Unlock()
		if err != nil {
			f.tb.Error(err)
			return
		}
		err = cmd.Wait()
		f.world.note(fmt.Sprintf("- %d dead", cmd.Process.Pid))
		f.mu.Lock()
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL && !f.over {
			f.ends = append(f.ends, fmt.Sprintf("%v: %s", err, out.String()))
		}
		f.mu.Unlock()
	}
}

// kill kills one worker.
func (f *fleet) kill() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if w := f.workers[rand.IntN(len(f.workers))]; w != nil {
		f.kills++
		_ = w.cmd.Process.Kill()
	}
}

// stop lets the workers end.
func (f *fleet) stop() {
	f.mu.Lock()
	f.over = true
	for _, w := range f.workers {
		if w != nil {
			_ = w.cmd.Process.Signal(syscall.SIGTERM)
		}
	}
	f.mu.Unlock()
	f.wg.Wait()
}

// alone checks that nobody worked on a run while somebody else was in one of its steps, and lived.
func (w toyWorld) alone(t testing.TB) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(w.dir, "notes"))
	if err != nil {
		t.Fatal(err)
	}
	inside := map[string]string{} // who is, by target
	for line := range strings.Lines(string(b)) {
		var run, pid, in string
		if _, err := fmt.Sscan(line, &run, &pid, &in); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if in == "dead" {
			for r, p := range inside {
				if p == pid {
					delete(inside, r)
				}
			}
			continue
		}
		switch other, ok := inside[run]; {
		case in == "true" && ok:
			t.Errorf("process %s began a step of %s while %s was in one", pid, run, other)
		case in == "true":
			inside[run] = pid
		case other == pid:
			delete(inside, run)
		}
	}
}

// killedFleet lets three workers, killed at random, bring n runs on n instances to their ends, and a second on every fourth.
func killedFleet(tb testing.TB, place statetest.Place, n int) (took time.Duration) {
	tb.Helper()
	world := toyWorld{tb.TempDir()}
	s := place.Store(tb)
	b := &bench{Engine: newEngine(tb, s, &toys{world: world}), toys: &toys{world: world}}
	want := map[string]int{}
	submit := func(i int, which string) {
		inst := "i" + strconv.Itoa(i)
		r := toyRequest{Settings: []string{inst + which + "1", inst + which + "2"}, Value: "1"}
		b.submit(tb, b.plan(tb, r, func(q *PlanRequest) { q.Target.Instance = inst }))
		want[inst+which+"1=1"], want[inst+which+"2=1"] = 1, 1
	}
	for i := range n {
		submit(i, "a")
		if i%4 == 0 {
			submit(i, "b")
		}
	}
	begin := time.Now()
	f := newFleet(tb, childSpec{Do: "work", Place: place, World: world.dir, TTL: 4 * time.Second, Poll: 50 * time.Millisecond}, 3)
	left, killedAt := 1, len(want)/2
	for left > 0 {
		if tb.Context().Err() != nil {
			break
		}
		if err := Sleep(tb.Context(), 50*time.Millisecond); err != nil {
			break
		}
		runs, err := b.Runs(tb.Context(), state.RunFilter{Active: true, Limit: 2 * n})
		if err != nil {
			tb.Error(err)
			break
		}
		left = len(runs)
		if left <= killedAt-len(want)/16 || f.kills == 0 && left < len(want)/2 { // again and again while work is left
			killedAt = left
			f.kill()
		}
	}
	took = time.Since(begin)
	f.stop()
	runs, err := b.Runs(tb.Context(), state.RunFilter{Limit: 10 * n})
	if err != nil || len(runs) != len(want)/2 {
		tb.Fatalf("%d runs, %v", len(runs), err)
	}
	for _, r := range runs {
		if r.State != state.Done {
			tb.Errorf("%s on %s is %s: %s", r.ID, r.Instance, r.State, r.Problem)
		}
	}
	got := map[string]int{}
	for _, e := range world.effects() {
		got[e]++
	}
	wants(tb, "effects", got, want)
	world.alone(tb)
	b.verified(tb)
	tb.Logf("%d runs in %s; %d workers killed, and ended by themselves: %q", len(runs), took.Round(time.Millisecond), f.kills, f.ends)
	if f.kills < 3 {
		tb.Errorf("only %d workers were killed", f.kills)
	}
	return took
}

func TestKilledWorkersLoseNothingAndNeverWorkTogether(t *testing.T) {
	t.Parallel()
	killedFleet(t, statetest.New(t, "postgres"), 80)
}
