package live

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
	"dbops/internal/op"
)

// The kinds of operation.
const (
	CancelKind    = "session.cancel"
	TerminateKind = "session.terminate"
)

// Request says which sessions are meant.
type Request struct {
	Sessions []Ref `json:"sessions"`
}

// Ref is a session as somebody saw it.
type Ref struct {
	PID int `json:"pid"`
	// Started and Asked, if set, say when its process and its statement began. Another process or statement is not meant.
	Started time.Time `json:"started,omitzero"`
	Asked   time.Time `json:"statement_started,omitzero"`
}

// Deps are what the operations stand on.
type Deps struct {
	// Connect logs in to an instance as who may signal others. The caller closes the session.
	Connect func(ctx context.Context, t op.Target, tune func(*pgx.ConnConfig)) (*pgx.Conn, error)
	// Patience is how long a session may take to heed a signal. Defaults to 20 s.
	Patience time.Duration
}

// New returns the operations.
func New(d Deps) []op.Kind {
	if d.Patience <= 0 {
		d.Patience = 20 * time.Second
	}
	return []op.Kind{signal{d, CancelKind}.kind(), signal{d, TerminateKind}.kind()}
}

// signal is one of the two operations.
type signal struct {
	Deps
	name string
}

func (g signal) cancels() bool { return g.name == CancelKind }

func (g signal) verb() string { return strings.TrimPrefix(g.name, "session.") }

func (g signal) kind() op.Kind {
	return op.Operation[Request, facts]{
		Kind:    g.name,
		Observe: g.observe,
		Derive:  g.derive,
		Same:    same,
		Words:   map[string]string{"login": "the login", "targets": "the sessions"},
		Steps: func(t op.Target, r Request, f facts) []op.Step {
			s := signalling{g, t, r, f}
			return []op.Step{
				{Name: "signal", Title: g.verb() + " " + s.whom(), Do: s.send, Final: true},
				{Name: "see", Title: "see that it has happened", Do: s.see, Final: true},
			}
		},
	}.AsKind()
}

// signalling is one run.
type signalling struct {
	signal
	t op.Target
	r Request
	f facts
}

func (s signalling) what() string { return s.verb() + " " + s.whom() + " on " + s.t.String() }

func (s signalling) whom() string { return whom(s.f.hit(s.signal)) }

func whom(hit []target) string {
	if len(hit) == 1 {
		return "session " + hit[0].named()
	}
	return fmt.Sprintf("%d sessions", len(hit))
}

// The process, and the statement of one that is cancelled, are compared on the server, in the statement that signals.
const (
	cancelSQL = `select pg_cancel_backend(pid) from pg_stat_activity
where pid = $1 and backend_start = $2 and query_start = $3 and state in ('active', 'fastpath function call')`
	terminateSQL = `select pg_terminate_backend(pid) from pg_stat_activity where pid = $1 and backend_start = $2`
	thereSQL     = `select coalesce(wait_event_type || ' ' || wait_event, 'it waits for nothing') from pg_stat_activity where pid = $1 and backend_start = $2`
	runningSQL   = thereSQL + ` and query_start = $3 and state in ('active', 'fastpath function call')`
)

func (s signalling) send(ctx context.Context, run *op.Session) (out op.Result, err error) {
	conn, err := s.Connect(ctx, s.t, Tune)
	if err != nil {
		return out, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var told []string
	for _, one := range s.f.hit(s.signal) {
		if err := run.Fence(); err != nil {
			return out, err
		}
		query, args := terminateSQL, []any{one.PID, one.Started}
		if s.cancels() {
			query, args = cancelSQL, append(args, one.Asked)
		}
		sent, err := collect[struct{ OK bool }](ctx, conn, query, args...)
		switch {
		case err != nil:
			return out, fault.New(fault.Denied, s.verb()+" session "+one.named()+" on "+s.t.String(), err).
				Hint("it takes pg_signal_backend, and for a superuser's session a superuser; GRANT pg_signal_backend TO %s", s.f.Login)
		case len(sent) == 0 || !sent[0].OK:
			told = append(told, fmt.Sprintf("%d: %s", one.PID, s.over()))
		default:
			told = append(told, fmt.Sprintf("%d: told to stop", one.PID))
			out.Changes = append(out.Changes, s.change(one))
		}
	}
	out.Text = strings.Join(told, ", ")
	return out, nil
}

// over says that there is nobody to signal any more.
func (g signal) over() string {
	if g.cancels() {
		return "the statement had ended"
	}
	return "it had ended"
}

func (s signalling) see(ctx context.Context, run *op.Session) (op.Result, error) {
	conn, err := s.Connect(ctx, s.t, Tune)
	if err != nil {
		return op.Result{}, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	begun, pause := time.Now(), 50*time.Millisecond
	for {
		left, err := s.left(ctx, conn)
		if err != nil {
			return op.Result{}, fault.New(fault.Unavailable, "see what became of "+s.whom(), err).Hint("dbops sessions list -e %s %s", s.t.Environment, s.t.Instance)
		}
		if len(left) == 0 {
			return op.Result{Text: s.done()}, nil
		}
		run.Progress(ctx, "waiting for %s", strings.Join(left, "; "))
		if time.Since(begun) > s.Patience {
			return op.Result{}, fault.Newf(fault.Failed, s.what(), "it was told to stop %s ago and has not: %s", s.Patience, strings.Join(left, "; ")).Hint("%s", s.next())
		}
		if err := op.Sleep(ctx, pause); err != nil {
			return op.Result{}, err
		}
		pause = min(2*pause, time.Second)
	}
}

func (s signalling) done() string {
	if s.cancels() {
		return "no statement of them runs any more"
	}
	return "gone"
}

func (s signalling) next() string {
	if !s.cancels() {
		return "it may roll back much, or wait for a disk or a network: it ends by itself; never kill the process, which restarts the whole server"
	}
	pids := make([]string, 0, len(s.f.Targets))
	for _, one := range s.f.hit(s.signal) {
		pids = append(pids, fmt.Sprint(one.PID))
	}
	return fmt.Sprintf("dbops sessions terminate -e %s %s %s", s.t.Environment, s.t.Instance, strings.Join(pids, " "))
}

// left are those that have not heeded, with what they wait for.
func (s signalling) left(ctx context.Context, conn *pgx.Conn) (out []string, err error) {
	for _, one := range s.f.hit(s.signal) {
		query, args := thereSQL, []any{one.PID, one.Started}
		if s.cancels() {
			query, args = runningSQL, append(args, one.Asked)
		}
		rows, err := collect[struct{ Wait string }](ctx, conn, query, args...)
		if err != nil {
			return nil, err
		}
		if len(rows) > 0 {
			out = append(out, fmt.Sprintf("%d (%s)", one.PID, rows[0].Wait))
		}
	}
	return out, nil
}
