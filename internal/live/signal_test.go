package live

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
)

func TestTheOneThatBlocksIsTerminated(t *testing.T) {
	for _, major := range []int{14, 16, 18} {
		s := newStage(t, major)
		holder := s.client(t, "cart", "begin", "update item set note = 'card 4111' where id = 1")
		waits := s.client(t, "checkout")
		done := s.behind(t, waits, "update item set note = 'y' where id = 1")
		e := s.engine(t, s.watcher, 0)
		p := plan(t, e, TerminateKind, Ref{PID: int(holder.PgConn().PID())})
		if len(p.Blocked()) > 0 || !strings.Contains(p.Title, "(cart) on prod/main") || !p.Untouched {
			t.Fatalf("%+v", p)
		}
		for check, want := range map[string]string{"session": "idle in transaction", "waiting": "1 session waits for it", "rolled-back": "warn what the transaction"} {
			if got := finding(p, check); !strings.Contains(got, want) {
				t.Errorf("%s: %q", check, got)
			}
		}
		if b, err := p.Encode(); err != nil || strings.Contains(string(b), "4111") {
			t.Error("the plan holds what a statement says")
		}
		if r := run(t, e, p); r.State != state.Done {
			t.Fatalf("%s: %s", r.State, r.Problem)
		}
		if err := <-done; err != nil {
			t.Errorf("who waited: %v", err)
		}
		if _, err := holder.Exec(t.Context(), "select 1"); sqlState(err) != "57P01" && !holder.IsClosed() {
			t.Errorf("the session goes on: %v", err)
		}
	}
}

func TestAStatementIsCancelledAndItsSessionStays(t *testing.T) {
	s := newStage(t, 15)
	c := s.client(t, "report")
	done := s.behind(t, c, "select pg_sleep(300)")
	e := s.engine(t, s.watcher, 0)
	p := plan(t, e, CancelKind, Ref{PID: int(c.PgConn().PID())})
	if r := run(t, e, p); r.State != state.Done {
		t.Fatalf("%s: %s", r.State, r.Problem)
	}
	if err := <-done; sqlState(err) != "57014" {
		t.Errorf("the statement: %v", err)
	}
	if _, err := c.Exec(t.Context(), "select 1"); err != nil {
		t.Errorf("the session: %v", err)
	}
}

func TestAnotherStatementIsNotCancelled(t *testing.T) {
	s := newStage(t, 15)
	c := s.client(t, "report")
	pid := int(c.PgConn().PID())
	first := s.behind(t, c, "select pg_sleep(0.2), pg_sleep(300)")
	e := s.engine(t, s.watcher, 0)
	p := plan(t, e, CancelKind, Ref{PID: pid})
	seen := s.activity(t, s.watcher).of(t, c.PgConn().PID())
	s.Exec(t, "postgres", "select pg_cancel_backend("+itoa(pid)+")")
	if err := <-first; sqlState(err) != "57014" {
		t.Fatal(err)
	}
	second := s.behind(t, c, "select pg_sleep(301)")
	if r := run(t, e, p); r.State != state.Done {
		t.Fatalf("%s: %s", r.State, r.Problem)
	}
	s.until(t, "it still sleeps", "select state = 'active' from pg_stat_activity where pid = $1", pid)
	p = plan(t, e, CancelKind, Ref{PID: pid, Started: seen.Started, Asked: seen.Asked})
	if got := finding(p, "other"); !p.Nothing() || !strings.Contains(got, "not what was meant") {
		t.Errorf("%q %+v", got, p.Changes)
	}
	s.Exec(t, "postgres", "select pg_cancel_backend("+itoa(pid)+")")
	if err := <-second; sqlState(err) != "57014" {
		t.Error(err)
	}
}

func TestAProcessOfTheSameNumberIsNotHit(t *testing.T) {
	s := newStage(t, 16)
	c := s.client(t, "cart")
	e := s.engine(t, s.watcher, 0)
	pid := int(c.PgConn().PID())
	seen := s.activity(t, s.watcher).of(t, c.PgConn().PID())
	p := plan(t, e, TerminateKind, Ref{PID: pid, Started: seen.Started.Add(-time.Hour)})
	if !p.Nothing() || finding(p, "other") == "" {
		t.Errorf("a plan for the process before: %+v", p.Findings)
	}
	g := signalling{signal{Deps{Connect: func(ctx context.Context, _ op.Target, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
		return s.login(ctx, t, s.watcher, tune)
	}, Patience: time.Second}, TerminateKind}, here, Request{}, facts{Targets: []target{{PID: pid, There: true, Started: seen.Started.Add(-time.Hour)}}}}
	for _, step := range []func(context.Context, *op.Session) (op.Result, error){g.send, g.see} {
		out, err := step(t.Context(), &op.Session{})
		if err != nil || len(out.Changes) > 0 {
			t.Errorf("%+v %v", out, err)
		}
	}
	if _, err := c.Exec(t.Context(), "select 1"); err != nil {
		t.Errorf("the wrong session was hit: %v", err)
	}
}

func TestWhoHasEndedMeanwhileIsNoFailure(t *testing.T) {
	s := newStage(t, 15)
	c, stays := s.client(t, "cart"), s.client(t, "cart")
	e := s.engine(t, s.watcher, 0)
	p := plan(t, e, TerminateKind, Ref{PID: int(c.PgConn().PID())}, Ref{PID: int(stays.PgConn().PID())})
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.until(t, "it is gone", "select not exists (select from pg_stat_activity where pid = $1)", c.PgConn().PID())
	if r := run(t, e, p); r.State != state.Done {
		t.Fatalf("%s: %s", r.State, r.Problem)
	}
	p = plan(t, e, TerminateKind, Ref{PID: int(c.PgConn().PID())})
	if !p.Nothing() || !strings.Contains(p.Title, "it has ended") || len(p.Blocked()) > 0 {
		t.Errorf("%s %+v", p.Title, p.Findings)
	}
}

func TestASuperusersSessionIsNotOnesToSignal(t *testing.T) {
	for _, major := range []int{15, 16, 18} {
		s := newStage(t, major)
		super := s.Superuser(t, s.db)
		p := plan(t, s.engine(t, s.watcher, 0), TerminateKind, Ref{PID: int(super.PgConn().PID())})
		if got := finding(p, "rights"); !strings.HasPrefix(got, "block") || !strings.Contains(got, "a superuser's session only a superuser may signal") {
			t.Errorf("%d: %q of %+v", major, got, p.Findings)
		}
		unprivileged := s.app(t)
		s.Exec(t, s.db, "grant pg_monitor to "+unprivileged)
		c := s.client(t, "cart")
		p = plan(t, s.engine(t, unprivileged, 0), TerminateKind, Ref{PID: int(c.PgConn().PID())})
		if got := finding(p, "rights"); !strings.Contains(got, "GRANT pg_signal_backend") {
			t.Errorf("%d: %q of %+v", major, got, p.Findings)
		}
	}
}

func TestCancellingWhoRunsNothingSaysWhatToDo(t *testing.T) {
	s := newStage(t, 17)
	c := s.client(t, "cart", "begin", "select 1")
	p := plan(t, s.engine(t, s.watcher, 0), CancelKind, Ref{PID: int(c.PgConn().PID())})
	if got := finding(p, checkNoStatement); !strings.HasPrefix(got, "block") || !strings.Contains(got, "dbops sessions terminate -e prod main") {
		t.Errorf("%q", got)
	}
}

func TestASessionThatDoesNotHeedIsTold(t *testing.T) {
	s := newStage(t, 16)
	c := s.client(t, "report")
	started := s.activity(t, s.watcher).of(t, c.PgConn().PID()).Started
	g := signalling{signal{Deps{Connect: func(ctx context.Context, _ op.Target, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
		return s.login(ctx, t, s.watcher, tune)
	}, Patience: time.Millisecond}, TerminateKind}, here, Request{}, facts{Targets: []target{{PID: int(c.PgConn().PID()), There: true, Started: started}}}}
	_, err := g.see(t.Context(), &op.Session{})
	if fault.KindOf(err) != fault.Failed || !strings.Contains(err.Error(), "Client ClientRead") || !strings.Contains(fault.HintOf(err), "never kill the process") {
		t.Errorf("%v, hint %q", err, fault.HintOf(err))
	}
}

func TestRequestsThatMeanNobodyAreRefused(t *testing.T) {
	s := newStage(t, 15)
	e := s.engine(t, s.watcher, 0)
	for _, refs := range [][]Ref{nil, {{PID: -1}}, {{PID: Prepared}}} {
		_, err := e.Plan(t.Context(), op.PlanRequest{Kind: TerminateKind, Target: here, Request: Request{Sessions: refs}, Requester: actor})
		if fault.KindOf(err) != fault.Usage {
			t.Errorf("%+v: %v", refs, err)
		}
	}
}
