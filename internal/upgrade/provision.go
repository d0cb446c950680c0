package upgrade

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
)

// made is the output of step "conform".
type made struct {
	Claimed bool     `json:"claimed"` // the run's label is on the new instance
	Lost    []string `json:"lost,omitempty"`
}

// looked is the output of step "target".
type looked struct {
	Found []found `json:"found"`
}

// provisionSteps make the new instance, and see that it is like the source.
func (m *moving) provisionSteps() []op.Step {
	if m.to.Declared {
		return []op.Step{m.step("target", "see that "+m.to.Name+" is empty and has what the source needs", (*moving).target)}
	}
	return []op.Step{
		m.undone(m.step("provision", fmt.Sprintf("make %s of PostgreSQL %d, with the settings of %s", m.to.Name, m.q.To, m.from.Name), (*moving).provision),
			"remove "+m.to.Name+" with all that is in it, if this run made it", (*moving).unprovision),
		m.step("wait", "wait until "+m.to.Name+" is there and answers", (*moving).waitMade),
		m.step("conform", "give "+m.to.Name+" the settings that it still lacks", (*moving).conform),
		m.step("target", "see that "+m.to.Name+" is empty and has what the source needs", (*moving).target),
	}
}

// wanted is the new instance as the cloud is asked for it.
func (m *moving) wanted(run string) cloud.Provision {
	return cloud.Provision{Source: m.from.Name, Target: m.to.Name, Major: m.q.To, Labels: map[string]string{RunLabel: run}, Unprotected: m.rehearse}
}

func (m *moving) provision(ctx context.Context, s *op.Session) (op.Result, error) {
	c, err := m.cloud(ctx)
	if err != nil {
		return op.Result{}, err
	}
	p := m.wanted(s.Run)
	if _, p.Password, err = m.r.d.Admin(ctx, m.t); err != nil {
		return op.Result{}, err
	}
	var receipt cloud.Receipt
	err = s.Poll(ctx, m.r.d.Pace, "make "+p.Target, func(ctx context.Context) (bool, string, error) {
		var err error
		if receipt, err = c.Provisioning(ctx, p, s.Plan.Created); err == nil {
			return true, "", nil
		}
		if errors.Is(err, cloud.ErrExists) {
			return false, "", fault.New(fault.Invalid, "make "+p.Target, fmt.Errorf("an instance of that name is there, and run %s did not make it: %w", s.Run, cloud.ErrExists)).
				Hint("undo or abandon the run, and plan again with another --name")
		}
		if !is(err, fault.NotFound) {
			return false, "", err
		}
		if err := s.Fence(); err != nil {
			return false, "", err
		}
		receipt, err = c.Provision(ctx, p)
		if errors.Is(err, cloud.ErrExists) {
			return false, p.Target + " is there: looking whose it is", nil
		}
		return err == nil, "", err
	})
	if err != nil {
		return op.Result{}, err
	}
	return op.Result{
		Output: receipt, RequestID: receipt.RequestID, Text: "the provider makes " + p.Target,
		Changes: []op.Change{{Target: m.t.Environment + "/" + p.Target, Setting: "instance", To: fmt.Sprintf("PostgreSQL %d, like %s", m.q.To, p.Source)}},
	}, nil
}

// progress follows a change to its end.
func (m *moving) progress(ctx context.Context, s *op.Session, c Cloud, receipt cloud.Receipt) error {
	return s.Poll(ctx, m.r.d.Pace, receipt.Change+" of "+receipt.Instance, func(ctx context.Context) (bool, string, error) {
		p, err := c.Progress(ctx, receipt)
		return p.Done, p.Says(receipt.Instance), err
	})
}

func (m *moving) waitMade(ctx context.Context, s *op.Session) (op.Result, error) {
	c, err := m.cloud(ctx)
	if err != nil {
		return op.Result{}, err
	}
	var receipt cloud.Receipt
	if _, err := s.Output("provision", &receipt); err != nil {
		return op.Result{}, err
	}
	if err := m.progress(ctx, s, c, receipt); err != nil {
		return op.Result{}, err
	}
	return op.Result{Text: m.to.Name + " answers"}, m.reach(ctx, s, m.to)
}

// reach waits until a server can be logged in to.
func (m *moving) reach(ctx context.Context, s *op.Session, at Server) error {
	pace := m.r.d.Pace
	pace.Patience = 0
	began := time.Now()
	return s.Poll(ctx, pace, "log in to "+at.Name, func(ctx context.Context) (bool, string, error) {
		try, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		conn, err := m.r.d.Connect(try, m.t, at, maintenance, nil)
		if err == nil {
			_ = conn.Close(context.WithoutCancel(ctx))
			return true, "", nil
		}
		if time.Since(began) > m.r.d.Reach {
			return false, "", err
		}
		return false, "it cannot be logged in to yet: " + oneLine(err), nil
	})
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// conform gives the new instance what it lacks, which also says whose it is.
func (m *moving) conform(ctx context.Context, s *op.Session) (op.Result, error) {
	c, err := m.cloud(ctx)
	if err != nil {
		return op.Result{}, err
	}
	p := m.wanted(s.Run)
	left, ok, lost, err := c.Provisioned(ctx, p)
	if err != nil {
		return op.Result{}, err
	}
	var out op.Result
	if !ok {
		if out, err = m.modify(ctx, s, c, m.to.Name, left); err != nil {
			return out, err
		}
	}
	out.Output = made{Claimed: true, Lost: lost}
	if out.Text = m.to.Name + " has the settings of " + m.from.Name; len(lost) > 0 {
		out.Text = "not carried over: " + strings.Join(lost, "; ")
	}
	return out, nil
}

// modify asks for settings and waits until an instance has them. Asking again is asking for what is missing.
func (m *moving) modify(ctx context.Context, s *op.Session, c Cloud, name string, want cloud.Settings) (out op.Result, err error) {
	var receipt *cloud.Receipt
	err = s.Poll(ctx, m.r.d.Pace, "change "+name, func(ctx context.Context) (bool, string, error) {
		if receipt == nil {
			live, err := c.Get(ctx, name)
			if err != nil {
				return false, "", err
			}
			if err := s.Fence(); err != nil {
				return false, "", err
			}
			missing := want.Missing(live)
			got, err := c.Modify(ctx, name, cloud.Modify{Settings: want})
			if is(err, fault.Stale) { // somebody else changed another setting in between
				return false, "asking again: " + err.Error(), nil
			}
			if err != nil {
				return false, "", err
			}
			for _, one := range missing {
				out.Changes = append(out.Changes, op.Change{Target: m.t.Environment + "/" + name, Setting: one.Setting, From: one.From, To: one.To})
			}
			out.RequestID, receipt = got.RequestID, &got
		}
		p, err := c.Progress(ctx, *receipt)
		return p.Done, p.Says(name), err
	})
	return out, err
}

func (m *moving) unprovision(ctx context.Context, s *op.Session) (op.Result, error) {
	c, err := m.cloud(ctx)
	if err != nil {
		return op.Result{}, err
	}
	p := m.wanted(s.Run)
	var done made
	if _, err := s.Output("conform", &done); err != nil {
		return op.Result{}, err
	}
	out, err := m.remove(ctx, s, c, m.to.Name, func(ctx context.Context, _ *cloud.Instance) (bool, error) {
		if done.Claimed { // somebody took the label off, to keep it
			return false, nil
		}
		_, err := c.Provisioning(ctx, p, s.Plan.Created)
		if errors.Is(err, cloud.ErrExists) || is(err, fault.NotFound) {
			return false, nil
		}
		return err == nil, err
	})
	if err == nil && !strings.Contains(out.Text, "left as it is") {
		err = c.Discard(ctx, p)
	}
	return out, err
}

// remove removes an instance that the run m.run made: by its label, or as ours says where that does not tell.
func (m *moving) remove(ctx context.Context, s *op.Session, c Cloud, name string, ours func(context.Context, *cloud.Instance) (bool, error)) (op.Result, error) {
	out := op.Result{Text: name + " is not there"}
	var receipt *cloud.Receipt
	err := s.Poll(ctx, m.r.d.Pace, "remove "+name, func(ctx context.Context) (bool, string, error) {
		if receipt != nil {
			p, err := c.Progress(ctx, *receipt)
			return p.Done, p.Says(name), err
		}
		live, err := c.Get(ctx, name)
		if is(err, fault.NotFound) {
			return true, "", nil
		}
		if err != nil {
			return false, "", err
		}
		if live.State == cloud.Deleting {
			out.Text = name + " is removed"
			return false, name + ": " + live.RawState, nil
		}
		own := live.Labels[RunLabel] == m.run
		if !own {
			if own, err = ours(ctx, live); err != nil {
				return false, "", err
			}
		}
		if !own {
			out.Text = fmt.Sprintf("%s is left as it is: it has no label %s=%s, so run %s did not make it", name, RunLabel, m.run, m.run)
			return true, "", nil
		}
		if err := s.Fence(); err != nil {
			return false, "", err
		}
		if live.DeletionProtection {
			_, err := c.Modify(ctx, name, cloud.Modify{Settings: cloud.Settings{DeletionProtection: new(false)}})
			if is(err, fault.Stale) {
				err = nil
			}
			return false, name + ": turning deletion protection off", err
		}
		got, err := c.Delete(ctx, name)
		if is(err, fault.NotFound) {
			return true, "", nil
		}
		if err != nil {
			return false, "", err
		}
		receipt = &got
		out.RequestID, out.Text = got.RequestID, name+" is removed"
		out.Changes = []op.Change{{Target: m.t.Environment + "/" + name, Setting: "instance", From: name, To: "removed"}}
		return false, "", nil
	})
	return out, err
}

// target is the preflight once more, now that there is a server to ask what it offers.
func (m *moving) target(ctx context.Context, s *op.Session) (op.Result, error) {
	offers, err := m.r.learn(ctx, m.t, m.to, m.q.To)
	if err != nil {
		return op.Result{}, err
	}
	report, err := m.r.look(ctx, m.t, m.from, m.names, offers, m.q.preflightEngine())
	if err != nil {
		return op.Result{}, err
	}
	all := slices.DeleteFunc(foundBy(report), func(x found) bool { return m.q.CatchUp && x.Check == "replica-identity" })
	for _, x := range all {
		if x.Severity == op.Block {
			return op.Result{}, fault.Newf(fault.Blocked, "upgrade "+m.t.String(), "%s: %s", x.Text, x.Evidence).
				Hint("%s; then dbops runs decide %s retry, or undo", x.Remedy, s.Run)
		}
	}
	return op.Result{Output: looked{all}, Text: fmt.Sprintf("%d checks, nothing in the way", report.Checks)}, nil
}
