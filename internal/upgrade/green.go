package upgrade

import (
	"context"
	"fmt"
	"strings"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/upgrade/stats"
)

// switchover is how long RDS may take for one, before it leaves everything as it was.
const switchover = 5 * time.Minute

// greenName is the name of a run's deployment.
func greenName(run string) string { return "dbops-" + run }

// greened is the output of step "green".
type greened struct {
	Target string `json:"target"` // the copy
}

func (m *moving) greenSteps(q InPlaceRequest) []op.Step {
	steps := []op.Step{
		m.undone(m.step("green", fmt.Sprintf("let RDS make a copy of PostgreSQL %d that follows", m.q.To), func(m *moving, ctx context.Context, s *op.Session) (op.Result, error) {
			return m.makeGreen(ctx, s, q)
		}), "remove the copy", (*moving).dropGreen),
		m.step("statistics", "give the planner of the copy its statistics", (*moving).analyzeGreen),
	}
	if !q.Unattended {
		steps = append(steps, op.Step{Name: gateStep, Title: "wait for the word to switch over", Gate: "from now on RDS swaps " + m.from.Name +
			" and its copy: sessions end, and clients come again to the new major. Nothing replicates back. dbops upgrade cutover goes on, dbops upgrade rollback removes the copy"})
	}
	return append(steps,
		m.onward(m.step(quiesceStep, "note that the switchover begins", func(*moving, context.Context, *op.Session) (op.Result, error) {
			return op.Result{Output: closed{Began: time.Now().UTC()}, Text: "it begins"}, nil
		})),
		m.onward(m.step(swapStep, "let the copy take the place of "+m.from.Name, (*moving).switchGreen)),
		m.onward(m.step(switchStep, "see that it answers", func(m *moving, ctx context.Context, s *op.Session) (op.Result, error) {
			err := m.reach(ctx, s, m.from)
			return op.Result{Output: opened{At: time.Now().UTC()}, Text: m.from.Name + " answers"}, err
		})),
		m.onward(m.step("end", "end the deployment; the old instance stays", (*moving).dropGreen)))
}

// greenFound is what keeps RDS from a copy that follows.
func (r *Room) greenFound(ctx context.Context, t op.Target, src source) (out []found, err error) {
	conn, err := r.d.Connect(ctx, t, src.Server, maintenance, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var level string
	if err := conn.QueryRow(ctx, "select current_setting('wal_level')").Scan(&level); err != nil {
		return nil, fault.New(fault.Unavailable, "look at "+t.String(), err)
	}
	if level != "logical" {
		out = append(out, found{
			Severity: op.Block, Check: "blue-green", Text: src.Server.Name + " cannot be followed: its wal_level is " + level,
			Remedy: "set rds.logical_replication to 1 in a parameter group of its own, and restart it; or leave --blue-green out",
		})
	}
	if !src.Backups {
		out = append(out, found{
			Severity: op.Block, Check: "blue-green", Text: src.Server.Name + " has no automated backups, of which RDS makes the copy",
			Remedy: "turn them on: dbops backup configure; or leave --blue-green out",
		})
	}
	return out, nil
}

func (m *moving) blueGreen(ctx context.Context) (cloud.BlueGreen, Cloud, error) {
	c, err := m.cloud(ctx)
	if err != nil {
		return nil, nil, err
	}
	b, ok := c.(cloud.BlueGreen)
	if !ok {
		return nil, nil, fault.New(fault.Invalid, "upgrade "+m.t.String()+" by a blue/green deployment", cloud.ErrUnsupported)
	}
	return b, c, nil
}

// goGreen asks for a change of the deployment and follows it.
func (m *moving) goGreen(ctx context.Context, s *op.Session, what string, c Cloud, ask func(context.Context) (cloud.Receipt, error)) (id string, err error) {
	var receipt *cloud.Receipt
	err = s.Poll(ctx, m.r.d.Pace, what, func(ctx context.Context) (bool, string, error) {
		if receipt == nil {
			if err := s.Fence(); err != nil {
				return false, "", err
			}
			got, err := ask(ctx)
			if err != nil {
				return false, "", err
			}
			receipt, id = &got, got.RequestID
		}
		p, err := c.Progress(ctx, *receipt)
		return p.Done, p.Says(greenName(s.Run)), err
	})
	return id, err
}

func (m *moving) makeGreen(ctx context.Context, s *op.Session, q InPlaceRequest) (out op.Result, err error) {
	b, c, err := m.blueGreen(ctx)
	if err != nil {
		return out, err
	}
	g := cloud.Green{Name: greenName(s.Run), Source: m.from.Name, Major: m.q.To, Parameters: q.Parameters, Labels: map[string]string{RunLabel: s.Run}}
	if out.RequestID, err = m.goGreen(ctx, s, "make a copy of "+m.from.Name, c, func(ctx context.Context) (cloud.Receipt, error) { return b.CreateGreen(ctx, g) }); err != nil {
		return out, err
	}
	now, err := b.Green(ctx, g.Name)
	out.Output, out.Text = greened{now.Target}, now.Target+" follows"
	out.Changes = []op.Change{{Setting: "blue/green deployment", To: g.Name}}
	return out, err
}

func (m *moving) analyzeGreen(ctx context.Context, s *op.Session) (op.Result, error) {
	var g greened
	if _, err := s.Output("green", &g); err != nil {
		return op.Result{}, err
	}
	at := Server{Name: g.Target}
	var out counted
	err := m.inTurn(func(name string) error {
		res, err := stats.Analyze(ctx, stats.Job{Source: m.in(at, name), Target: m.in(at, name), Jobs: m.q.Jobs, Tool: m.r.d.Tool, Dir: m.r.d.Dir})
		out.Databases = append(out.Databases, countedIn{name, res})
		return err
	})
	return op.Result{Output: out, Text: "the planner of " + g.Target + " knows its tables"}, err
}

func (m *moving) switchGreen(ctx context.Context, s *op.Session) (out op.Result, err error) {
	b, c, err := m.blueGreen(ctx)
	if err != nil {
		return out, err
	}
	name := greenName(s.Run)
	out.RequestID, err = m.goGreen(ctx, s, "switch "+m.from.Name+" over", c, func(ctx context.Context) (cloud.Receipt, error) { return b.SwitchoverGreen(ctx, name, switchover) })
	if err != nil {
		return out, err
	}
	now, err := b.Green(ctx, name)
	out.Text = strings.TrimSpace("the old instance is called " + now.Source)
	out.Changes = []op.Change{{Setting: "major", From: fmt.Sprint(m.f.Source.Major), To: fmt.Sprint(m.q.To)}}
	return out, err
}

func (m *moving) dropGreen(ctx context.Context, s *op.Session) (out op.Result, err error) {
	b, c, err := m.blueGreen(ctx)
	if err != nil {
		return out, err
	}
	name := greenName(s.Run)
	if _, err := b.Green(ctx, name); is(err, fault.NotFound) {
		return op.Result{Text: "there is none"}, nil
	}
	out.RequestID, err = m.goGreen(ctx, s, "end the deployment "+name, c, func(ctx context.Context) (cloud.Receipt, error) { return b.DeleteGreen(ctx, name) })
	out.Text = "the deployment is ended"
	return out, err
}
