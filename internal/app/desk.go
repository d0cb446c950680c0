package app

import (
	"context"
	"errors"
	"sync"
	"time"

	"dbops/internal/certs"
	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/op/sshsig"
	"dbops/internal/state"
)

// DeskOptions say who sits at a [Desk]. Zero values mean what is written beside them.
type DeskOptions struct {
	As       op.Actor   // known already, such as by the key of an SSH session. Defaults to what [App.Identity] finds for each target
	Key      sshsig.Key // to be known by where no cloud vouches
	ReadOnly string     // why nothing may be changed from here: "--read-only". Defaults to that everything may
	NoVotes  string     // why nobody may vote from here, though they may change
	// Carry begins a process that works on a run and outlives this one. Defaults to working on it here, until [Desk.Close].
	Carry func(ctx context.Context, run string) error
}

// Desk is the App as somebody in front of a screen has it: as whom, and whether anything may be changed. It plans, approves, runs, follows and
// decides; a run that was begun at a desk goes on without it. Methods may be called from any goroutine.
type Desk struct {
	*App
	o DeskOptions

	ctx  context.Context // of what is worked on here
	stop context.CancelFunc
	wg   sync.WaitGroup
}

// Desk returns one. Its Close does not close the App, which outlives it.
func (a *App) Desk(o DeskOptions) *Desk {
	d := &Desk{App: a, o: o}
	d.ctx, d.stop = context.WithCancel(context.Background())
	return d
}

// Close interrupts what is worked on here, to be resumed, and waits for that.
func (d *Desk) Close() {
	d.stop()
	d.wg.Wait()
}

// Begun is what became of a plan that somebody wants run.
type Begun struct {
	Run      state.Run
	Again    bool            // the plan had its run already
	Approval *state.Approval // it waits for this one; there is no run
}

// RunView is a run with all that is known of it.
type RunView struct {
	Run   state.Run
	Plan  *op.Plan
	Steps []state.Step
}

// Followed is news of a run: an event, or how it stands.
type Followed struct {
	Event *state.Event
	View  *RunView
	Err   error // why following ended; nil where the run did
}

// Waiting is an approval with its plan.
type Waiting struct {
	Approval state.Approval
	Plan     *op.Plan // nil if it cannot be read any more, as one of another version: it can still be refused
}

// ReadOnly is why nothing may be changed from here; empty if it may.
func (d *Desk) ReadOnly() string { return d.o.ReadOnly }

// NoVotes is why nobody may vote from here; empty if they may.
func (d *Desk) NoVotes() string { return d.o.NoVotes }

func (d *Desk) allowed(what string) error {
	if d.o.ReadOnly == "" {
		return nil
	}
	return fault.Newf(fault.Denied, what, "nothing is changed from here: %s", d.o.ReadOnly).Hint("use a dbops that may change things")
}

func (d *Desk) who(ctx context.Context, env, instance string) (op.Actor, error) {
	if d.o.As.Name != "" {
		return d.o.As, nil
	}
	return d.App.Identity(ctx, env, instance, d.o.Key)
}

// OpenProxy opens a proxy, as [App.OpenProxy]; where nothing may be changed, for reading only.
func (d *Desk) OpenProxy(ctx context.Context, o ProxyOptions) (*Proxy, error) {
	if o.Access != "" && o.Access != config.Read {
		if err := d.allowed("open a proxy of " + o.Environment + " for " + string(o.Access)); err != nil {
			return nil, err
		}
	}
	return d.App.OpenProxy(ctx, o)
}

// PlanChange works out what a change does, as [App.PlanChange].
func (d *Desk) PlanChange(ctx context.Context, c Change) (*op.Plan, error) {
	c.Key, c.By = d.o.Key, d.o.As
	p, err := d.App.PlanChange(ctx, c)
	if err == nil && c.Kind == certs.RotateKind {
		Alone(p)
	}
	return p, err
}

// Begin runs a plan; confirm is the name that was typed. Where others have to approve it first and have not, they are asked, and nothing is run.
// With an error there is a Run only if it is stored, and nobody works on it.
func (d *Desk) Begin(ctx context.Context, p *op.Plan, confirm string) (b Begun, err error) {
	if err := d.allowed("run " + p.Title); err != nil {
		return b, err
	}
	engine, err := d.App.Engine(ctx, EngineOptions{})
	if err != nil {
		return b, err
	}
	if r, err := engine.Run(ctx, p.RunID()); err == nil && r.State.Ended() {
		return Begun{Run: r, Again: true}, nil
	}
	if err := d.App.MayRun(p); err != nil {
		return b, err
	}
	who, err := d.who(ctx, p.Environment, p.Instance)
	if err != nil {
		return b, err
	}
	if p.Approvals > 0 {
		if _, err := engine.Run(ctx, p.RunID()); err != nil {
			a, err := engine.Request(ctx, p, who)
			if err != nil {
				return b, err
			}
			if a.State == state.Requested {
				return Begun{Approval: &a}, nil
			}
		}
	}
	r, again, err := engine.Submit(ctx, p, op.SubmitOptions{Actor: who, Confirm: confirm})
	if err != nil && !again { // it was not stored
		return b, err
	}
	b.Run, b.Again = r, again
	if err != nil {
		return b, err
	}
	return b, d.carry(ctx, engine, r)
}

// carry has a run worked on, unless somebody does, or it waits for a person.
func (d *Desk) carry(ctx context.Context, engine *op.Engine, r state.Run) error {
	if r.Alive || r.State.Ended() {
		return nil
	}
	if engine.Store().Team() {
		if served, err := engine.HandOver(ctx, r.ID); err != nil || served {
			return err
		}
	}
	if d.o.Carry != nil {
		return d.o.Carry(ctx, r.ID)
	}
	d.wg.Go(func() { _, _ = engine.Attach(d.ctx, r.ID, 0, nil) }) // what comes of it is in the journal
	return nil
}

// Runs are those that fit a filter, newest first. A state that nobody has begun is not begun by looking.
func (d *Desk) Runs(ctx context.Context, f state.RunFilter) ([]state.Run, error) {
	if !d.App.hasState() {
		return nil, nil
	}
	engine, err := d.App.Engine(ctx, EngineOptions{})
	if err != nil {
		return nil, err
	}
	return engine.Runs(ctx, f)
}

// View is a run as it stands.
func (d *Desk) View(ctx context.Context, run string) (v RunView, err error) {
	engine, err := d.App.Engine(ctx, EngineOptions{})
	if err != nil {
		return v, err
	}
	return view(ctx, engine, run)
}

func view(ctx context.Context, engine *op.Engine, run string) (v RunView, err error) {
	if v.Run, err = engine.Run(ctx, run); err != nil {
		return v, err
	}
	if v.Steps, err = engine.Journal(ctx, run); err != nil {
		return v, err
	}
	v.Plan, err = engine.PlanOf(ctx, v.Run.PlanHash)
	return v, err
}

// followPace is how often a run that nobody works on, or that waits for a person, is looked at.
const followPace = time.Second

// Follow sends a run's events after a number, and then how it stands; then each group of new events with a view behind it, until it has ended or
// ctx ends. What has happened already stands before the first view, so that nobody takes it for news. It works on nothing itself. The channel
// closes at the end.
func (d *Desk) Follow(ctx context.Context, run string, after int64) (<-chan Followed, error) {
	engine, err := d.App.Engine(ctx, EngineOptions{})
	if err != nil {
		return nil, err
	}
	if _, err := view(ctx, engine, run); err != nil {
		return nil, err
	}
	ch := make(chan Followed, 64)
	go func() {
		defer close(ch)
		if err := d.guarded("follow run "+run, func() error {
			d.follow(ctx, engine, run, after, ch)
			return nil
		}); err != nil {
			select { // whoever read may be gone
			case ch <- Followed{Err: err}:
			default:
			}
		}
	}()
	return ch, nil
}

// follow sends what Follow does.
func (d *Desk) follow(ctx context.Context, engine *op.Engine, run string, after int64, ch chan<- Followed) {
	send := func(f Followed) bool {
		select {
		case ch <- f:
			return true
		case <-ctx.Done():
			return false
		}
	}
	seen, last := after, RunView{}
	for stood := false; ; stood = true {
		events, err := engine.Events(ctx, run, seen)
		for _, e := range events {
			seen = e.Seq
			if !send(Followed{Event: &e}) {
				return
			}
		}
		now, verr := view(ctx, engine, run)
		if err = errors.Join(err, verr); err != nil {
			if ctx.Err() == nil {
				send(Followed{Err: err})
			}
			return
		}
		if !stood || len(events) > 0 || now.Run.State != last.Run.State || now.Run.Alive != last.Run.Alive {
			if !send(Followed{View: &now}) {
				return
			}
		}
		last = now
		if now.Run.State.Ended() && len(events) == 0 {
			return
		}
		pace := followPace
		if now.Run.Alive {
			pace /= 4
		}
		if op.Sleep(ctx, pace) != nil {
			return
		}
	}
}

// Decision is what somebody says to a run.
type Decision struct {
	Verb    state.Verb
	Reason  string
	Confirm string // the instance's name, typed, where a protected one is undone, abandoned or passed on
}

// Decide tells a run how it goes on, and has it worked on.
func (d *Desk) Decide(ctx context.Context, run string, w Decision) error {
	what := string(w.Verb) + " run " + run
	if err := d.allowed(what); err != nil {
		return err
	}
	engine, err := d.App.Engine(ctx, EngineOptions{})
	if err != nil {
		return err
	}
	v, err := view(ctx, engine, run)
	if err != nil {
		return err
	}
	stop := v.Run.Interrupted() && len(v.Run.Verbs) == 0 && (w.Verb == state.UndoRun || w.Verb == state.Abandon)
	if !stop {
		if err := op.Fits(v.Run, w.Verb); err != nil {
			return err
		}
	}
	if v.Plan.Protected && w.Verb != state.Retry && w.Verb != state.Cancel && w.Confirm != v.Plan.Instance {
		return fault.Newf(fault.Unapproved, what, "the confirmed name %q is not %q", w.Confirm, v.Plan.Instance).Hint("type the instance's name")
	}
	who, err := d.who(ctx, v.Run.Environment, v.Run.Instance)
	if err != nil {
		return err
	}
	if stop { // where nobody works on it, its step is stopped first
		if err := engine.Tell(ctx, run, state.Cancel, who, w.Reason); err != nil {
			return err
		}
		if r, err := engine.Attach(ctx, run, 0, nil); err != nil || r.State.Ended() {
			return err
		}
	}
	if err := engine.Tell(ctx, run, w.Verb, who, w.Reason); err != nil {
		if _, told := errors.AsType[*op.ToldError](err); !told {
			return err
		}
	}
	if w.Verb == state.Cancel && v.Run.Alive {
		return nil
	}
	return d.carryOn(ctx, engine, run)
}

// Resume has a run worked on that was interrupted, or that nobody has begun.
func (d *Desk) Resume(ctx context.Context, run string) error {
	if err := d.allowed("resume run " + run); err != nil {
		return err
	}
	engine, err := d.App.Engine(ctx, EngineOptions{})
	if err != nil {
		return err
	}
	r, err := engine.Run(ctx, run)
	if err != nil {
		return err
	}
	who, err := d.who(ctx, r.Environment, r.Instance)
	if err != nil {
		return err
	}
	if err := engine.Resume(ctx, run, who); err != nil {
		return err
	}
	return d.carryOn(ctx, engine, run)
}

func (d *Desk) carryOn(ctx context.Context, engine *op.Engine, run string) error {
	r, err := engine.Run(ctx, run)
	if err != nil {
		return err
	}
	return d.carry(ctx, engine, r)
}

// Approvals are those that wait, and those that have an answer, newest first.
func (d *Desk) Approvals(ctx context.Context) (out []Waiting, err error) {
	engine, err := d.App.Engine(ctx, EngineOptions{})
	if err != nil {
		return nil, err
	}
	all, plans, err := engine.ApprovalsWithPlans(ctx)
	for _, one := range all {
		out = append(out, Waiting{one, plans[one.PlanHash]})
	}
	return out, err
}

// Vote approves or refuses.
func (d *Desk) Vote(ctx context.Context, approval string, approve bool, reason string) (state.Approval, error) {
	if err := d.allowed("vote on " + approval); err != nil {
		return state.Approval{}, err
	}
	if d.o.NoVotes != "" {
		return state.Approval{}, fault.Newf(fault.Denied, "vote on "+approval, "%s", d.o.NoVotes).
			Hint("sign it with a key of the allowed signers: dbops approvals approve %s --ssh-key FILE", approval)
	}
	if d.o.As.Name == "" {
		a, _, err := d.App.Vote(ctx, approval, approve, reason, d.o.Key)
		return a, err
	}
	engine, err := d.App.Engine(ctx, EngineOptions{})
	if err != nil {
		return state.Approval{}, err
	}
	return engine.Vote(ctx, approval, op.Vote{By: d.o.As, Approve: approve, Reason: reason})
}

// SavePlan writes a plan to a file, for dbops apply.
func (d *Desk) SavePlan(p *op.Plan, file string) error { return op.Save(file, p) }
