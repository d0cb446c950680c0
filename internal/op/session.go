package op

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"dbops/internal/fault"
	"dbops/internal/state"
)

// Session is a step's view of its run.
type Session struct {
	Plan *Plan
	Run  string // the run's name: a good part of the names of what a step makes
	// Attempt counts from 1.
	Attempt int

	outputs  map[string]json.RawMessage
	fence    func() error
	progress func(ctx context.Context, must bool, text string, detail json.RawMessage)
	by       func() Actor
	carry    func(ctx context.Context, id string, tell func(state.Event)) (state.Run, error)
}

// By is by whose word the run goes on.
func (s *Session) By() Actor {
	if s.by == nil {
		return s.Plan.Requester
	}
	return s.by()
}

// Output reads what an earlier step of the run stored. ok is false if that step stored nothing, or has not been done.
func (s *Session) Output(step string, into any) (ok bool, err error) {
	raw, ok := s.outputs[step]
	if !ok || len(raw) == 0 || string(raw) == "null" {
		return false, nil
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return false, fmt.Errorf("read what step %s stored: %w", step, err)
	}
	return true, nil
}

// Fence returns an error if this process may have lost its lease: then it must not change anything.
func (s *Session) Fence() error {
	if s.fence == nil {
		return nil
	}
	return s.fence()
}

// Progress tells those who watch how far the step is. It is not recorded for good, and the same text twice is told once.
func (s *Session) Progress(ctx context.Context, format string, args ...any) {
	s.ProgressOf(ctx, nil, format, args...)
}

// ProgressOf is Progress with what the text says as JSON, for programs; secrets have no place in it.
func (s *Session) ProgressOf(ctx context.Context, detail any, format string, args ...any) {
	s.tell(ctx, false, detail, format, args...)
}

// Milestone is ProgressOf for what is told even if it comes soon after something else: the end of a part of the work.
func (s *Session) Milestone(ctx context.Context, detail any, format string, args ...any) {
	s.tell(ctx, true, detail, format, args...)
}

func (s *Session) tell(ctx context.Context, must bool, detail any, format string, args ...any) {
	if s.progress == nil {
		return
	}
	var raw json.RawMessage
	if detail != nil {
		raw, _ = json.Marshal(detail) // a detail that cannot be written is none
	}
	s.progress(ctx, must, fmt.Sprintf(format, args...), raw)
}

// Sleep waits, unless ctx ends first: then it returns why.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Pace is how a step polls: from First, growing by half, to Most; after Patience it gives up.
type Pace struct {
	First, Most, Patience time.Duration
}

// CloudPace fits changes that take a cloud minutes to hours.
func CloudPace() Pace {
	return Pace{First: 500 * time.Millisecond, Most: 20 * time.Second, Patience: 12 * time.Hour}
}

// Poll asks look again and again until it says done. Errors that pass (throttled, busy, unavailable) are told as progress and asked again;
// others end it. When patience ends it is a fault.Unavailable: trying again goes on waiting.
func (s *Session) Poll(ctx context.Context, p Pace, what string, look func(context.Context) (done bool, status string, err error)) error {
	start, pause := time.Now(), p.First
	for {
		done, status, err := look(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil && done:
			return nil
		case err != nil && !passes(fault.KindOf(err)):
			return err
		case err != nil:
			status = "asking again: " + err.Error()
		}
		if status != "" {
			s.Progress(ctx, "%s", status)
		}
		if waited := time.Since(start); p.Patience > 0 && waited > p.Patience {
			return fault.Newf(fault.Unavailable, what, "it is not done after %s: %s", waited.Round(time.Second), status).
				Hint("look in the provider's console; trying again goes on waiting")
		}
		if err := Sleep(ctx, pause); err != nil {
			return err
		}
		pause = min(pause+pause/2, p.Most)
	}
}

// passes tells whether a failure of that kind may be gone in a while.
func passes(k fault.Kind) bool {
	return k == fault.Throttled || k == fault.Busy || k == fault.Unavailable
}
