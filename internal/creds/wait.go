package creds

import (
	"context"
	"fmt"
	"time"

	"dbops/internal/fault"
	"dbops/internal/op"
)

// drain waits until nobody is logged in with the old credential.
func (m moving) drain(ctx context.Context, s *op.Session) (op.Result, error) {
	err := m.onEach(ctx, "wait for the sessions of the old credential", func(ctx context.Context, c *ContainerFacts, a *admin) error {
		if c.old().Role == "" {
			return nil
		}
		return m.emptied(ctx, s, a, c, c.old().Role)
	})
	return op.Result{Text: "nobody is logged in with an old credential"}, err
}

// emptied waits until nobody has been logged in as a role for the grace.
func (m moving) emptied(ctx context.Context, s *op.Session, a *admin, c *ContainerFacts, role string) error {
	var since time.Time
	looks, begun := 0, time.Now()
	pace := m.Pace
	pace.Patience = 0 // ours, below: waiting for people is not worth a retry
	if m.grace > 0 {  // the looks must fit into the grace
		pace.Most = min(pace.Most, max(m.grace/time.Duration(max(m.polls, 1)), 50*time.Millisecond))
		pace.First = min(pace.First, pace.Most)
	}
	return s.Poll(ctx, pace, a.what, func(ctx context.Context) (bool, string, error) {
		busy, err := a.sessions(ctx, role)
		if err != nil {
			return false, "", err
		}
		if busy.Count > 0 {
			since, looks = time.Time{}, 0
			if m.Pace.Patience > 0 && time.Since(begun) > m.Pace.Patience {
				return false, "", fault.Newf(fault.Failed, a.what, "after %s somebody is still logged in as %s: %s", m.Pace.Patience, role, busy.Who).
					Hint("restart it so that it reads the credential that is current now; both work until then")
			}
			return false, fmt.Sprintf("%s: %d sessions still as %s: %s; restart it if nothing else does", c.Name, busy.Count, role, busy.Who), nil
		}
		if looks++; looks == 1 {
			since = time.Now()
		}
		return looks >= m.polls && time.Since(since) >= m.grace, "", nil
	})
}

// disabled is when the old slots were disabled.
type disabled struct {
	At time.Time `json:"at"`
}

// soak waits, and goes on waiting where a killed process had begun.
func (m moving) soak(long time.Duration) func(context.Context, *op.Session) (op.Result, error) {
	return func(ctx context.Context, s *op.Session) (op.Result, error) {
		var d disabled
		if _, err := s.Output(stepDisable, &d); err != nil {
			return op.Result{}, err
		}
		if left := long - time.Since(d.At); left > 0 {
			s.Progress(ctx, "until %s; dbops runs cancel %s, then dbops runs undo %s brings the old credential back", d.At.Add(long).Local().Format("15:04:05"), s.Run, s.Run)
			if err := op.Sleep(ctx, min(left, long)); err != nil {
				return op.Result{}, err
			}
		}
		all, err := m.staged(s)
		if err == nil {
			err = m.own(ctx, s, "end the wait", true, all.made) // the way back is open here, and not where the password is destroyed
		}
		return op.Result{Text: "nobody asked for the old credential"}, err
	}
}
