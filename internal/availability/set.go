package availability

import (
	"context"
	"fmt"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
)

func set(d Deps) op.Kind {
	return op.Operation[SetRequest, Facts]{
		Kind: SetKind, Words: words(),
		Observe: func(ctx context.Context, t op.Target, r SetRequest) (Facts, error) {
			if r.Want != cloud.Zonal && r.Want != cloud.Regional {
				return Facts{}, fault.Newf(fault.Usage, "plan the availability of "+t.String(), "there is no availability %q", r.Want).Hint("zonal or regional")
			}
			return d.observe(ctx, t)
		},
		Derive: planSet,
		Steps: func(t op.Target, r SetRequest, f Facts) []op.Step {
			c := setting{d, t, r, f}
			wait := op.Step{Name: stepWait, Title: "wait until it has happened, and measure the downtime", Do: c.wait}
			if c.blind() {
				wait.Title = fmt.Sprintf("see that %s has taken it down", title(f.Provider))
			}
			modify := op.Step{Name: stepModify, Title: fmt.Sprintf("ask %s for %s", title(f.Provider), r.Want), Do: c.modify}
			if f.Availability != r.Want {
				modify.Undo = c.undo
				modify.UndoTitle = fmt.Sprintf("set the availability of %s back to %s, if it is %s", t, f.Availability, r.Want)
			}
			return []op.Step{modify, wait, {Name: "verify", Title: fmt.Sprintf("see that %s is %s", t, r.Want), Do: c.verify}}
		},
	}.AsKind()
}

// setting is one run's change of an availability.
type setting struct {
	Deps
	t op.Target
	r SetRequest
	f Facts
}

func (c setting) what() string { return fmt.Sprintf("set the availability of %s to %s", c.t, c.r.Want) }

// asking is how the run asks for an availability.
func (c setting) asking(ctx context.Context, s *op.Session, want cloud.Availability, when cloud.When) (*asking, error) {
	provider, name, err := c.Cloud(ctx, c.t)
	if err != nil {
		return nil, err
	}
	return &asking{Deps: c.Deps, t: c.t, want: want, when: when, was: c.f.Pending, what: c.what(), c: provider, name: name, session: s}, nil
}

func (c setting) when() cloud.When {
	if c.r.InWindow || takesBack(c.r, c.f) {
		return cloud.InWindow
	}
	return cloud.Now
}

// blind tells that nothing happens to the instance now, so that nothing can be measured.
func (c setting) blind() bool { return c.when() == cloud.InWindow }

func (c setting) modify(ctx context.Context, s *op.Session) (op.Result, error) {
	a, err := c.asking(ctx, s, c.r.Want, c.when())
	if err != nil {
		return op.Result{}, err
	}
	w := &watch{}
	if !c.blind() {
		w = c.watch(ctx, c.t)
		defer w.stop()
	}
	a.out.Before = w.before(ctx)
	if err := a.run(ctx); err != nil {
		return op.Result{}, err
	}
	if a.out.Found == foundUnderWay || a.out.Found == foundDone {
		w.settle(ctx, a.out) // the change is over
	}
	a.out.Watched = w.stop()
	result := op.Result{Output: a.out, Changes: setChanges(c.r, c.f), Text: "accepted by " + title(c.f.Provider)}
	if r := a.out.Receipt; r != nil {
		result.RequestID = r.RequestID
	} else {
		result.Text = foundText(a.out.Found)
	}
	return result, nil
}

func (c setting) wait(ctx context.Context, s *op.Session) (op.Result, error) {
	provider, name, err := c.Cloud(ctx, c.t)
	if err != nil {
		return op.Result{}, err
	}
	f := following{Deps: c.Deps, t: c.t, f: c.f, what: c.what(), c: provider, name: name, session: s, blind: c.blind()}
	if _, err := s.Output(stepModify, &f.asked); err != nil {
		return op.Result{}, err
	}
	report, live, err := f.run(ctx)
	if err != nil {
		return op.Result{}, err
	}
	if waiting(live.Pending) == c.r.Want && c.r.InWindow {
		report.Window, report.Ended = live.Maintenance.Window, time.Time{}
		return op.Result{Output: report, Text: fmt.Sprintf("%s does it in the maintenance window %s (UTC)", title(c.f.Provider), orNone(report.Window))}, nil
	}
	text := fmt.Sprintf("%s in %s", live.Availability, report.After)
	if !f.blind {
		text += "; " + report.text()
	}
	return op.Result{Output: report, Text: text}, nil
}

func (c setting) verify(ctx context.Context, s *op.Session) (op.Result, error) {
	provider, name, err := c.Cloud(ctx, c.t)
	if err != nil {
		return op.Result{}, err
	}
	live, err := provider.Get(ctx, name)
	if err != nil {
		return op.Result{}, gone(err, c.what(), s)
	}
	if c.r.InWindow && waiting(live.Pending) == c.r.Want {
		if err := c.applied(ctx, s); err != nil {
			return op.Result{}, err
		}
		return op.Result{Text: "it waits for the window " + orNone(live.Maintenance.Window)}, nil
	}
	if !is(live, c.r.Want) {
		return op.Result{}, fault.Newf(fault.Stale, c.what(), "it is %s in %s: somebody changed it since", live.Availability, zonesOf(live)).
			Hint("look at the events in the provider's console; dbops runs retry %s looks again, dbops runs abandon %s ends the run", s.Run, s.Run)
	}
	if err := c.answers(ctx, c.what(), c.t, s); err != nil {
		return op.Result{}, err
	}
	if err := c.applied(ctx, s); err != nil {
		return op.Result{}, err
	}
	return op.Result{Text: fmt.Sprintf("%s in %s", live.Availability, zonesOf(live))}, nil
}

func (c setting) applied(ctx context.Context, s *op.Session) error {
	if c.Applied == nil {
		return nil
	}
	if err := s.Fence(); err != nil {
		return err
	}
	return c.Applied(ctx, c.t, s.Run, c.r.Want)
}

// undo sets back what the run has set: nothing else, and nothing that somebody has set back already.
func (c setting) undo(ctx context.Context, s *op.Session) (op.Result, error) {
	a, err := c.asking(ctx, s, c.f.Availability, cloud.Now)
	if err != nil {
		return op.Result{}, err
	}
	a.what = fmt.Sprintf("set the availability of %s back to %s", c.t, c.f.Availability)
	live, err := c.rest(ctx, a)
	if err != nil {
		return op.Result{}, err
	}
	pending := waiting(live.Pending)
	switch {
	case live.Availability == c.f.Availability && pending != c.r.Want:
		return op.Result{Text: fmt.Sprintf("it is %s: there is nothing to set back", live.Availability)}, nil
	case pending == c.r.Want:
		a.when = cloud.InWindow // takes the wish back, and applies nothing else
	}
	var asked Asked
	known, err := s.Output(stepModify, &asked)
	if err != nil {
		return op.Result{}, err
	}
	if !known {
		return op.Result{}, fault.Newf(fault.Stale, a.what, "it is %s, and this run does not know whether it asked for that: its request failed", c.r.Want).
			Hint("if nobody else did: dbops runs abandon %s, then %s", s.Run, command("availability set "+string(c.f.Availability), c.t))
	}
	w := c.watch(ctx, c.t)
	defer w.stop()
	a.out.Before = w.before(ctx)
	if err := a.run(ctx); err != nil {
		return op.Result{}, err
	}
	f := following{Deps: c.Deps, t: c.t, f: c.f, what: a.what, c: a.c, name: a.name, session: s, asked: a.out, w: w}
	report, live, err := f.run(ctx)
	if err != nil {
		return op.Result{}, err
	}
	result := op.Result{
		Output: report, Text: fmt.Sprintf("%s again in %s; %s", live.Availability, report.After, report.text()),
		Changes: []op.Change{{Setting: settingAvailability, From: string(c.r.Want), To: string(c.f.Availability)}},
	}
	if a.out.Receipt != nil {
		result.RequestID = a.out.Receipt.RequestID
	}
	return result, nil
}

// rest waits until the instance can be judged.
func (c setting) rest(ctx context.Context, a *asking) (live *cloud.Instance, err error) {
	err = a.session.Poll(ctx, c.Pace, a.what, func(ctx context.Context) (bool, string, error) {
		if live, err = a.c.Get(ctx, a.name); err != nil {
			return false, "", gone(err, a.what, a.session)
		}
		return live.State == cloud.Available || live.State == cloud.Failed || live.State == cloud.Stopped, live.RawState, nil
	})
	return live, err
}
