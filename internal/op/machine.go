package op

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"dbops/internal/fault"
	"dbops/internal/state"
)

// errStopped ends a run's work in this process without a word in its journal: the process ends, or has lost its lease. Another one
// goes on from the journal.
var errStopped = errors.New("this process stops working on the run")

// errCancelled is the cause of a step's context when somebody cancels the run.
var errCancelled = errors.New("cancelled")

// point is one attempt at one step.
type point struct {
	Phase   state.Phase
	Pos     int
	Attempt int
	Name    string
}

func (p point) String() string { return fmt.Sprintf("%s %d %s #%d", p.Phase, p.Pos, p.Name, p.Attempt) }

// outcome is how an attempt ended. A failure is a value: it is recorded like a success, and the run stays alive.
type outcome struct {
	OK        bool            `json:"ok"`
	Output    json.RawMessage `json:"output,omitempty"`
	Changes   []Change        `json:"changes,omitempty"`
	RequestID string          `json:"request_id,omitempty"`
	Text      string          `json:"text,omitempty"`
	Kind      fault.Kind      `json:"kind,omitempty"`
	Problem   string          `json:"problem,omitempty"`
	Hint      string          `json:"hint,omitempty"`
	Cancelled bool            `json:"cancelled,omitempty"`
}

// book is where a run is written down. Every method that writes is one transaction with its audit entry and its checkpoint; called again
// by a later process it returns what the first call returned. An error means that nothing may be done any more in this process.
type book interface {
	// begin writes the intent. ended tells that the attempt's outcome is written down already: it is not made again.
	begin(ctx context.Context, p point) (ended bool, err error)
	end(ctx context.Context, p point, o outcome) (outcome, error)
	// again tells whether to try again after a failure that may pass, after pause; somebody may have cancelled in the meantime.
	again(ctx context.Context, p point, pause time.Duration) (bool, error)
	// decide waits until somebody says one of the verbs.
	decide(ctx context.Context, p point, s state.RunState, o outcome, verbs ...state.Verb) (state.Verb, error)
	finish(ctx context.Context, s state.RunState, o outcome) error
}

// Retries of failures that may pass.
const (
	maxRetries = 8
	firstPause = time.Second
	maxPause   = time.Minute
)

// machine takes the steps of one run. What it does next depends on nothing but what the book returned, so that a later process that
// reads the same book comes to the same place.
type machine struct {
	book    book
	steps   []Step
	session Session
	// act does what a step says: in its own context, which ends when the run is cancelled or the process stops.
	act func(ctx context.Context, p point, do func(context.Context) (Result, error)) (outcome, error)
}

// run takes all steps, or undoes them. It returns errStopped, or nil when the run has ended.
func (m *machine) run(ctx context.Context) error {
	for pos := range m.steps {
		verb, o, err := m.step(ctx, pos)
		switch {
		case err != nil:
			return err
		case verb == state.UndoRun:
			return m.undo(ctx, pos)
		case verb == state.Abandon:
			return m.book.finish(ctx, state.Failed, o)
		case verb == state.Cancel:
			return m.book.finish(ctx, state.Cancelled, o)
		}
	}
	return m.book.finish(ctx, state.Done, outcome{OK: true})
}

// step takes one step until it is done (Continue), or somebody decides otherwise.
func (m *machine) step(ctx context.Context, pos int) (state.Verb, outcome, error) {
	s := m.steps[pos]
	if s.Gate != "" {
		p := point{state.Do, pos, 1, s.Name}
		verbs := []state.Verb{state.Continue, state.Abandon}
		if slices.ContainsFunc(m.steps, func(s Step) bool { return s.Undo != nil }) {
			verbs = slices.Insert(verbs, 1, state.UndoRun)
		}
		verb, err := m.book.decide(ctx, p, state.Gate, outcome{Text: s.Gate}, verbs...)
		return verb, outcome{Problem: "ended at the gate: " + s.Gate}, err
	}
	verbs := []state.Verb{state.Retry, state.UndoRun, state.Abandon}
	if s.Onward {
		verbs = []state.Verb{state.Retry, state.Abandon}
	}
	return m.attempts(ctx, state.Do, pos, s.Do, func(o outcome) (state.Verb, bool) {
		switch {
		case s.Final:
			return state.Abandon, true
		case pos > 0:
			return "", false
		case o.Cancelled: // nothing was changed yet
			return state.Cancel, true
		case !passes(o.Kind): // the plan cannot be run any more
			return state.Abandon, true
		}
		return "", false
	}, verbs...)
}

// undo changes back, in reverse order, what the steps up to pos changed.
func (m *machine) undo(ctx context.Context, pos int) error {
	for ; pos >= 0; pos-- {
		s := m.steps[pos]
		if s.Undo == nil {
			continue
		}
		verb, o, err := m.attempts(ctx, state.Undo, pos, s.Undo, func(outcome) (state.Verb, bool) { return "", false }, state.Retry, state.Abandon)
		switch {
		case err != nil:
			return err
		case verb == state.Abandon:
			return m.book.finish(ctx, state.Failed, o)
		}
	}
	return m.book.finish(ctx, state.Undone, outcome{OK: true})
}

func (m *machine) attempts(
	ctx context.Context, phase state.Phase, pos int, do func(context.Context, *Session) (Result, error),
	over func(outcome) (state.Verb, bool), verbs ...state.Verb,
) (state.Verb, outcome, error) {
	for attempt, tries := 1, 0; ; attempt++ {
		p := point{phase, pos, attempt, m.steps[pos].Name}
		o, err := m.attempt(ctx, p, do)
		if err != nil || o.OK {
			return state.Continue, o, err
		}
		if tries++; !o.Cancelled && passes(o.Kind) && tries <= maxRetries {
			more, err := m.book.again(ctx, p, min(firstPause<<(tries-1), maxPause))
			if err != nil {
				return "", o, err
			}
			if more {
				continue
			}
			o.Cancelled = true
		}
		if verb, ok := over(o); ok {
			return verb, o, nil
		}
		verb, err := m.book.decide(ctx, p, state.Parked, o, verbs...)
		if err != nil || verb != state.Retry {
			return verb, o, err
		}
		tries = 0
	}
}

func (m *machine) attempt(ctx context.Context, p point, do func(context.Context, *Session) (Result, error)) (outcome, error) {
	ended, err := m.book.begin(ctx, p)
	if err != nil {
		return outcome{}, err
	}
	var o outcome
	if !ended {
		s := m.session
		s.Attempt = p.Attempt
		if o, err = m.act(ctx, p, func(ctx context.Context) (Result, error) { return do(ctx, &s) }); err != nil {
			return outcome{}, err
		}
	}
	if o, err = m.book.end(ctx, p, o); err != nil {
		return outcome{}, err
	}
	if o.OK && p.Phase == state.Do {
		m.session.outputs[p.Name] = o.Output
	}
	return o, nil
}

// outcomeOf is what is written down of an attempt.
func outcomeOf(r Result, err error) outcome {
	out, encodeErr := json.Marshal(r.Output)
	if err == nil {
		if encodeErr != nil {
			return outcome{Kind: fault.Internal, Problem: "store what the step learned: " + encodeErr.Error()}
		}
		return outcome{OK: true, Output: out, Changes: r.Changes, RequestID: r.RequestID, Text: r.Text}
	}
	return outcome{
		Kind: fault.KindOf(err), Problem: bounded(err.Error()), Hint: bounded(fault.HintOf(err)),
		Output: out, Changes: r.Changes, RequestID: r.RequestID, Text: r.Text, // what happened before it failed
	}
}

const maxProblem = 2000

func bounded(s string) string {
	if r := []rune(s); len(r) > maxProblem {
		return string(r[:maxProblem]) + " ..."
	}
	return s
}
