package op

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"dbops/internal/fault"
	"dbops/internal/state"
	"dbops/internal/state/audit"
)

// Options are what an [Engine] needs besides its store and its kinds.
type Options struct {
	Version string        // of dbops, for plans
	Log     *slog.Logger  // defaults to discarding
	TTL     time.Duration // of a runner's lease. Defaults to 30 s
	Poll    time.Duration // how often the store is asked what is new. Defaults to 1 s
	Queue   string        // where runs wait in a team's store, and what a worker serves. Defaults to "default"
	Runs    int           // how many runs a worker begins before one of them has ended or waits for a person. Defaults to 16
	// PlanTTL is how long a plan can be run. Defaults to 24 h.
	PlanTTL time.Duration
	// Host names this machine to others. Defaults to os.Hostname.
	Host string

	// CheckVote verifies a vote again when its approval is used: one with an SSH signature proves itself. Nil: votes are what the store says.
	CheckVote func(v state.Vote, planHash string) error

	// Underway is what somebody else does to a target at the moment that this store does not know of. known tells whether a run is of this
	// store. Nil: nobody looks.
	Underway func(ctx context.Context, t Target, known func(run string) bool) ([]Finding, error)

	// Notify are the notices of something that happens, one for each receiver; they are stored with it. Nil: nobody is told.
	Notify func(h Happening) []state.Notice

	// Locker marks targets where they are. Nil: only the store tells who works on them.
	Locker Locker

	// Telemetry is where runs are told besides their journal. The zero value: nowhere.
	Telemetry Telemetry

	// hook is called after each thing that outlives the process, for the tests that let it die there.
	hook func(at string)
	// apart makes this process one of another machine, which nobody can look for: only its lease tells whether it lives.
	apart bool
	// patience is how long a runner that stops waits for its steps to notice. Defaults to 20 s.
	patience time.Duration
}

// DefaultRuns is how many runs a worker works on at once.
const DefaultRuns = 16

// Engine plans and runs operations. Its methods may be called from any goroutine.
type Engine struct {
	store  *state.Store
	kinds  *Registry
	o      Options
	teller *teller

	mu   sync.Mutex
	kept []func() error // locks of steps that do not stop; the process's end opens them
}

// New returns an engine over an open, migrated store. Nothing is started.
func New(store *state.Store, kinds *Registry, o Options) *Engine {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.TTL <= 0 {
		o.TTL = 30 * time.Second
	}
	if o.Poll <= 0 {
		o.Poll = time.Second
	}
	if o.Queue == "" {
		o.Queue = "default"
	}
	if o.Runs <= 0 {
		o.Runs = DefaultRuns
	}
	if o.PlanTTL <= 0 {
		o.PlanTTL = 24 * time.Hour
	}
	if o.Host == "" {
		o.Host, _ = os.Hostname()
	}
	if o.patience <= 0 {
		o.patience = 20 * time.Second
	}
	if o.hook == nil {
		o.hook = func(string) {}
	}
	return &Engine{store: store, kinds: kinds, o: o, teller: newTeller(o.Telemetry, o.Log)}
}

// Store is where the engine keeps everything.
func (e *Engine) Store() *state.Store { return e.store }

// PlanRequest asks for a plan.
type PlanRequest struct {
	Kind      string
	Target    Target
	Request   any // JSON, as the kind wants it
	Requester Actor
	Approvals int // how many others must say yes
}

// Plan observes the world and works out what to do. It changes nothing and stores nothing.
func (e *Engine) Plan(ctx context.Context, r PlanRequest) (*Plan, error) {
	k, err := e.kinds.Kind(r.Kind)
	if err != nil {
		return nil, err
	}
	what := "plan " + r.Kind + " on " + r.Target.String()
	request, err := json.Marshal(r.Request)
	if err != nil {
		return nil, fault.New(fault.Internal, what, err)
	}
	facts, err := k.Observe(ctx, r.Target, request)
	if err != nil {
		return nil, err
	}
	draft, err := k.Derive(r.Target, request, facts)
	if err != nil {
		return nil, fault.New(fault.Internal, what, err)
	}
	steps, err := k.Steps(r.Target, request, facts)
	if err != nil {
		return nil, fault.New(fault.Internal, what, err)
	}
	now := time.Now().UTC().Truncate(time.Second)
	p := &Plan{
		Schema: PlanSchema, ID: "p" + uuid.NewString()[:8], Kind: r.Kind, Target: r.Target, Approvals: r.Approvals,
		Request: request, Facts: facts, Draft: draft, Steps: infos(steps), Requester: r.Requester,
		Created: now, Expires: now.Add(e.o.PlanTTL), Tool: e.o.Version,
	}
	if err := e.addPassing(ctx, what, p); err != nil {
		return nil, err
	}
	b, err := p.Encode()
	if err != nil {
		return nil, fault.New(fault.Internal, what, err)
	}
	return decodePlan(b) // so that a plan is the same whether it was made or read
}

// SubmitOptions say who wants a plan run.
type SubmitOptions struct {
	Actor   Actor
	Confirm string // the instance's name, typed, for a protected environment
	Part    Part   // the run that this one is a part of, if any
}

// Part is a place in another run: its name, and that of a step of it.
type Part struct{ Run, Step string }

// Submit makes a plan's run, after all that must be so: the plan is not blocked, stale or expired, its approval is there and has not been
// used, the name was confirmed. Submitting a plan again returns the run it has already, with again set.
func (e *Engine) Submit(ctx context.Context, p *Plan, o SubmitOptions) (r state.Run, again bool, err error) {
	what := "run " + p.Title
	body, err := p.Encode()
	if err != nil {
		return r, false, fault.New(fault.Internal, what, err)
	}
	if err := e.mayRun(what, p, o); err != nil {
		return r, false, err
	}
	hash := hashOf(body)
	err = e.store.Tx(ctx, what, func(ctx context.Context, tx *state.Tx) error {
		if err := tx.PutPlan(ctx, storedPlan(p, hash, body)); err != nil {
			return err
		}
		if err := tx.LockPlan(ctx, hash); err != nil { // whoever submits it at the same time finds the run
			return err
		}
		var found bool
		if r, found, err = tx.Run(ctx, p.RunID()); err != nil || found {
			if again = found; found {
				err = e.resumed(ctx, tx, r, o.Actor)
			}
			return err
		}
		now, err := tx.Now(ctx)
		if err != nil {
			return err
		}
		if now.After(p.Expires) {
			return fault.Newf(fault.Stale, what, "the plan expired at %s", p.Expires.Format(time.RFC3339)).Hint("make the plan again")
		}
		if err := e.unheld(ctx, tx, what, p); err != nil {
			return err
		}
		approved, err := e.useApproval(ctx, tx, what, p, hash)
		if err != nil {
			return err
		}
		r = state.Run{
			ID: p.RunID(), PlanHash: hash, Kind: p.Kind, Environment: p.Environment, Instance: p.Instance, Title: p.Title,
			Requester: p.Requester.Name, Actor: o.Actor.Name, ActorVia: o.Actor.Via, Queue: e.o.Queue, State: state.Queued,
			PartOf: o.Part.Run, PartStep: o.Part.Step,
		}
		if whole, found, err := tx.Run(ctx, o.Part.Run); err != nil {
			return err
		} else if found { // near the data, if that is
			r.Queue = whole.Queue
		}
		if err := tx.PutRun(ctx, r); err != nil {
			return err
		}
		if r, _, err = tx.Run(ctx, r.ID); err != nil { // with its times
			return err
		}
		entry := e.entry(r, o.Actor, audit.Note, "submitted: "+p.Title+"; asked for by "+p.Requester.String()+approved)
		for _, c := range p.Changes {
			entry.Changes = append(entry.Changes, audit.Change{Setting: settingOf(p.Target, c), From: c.From, To: c.To})
		}
		if err := tx.Append(ctx, entry); err != nil {
			return err
		}
		return tx.AddEvent(ctx, r.ID, state.Event{Kind: EventSubmitted, Text: p.Title, Detail: e.teller.origin(ctx)})
	})
	return r, again, err
}

func (e *Engine) mayRun(what string, p *Plan, o SubmitOptions) error {
	k, err := e.kinds.Kind(p.Kind)
	if err != nil {
		return err
	}
	draft, err := k.Derive(p.Target, p.Request, p.Facts)
	if err != nil {
		return fault.New(fault.Invalid, what, err).Hint("make the plan again")
	}
	given := p.Draft
	given.Findings = slices.DeleteFunc(slices.Clone(p.Findings), func(f Finding) bool { return f.Passing })
	if !sameJSON(draft, given) {
		return fault.Newf(fault.Invalid, what, "the plan does not follow from what it was made from: it was edited, or made by another version (%s)", p.Tool).
			Hint("make the plan again")
	}
	if err := derived(k, p); err != nil {
		return err
	}
	if b := p.Blocked(); len(b) > 0 {
		return fault.Newf(fault.Blocked, what, "%s", b[0].Text).Hint("%s", b[0].Remedy)
	}
	if p.Nothing() {
		return fault.Newf(fault.Usage, what, "the plan changes nothing")
	}
	if p.Protected && o.Confirm != p.Instance {
		if o.Confirm == "" {
			return fault.Newf(fault.Unapproved, what, "%s is protected, and its name was not confirmed", p.Environment).Hint("type it, or give --confirm %s", p.Instance)
		}
		return fault.Newf(fault.Unapproved, what, "the confirmed name %q is not %q", o.Confirm, p.Instance).Hint("--confirm %s", p.Instance)
	}
	return nil
}

func sameJSON(a, b any) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && string(x) == string(y)
}

func storedPlan(p *Plan, hash string, body []byte) state.Plan {
	return state.Plan{
		Hash: hash, ID: p.ID, Kind: p.Kind, Environment: p.Environment, Instance: p.Instance, Requester: p.Requester.Name,
		Body: body, Created: p.Created, Expires: p.Expires,
	}
}

// Keep stores a plan, for [Engine.PlanOf]: it is neither approved nor run by that. Keeping it again changes nothing.
func (e *Engine) Keep(ctx context.Context, p *Plan) error {
	what := "keep the plan of " + p.Title
	body, err := p.Encode()
	if err != nil {
		return fault.New(fault.Internal, what, err)
	}
	return e.store.Tx(ctx, what, func(ctx context.Context, tx *state.Tx) error {
		return tx.PutPlan(ctx, storedPlan(p, hashOf(body), body))
	})
}

// PlanOf returns the plan of a run, or of an approval, by its hash.
func (e *Engine) PlanOf(ctx context.Context, hash string) (*Plan, error) {
	what := "read the plan " + short(hash)
	var stored state.Plan
	err := e.store.Read(ctx, what, func(ctx context.Context, tx *state.Tx) (err error) {
		var found bool
		if stored, found, err = tx.Plan(ctx, hash); err == nil && !found {
			err = fault.Newf(fault.NotFound, what, "it is not in %s", e.store.DB.Name)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return e.readPlan(stored, hash)
}

// readPlan refuses a stored plan that is not what its hash says, or that this version cannot read.
func (e *Engine) readPlan(stored state.Plan, hash string) (*Plan, error) {
	what := "read the plan " + short(hash)
	if hashOf(stored.Body) != hash {
		return nil, fault.Newf(fault.Invalid, what, "its text in %s was changed", e.store.DB.Name).Hint("dbops audit verify")
	}
	p, err := decodePlan(stored.Body)
	if err != nil {
		return nil, fault.New(fault.Config, what, err).Hint("it was made by another version of dbops: use that one")
	}
	return p, nil
}

// entry is the head of an audit entry about a run.
func (e *Engine) entry(r state.Run, by Actor, phase audit.Phase, text string) audit.Entry {
	return audit.Entry{
		Actor: by.Name, Via: by.Via, Host: e.o.Host, Run: r.ID, Kind: r.Kind, Phase: phase,
		Target: r.Environment + "/" + r.Instance, Plan: r.PlanHash, Text: text,
	}
}

func settingOf(t Target, c Change) string {
	if c.Target == "" || c.Target == t.String() {
		return c.Setting
	}
	return c.Target + ": " + c.Setting
}

func short(hash string) string {
	if len(hash) > 12 {
		return hash[:12]
	}
	return hash
}

// Runs lists runs, newest first.
func (e *Engine) Runs(ctx context.Context, f state.RunFilter) (all []state.Run, err error) {
	err = e.store.Read(ctx, "list runs", func(ctx context.Context, tx *state.Tx) error {
		all, err = tx.Runs(ctx, f)
		return err
	})
	return all, err
}

// Run returns a run by its name, or by the beginning of it if that is enough. A name that is none is a fault.Usage.
func (e *Engine) Run(ctx context.Context, id string) (r state.Run, err error) {
	what := "find run " + id
	err = e.store.Read(ctx, what, func(ctx context.Context, tx *state.Tx) error {
		all, err := tx.Runs(ctx, state.RunFilter{IDPrefix: id, Limit: 3})
		switch {
		case err != nil:
			return err
		case id == "" || len(all) == 0:
			return fault.Newf(fault.Usage, what, "there is no such run in %s", e.store.DB.Name).Hint("dbops runs list")
		case len(all) > 1 && all[0].ID != id:
			return fault.Newf(fault.Usage, what, "several runs begin so: %s, %s", all[0].ID, all[1].ID)
		}
		r = all[0]
		return nil
	})
	return r, err
}

// Journal is what a run did.
func (e *Engine) Journal(ctx context.Context, id string) (steps []state.Step, err error) {
	err = e.store.Read(ctx, "read the journal of "+id, func(ctx context.Context, tx *state.Tx) error {
		steps, err = tx.Steps(ctx, id)
		return err
	})
	return steps, err
}

// Events are those of a run after a number.
func (e *Engine) Events(ctx context.Context, id string, after int64) (all []state.Event, err error) {
	err = e.store.Read(ctx, "read the events of "+id, func(ctx context.Context, tx *state.Tx) error {
		all, err = tx.Events(ctx, id, after)
		return err
	})
	return all, err
}

// Workers are the runners that are alive.
func (e *Engine) Workers(ctx context.Context) (all []state.Runner, err error) {
	err = e.store.Read(ctx, "list workers", func(ctx context.Context, tx *state.Tx) error {
		all, err = tx.Runners(ctx)
		return err
	})
	return all, err
}

// The kinds of events.
const (
	EventSubmitted = "submitted"
	EventRunner    = "runner"   // somebody works on it from now on
	EventWaiting   = "waiting"  // for another run on the same target
	EventStep      = "step"     // a step began
	EventProgress  = "progress" // of a step
	EventDone      = "step-done"
	EventFailed    = "step-failed"
	EventRetry     = "retry" // a failed step is tried again by itself
	EventParked    = "parked"
	EventGate      = "gate"
	EventTold      = "told"
	EventEnded     = "ended"
)
