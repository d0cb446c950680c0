package op

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"dbops/internal/fault"
	"dbops/internal/state"
)

// hold is another run that a plan's run would meet.
type hold struct {
	target string // what both need for themselves
	run    state.Run
}

// stuck tells that nobody brings it on: who waits for it waits for ever.
func (h hold) stuck() bool {
	return h.run.State == state.Parked || h.run.State == state.Gate || h.run.Interrupted()
}

// finding tells of it in a plan.
func (h hold) finding() Finding {
	f := Finding{Severity: Warn, Check: "unfinished-run", Evidence: "run " + h.run.ID + ": " + string(h.run.State), Passing: true}
	title := h.run.ID + h.whole() + ": " + h.run.Title
	switch {
	case h.stuck():
		f.Severity, f.Text, f.Remedy = Block, h.target+" has an unfinished run, "+title, h.remedy()+"; then make the plan again"
	case h.run.State == state.Queued:
		f.Text = h.target + " has a run that waits to be begun, " + title
		f.Remedy = "one of both waits for the other: dbops runs show " + h.run.ID
	default:
		f.Text = h.target + " is being changed by run " + title
		f.Remedy = "this change would wait for its end: dbops runs watch " + h.run.ID
	}
	return f
}

// whole names the run that it is a part of, which is the one to go on with.
func (h hold) whole() string {
	if h.run.PartOf == "" {
		return ""
	}
	return ", a part of run " + h.run.PartOf
}

func (h hold) remedy() string {
	if h.run.PartOf != "" {
		return "dbops runs show " + h.run.PartOf + " says what both wait for"
	}
	if h.run.Interrupted() && len(h.run.Verbs) == 0 {
		return "nobody works on it: dbops runs resume " + h.run.ID
	}
	return "dbops runs show " + h.run.ID + " says what it waits for"
}

// holds are the other runs that have, or will want, what a plan's run needs for itself.
func (e *Engine) holds(ctx context.Context, tx *state.Tx, p *Plan) (all []hold, err error) {
	want := p.leases()
	leases, err := tx.Leases(ctx)
	if err != nil {
		return nil, err
	}
	for _, l := range leases {
		if !slices.Contains(want, l.Target) || l.Run == p.RunID() {
			continue
		}
		r, found, err := tx.Run(ctx, l.Run)
		if err != nil {
			return nil, err
		}
		if found {
			all = append(all, hold{l.Target, r})
		}
	}
	queued, err := tx.Runs(ctx, state.RunFilter{Environment: p.Environment, Instance: p.Instance, Active: true})
	if err != nil {
		return nil, err
	}
	for _, r := range queued {
		if r.State == state.Queued && r.ID != p.RunID() && slices.Contains(want, p.Target.String()) && e.wants(ctx, tx, r, p.Target.String()) &&
			!slices.ContainsFunc(all, func(h hold) bool { return h.run.ID == r.ID }) {
			all = append(all, hold{p.Target.String(), r})
		}
	}
	return all, nil
}

// wants tells whether a run that was not begun needs a target for itself.
func (e *Engine) wants(ctx context.Context, tx *state.Tx, r state.Run, target string) bool {
	stored, found, err := tx.Plan(ctx, r.PlanHash)
	if err != nil || !found {
		return true // rather a warning too much
	}
	p, err := decodePlan(stored.Body)
	return err != nil || slices.Contains(p.leases(), target)
}

// unheld refuses a plan for a target that belongs to a run which nobody brings on: it would wait for ever. A run that is worked on is
// waited for.
func (e *Engine) unheld(ctx context.Context, tx *state.Tx, what string, p *Plan) error {
	all, err := e.holds(ctx, tx, p)
	if err != nil {
		return err
	}
	for _, h := range all {
		if h.stuck() {
			return fault.Newf(fault.Blocked, what, "%s has an unfinished run, %s%s: %s", h.target, h.run.ID, h.whole(), h.run.Title).Hint("%s", h.remedy())
		}
	}
	return nil
}

// addPassing adds to a plan that changes something what is in its way at the moment.
func (e *Engine) addPassing(ctx context.Context, what string, p *Plan) error {
	if p.Nothing() {
		return nil
	}
	var all []hold
	err := e.store.Read(ctx, what, func(ctx context.Context, tx *state.Tx) (err error) {
		all, err = e.holds(ctx, tx, p)
		return err
	})
	if err != nil {
		return err
	}
	for _, h := range all {
		p.Findings = append(p.Findings, h.finding())
	}
	if e.o.Underway == nil {
		return nil
	}
	found, err := e.o.Underway(ctx, p.Target, func(run string) bool {
		_, err := e.Run(ctx, run)
		return err == nil
	})
	if err != nil {
		return err
	}
	for _, f := range found {
		if p.Untouched && f.Severity == Block { // its run takes no mark, and waits for none
			continue
		}
		if f.Passing = true; !slices.ContainsFunc(p.Findings, func(o Finding) bool { return o.Check == f.Check }) { // the operation itself has looked
			p.Findings = append(p.Findings, f)
		}
	}
	return nil
}

// withdrawn ends a run that was not begun and found its target to be another one's: it would wait for ever in a store of one process, or begin
// much later with a plan of before. Other errors are returned as they are.
func (e *Engine) withdrawn(ctx context.Context, id string, err error) error {
	held, ok := errors.AsType[*state.HeldError](err)
	if !ok || held.Run == id {
		return err
	}
	over := false
	var what string
	lost := e.store.Tx(ctx, "withdraw run "+id, func(ctx context.Context, tx *state.Tx) error {
		r, found, err := tx.LockRun(ctx, id)
		what = "run " + r.Title
		if err != nil || !found || r.State != state.Queued {
			return err
		}
		over = true
		return e.endQueued(ctx, tx, r, Actor{r.Actor, r.ActorVia}, fmt.Sprintf("withdrawn: %s belongs to run %s", held.Target, held.Run))
	})
	if lost != nil || !over {
		return errors.Join(err, lost)
	}
	return fault.New(fault.Blocked, what, held).Hint("nothing was changed, and nothing waits; when that run has ended, make the plan again: dbops runs show %s", held.Run)
}
