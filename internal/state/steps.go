package state

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"dbops/internal/state/db"
)

// Phase tells doing from undoing.
type Phase string

// The phases.
const (
	Do   Phase = "do"
	Undo Phase = "undo"
)

// StepState is how an attempt at a step ended.
type StepState string

// The states of an attempt.
const (
	StepRunning StepState = "running" // or its runner died in it
	StepDone    StepState = "done"
	StepFailed  StepState = "failed"
)

// Step is one attempt at one step of a run: a line of its journal.
type Step struct {
	Phase   Phase     `json:"phase"`
	Pos     int       `json:"pos"` // from 0
	Attempt int       `json:"attempt"`
	Name    string    `json:"name"`
	State   StepState `json:"state"`
	Output  []byte    `json:"-"` // JSON
	Problem string    `json:"problem,omitempty"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
}

// BeginStep writes down that an attempt begins; a second time changes nothing.
func (t *Tx) BeginStep(ctx context.Context, run string, s Step) error {
	return t.exec(ctx, `insert into steps (run, phase, pos, attempt, name, state, started_ms) values ($1, $2, $3, $4, $5, $6, `+t.now()+`)
		on conflict (run, phase, pos, attempt) do nothing`, run, string(s.Phase), s.Pos, s.Attempt, s.Name, string(StepRunning))
}

// EndStep writes down how an attempt ended.
func (t *Tx) EndStep(ctx context.Context, run string, s Step) error {
	return t.exec(ctx, `update steps set state = $1, output = $2, problem = $3, ended_ms = `+t.now()+`
		where run = $4 and phase = $5 and pos = $6 and attempt = $7`,
		string(s.State), s.Output, s.Problem, run, string(s.Phase), s.Pos, s.Attempt)
}

// Steps is the journal of a run, in the order in which it was written.
func (t *Tx) Steps(ctx context.Context, run string) (all []Step, err error) {
	err = db.Each(ctx, t.q, func(rows db.Rows) error {
		var s Step
		var phase, st string
		var started, ended int64
		if err := rows.Scan(&phase, &s.Pos, &s.Attempt, &s.Name, &st, &s.Output, &s.Problem, &started, &ended); err != nil {
			return err
		}
		s.Phase, s.State, s.Started, s.Ended = Phase(phase), StepState(st), fromMS(started), fromMS(ended)
		all = append(all, s)
		return nil
	}, `select phase, pos, attempt, name, state, output, problem, started_ms, ended_ms from steps where run = $1
		order by phase, case phase when 'do' then pos else -pos end, attempt`, run)
	return all, err
}

// Event is something that happened in a run, for those who watch.
type Event struct {
	Seq  int64     `json:"seq"`
	At   time.Time `json:"at"`
	Kind string    `json:"kind"`
	Step string    `json:"step,omitempty"`
	Text string    `json:"text,omitempty"`
	// Detail is what the text says, for programs: JSON, of the kinds of operation that have any.
	Detail json.RawMessage `json:"detail,omitempty"`
}

// AddEvent adds an event after those that are there.
func (t *Tx) AddEvent(ctx context.Context, run string, e Event) error {
	return t.exec(ctx, `insert into events (run, seq, at_ms, kind, step, text, detail)
		select $1, coalesce(max(seq), 0) + 1, `+t.now()+`, $2, $3, $4, $5 from events where run = $1`, run, e.Kind, e.Step, e.Text, string(e.Detail))
}

// Events are those of a run after a number.
func (t *Tx) Events(ctx context.Context, run string, after int64) (all []Event, err error) {
	err = db.Each(ctx, t.q, func(rows db.Rows) error {
		var e Event
		var at int64
		var detail string
		if err := rows.Scan(&e.Seq, &at, &e.Kind, &e.Step, &e.Text, &detail); err != nil {
			return err
		}
		if detail != "" {
			e.Detail = json.RawMessage(detail)
		}
		e.At = fromMS(at)
		all = append(all, e)
		return nil
	}, `select seq, at_ms, kind, step, text, detail from events where run = $1 and seq > $2 order by seq`, run, after)
	return all, err
}

// Verb is what somebody tells a run to do.
type Verb string

// The verbs.
const (
	Cancel   Verb = "cancel"   // stop the step that runs
	Retry    Verb = "retry"    // try the failed step again
	UndoRun  Verb = "undo"     // change back what was changed
	Abandon  Verb = "abandon"  // end here, as it is
	Continue Verb = "continue" // pass a gate
)

// Control is one such word. Point is where in the run it was heeded; empty until then.
type Control struct {
	Seq    int64
	Verb   Verb
	Reason string
	Actor  string
	Via    string // how the actor is known; empty if an older dbops wrote it
	At     time.Time
	Point  string
}

// AddControl tells a run something.
func (t *Tx) AddControl(ctx context.Context, run string, c Control) error {
	return t.exec(ctx, `insert into controls (run, seq, verb, reason, actor, actor_via, at_ms)
		select $1, coalesce(max(seq), 0) + 1, $2, $3, $4, $5, `+t.now()+` from controls where run = $1`, run, string(c.Verb), c.Reason, c.Actor, c.Via)
}

// Controls are what a run was told, oldest first.
func (t *Tx) Controls(ctx context.Context, run string) (all []Control, err error) {
	err = db.Each(ctx, t.q, func(rows db.Rows) error {
		var c Control
		var verb string
		var at int64
		if err := rows.Scan(&c.Seq, &verb, &c.Reason, &c.Actor, &c.Via, &at, &c.Point); err != nil {
			return err
		}
		c.Verb, c.At = Verb(verb), fromMS(at)
		all = append(all, c)
		return nil
	}, `select seq, verb, reason, actor, actor_via, at_ms, point from controls where run = $1 order by seq`, run)
	return all, err
}

// Cancels are the runs of a runner that were told to cancel and have not heeded it.
func (t *Tx) Cancels(ctx context.Context, runner string) (runs []string, err error) {
	err = db.Each(ctx, t.q, func(rows db.Rows) error {
		var id string
		if err := rows.Scan(&id); err != nil {
			return err
		}
		runs = append(runs, id)
		return nil
	}, `select distinct c.run from runs r join controls c on c.run = r.id where r.runner = $1 and r.`+active+` and c.verb = 'cancel' and c.point = ''`, runner)
	return runs, err
}

// TakeControl heeds one at a point of the run.
func (t *Tx) TakeControl(ctx context.Context, run string, seq int64, point string) error {
	return t.exec(ctx, `update controls set point = $1 where run = $2 and seq = $3`, point, run, seq)
}

func itoa(n int) string { return strconv.Itoa(n) }
