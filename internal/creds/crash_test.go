package creds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"dbops/internal/op"
	"dbops/internal/sandbox/pgtest"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/secret"
	"dbops/internal/state"
)

const childEnv = "DBOPS_CREDS_TEST_CHILD"

// doomed is what a child process is told: which run to work on, and at which point to be killed.
type doomed struct {
	Stage *stage
	Run   string
	At    string
	To    *stage // where to repoint the containers, in place of a run
}

// child works on a run until it is killed. It returns only if the point was never reached.
func child(where string) int {
	var d doomed
	if err := json.Unmarshal([]byte(where), &d); err != nil {
		println(err.Error())
		return 2
	}
	if err := d.work(context.Background()); err != nil {
		println(err.Error())
		return 1
	}
	return 0
}

func (d doomed) work(ctx context.Context) error {
	deps := d.Stage.deps()
	place := deps.Place
	deps.Place = func(ctx context.Context, name string) (secret.Store, secret.Ref, error) {
		s, ref, err := place(ctx, name)
		return mortalStore{s, d.At}, ref, err
	}
	deps.Rollout = func(context.Context, op.Target, string) (Rollout, error) {
		return mortalRollout{notes{d.Stage.Dir}, d.At}, nil
	}
	if d.To != nil {
		_, err := deps.Repoint(ctx, &op.Session{Run: d.Run}, d.Stage.repointing(d.To))
		return err
	}
	var kinds []op.Kind
	for _, kind := range New(deps) {
		kinds = append(kinds, mortal{kind, d.At})
	}
	registry, err := op.NewRegistry(kinds...)
	if err != nil {
		return err
	}
	where, ok := statetest.FromEnv()
	if !ok {
		return errors.New("there is no store")
	}
	store, err := where.Open(ctx, "tester")
	if err != nil {
		return err
	}
	engine := op.New(store, registry, op.Options{Version: "test", Poll: 10 * time.Millisecond, TTL: time.Minute, Host: "doomed"})
	run, err := engine.Attach(ctx, d.Run, 0, nil)
	if err == nil && run.State != state.Done {
		err = fmt.Errorf("the run is %s: %s", run.State, run.Problem)
	}
	return errors.Join(err, store.Close())
}

// pass kills the process at its point.
func pass(at, point string) {
	if point == at {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

type mortalStore struct {
	secret.Store
	at string
}

func (m mortalStore) Stage(ctx context.Context, r secret.Ref, token string, v secret.Value) (secret.Version, error) {
	x, err := m.Store.Stage(ctx, r, token, v)
	pass(m.at, "after staging")
	return x, err
}

func (m mortalStore) Promote(ctx context.Context, r secret.Ref, from, to string) error {
	err := m.Store.Promote(ctx, r, from, to)
	pass(m.at, "after promoting")
	return err
}

func (m mortalStore) Retire(ctx context.Context, r secret.Ref, version string) error {
	err := m.Store.Retire(ctx, r, version)
	pass(m.at, "after retiring")
	return err
}

type mortalRollout struct {
	notes
	at string
}

func (m mortalRollout) Start(ctx context.Context, container, version, token string) (string, error) {
	r, err := m.notes.Start(ctx, container, version, token)
	pass(m.at, "after rolling out")
	return r, err
}

// mortal is a kind whose steps die before or after they do something: after the engine wrote that they begin, and before it writes that
// they have ended.
type mortal struct {
	op.Kind
	at string
}

func (m mortal) Steps(t op.Target, request, facts json.RawMessage) ([]op.Step, error) {
	steps, err := m.Kind.Steps(t, request, facts)
	for i, s := range steps {
		steps[i].Do = func(ctx context.Context, session *op.Session) (op.Result, error) {
			pass(m.at, "before "+s.Name)
			r, err := s.Do(ctx, session)
			pass(m.at, "after "+s.Name)
			return r, err
		}
	}
	return steps, err
}

// die lets a process begin a run and be killed at a point.
func (b *bench) die(t *testing.T, where statetest.Place, run, at string) {
	t.Helper()
	doomed{b.stage, run, at, nil}.die(t, where.Env(t))
}

// die lets a process be killed.
func (d doomed) die(t *testing.T, env ...string) {
	t.Helper()
	told, err := json.Marshal(d)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(append(os.Environ(), childEnv+"="+string(told)), env...)
	out, err := cmd.CombinedOutput()
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || ctx.Err() != nil {
		t.Fatalf("it was not killed: %v\n%s", err, out)
	}
}

// A process that is killed at any point locks nobody out: neither the container that runs nor one that starts, before the run goes on and
// after. The steps before the point are the same for both majors; which store the engine has does not matter to them.
func TestAProcessKilledAtAnyPointLocksNobodyOut(t *testing.T) {
	t.Parallel()
	steps := []string{stepPending, stepSet, stepVerify, stepPromote, stepRollout, stepDrain, stepDisable, stepSoak, stepScrub}
	inner := []string{"after staging", "after promoting", "after rolling out", "after retiring"}
	for _, major := range majors {
		points := append([]string{}, inner...)
		for _, s := range steps {
			points = append(points, "before "+s, "after "+s)
		}
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			s := newStage(t, pgtest.Start(t, major), 1)
			b := newBench(t, s, statetest.New(t, "sqlite"), s.deps())
			b.issueAll(t)
			for i, at := range points {
				if i%len(majors) != 0 && major == majors[0] || i%len(majors) == 0 && major == majors[1] {
					continue
				}
				kind := "sqlite"
				if i%5 == 4 {
					kind = "postgres"
				}
				t.Run(at+" "+kind, func(t *testing.T) {
					where := statetest.New(t, kind)
					b := newBench(t, s, where, s.deps())
					c := s.Containers[0]
					before, _ := s.current(t, c)
					id := b.submit(t, b.plan(t, RotateKind, b.rotation()))
					b.die(t, where, id, at)
					fresh, _ := s.current(t, c)
					s.serves(t, c, fresh, "a fresh container after the kill")
					s.serves(t, c, s.running(t, c), "the running container after the kill")
					where.EndLeases(t)
					if run := b.attach(t, id); run.State != state.Done {
						t.Fatalf("the run is %s at %s: %s", run.State, run.Step, run.Problem)
					}
					after, _ := s.current(t, c)
					if after.User == before.User {
						t.Errorf("it logs in as %s still", after.User)
					}
					s.serves(t, c, after, "a fresh container")
					s.serves(t, c, s.running(t, c), "the running container")
					if r := s.roles(t, c); r[SlotA] == r[SlotB] {
						t.Errorf("slots that may log in: %v", r)
					}
					b.verified(t)
				})
			}
		})
	}
}

// verified sees that the audit log is whole.
func (b *bench) verified(t *testing.T) {
	t.Helper()
	r, err := b.Store().Log.Verify(t.Context(), 0)
	if err != nil || !r.OK() {
		t.Errorf("the audit log does not verify: %v, %+v", err, r)
	}
}
