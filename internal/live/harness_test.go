package live

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/op"
	"dbops/internal/sandbox/pgtest"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/secret"
	"dbops/internal/state"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

var (
	here   = op.Target{Environment: "prod", Instance: "main"}
	actor  = op.Actor{Name: "robot@example.com", Via: op.ViaGoogle}
	serial atomic.Int64
)

// stage is a database on a server, with a table and a role that may see and signal as a cloud's customer may.
type stage struct {
	*pgtest.Server
	db, watcher string
}

const password = "correct-horse-battery"

func newStage(t testing.TB, major int) *stage {
	t.Helper()
	s := &stage{Server: pgtest.Start(t, major), watcher: fmt.Sprintf("watcher%d", serial.Add(1))}
	s.db = s.Database(t)
	s.role(t, s.watcher, "pg_monitor, pg_signal_backend")
	s.Exec(t, s.db, "create table item (id int primary key, note text)", "insert into item values (1, 'a'), (2, 'b')", "grant all on item to public")
	return s
}

// role makes a login with the privileges of others.
func (s *stage) role(t testing.TB, name, of string) {
	t.Helper()
	s.Exec(t, s.db, fmt.Sprintf("create role %s login password '%s'", name, password))
	if of != "" {
		s.Exec(t, s.db, fmt.Sprintf("grant %s to %s", of, name))
	}
	t.Cleanup(func() { s.Exec(t, "postgres", "drop role "+name) })
}

// as logs in. The session ends with the test.
func (s *stage) as(t testing.TB, user, application string) *pgx.Conn {
	t.Helper()
	c, err := s.login(t.Context(), t, user, func(c *pgx.ConnConfig) { c.RuntimeParams["application_name"] = application })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.WithoutCancel(t.Context())) })
	return c
}

func (s *stage) login(ctx context.Context, t testing.TB, user string, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
	t.Helper()
	full, err := pgx.ParseConfig("")
	if err != nil {
		return nil, err
	}
	full.Config = *s.ConfigFor(t, user, secret.New(password), s.db)
	tune(full)
	return pgx.ConnectConfig(ctx, full)
}

// client is a session of a container's role that begins a transaction with a statement.
func (s *stage) client(t testing.TB, application string, statements ...string) *pgx.Conn {
	t.Helper()
	c := s.as(t, s.app(t), application)
	for _, q := range statements {
		if _, err := c.Exec(t.Context(), q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
	return c
}

func (s *stage) app(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("app%d", serial.Add(1))
	s.role(t, name, "")
	return name
}

// behind runs a statement that waits, and returns how it ended.
func (s *stage) behind(t testing.TB, c *pgx.Conn, statement string) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	ctx := t.Context()
	var statements sync.WaitGroup
	statements.Go(func() {
		_, err := c.Exec(ctx, statement)
		done <- err
	})
	t.Cleanup(statements.Wait) // before its session is closed
	s.until(t, "it waits: "+statement, "select coalesce((select wait_event_type = 'Lock' or wait_event = 'PgSleep' from pg_stat_activity where pid = $1), false)", c.PgConn().PID())
	return done
}

// until asks a superuser's session again and again until it says true.
func (s *stage) until(t testing.TB, what, query string, args ...any) {
	t.Helper()
	conn := s.Superuser(t, "postgres")
	for end := time.Now().Add(20 * time.Second); ; {
		var ok bool
		if err := conn.QueryRow(t.Context(), query, args...).Scan(&ok); err != nil {
			t.Fatal(err)
		}
		if ok {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func (s *stage) activity(t testing.TB, user string) *Activity {
	t.Helper()
	conn, err := s.login(t.Context(), t, user, Tune)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	a, err := ReadActivity(t.Context(), conn, nil)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *Activity) of(t testing.TB, pid uint32) Session {
	t.Helper()
	for _, s := range a.Sessions {
		if s.PID == int(pid) {
			return s
		}
	}
	t.Fatalf("session %d is not there", pid)
	return Session{}
}

// engine is one over a store of its own, with the operations as a role.
func (s *stage) engine(t testing.TB, user string, patience time.Duration) *op.Engine {
	t.Helper()
	kinds, err := op.NewRegistry(New(Deps{Patience: patience, Connect: func(ctx context.Context, _ op.Target, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
		return s.login(ctx, t, user, tune)
	}})...)
	if err != nil {
		t.Fatal(err)
	}
	return op.New(statetest.New(t, "sqlite").Store(t), kinds, op.Options{Version: "test", Poll: 10 * time.Millisecond, TTL: time.Minute, Host: "here"})
}

func plan(t testing.TB, e *op.Engine, kind string, refs ...Ref) *op.Plan {
	t.Helper()
	p, err := e.Plan(t.Context(), op.PlanRequest{Kind: kind, Target: here, Request: Request{Sessions: refs}, Requester: actor})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func run(t testing.TB, e *op.Engine, p *op.Plan) state.Run {
	t.Helper()
	r, _, err := e.Submit(t.Context(), p, op.SubmitOptions{Actor: actor})
	if err != nil {
		t.Fatal(err)
	}
	if r, err = e.Attach(t.Context(), r.ID, 0, func(ev state.Event) { t.Logf("%s %s: %s", ev.Kind, ev.Step, ev.Text) }); err != nil {
		t.Fatal(err)
	}
	return r
}

func finding(p *op.Plan, check string) string {
	for _, f := range p.Findings {
		if f.Check == check {
			return strings.TrimSpace(string(f.Severity) + " " + f.Text + " " + f.Evidence + " " + f.Remedy)
		}
	}
	return ""
}

func itoa(n int) string { return strconv.Itoa(n) }

func sqlState(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}
