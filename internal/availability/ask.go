package availability

import (
	"context"
	"fmt"
	"slices"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
)

// Asked is what a step that asks for a change stores for those after it.
type Asked struct {
	Receipt *cloud.Receipt `json:"receipt,omitempty"`
	// Found, without a receipt, says in which state the change was when this process came to ask: an earlier process asked and was
	// killed before it could store the receipt, or its answer was lost. Or somebody else asked for the same.
	Found   string   `json:"found,omitempty"`
	Before  string   `json:"before,omitempty"` // why the database did not answer before the change
	Watched *Watched `json:"watched,omitempty"`
}

// How a change is found.
const (
	foundDone     = "done"
	foundUnderWay = "under way"
	foundPending  = "accepted for the window"
)

// asking brings an availability about, or finds it under way. It never asks while the instance is not at rest, and looks again before
// it asks again: what a killed process asked for shows by then. Asking for the same twice would change nothing more.
type asking struct {
	Deps
	t       op.Target
	want    cloud.Availability
	when    cloud.When
	was     []cloud.Change // pending when the plan was made
	what    string
	c       Cloud
	name    string
	session *op.Session
	begun   time.Time
	stale   int
	out     Asked
}

// maxStale is how often an instance may change between looking and asking.
const maxStale = 5

func (a *asking) run(ctx context.Context) error {
	a.begun = time.Now()
	return a.session.Poll(ctx, a.Pace, a.what, a.look)
}

func (a *asking) look(ctx context.Context) (done bool, status string, err error) {
	live, err := a.c.Get(ctx, a.name)
	if err != nil {
		return false, "", gone(err, a.what, a.session)
	}
	switch pending := waiting(live.Pending); {
	case a.when == cloud.InWindow && pending == a.want:
		a.out.Found = foundPending
		return true, "", nil
	case live.State == cloud.Available && is(live, a.want):
		if a.out.Found == "" {
			a.out.Found = foundDone
		}
		return true, "", nil
	case live.State == cloud.Deleting, live.State == cloud.Failed, live.State == cloud.Stopped:
		return false, "", fault.Newf(fault.Invalid, a.what, "it is %s (%s)", live.State, live.RawState).
			Hint("when it is available again: dbops runs retry %s", a.session.Run)
	case live.State != cloud.Available:
		a.out.Found = foundUnderWay
		return false, live.RawState, nil
	case a.accepted(pending) && time.Since(a.begun) < a.Grace:
		a.out.Found = foundUnderWay
		return false, live.RawState + ", accepted and not begun", nil
	}
	a.out.Found = ""
	if err := a.untouched(live); err != nil {
		return false, "", err
	}
	return a.ask(ctx, live)
}

// accepted tells that RDS has taken the wish and not begun, for which it shows nothing but this. A wish that waited for the window when
// the plan was made tells nothing.
func (a *asking) accepted(pending cloud.Availability) bool {
	return a.when != cloud.InWindow && pending == a.want && waiting(a.was) != a.want
}

// untouched refuses to apply along what was not pending when the plan was made: nobody has seen it, nor approved it.
func (a *asking) untouched(live *cloud.Instance) error {
	if live.Provider != cloud.RDS || a.when == cloud.InWindow {
		return nil
	}
	for _, c := range others(live.Pending) {
		if !slices.Contains(a.was, c) {
			return fault.Newf(fault.Stale, a.what, "since the plan was made somebody left a modification pending that RDS would apply along: %s", told(c)).
				Hint("nothing was asked for; end this run with dbops runs abandon %s, and plan again", a.session.Run)
		}
	}
	return nil
}

func (a *asking) ask(ctx context.Context, live *cloud.Instance) (done bool, status string, err error) {
	if err := a.session.Fence(); err != nil {
		return false, "", err
	}
	r, err := a.c.Modify(ctx, a.name, cloud.Modify{Settings: cloud.Settings{Availability: &a.want}, When: a.when, Revision: live.Revision})
	switch {
	case err == nil:
		a.out.Receipt = &r
		return true, "", nil
	case fault.KindOf(err) == fault.Stale:
		if a.stale++; a.stale < maxStale {
			return false, "it changed meanwhile; looking again", nil
		}
	}
	return false, "", err // those that pass are looked at again
}

// gone says what an instance that is not there any more means for a run.
func gone(err error, what string, s *op.Session) error {
	if fault.KindOf(err) != fault.NotFound {
		return err
	}
	return fault.New(fault.NotFound, what, err).Hint("somebody removed it; end this run: dbops runs abandon %s", s.Run)
}

// foundText says how a change was found.
func foundText(found string) string {
	return fmt.Sprintf("found %s: an earlier try of this run asked for it, or somebody else did since it was planned", found)
}
