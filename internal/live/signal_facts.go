package live

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
	"dbops/internal/op"
)

// facts are what a plan to signal is made from.
type facts struct {
	Login   string   `json:"login"`
	Targets []target `json:"targets"`
}

// target is a session that is meant, as it was. No statement is kept, but its shape.
type target struct {
	PID         int       `json:"pid"`
	There       bool      `json:"there"`
	Other       bool      `json:"other,omitempty"` // the number is another process's now, or the statement another one
	Started     time.Time `json:"started,omitzero"`
	Asked       time.Time `json:"statement_started,omitzero"`
	Type        string    `json:"type,omitempty"`
	User        string    `json:"user,omitempty"`
	Application string    `json:"application,omitempty"`
	Client      string    `json:"client,omitempty"`
	Database    string    `json:"database,omitempty"`
	May         bool      `json:"may"`
	State       string    `json:"state,omitempty"`
	Active      bool      `json:"active,omitempty"`
	Statement   Span      `json:"statement_age,omitempty"`
	Transaction *Span     `json:"transaction_age,omitempty"`
	InState     Span      `json:"state_age,omitempty"`
	Wrote       bool      `json:"wrote,omitempty"`
	Shape       string    `json:"shape,omitempty"`
	Waiting     []string  `json:"waiting,omitempty"` // who waits for it
}

// named is the session in few words.
func (t target) named() string {
	out := fmt.Sprint(t.PID)
	if t.User != "" {
		out += " of " + t.User
	}
	if t.Application != "" {
		out += " (" + t.Application + ")"
	}
	return out
}

// hit are those that the operation signals.
func (f facts) hit(g signal) []target {
	return slices.DeleteFunc(slices.Clone(f.Targets), func(t target) bool {
		return !t.There || t.Other || g.cancels() && !t.Active
	})
}

// same tells that a plan still means what it meant: each signal compares the process, and a session that has ended is none that is hit.
func same(planned, now facts) bool {
	may := func(f facts, pid int) bool {
		return slices.ContainsFunc(f.Targets, func(t target) bool { return t.PID == pid && t.There && !t.May })
	}
	for _, t := range planned.Targets {
		if t.May && may(now, t.PID) {
			return false
		}
	}
	return planned.Login == now.Login
}

// A role may signal its own sessions and those of its groups, with pg_signal_backend those of everybody who is no superuser. A process of the
// server's own counts as a superuser's; later versions have a role for one sort of them.
const rightsSQL = `
select current_user::text as login, me.rolsuper as super, pg_has_role('pg_signal_backend', 'usage') as signals,
       exists (select from pg_roles where rolname = 'pg_signal_autovacuum_worker' and pg_has_role(oid, 'usage')) as vacuums,
       array(select rolname::text from pg_roles where rolsuper) as supers, array(select rolname::text from pg_roles where pg_has_role(oid, 'usage')) as own
from pg_roles me where me.rolname = current_user`

type rights struct {
	Login                   string
	Super, Signals, Vacuums bool
	Supers, Own             []string
}

func (r rights) may(s Session) bool {
	switch {
	case r.Super:
		return true
	case s.User == "":
		return s.Type == "autovacuum worker" && r.Vacuums
	case slices.Contains(r.Supers, s.User):
		return false
	default:
		return r.Signals || slices.Contains(r.Own, s.User)
	}
}

func (g signal) observe(ctx context.Context, t op.Target, r Request) (f facts, err error) {
	what := g.verb() + " sessions on " + t.String()
	if len(r.Sessions) == 0 {
		return f, fault.Newf(fault.Usage, what, "no session is named").Hint("dbops sessions list -e %s %s", t.Environment, t.Instance)
	}
	for _, ref := range r.Sessions {
		if ref.PID == Prepared {
			return f, fault.Newf(fault.Usage, what, "a prepared transaction has no process").
				Hint("who prepared it ends it: COMMIT PREPARED or ROLLBACK PREPARED; select gid, prepared, owner, database from pg_prepared_xacts")
		}
		if ref.PID < 0 {
			return f, fault.Newf(fault.Usage, what, "%d is no process", ref.PID)
		}
	}
	conn, err := g.Connect(ctx, t, Tune)
	if err != nil {
		return f, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	a, err := ReadActivity(ctx, conn, nil)
	if err != nil {
		return f, err
	}
	if i := slices.IndexFunc(a.Missing, func(m Missing) bool { return m.Part == "sessions" }); i >= 0 && len(a.Sessions) == 0 {
		return f, fault.Newf(fault.Unavailable, what, "the sessions cannot be read: %s", a.Missing[i].Why)
	}
	may, err := readRights(ctx, conn)
	if err != nil {
		return f, fault.New(fault.Unavailable, what, err)
	}
	f.Login = may.Login
	for _, ref := range r.Sessions {
		if slices.ContainsFunc(f.Targets, func(t target) bool { return t.PID == ref.PID }) {
			continue
		}
		f.Targets = append(f.Targets, g.look(a, ref, may))
	}
	return f, nil
}

func readRights(ctx context.Context, conn *pgx.Conn) (rights, error) {
	all, err := collect[rights](ctx, conn, rightsSQL)
	if err != nil || len(all) == 0 {
		return rights{}, err
	}
	return all[0], nil
}

// look is what is known of a session that is meant.
func (g signal) look(a *Activity, ref Ref, r rights) target {
	i := slices.IndexFunc(a.Sessions, func(s Session) bool { return s.PID == ref.PID })
	if i < 0 {
		return target{PID: ref.PID}
	}
	s := a.Sessions[i]
	t := target{
		PID: s.PID, There: true, Started: s.Started, Type: s.Type, User: s.User, Application: s.Application, Client: s.Client, Database: s.Database,
		May: r.may(s), State: s.State, Active: s.Active(), Transaction: s.InTransaction, Wrote: s.Wrote, Shape: Shape(s.Query),
	}
	t.Other = !ref.Started.IsZero() && !ref.Started.Equal(s.Started) || g.cancels() && !ref.Asked.IsZero() && !ref.Asked.Equal(s.Asked)
	if g.cancels() {
		t.Asked = s.Asked
	}
	if s.Statement != nil {
		t.Statement = *s.Statement
	}
	if s.InState != nil {
		t.InState = *s.InState
	}
	for _, w := range a.Behind(s.PID) {
		t.Waiting = append(t.Waiting, target{PID: w.PID, User: w.User, Application: w.Application}.named())
	}
	return t
}
