package upgrade

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/upgrade/stream"
	"dbops/internal/upgrade/verify"
)

// scratch is the name of the copy that a run rehearses on.
func scratch(run string) string { return "dbops-rehearsal-" + run }

func (r *Room) rehearse() op.Operation[Request, facts] {
	return op.Operation[Request, facts]{
		Kind: RehearseKind, Words: words(), Same: same, Derive: deriveRehearsal,
		Observe: func(ctx context.Context, t op.Target, q Request) (facts, error) {
			f, err := r.observe(ctx, t, q)
			f.Target.Taken, f.Clients, f.Rehearsed = false, Switched{}, nil // none of them concerns a rehearsal
			return f, err
		},
		Steps: func(t op.Target, q Request, f facts) []op.Step { return r.rehearsalSteps(t, q, f) },
		Over:  r.held.forget,
	}
}

func deriveRehearsal(t op.Target, q Request, f facts) op.Draft {
	q = q.normal(f.Source.Server.Name)
	f.Rehearsed = &forecast{} // no plan of a rehearsal asks for one
	d := op.Draft{
		Untouched: true,
		Title:     fmt.Sprintf("rehearse the upgrade of %s from PostgreSQL %d to %d", t, f.Source.Major, q.To),
		Findings:  f.findings(q),
		Downtime:  op.Downtime{Expected: "none", Text: t.String() + " is only read"},
		Changes:   []op.Change{{Target: t.Environment + "/" + scratch("RUN"), Setting: "instance", To: "made of " + f.Source.Server.Name + ", upgraded, compared, and removed"}},
		Cost:      "up: two more instances like " + f.Source.Server.Name + " while it runs",
		Notes:     append(f.route(q), "nothing is written to "+t.String()),
	}
	if q.Into != "" {
		d.Changes = []op.Change{{Target: t.Environment + "/" + q.Into, Setting: "databases", To: "copied from " + f.Source.Server.Name + ", compared, and dropped"}}
		d.Also = []string{t.Environment + "/" + q.Into}
		d.Cost = "none: both servers are there"
		d.Notes = append(d.Notes, "what is written to "+f.Source.Server.Name+" meanwhile is not copied: one snapshot of it is, which is held that long")
	} else if f.Source.Provider != cloud.Postgres && !f.Source.PITR && f.Source.Provider == cloud.RDS {
		d.Findings = append(d.Findings, block("pitr", "turn it on: dbops backup configure", "the copy is made by point-in-time recovery, which is off"))
	}
	if q.CatchUp && q.Into != "" {
		d.Findings = append(d.Findings, block("rehearsal", "leave --catch-up out", "on a server that is in use a rehearsal makes no replication slot: what is rehearsed is the copy"))
	}
	return d
}

func (r *Room) rehearsalSteps(t op.Target, q Request, f facts) []op.Step {
	m := r.moving(t, q, f)
	m.rehearse = true
	var steps, after []op.Step
	if m.to.Declared {
		steps = append(m.provisionSteps(), m.prepareSteps()...)
		for _, name := range m.names {
			steps = append(steps, op.Step{
				Name: copyStep(name), Title: "copy the database " + name + ", and compare",
				Do: func(ctx context.Context, s *op.Session) (op.Result, error) {
					return m.bind(s).copyAndCompare(ctx, s, name)
				},
			})
		}
		fill := m.fillSteps()
		steps = append(steps, fill[len(m.names):]...) // settings and statistics
		after = []op.Step{m.step("drop-databases", "drop the databases on "+m.to.Name, (*moving).dropDatabases), m.step("drop-roles", "drop the roles that the rehearsal made", (*moving).dropRoles)}
		for i := range steps { // they are taken away at the end, and by an undo
			if steps[i].Undo != nil {
				steps[i].UndoTitle = "take away what the rehearsal made on " + m.to.Name
			}
		}
	} else {
		m.from, m.to = Server{Name: "the copy"}, Server{Name: "its upgrade", Login: m.to.Login}
		copying := m.undone(m.step("clone", "make a copy of "+f.Source.Server.Name+" by point-in-time recovery", (*moving).clone), "remove the copy", (*moving).unclone)
		steps = []op.Step{copying, m.step("wait-clone", "wait until the copy is there and answers", (*moving).waitClone)}
		steps = append(steps, m.provisionSteps()...)
		steps = append(steps, m.prepareSteps()...)
		if m.q.CatchUp {
			steps = append(steps, m.online()...)
		} else {
			steps = append(steps, m.closeSteps()...)
			steps = append(steps, m.lateRoles())
			steps = append(steps, m.fillSteps()...)
			steps = append(steps, m.step(verifyStep, "compare every table, and all else, on both sides", (*moving).verify))
			steps = append(steps, m.switching()...)
		}
		after = []op.Step{m.step("remove", "remove the upgraded copy", (*moving).unprovision), m.step("remove-clone", "remove the copy", (*moving).unclone)}
	}
	var names []string
	for i := range steps {
		steps[i] = tries(steps[i], names)
		if !slices.Contains([]string{"clone", "provision", "roles", "databases"}, steps[i].Name) {
			steps[i].Undo, steps[i].UndoTitle = nil, "" // it goes with what was made
		}
		names = append(names, steps[i].Name)
	}
	return append(steps, after...)
}

// tried is the output of a step that failed, which is what a rehearsal is for: it goes on to take everything away, and tells.
type tried struct {
	Failed string `json:"failed,omitempty"`
	Hint   string `json:"hint,omitempty"`
}

// tries makes a step of a rehearsal that does not stop it.
func tries(s op.Step, earlier []string) op.Step {
	do := s.Do
	s.Onward = false
	s.Do = func(ctx context.Context, o *op.Session) (op.Result, error) {
		for _, name := range earlier {
			var t tried
			if _, err := o.Output(name, &t); err == nil && t.Failed != "" {
				return op.Result{Text: "not tried: " + name + " failed"}, nil
			}
		}
		res, err := do(ctx, o)
		switch {
		case err == nil || ctx.Err() != nil || is(err, fault.Interrupted) || o.Fence() != nil:
			return res, err
		case is(err, fault.Throttled, fault.Busy, fault.Unavailable) && o.Attempt < 4:
			return res, err
		}
		return op.Result{Output: tried{oneLine(err), fault.HintOf(err)}, Text: "it failed, which is a result: " + oneLine(err)}, nil
	}
	return s
}

// copyAndCompare copies out of a snapshot of a server in use, and compares with the same one.
func (m *moving) copyAndCompare(ctx context.Context, s *op.Session, database string) (op.Result, error) {
	out := copied{Database: database}
	h, err := m.snapshot(ctx, m.from, database)
	if err != nil {
		return op.Result{}, err
	}
	defer func() { _ = h.conn.Close(context.WithoutCancel(ctx)) }()
	engine, clear, err := m.engine(s.Run, database)
	if err != nil {
		return op.Result{}, err
	}
	defer clear()
	job := m.job(ctx, s, database)
	job.Snapshot = h.name
	if out.Result, err = m.begunAgain(ctx, s, database, func() (stream.Result, error) { return engine(ctx, job) }); err != nil {
		return op.Result{}, err
	}
	compare := m.comparison(ctx, s, database, h.name)
	compare.Part = verify.PartRows // sequences go on
	if out.Verified, err = verify.Compare(ctx, compare); err != nil {
		return op.Result{}, err
	}
	return m.copied(out), out.Verified.Err()
}

// copyAsked is how the copy is asked for.
func (m *moving) copyAsked(s *op.Session) cloud.Restore {
	return cloud.Restore{Source: m.f.Source.Server.Name, Target: scratch(s.Run), Labels: map[string]string{RunLabel: s.Run}, Unprotected: true}
}

func (m *moving) clone(ctx context.Context, s *op.Session) (op.Result, error) {
	c, err := m.cloud(ctx)
	if err != nil {
		return op.Result{}, err
	}
	ask := m.copyAsked(s)
	var receipt cloud.Receipt
	err = s.Poll(ctx, m.r.d.Pace, "copy "+ask.Source+" to "+ask.Target, func(ctx context.Context) (bool, string, error) {
		var err error
		if receipt, err = c.Restoring(ctx, ask, s.Plan.Created); err == nil {
			return true, "", nil
		}
		if !is(err, fault.NotFound) {
			return false, "", err
		}
		if err := s.Fence(); err != nil {
			return false, "", err
		}
		receipt, err = c.Restore(ctx, ask)
		if errors.Is(err, cloud.ErrExists) {
			return false, ask.Target + " is there: looking whose it is", nil
		}
		return err == nil, "", err
	})
	return op.Result{
		Output: receipt, RequestID: receipt.RequestID, Text: "the provider makes " + ask.Target,
		Changes: []op.Change{{Target: m.t.Environment + "/" + ask.Target, Setting: "instance", To: "made of " + ask.Source}},
	}, err
}

func (m *moving) waitClone(ctx context.Context, s *op.Session) (op.Result, error) {
	c, err := m.cloud(ctx)
	if err != nil {
		return op.Result{}, err
	}
	var receipt cloud.Receipt
	if _, err := s.Output("clone", &receipt); err != nil {
		return op.Result{}, err
	}
	if err := m.progress(ctx, s, c, receipt); err != nil {
		return op.Result{}, err
	}
	if err := m.reach(ctx, s, m.from); err != nil {
		return op.Result{}, err
	}
	source, err := c.Get(ctx, m.f.Source.Server.Name)
	if err != nil {
		return op.Result{}, err
	}
	live, err := c.Get(ctx, m.from.Name)
	if err != nil {
		return op.Result{}, err
	}
	// What it still lacks may be a restart away, such as a parameter group.
	left, ok, _ := c.Conform(ctx, source, live, m.copyAsked(s))
	var out op.Result
	if _, marked := live.Labels[cloud.LeaseLabel]; marked {
		left.Labels = append(left.Labels, cloud.Label{Key: cloud.LeaseLabel, Remove: true})
		ok = false
	}
	if !ok {
		if out, err = m.modify(ctx, s, c, m.from.Name, left); err != nil {
			return out, err
		}
	}
	out.Output, out.Text = made{Claimed: true}, m.from.Name+" answers"
	return out, nil
}

func (m *moving) unclone(ctx context.Context, s *op.Session) (op.Result, error) {
	c, err := m.cloud(ctx)
	if err != nil {
		return op.Result{}, err
	}
	ask := m.copyAsked(s)
	var done made
	if _, err := s.Output("wait-clone", &done); err != nil {
		return op.Result{}, err
	}
	return m.remove(ctx, s, c, ask.Target, func(ctx context.Context, _ *cloud.Instance) (bool, error) {
		if done.Claimed {
			return false, nil
		}
		_, err := c.Restoring(ctx, ask, s.Plan.Created)
		if errors.Is(err, cloud.ErrExists) || is(err, fault.NotFound) {
			return false, nil
		}
		return err == nil, err
	})
}
