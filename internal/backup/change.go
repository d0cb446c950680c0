package backup

import (
	"context"
	"errors"
	"fmt"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
)

// modify asks for settings and waits until the instance has them. Asking again is asking for what is missing.
func (r *Room) modify(ctx context.Context, s *op.Session, c Cloud, name string, want cloud.Settings) (op.Result, error) {
	var out op.Result
	var receipt *cloud.Receipt
	err := s.Poll(ctx, r.d.Pace, "change "+name, func(ctx context.Context) (bool, string, error) {
		if receipt == nil {
			live, err := c.Get(ctx, name)
			if err != nil {
				return false, "", err
			}
			missing := want.Missing(live)
			if err := s.Fence(); err != nil {
				return false, "", err
			}
			got, err := c.Modify(ctx, name, cloud.Modify{Settings: want})
			if is(err, fault.Stale) { // somebody else changed another setting in between
				return false, "asking again: " + err.Error(), nil
			}
			if err != nil {
				return false, "", err
			}
			for _, m := range missing {
				out.Changes = append(out.Changes, op.Change{Setting: m.Setting, From: m.From, To: m.To})
			}
			out.RequestID, receipt = got.RequestID, &got
		}
		p, err := c.Progress(ctx, *receipt)
		return p.Done, p.Says(name), err
	})
	return out, err
}

// wait follows a change to its end.
func (r *Room) wait(ctx context.Context, s *op.Session, c Cloud, receipt cloud.Receipt) error {
	return s.Poll(ctx, r.d.Pace, receipt.Change+" of "+receipt.Instance, func(ctx context.Context) (bool, string, error) {
		p, err := c.Progress(ctx, receipt)
		return p.Done, p.Says(receipt.Instance), err
	})
}

// made is an instance that a run makes of another one.
type made struct {
	cloud.Restore
	claimed bool // its label has been seen or set: without it the instance is somebody's
}

// mine is what a run restores: its label is what says so.
func mine(s *op.Session, r cloud.Restore) made {
	r.Labels = map[string]string{RunLabel: s.Run}
	return made{Restore: r}
}

// errNotMine is that an instance of the name is there, which this run did not make.
func errNotMine(m made, run string) error {
	return fault.New(fault.Invalid, "restore "+m.Source+" to "+m.Target, fmt.Errorf("an instance of that name is there, and run %s did not make it: %w", run, cloud.ErrExists)).
		Hint("undo or abandon the run, and plan again with another name")
}

// begin asks for the instance, unless that was done before.
func (r *Room) begin(ctx context.Context, s *op.Session, c Cloud, m made) (receipt cloud.Receipt, err error) {
	err = s.Poll(ctx, r.d.Pace, "restore "+m.Source+" to "+m.Target, func(ctx context.Context) (bool, string, error) {
		var err error
		if receipt, err = c.Restoring(ctx, m.Restore, s.Plan.Created); err == nil {
			return true, "", nil
		}
		if errors.Is(err, cloud.ErrExists) {
			return false, "", errNotMine(m, s.Run)
		}
		if !is(err, fault.NotFound) {
			return false, "", err
		}
		if err := s.Fence(); err != nil {
			return false, "", err
		}
		receipt, err = c.Restore(ctx, m.Restore)
		if errors.Is(err, cloud.ErrExists) {
			return false, m.Target + " is there: looking whose it is", nil
		}
		return err == nil, "", err
	})
	return receipt, err
}

// owns tells whether this run made an instance.
func (m made) owns(ctx context.Context, s *op.Session, c Cloud, live *cloud.Instance) (bool, error) {
	if live.Labels[RunLabel] == s.Run {
		return true, nil
	}
	if m.claimed { // somebody took the label off, to keep it
		return false, nil
	}
	_, err := c.Restoring(ctx, m.Restore, s.Plan.Created)
	if errors.Is(err, cloud.ErrExists) || is(err, fault.NotFound) {
		return false, nil
	}
	return err == nil, err
}

// remove removes the instance, and nothing that this run did not make.
func (r *Room) remove(ctx context.Context, s *op.Session, c Cloud, m made) (op.Result, error) {
	out := op.Result{Text: m.Target + " is not there"}
	var receipt *cloud.Receipt
	err := s.Poll(ctx, r.d.Pace, "remove "+m.Target, func(ctx context.Context) (bool, string, error) {
		if receipt != nil {
			p, err := c.Progress(ctx, *receipt)
			return p.Done, p.Says(m.Target), err
		}
		live, err := c.Get(ctx, m.Target)
		if is(err, fault.NotFound) {
			return true, "", nil
		}
		if err != nil {
			return false, "", err
		}
		if live.State == cloud.Deleting {
			out.Text = m.Target + " is removed"
			return false, m.Target + ": " + live.RawState, nil
		}
		own, err := m.owns(ctx, s, c, live)
		if err != nil {
			return false, "", err
		}
		if !own {
			out.Text = fmt.Sprintf("%s is left as it is: it has no label %s=%s, so this run did not make it", m.Target, RunLabel, s.Run)
			return true, "", nil
		}
		if err := s.Fence(); err != nil {
			return false, "", err
		}
		if live.DeletionProtection {
			_, err := c.Modify(ctx, m.Target, cloud.Modify{Settings: cloud.Settings{DeletionProtection: new(false)}})
			if live.State == cloud.Failed && err != nil { // it will never be at rest
				err = fault.New(fault.Invalid, "remove "+m.Target, err).
					Hint("it failed when it was made, and its deletion protection cannot be turned off: remove it in the provider's console, then dbops runs decide %s retry", s.Run)
			}
			if is(err, fault.Stale) {
				err = nil
			}
			return false, m.Target + ": turning deletion protection off", err
		}
		got, err := c.Delete(ctx, m.Target)
		if is(err, fault.NotFound) {
			return true, "", nil
		}
		if err != nil {
			return false, "", err
		}
		receipt = &got
		out.RequestID, out.Text = got.RequestID, m.Target+" is removed"
		out.Changes = []op.Change{{Target: m.Target, Setting: "instance", From: m.Target, To: "removed"}}
		return false, "", nil
	})
	return out, err
}
