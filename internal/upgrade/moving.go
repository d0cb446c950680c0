package upgrade

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"dbops/internal/cloud"
	"dbops/internal/op"
	"dbops/internal/upgrade/follow"
	"dbops/internal/upgrade/roles"
)

// moving is one step of an upgrade to another instance, with what the plan says.
type moving struct {
	r *Room
	t op.Target
	q Request
	f facts
	// from and to are the source and the target: of a rehearsal, the copy and what it becomes.
	from, to Server
	names    []string // of the databases
	rehearse bool
	inPlace  bool
	run      string // whose names what it makes has: its own, or that of the run which it takes back
}

func (r *Room) moving(t op.Target, q Request, f facts) *moving {
	m := &moving{r: r, t: t, q: q.normal(f.Source.Server.Name), f: f, from: f.Source.Server, to: f.Target.Server}
	for _, d := range f.Databases {
		m.names = append(m.names, d.Name)
	}
	return m
}

// bind is m in a run, by which the servers of a rehearsal are named.
func (m *moving) bind(s *op.Session) *moving {
	b := *m
	if b.run == "" {
		b.run = s.Run
	}
	if b.rehearse && !b.to.Declared {
		b.from, b.to = Server{Name: scratch(s.Run)}, Server{Name: scratch(s.Run) + "-new", Login: b.to.Login}
	}
	return &b
}

// at logs in to databases of a server.
func (m *moving) at(s Server) func(ctx context.Context, database string) (*pgx.Conn, error) {
	return func(ctx context.Context, database string) (*pgx.Conn, error) {
		return m.r.d.Connect(ctx, m.t, s, database, nil)
	}
}

// in logs in to one database of a server.
func (m *moving) in(s Server, database string) func(ctx context.Context, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
	return func(ctx context.Context, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
		return m.r.d.Connect(ctx, m.t, s, database, tune)
	}
}

// catchUp is the replication of one database, by the name of its run.
func (r *Room) catchUp(ctx context.Context, t op.Target, q Request, run string, from, to Server, database string) (j follow.Job, err error) {
	m := &moving{r: r, t: t}
	j = follow.Job{Name: run, Source: m.in(from, database), Target: m.in(to, database), FullIdentity: q.FullIdentity}
	if j.From, err = r.d.Address(ctx, t, from, database); err == nil {
		j.Back, err = r.d.Address(ctx, t, to, database)
	}
	return j, err
}

// follow is the replication of a database. It belongs to the admin login on both sides: the provider's own has no part in what outlives the run.
func (m *moving) follow(ctx context.Context, database string) (follow.Job, error) {
	to := m.to
	to.Login = ""
	return m.r.catchUp(ctx, m.t, m.q, m.run, m.from, to, database)
}

// replicas are the names of what the replication logs in as, which is not kept out.
func (m *moving) replicas() (out []string) {
	if !m.q.CatchUp {
		return nil
	}
	for _, name := range m.names {
		out = append(out, follow.Names(m.run, name)...)
	}
	return out
}

// ours are the logins of the upgrade that a closed target lets in.
func (m *moving) ours() []string {
	out := m.replicas()
	if m.to.Login != "" {
		out = append(out, m.to.Login)
	}
	return out
}

// atOnce is how many databases are worked on at a time where it is sessions that take the time, and not the work.
const atOnce = 4

// each does something in every database, some at a time, and says in which one it failed.
func (m *moving) each(do func(database string) error) error {
	var g errgroup.Group
	g.SetLimit(atOnce)
	for _, name := range m.names {
		g.Go(func() error {
			if err := do(name); err != nil {
				return fmt.Errorf("database %s: %w", name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// inTurn is each, one after the other.
func (m *moving) inTurn(do func(database string) error) error {
	for _, name := range m.names {
		if err := do(name); err != nil {
			return fmt.Errorf("database %s: %w", name, err)
		}
	}
	return nil
}

// cloud is the provider of the target; nil for a plain server.
func (m *moving) cloud(ctx context.Context) (Cloud, error) {
	if m.f.Source.Provider == cloud.Postgres {
		return nil, nil //nolint:nilnil // there is none
	}
	c, _, err := m.r.d.Cloud(ctx, m.t)
	return c, err
}

// step makes a step of what a method does.
func (m *moving) step(name, title string, do func(*moving, context.Context, *op.Session) (op.Result, error)) op.Step {
	return op.Step{Name: name, Title: title, Do: func(ctx context.Context, s *op.Session) (op.Result, error) { return do(m.bind(s), ctx, s) }}
}

// undone gives a step its way back.
func (m *moving) undone(s op.Step, title string, undo func(*moving, context.Context, *op.Session) (op.Result, error)) op.Step {
	s.UndoTitle = title
	s.Undo = func(ctx context.Context, o *op.Session) (op.Result, error) { return undo(m.bind(o), ctx, o) }
	return s
}

// roles reads those of the source.
func (m *moving) roles(ctx context.Context) (*roles.Model, error) {
	return roles.Read(ctx, m.at(m.from), m.names)
}

// Span is a length of time whose JSON is a number of seconds.
type Span time.Duration
