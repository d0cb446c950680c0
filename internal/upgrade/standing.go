package upgrade

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"dbops/internal/op"
	"dbops/internal/state"
)

// ShutOutSince is since when an upgrade, or the return from one, keeps clients out by its journal; zero: they are let in somewhere.
func ShutOutSince(kind string, journal []state.Step) (since time.Time) {
	shut, open := quiesceStep, switchStep
	switch kind {
	case RollbackKind:
		shut, open = backStep, backStep
	case RunKind, InPlaceKind:
	default: // nobody is kept out
		return since
	}
	for _, s := range journal {
		switch {
		case s.Phase == state.Undo:
			if s.State == state.StepDone && (s.Name == quiesceStep || s.Name == switchStep) {
				since = time.Time{}
			}
		case s.Name == open && s.State != state.StepRunning && (s.State == state.StepDone || kind == RollbackKind): // one that fails lets clients go on where they are
			since = time.Time{}
		case s.Name == swapStep && s.State == state.StepFailed: // it has left everything as it was
			since = time.Time{}
		case s.Name == shut && since.IsZero():
			since = s.Started
		}
	}
	return since
}

// standing says of a run that has not ended where clients are and how it goes on, and of one that was abandoned where it left them.
func (r *Report) standing(p *op.Plan, run state.Run) {
	if r.Kind == RehearseKind || run.State == state.Undone || run.State == state.Cancelled {
		return
	}
	from, to := r.Source.Name, r.Target.Name
	switch {
	case !r.ShutOut.IsZero() && from == to:
		r.Clients = fmt.Sprintf("shut out of %s since %s", from, stamp(r.ShutOut))
	case !r.ShutOut.IsZero() && r.Switched(true):
		r.Clients = fmt.Sprintf("shut out of %s since %s, and some may be on %s", from, stamp(r.ShutOut), to)
	case !r.ShutOut.IsZero():
		r.Clients = fmt.Sprintf("shut out of %s since %s, and not on %s yet", from, stamp(r.ShutOut), to)
	case r.Switched(false):
		r.Clients = "on " + to
	default:
		r.Clients = "on " + from
	}
	where := p.Environment + " " + p.Instance
	rollback := "dbops upgrade rollback -e " + where + " goes back"
	if run.State.Ended() {
		if !r.ShutOut.IsZero() {
			r.Next = "dbops upgrade rollback -e " + where + " lets them in again"
		}
		return
	}
	verbs := strings.Join(run.Verbs, "|")
	switch {
	case run.State == state.Gate:
		r.Next = "dbops upgrade cutover -e " + where + " goes on; " + rollback
	case run.State == state.Parked && run.Hint != "":
		r.Next = fmt.Sprintf("%s; then dbops runs decide %s %s%s", run.Hint, run.ID, verbs, GoesBack(run))
	case run.State == state.Parked:
		r.Next = fmt.Sprintf("dbops runs decide %s %s; %s", run.ID, verbs, rollback)
	case run.State == state.Queued && !run.Alive:
		r.Next = "dbops runs resume " + run.ID
	case run.Interrupted():
		r.Next = "dbops runs resume " + run.ID + " goes on; " + rollback
	default:
		r.Next = "dbops runs watch " + run.ID
	}
}

// EndedBy tells the report what became of the way back: where clients are is for the operation to say that ended it.
func (r *Report) EndedBy(after After) {
	if after.Ended == "" {
		return
	}
	r.After, r.ShutOut, r.Clients, r.Next = after.Ended, time.Time{}, "", ""
	if after.Back && after.Cleared == "" && r.makes {
		r.Remnant = r.Target.Name
	}
}

// Costs says of the new instance that a rollback left what it is, and what removes it; empty if none is left.
func (r *Report) Costs(env, instance string) (text, next string) {
	if r.Remnant == "" {
		return "", ""
	}
	return fmt.Sprintf("%s, which run %s made, is there still, closed to clients, and costs until it is removed", r.Remnant, r.Run),
		fmt.Sprintf("dbops upgrade cleanup -e %s %s removes it", env, instance)
}

// GoesBack adds the way back to what a person is told to do about an upgrade that waits parked, unless its hint names that.
func GoesBack(run state.Run) string {
	back := fmt.Sprintf("dbops upgrade rollback -e %s %s", run.Environment, run.Instance)
	if run.State != state.Parked || run.Kind != RunKind && run.Kind != InPlaceKind || strings.Contains(run.Hint, back) {
		return ""
	}
	return "; " + back + " goes back"
}

// settled is what the undo of an upgrade in place found the instance to be.
type settled struct {
	Major int `json:"major"`
}

// settled tells that an instance was upgraded although its upgrade was undone: nobody stops a cloud.
func (r *Report) settled(kind string, run state.Run, journal []state.Step) error {
	if kind != InPlaceKind || run.State != state.Undone {
		return nil
	}
	for _, s := range journal {
		var found settled
		if s.Phase != state.Undo || s.Name != upgradeStep || s.State != state.StepDone || len(s.Output) == 0 {
			continue
		}
		if err := json.Unmarshal(s.Output, &found); err != nil {
			return fmt.Errorf("read what the undo of step %s stored: %w", s.Name, err)
		}
		if found.Major == r.Target.Major {
			r.Stays = found.Major
			r.Caution = fmt.Sprintf("%s is PostgreSQL %d all the same, which the cloud had made of it by then: run ANALYZE in each database", r.Source.Name, found.Major)
		}
	}
	return nil
}

// unfinished is a run that has not ended, in a sentence.
func (r *Report) unfinished() string {
	text := "it is not finished: " + r.stands
	if r.Clients != "" {
		text += "; clients are " + r.Clients
	}
	return text + "; " + r.Next
}

// standsAt is what a run that has not ended does or waits for.
func standsAt(run state.Run) string {
	switch {
	case run.State == state.Gate:
		return "it waits at its gate"
	case run.State == state.Parked:
		return fmt.Sprintf("it is parked at step %s: %s", run.Step, run.Problem)
	case run.State == state.Queued:
		return "it waits to be begun"
	case run.Interrupted():
		return "it was interrupted at step " + run.Step
	}
	return "it is at step " + run.Step
}

// Switched tells whether clients were switched, or with some whether that has begun.
func (r *Report) Switched(some bool) bool {
	return slices.ContainsFunc(r.Phases, func(p Phase) bool { return p.Name == switchStep && (some || p.State == state.StepDone) })
}
