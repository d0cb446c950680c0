package fake

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"dbops/internal/app"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
)

// changes are the plans, runs and approvals of the core.
type changes struct {
	readOnly  string
	noVotes   string
	elsewhere string
	planErr   error
	runsErr   error
	planFor   time.Duration
	edit      func(*op.Plan)
	planned   []app.Change
	saved     map[string]*op.Plan
	views     []app.RunView
	events    map[string][]state.Event
	told      []app.Decision
	waiting   []app.Waiting
	changed   chan struct{} // closed and replaced when something has
}

// ForbidChanges makes the core read-only.
func (c *Core) ForbidChanges(why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes.readOnly = why
}

// BeGuest has somebody elsewhere in front of the screen.
func (c *Core) BeGuest(noVotes, elsewhere string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes.noVotes, c.changes.elsewhere = noVotes, elsewhere
}

// EditPlans changes every plan that is made from now on; FailPlans makes planning fail, after d.
func (c *Core) EditPlans(edit func(*op.Plan)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes.edit = edit
}

// FailPlans makes planning take d and fail with err; a nil err lets it succeed.
func (c *Core) FailPlans(d time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes.planFor, c.changes.planErr = d, err
}

// FailRuns makes the runs unreadable; nil mends it.
func (c *Core) FailRuns(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes.runsErr = err
}

// Planned are the changes that plans were asked for, oldest first.
func (c *Core) Planned() []app.Change {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.changes.planned)
}

// Told are the decisions that were told, oldest first.
func (c *Core) Told() []app.Decision {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.changes.told)
}

// Saved are the plans that were saved, by their files.
func (c *Core) Saved() map[string]*op.Plan {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changes.saved
}

// NoVotes implements [core.Changes].
func (c *Core) NoVotes() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changes.noVotes
}

// Elsewhere implements [core.Core].
func (c *Core) Elsewhere() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changes.elsewhere
}

// ReadOnly implements [core.Changes].
func (c *Core) ReadOnly() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changes.readOnly
}

// PlanChange implements [core.Changes].
func (c *Core) PlanChange(ctx context.Context, w app.Change) (*op.Plan, error) {
	c.mu.Lock()
	d, err, edit := c.changes.planFor, c.changes.planErr, c.changes.edit
	c.changes.planned = append(c.changes.planned, w)
	protected := slices.ContainsFunc(c.all, func(i app.Instance) bool { return i.Environment == w.Environment && i.Protected })
	c.mu.Unlock()
	if err := wait(ctx, d); err != nil {
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	p := plan(c.now(), w, protected)
	if edit != nil {
		edit(p)
	}
	return p, nil
}

func plan(now time.Time, w app.Change, protected bool) *op.Plan {
	request, err := json.Marshal(w.Request)
	if err != nil {
		request = nil
	}
	return &op.Plan{
		Schema: op.PlanSchema, ID: "0193", Kind: w.Kind, Target: op.Target{Environment: w.Environment, Instance: w.Instance, Protected: protected},
		Request: request, Requester: op.Actor{Name: "maria@example.com", Via: op.ViaGoogle}, Created: now, Expires: now.Add(24 * time.Hour), Tool: "test",
		Draft: op.Draft{
			Title: fmt.Sprintf("%s of %s/%s", w.Kind, w.Environment, w.Instance),
			Findings: []op.Finding{
				{Severity: op.Info, Check: "connections", Text: "12 clients are connected", Evidence: "pg_stat_activity"},
				{Severity: op.Warn, Check: "window", Text: "the maintenance window is 4 hours away", Evidence: "Sun 03:00-04:00 UTC", Remedy: "wait for it, or go on now"},
			},
			Changes:  []op.Change{{Setting: "availability", From: "zonal", To: "regional"}, {Setting: "zone", From: "eu-west-1a", To: "eu-west-1a, eu-west-1b"}},
			Downtime: op.Downtime{Expected: "brief", Text: "connections are cut once, for about a minute; what the provider says"},
			Cost:     "up: a second instance is paid for", Notes: []string{"the standby is made from a snapshot, which slows writes"},
			Back: "dbops availability set -e " + w.Environment + " " + w.Instance + " zonal",
		},
		Steps: []op.StepInfo{
			{Name: op.CheckStep, Title: "compare " + w.Environment + "/" + w.Instance + " with what the plan was made from"},
			{Name: "modify", Title: "set the availability", Undo: "set it back"},
			{Name: "look", Title: "look at it before it goes on", Gate: true},
			{Name: "verify", Title: "see that clients are served"},
		},
	}
}

// Begin implements [core.Changes].
func (c *Core) Begin(_ context.Context, p *op.Plan, confirm string) (app.Begun, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.Protected && confirm != p.Instance {
		return app.Begun{}, fault.Newf(fault.Unapproved, "run "+p.Title, "the confirmed name %q is not %q", confirm, p.Instance)
	}
	if p.Approvals > 0 {
		a := state.Approval{
			ID: "a7f3", PlanHash: p.Hash(), Requester: p.Requester.Name, Required: p.Approvals, State: state.Requested,
			Requested: c.now(), Expires: c.now().Add(24 * time.Hour), Kind: p.Kind, Environment: p.Environment, Instance: p.Instance,
		}
		switch i := slices.IndexFunc(c.changes.waiting, func(w app.Waiting) bool { return w.Approval.PlanHash == a.PlanHash }); {
		case i < 0:
			c.changes.waiting = append(c.changes.waiting, app.Waiting{Approval: a, Plan: p})
			return app.Begun{Approval: &a}, nil
		case c.changes.waiting[i].Approval.State == state.Requested:
			a = c.changes.waiting[i].Approval
			return app.Begun{Approval: &a}, nil
		}
	}
	r := state.Run{
		ID: p.RunID(), PlanHash: p.Hash(), Kind: p.Kind, Environment: p.Environment, Instance: p.Instance, Title: p.Title, Requester: p.Requester.Name,
		Actor: p.Requester.Name, State: state.Running, Step: p.Steps[0].Name, Alive: true, Host: "laptop", PID: 4711, Created: c.now(), Started: c.now(), Updated: c.now(),
	}
	r.Seen = c.now()
	c.put(app.RunView{Run: r, Plan: p, Steps: []state.Step{{Phase: state.Do, Name: r.Step, State: state.StepRunning, Attempt: 1, Started: c.now()}}})
	return app.Begun{Run: r}, nil
}

// put adds or replaces a run, and wakes who follows it. The caller holds mu.
func (c *Core) put(v app.RunView) {
	if i := c.run(v.Run.ID); i >= 0 {
		c.changes.views = slices.Clone(c.changes.views)
		c.changes.views[i] = v
	} else {
		c.changes.views = append([]app.RunView{v}, c.changes.views...)
	}
	c.wake()
}

func (c *Core) wake() {
	if c.changes.changed != nil {
		close(c.changes.changed)
	}
	c.changes.changed = make(chan struct{})
}

func (c *Core) run(id string) int {
	return slices.IndexFunc(c.changes.views, func(v app.RunView) bool { return v.Run.ID == id })
}

// Put adds a run, or replaces it.
func (c *Core) Put(v app.RunView) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put(v)
}

// Play changes a run, and tells an event of it unless its kind is empty.
func (c *Core) Play(id string, e state.Event, change func(*app.RunView)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.run(id)
	v := c.changes.views[i]
	v.Steps = slices.Clone(v.Steps)
	if change != nil {
		change(&v)
	}
	if e.Kind != "" {
		if c.changes.events == nil {
			c.changes.events = map[string][]state.Event{}
		}
		e.Seq, e.At = int64(len(c.changes.events[id])+1), c.now()
		c.changes.events[id] = append(c.changes.events[id], e)
	}
	c.put(v)
}

// SavePlan implements [core.Changes].
func (c *Core) SavePlan(p *op.Plan, file string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes.saved == nil {
		c.changes.saved = map[string]*op.Plan{}
	}
	c.changes.saved[file] = p
	return nil
}

// Runs implements [core.Changes].
func (c *Core) Runs(ctx context.Context, f state.RunFilter) (out []state.Run, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range c.changes.views {
		r := v.Run
		if (f.Environment == "" || f.Environment == r.Environment) && (f.Instance == "" || f.Instance == r.Instance) && (!f.Active || !r.State.Ended()) {
			out = append(out, r)
		}
	}
	slices.SortStableFunc(out, func(a, b state.Run) int { return b.Created.Compare(a.Created) })
	if f.Limit > 0 {
		out = out[:min(f.Limit, len(out))]
	}
	return out, cmp.Or(c.changes.runsErr, ctx.Err())
}

// View implements [core.Changes].
func (c *Core) View(_ context.Context, run string) (app.RunView, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := c.run(run); i >= 0 {
		return c.changes.views[i], nil
	}
	return app.RunView{}, fault.Newf(fault.Usage, "look at run "+run, "there is no such run").Hint("dbops runs list")
}

// Follow implements [core.Changes].
func (c *Core) Follow(ctx context.Context, run string, after int64) (<-chan app.Followed, error) {
	if _, err := c.View(ctx, run); err != nil {
		return nil, err
	}
	ch := make(chan app.Followed, 64)
	go func() {
		defer close(ch)
		for {
			c.mu.Lock()
			v, changed := c.changes.views[c.run(run)], c.changes.changed
			events := c.changes.events[run]
			c.mu.Unlock()
			for _, e := range events {
				if e.Seq > after {
					after = e.Seq
					ch <- app.Followed{Event: &e}
				}
			}
			ch <- app.Followed{View: &v}
			if v.Run.State.Ended() {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return ch, nil
}

// Decide implements [core.Changes].
func (c *Core) Decide(_ context.Context, run string, d app.Decision) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.run(run)
	v := c.changes.views[i]
	if v.Plan.Protected && d.Verb != state.Retry && d.Verb != state.Cancel && d.Confirm != v.Plan.Instance {
		return fault.Newf(fault.Unapproved, string(d.Verb)+" run "+run, "the confirmed name %q is not %q", d.Confirm, v.Plan.Instance)
	}
	c.changes.told = append(c.changes.told, d)
	return nil
}

// Resume implements [core.Changes].
func (c *Core) Resume(_ context.Context, run string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes.told = append(c.changes.told, app.Decision{Verb: "resume"})
	return nil
}

// Approvals implements [core.Changes].
func (c *Core) Approvals(ctx context.Context) ([]app.Waiting, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.changes.waiting), ctx.Err()
}

// Vote implements [core.Changes].
func (c *Core) Vote(_ context.Context, approval string, approve bool, reason string) (state.Approval, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.log.voteErr != nil {
		return state.Approval{}, c.log.voteErr
	}
	for i, w := range c.changes.waiting {
		if w.Approval.ID != approval {
			continue
		}
		w.Approval.State = state.Approved
		if !approve {
			w.Approval.State = state.Refused
		}
		w.Approval.Votes = append(slices.Clone(w.Approval.Votes), state.Vote{Actor: "li@example.com", Method: op.ViaGoogle, Verdict: map[bool]string{true: "approve", false: "refuse"}[approve], Reason: reason, At: c.now()})
		c.changes.waiting = slices.Clone(c.changes.waiting)
		c.changes.waiting[i] = w
		return w.Approval, nil
	}
	return state.Approval{}, fault.Newf(fault.Usage, "vote on "+approval, "there is no such approval")
}
