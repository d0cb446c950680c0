package availability

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	played "dbops/internal/sandbox/stage"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/cloud"
	"dbops/internal/op"
	"dbops/internal/pg"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/state"
)

const childEnv = "DBOPS_AVAILABILITY_TEST_CHILD"

// doomed is what a child process is told: which run to work on, and at which point to be killed.
type doomed struct {
	Provider cloud.Kind
	URL      string // of the played cloud, which lives in the parent
	Instance string
	Addr     string // of its server
	User     string

	Run string
	At  string
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
	c, err := played.Client(ctx, d.Provider, d.URL, &http.Transport{})
	if err != nil {
		return err
	}
	k := &killer{Cloud: c, at: d.At}
	deps := quick(func(context.Context, op.Target) (Cloud, string, error) { return k, d.Instance, nil })
	deps.Probe = func(op.Target) func(context.Context) error {
		return pg.Answers(func(context.Context) (*pgconn.Config, error) { return login(d.Addr, d.User) })
	}
	var kinds []op.Kind
	for _, kind := range New(deps) {
		kinds = append(kinds, mortal{kind, k})
	}
	registry, err := op.NewRegistry(kinds...)
	if err != nil {
		return err
	}
	place, ok := statetest.FromEnv()
	if !ok {
		return errors.New("there is no store")
	}
	store, err := place.Open(ctx, "tester")
	if err != nil {
		return err
	}
	engine := op.New(store, registry, op.Options{Version: "test", Poll: 20 * time.Millisecond, TTL: time.Minute, Host: "doomed"})
	run, err := engine.Attach(ctx, d.Run, 0, nil)
	if err == nil && run.State != state.Done {
		err = fmt.Errorf("the run is %s: %s", run.State, run.Problem)
	}
	return errors.Join(err, store.Close())
}

// killer kills its process at a point: before or after a call of the cloud.
type killer struct {
	Cloud
	at string
}

func (k *killer) pass(point string) {
	if point == k.at {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

func (k *killer) Get(ctx context.Context, name string) (*cloud.Instance, error) {
	k.pass("before get")
	live, err := k.Cloud.Get(ctx, name)
	k.pass("after get")
	return live, err
}

func (k *killer) Modify(ctx context.Context, name string, m cloud.Modify) (cloud.Receipt, error) {
	k.pass("before ask")
	r, err := k.Cloud.Modify(ctx, name, m)
	k.pass("after ask")
	return r, err
}

func (k *killer) Failover(ctx context.Context, name string) (cloud.Receipt, error) {
	k.pass("before ask")
	r, err := k.Cloud.Failover(ctx, name)
	k.pass("after ask")
	return r, err
}

func (k *killer) Progress(ctx context.Context, r cloud.Receipt) (cloud.Progress, error) {
	p, err := k.Cloud.Progress(ctx, r)
	k.pass("after progress")
	if p.Done {
		k.pass("after the end")
	}
	return p, err
}

// mortal is a kind whose steps die before or after they do something: after the engine wrote that they begin, and before it writes that
// they have ended.
type mortal struct {
	op.Kind
	k *killer
}

func (m mortal) Steps(t op.Target, request, facts json.RawMessage) ([]op.Step, error) {
	steps, err := m.Kind.Steps(t, request, facts)
	for i, s := range steps {
		steps[i].Do = func(ctx context.Context, session *op.Session) (op.Result, error) {
			m.k.pass("before " + s.Name)
			r, err := s.Do(ctx, session)
			m.k.pass("after " + s.Name)
			return r, err
		}
	}
	return steps, err
}

// points are those at which a process dies: wherever the cloud or the store has been changed since the point before. What is only read
// is the same before and after.
func points(steps ...string) []string {
	all := []string{"before get", "after get"}
	for _, s := range steps {
		all = append(all, "before "+s)
		switch s {
		case stepModify, stepFailover:
			all = append(all, "before ask", "after ask")
		case stepWait:
			all = append(all, "after progress", "after the end")
		}
		all = append(all, "after "+s)
	}
	return all
}

// asks tells whether a point is about what is asked of a cloud, and what comes of it.
func asks(point string) bool {
	return slices.Contains([]string{
		"before ask", "after ask", "after modify", "after failover", "told step-done modify", "told step-done failover", "after progress", "after the end",
	}, point)
}

func TestAKilledProcessIsFollowedByAnother(t *testing.T) {
	for _, s := range both(t) {
		for _, c := range []struct {
			kind, what string
			points     []string
		}{
			{SetKind, "modify", points(stepModify, stepWait, "verify")},
			{FailoverKind, "failover", points(stepMark, stepFailover, stepWait, "verify")},
		} {
			t.Run(string(s.Kind)+" "+c.kind, func(t *testing.T) {
				t.Parallel()
				name := s.instance(t, cloud.Regional)
				for i, at := range c.points {
					if s.Kind != cloud.RDS && !asks(at) {
						continue // the engine is the same
					}
					store := "sqlite"
					if i%7 == 5 {
						store = "postgres"
					}
					t.Run(at+" "+store, func(t *testing.T) { s.dies(t, store, name, c.kind, c.what, at) })
				}
			})
		}
	}
}

// dies plans an operation, lets one process begin it and die, and goes on with it.
func (s *stage) dies(t *testing.T, store, name, kind, what, at string) {
	t.Helper()
	where := statetest.New(t, store)
	deps := quick(func(context.Context, op.Target) (Cloud, string, error) { return s.Client, name, nil })
	deps.Probe = func(op.Target) func(context.Context) error { return s.answers(name) }
	b := &bench{stage: s, name: name, deps: deps}
	b.Engine = newEngine(t, where, deps)
	before, asked := s.get(t, name), s.count(what, name)
	var request any = FailoverRequest{}
	want := before.Availability
	if kind == SetKind {
		want = map[cloud.Availability]cloud.Availability{cloud.Zonal: cloud.Regional, cloud.Regional: cloud.Zonal}[want]
		request = SetRequest{Want: want}
	}
	id := b.submit(t, b.plan(t, kind, request))

	d := doomed{Provider: s.Kind, URL: s.URL, Instance: name, Addr: s.Server(name).Addr(), User: s.user, Run: id, At: at}
	told, err := json.Marshal(d)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(told), where.Env(t))
	out, err := cmd.CombinedOutput()
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || ctx.Err() != nil {
		t.Fatalf("it was not killed: %v\n%s", err, out)
	}

	where.EndLeases(t)
	run := b.attach(t, id)
	after := b.has(t, want)
	if n := s.count(what, name) - asked; run.State != state.Done || n != 1 {
		t.Errorf("the run is %s (%s), and asked for %d changes", run.State, run.Problem, n)
	}
	if kind == FailoverKind && (after.Zone != before.SecondaryZone || after.SecondaryZone != before.Zone) {
		t.Errorf("from %s to %s", zonesOf(before), zonesOf(after))
	}
	r := b.report(t, id)
	t.Log(after.Availability, zonesOf(after), r.text(), strconv.Quote(strings.TrimSpace(string(out))))
	b.verified(t)
}
