package creds

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/sandbox/pgtest"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/secret"
	"dbops/internal/state"
)

func TestRotationsAlternateTheSlots(t *testing.T) {
	t.Parallel()
	for _, major := range majors {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			b := start(t, major, 2)
			was := map[string]Login{}
			for _, want := range []string{SlotB, SlotA} {
				for _, c := range b.Containers {
					was[c.Name], _ = b.current(t, c)
				}
				b.does(t, RotateKind, b.rotation(), state.Done)
				for _, c := range b.Containers {
					now, version := b.current(t, c)
					if now.User != SlotRole(c.Name, want) || now.Password.Equal(was[c.Name].Password.Reveal()) {
						t.Errorf("%s logs in as %s, want slot %s", c.Name, now.User, want)
					}
					b.serves(t, c, now, "a fresh container")
					b.serves(t, c, b.running(t, c), "the running container")
					if r := b.roles(t, c); !r[want] || r[other(want)] {
						t.Errorf("%s: slots that may log in: %v", c.Name, r)
					}
					if _, err := b.login(t.Context(), b.Database, was[c.Name]); sqlState(err) == "" {
						t.Errorf("%s: the old credential: %v", c.Name, err)
					}
					store, ref, err := b.deps.Place(t.Context(), c.Places[0])
					must(t, err)
					held, err := store.Inspect(t.Context(), ref)
					must(t, err)
					if held.Pending.ID != "" || held.Previous.ID != "" || held.Current.ID != version {
						t.Errorf("%s holds %+v", c.Places[0], held)
					}
				}
			}
		})
	}
}

// client is a container that runs: sessions with the credential of its last rollout, which work all the time.
type client struct {
	s       *stage
	c       Container
	queries atomic.Int64
	mu      sync.Mutex
	failed  []error
	login   atomic.Pointer[Login]
}

// works queries until stop closes; whenever the credential is another one it logs in anew, and only then leaves its old session.
func (x *client) works(ctx context.Context, stop <-chan struct{}) {
	var conn *pgx.Conn
	var with *Login
	fail := func(err error) {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.failed = append(x.failed, err)
	}
	for {
		select {
		case <-stop:
			if conn != nil {
				_ = conn.Close(ctx)
			}
			return
		default:
		}
		if l := x.login.Load(); l != with {
			next, err := x.s.login(ctx, x.s.Database, *l)
			if err != nil {
				fail(err)
				return
			}
			if conn != nil {
				_ = conn.Close(ctx)
			}
			conn, with = next, l
		}
		if _, err := conn.Exec(ctx, "INSERT INTO app.item (note) VALUES ('load')"); err != nil {
			fail(err)
			return
		}
		x.queries.Add(1)
	}
}

// live rolls clients out.
type live struct {
	t       testing.TB
	s       *stage
	clients map[string]*client
}

func (l live) Start(_ context.Context, container, version, _ string) (string, error) {
	for _, c := range l.s.Containers {
		if c.Name == container {
			login, _ := l.s.current(l.t, c)
			l.clients[container].login.Store(&login)
		}
	}
	return version, nil
}

func (live) Done(context.Context, string, string) (bool, string, error) { return true, "", nil }

func TestRotationUnderLoadFailsNoQuery(t *testing.T) {
	t.Parallel()
	b := start(t, 17, 3)
	l := live{t, b.stage, map[string]*client{}}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, c := range b.Containers {
		x := &client{s: b.stage, c: c}
		login, _ := b.current(t, c)
		x.login.Store(&login)
		l.clients[c.Name] = x
		for range 2 {
			wg.Go(func() { x.works(context.WithoutCancel(t.Context()), stop) })
		}
	}
	b.deps.Rollout = func(context.Context, op.Target, string) (Rollout, error) { return l, nil }
	b = newBench(t, b.stage, statetest.New(t, "sqlite"), b.deps)
	for range 2 {
		b.does(t, RotateKind, b.rotation(), state.Done)
	}
	close(stop)
	wg.Wait()
	for name, x := range l.clients {
		if len(x.failed) > 0 {
			t.Errorf("%s: %d queries failed of %d: %v", name, len(x.failed), x.queries.Load(), x.failed[0])
		}
		if x.queries.Load() == 0 {
			t.Errorf("%s did not work at all", name)
		}
	}
}

func TestAnOldSessionHoldsTheOldSlot(t *testing.T) {
	t.Parallel()
	b := start(t, 15, 1)
	c := b.Containers[0]
	old, _ := b.current(t, c)
	conn, err := b.login(t.Context(), b.Database, old)
	must(t, err)
	b.deps.Pace.Patience = 200 * time.Millisecond
	b = newBench(t, b.stage, statetest.New(t, "sqlite"), b.deps)
	id := b.submit(t, b.plan(t, RotateKind, b.rotation()))
	run := b.attach(t, id)
	if run.State != state.Parked || run.Step != stepDrain || !strings.Contains(run.Problem, old.User) {
		t.Fatalf("the run is %s at %s: %s", run.State, run.Step, run.Problem)
	}
	if !b.roles(t, c)[SlotA] {
		t.Error("the old slot was disabled under its session")
	}
	must(t, conn.Close(t.Context()))
	b.tell(t, id, state.Retry)
	if run = b.attach(t, id); run.State != state.Done {
		t.Fatalf("the run is %s at %s: %s", run.State, run.Step, run.Problem)
	}
	if b.roles(t, c)[SlotA] {
		t.Error("the old slot may log in")
	}
}

func TestUndoAndRollbackBringTheOldCredentialBack(t *testing.T) {
	t.Parallel()
	b := start(t, 17, 1)
	c := b.Containers[0]
	old, version := b.current(t, c)
	r := b.rotation()
	r.Soak = Span(time.Hour)
	id := b.submit(t, b.plan(t, RotateKind, r))
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	soaks := false
	_, err := b.Attach(ctx, id, 0, func(e state.Event) {
		if e.Step == stepSoak && !soaks {
			soaks = true
			must(t, b.Tell(ctx, id, state.Cancel, actor, "it does not work"))
		}
	})
	must(t, err)
	if b.roles(t, c)[SlotA] {
		t.Error("the old slot may log in while it soaks")
	}
	b.tell(t, id, state.UndoRun)
	if run := b.attach(t, id); run.State != state.Undone {
		t.Fatalf("the run is %s at %s: %s", run.State, run.Step, run.Problem)
	}
	now, back := b.current(t, c)
	if now.User != old.User || back != version {
		t.Errorf("current is %s, version %s", now.User, back)
	}
	b.serves(t, c, now, "a fresh container")
	b.serves(t, c, b.running(t, c), "the running container")
	if r := b.roles(t, c); !r[SlotA] || r[SlotB] {
		t.Errorf("slots that may log in: %v", r)
	}
}

func TestACompromisedCredentialEndsAtOnce(t *testing.T) {
	t.Parallel()
	b := start(t, 15, 1)
	c := b.Containers[0]
	old, _ := b.current(t, c)
	thief, err := b.login(t.Context(), b.Database, old)
	must(t, err)
	r := b.rotation()
	r.Compromised, r.Reason = true, "seen in a log"
	b.does(t, RotateKind, r, state.Done)
	if _, err := thief.Exec(t.Context(), "SELECT 1"); err == nil {
		t.Error("the thief's session lives")
	}
	if _, err := b.login(t.Context(), b.Database, old); sqlState(err) == "" {
		t.Errorf("the thief logs in: %v", err)
	}
	now, _ := b.current(t, c)
	b.serves(t, c, now, "a fresh container")
}

// findings are the checks of a plan's findings of a severity.
func checks(p *op.Plan, s op.Severity) (out []string) {
	for _, f := range p.Findings {
		if f.Severity == s {
			out = append(out, f.Check)
		}
	}
	return out
}

func TestPlansAreBlocked(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		major int
		spoil func(t *testing.T, b *bench, super *pgx.Conn)
		want  string
	}{
		{"somebody is logged in as the idle slot", 15, func(t *testing.T, b *bench, super *pgx.Conn) {
			t.Helper()
			name := SlotRole(b.Containers[0].Name, SlotB)
			v, err := verifierOf("correct-horse")
			must(t, err)
			_, err = super.Exec(t.Context(), fmt.Sprintf("ALTER ROLE %s LOGIN PASSWORD '%s'", name, v))
			must(t, err)
			conn, err := b.login(t.Context(), b.Database, Login{name, secret.New("correct-horse")})
			must(t, err)
			t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
		}, "idle-in-use"},
		{"the password was changed by hand", 17, func(t *testing.T, b *bench, super *pgx.Conn) {
			t.Helper()
			v, err := verifierOf("another")
			must(t, err)
			_, err = super.Exec(t.Context(), fmt.Sprintf("ALTER ROLE %s PASSWORD '%s'", SlotRole(b.Containers[0].Name, SlotA), v))
			must(t, err)
		}, "current-fails"},
		{"no ADMIN OPTION", 17, func(t *testing.T, b *bench, super *pgx.Conn) {
			t.Helper()
			_, err := super.Exec(t.Context(), fmt.Sprintf("REVOKE %s FROM %s", SlotRole(b.Containers[0].Name, SlotB), b.Admin))
			must(t, err)
		}, "admin-option"},
		{"no CREATEROLE", 15, func(t *testing.T, b *bench, super *pgx.Conn) {
			t.Helper()
			_, err := super.Exec(t.Context(), fmt.Sprintf("ALTER ROLE %s NOCREATEROLE", b.Admin))
			must(t, err)
		}, "admin-createrole"},
		{"the place holds something else", 15, func(t *testing.T, b *bench, _ *pgx.Conn) {
			t.Helper()
			must(t, os.WriteFile(strings.TrimPrefix(b.Containers[0].Places[0], "file:"), []byte("just-a-password"), 0o600))
		}, "delivery-unreadable"},
		{"it logs in as somebody else", 15, func(t *testing.T, b *bench, _ *pgx.Conn) {
			t.Helper()
			must(t, os.WriteFile(strings.TrimPrefix(b.Containers[0].Places[0], "file:"),
				[]byte(`{"username":"`+b.Admin+`","password":"`+b.AdminPassword+`"}`), 0o600))
		}, "foreign-login"},
		{"others may write in the folder of the file", 15, func(t *testing.T, b *bench, _ *pgx.Conn) {
			t.Helper()
			must(t, os.Chmod(b.Dir, 0o777))
		}, "delivery-unwritable"},
		{"others may read the file", 15, func(t *testing.T, b *bench, _ *pgx.Conn) {
			t.Helper()
			must(t, os.Chmod(strings.TrimPrefix(b.Containers[0].Places[0], "file:"), 0o644))
		}, "delivery-unwritable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := start(t, c.major, 1)
			c.spoil(t, b, pgtest.Start(t, c.major).Superuser(t, b.Database))
			p := b.plan(t, RotateKind, b.rotation())
			if got := checks(p, op.Block); len(got) != 1 || got[0] != c.want {
				t.Errorf("blocked by %v, want %s: %+v", got, c.want, p.Findings)
			}
			if text, err := p.Encode(); err != nil || strings.Contains(string(text), "correct-horse") || strings.Contains(string(text), "just-a-password") ||
				strings.Contains(string(text), b.AdminPassword) {
				t.Error("the plan holds a password")
			}
			if r := b.roles(t, b.Containers[0]); !r[SlotA] {
				t.Errorf("something was done: slots that may log in: %v", r)
			}
		})
	}
}

func TestASecretChangedBetweenTwoStepsIsNoticed(t *testing.T) {
	t.Parallel()
	b := start(t, 15, 1)
	c := b.Containers[0]
	path := strings.TrimPrefix(c.Places[0], "file:")
	deps := b.deps
	place := deps.Place
	deps.Place = func(ctx context.Context, name string) (secret.Store, secret.Ref, error) {
		s, ref, err := place(ctx, name)
		return meddled{s, func() { must(t, os.WriteFile(path, []byte(`{"username":"me","password":"mine"}`), 0o600)) }}, ref, err
	}
	b = newBench(t, b.stage, statetest.New(t, "sqlite"), deps)
	run := b.attach(t, b.submit(t, b.plan(t, RotateKind, b.rotation())))
	if run.State != state.Parked || run.Step != stepPromote || !strings.Contains(run.Problem, "hand") {
		t.Fatalf("the run is %s at %s: %s", run.State, run.Step, run.Problem)
	}
	if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), "mine") {
		t.Error("what somebody wrote was overwritten")
	}
	if r := b.roles(t, c); !r[SlotA] {
		t.Error("the old slot was disabled")
	}
}

// meddled is a store whose current text somebody changes right before it is promoted.
type meddled struct {
	secret.Store
	meddle func()
}

func (m meddled) Promote(ctx context.Context, r secret.Ref, from, to string) error {
	m.meddle()
	return m.Store.Promote(ctx, r, from, to)
}

func TestAFailedRolloutParksAndBothCredentialsWork(t *testing.T) {
	t.Parallel()
	b := start(t, 17, 1)
	c := b.Containers[0]
	old, _ := b.current(t, c)
	deps := b.deps
	failing := Command{Dir: b.Dir, Args: []string{"/bin/sh", "-c", "echo the image is gone >&2; exit 3"}}
	fixed := filepath.Join(b.Dir, "fixed")
	path := strings.TrimPrefix(c.Places[0], "file:")
	failing.Args[2] = "cat " + path + "; " + failing.Args[2]
	deps.Rollout = func(context.Context, op.Target, string) (Rollout, error) {
		if _, err := os.Stat(fixed); err == nil {
			return notes{b.Dir}, nil
		}
		return failing, nil
	}
	b = newBench(t, b.stage, statetest.New(t, "sqlite"), deps)
	id := b.submit(t, b.plan(t, RotateKind, b.rotation()))
	run := b.attach(t, id)
	if run.State != state.Parked || run.Step != stepRollout || !strings.Contains(run.Problem, "the image is gone") {
		t.Fatalf("the run is %s at %s: %s", run.State, run.Step, run.Problem)
	}
	now, _ := b.current(t, c)
	if strings.Contains(run.Problem, now.Password.Reveal()) || !strings.Contains(run.Problem, secret.Redacted) {
		t.Error("what the rollout printed of the credential is in the run's error")
	}
	b.serves(t, c, now, "a fresh container")
	b.serves(t, c, old, "the running container")
	must(t, os.WriteFile(fixed, nil, 0o600))
	b.tell(t, id, state.Retry)
	if run = b.attach(t, id); run.State != state.Done {
		t.Fatalf("the run is %s at %s: %s", run.State, run.Step, run.Problem)
	}
}

func TestTheHookIsToldTheVersionAndNoSecret(t *testing.T) {
	t.Parallel()
	b := start(t, 15, 1)
	c := b.Containers[0]
	out := filepath.Join(b.Dir, "told")
	deps := b.deps
	deps.Rollout = func(context.Context, op.Target, string) (Rollout, error) {
		return Command{Dir: b.Dir, Args: []string{"/bin/sh", "-c", "(env; tr '\\0' ' ' </proc/$PPID/cmdline) >" + out}, Env: []string{"DBOPS_ENVIRONMENT=prod"}}, nil
	}
	b = newBench(t, b.stage, statetest.New(t, "sqlite"), deps)
	old, _ := b.current(t, c)
	b.does(t, RotateKind, b.rotation(), state.Done)
	now, version := b.current(t, c)
	told, err := os.ReadFile(out)
	must(t, err)
	for _, want := range []string{"DBOPS_CONTAINER=" + c.Name, "DBOPS_VERSION=" + version, "DBOPS_ENVIRONMENT=prod"} {
		if !strings.Contains(string(told), want) {
			t.Errorf("the hook is not told %s", want)
		}
	}
	for _, l := range []Login{old, now, {Password: secret.New(b.AdminPassword)}} {
		if strings.Contains(string(told), l.Password.Reveal()) {
			t.Error("the hook's environment or the arguments of its parent hold a password")
		}
	}
}

func TestAnUnknownContainerIsRefused(t *testing.T) {
	t.Parallel()
	b := start(t, 15, 1)
	_, err := b.Plan(t.Context(), op.PlanRequest{Kind: RotateKind, Target: b.target(), Request: RotateRequest{Containers: []string{"shpo"}}, Requester: actor})
	if fault.KindOf(err) != fault.Usage || !strings.Contains(fault.HintOf(err), b.Containers[0].Name) {
		t.Errorf("%v; %s", err, fault.HintOf(err))
	}
}
