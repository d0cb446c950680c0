package op

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"dbops/internal/fault"
	"dbops/internal/state"
)

// The machine over a book in memory: processes die at any call, steps fail in any way, people say anything, and what must never be is
// looked for at every call. A book that is called again in another order than it was written is one that the engine underneath would refuse.

type simulation struct {
	t     *rapid.T
	steps []simStep

	// What outlives a process.
	entries []simEntry // in the order in which they were written
	ended   map[string]bool
	value   []int // of each step's setting in the world
	calls   int   // of acts, ever

	// Of this process.
	next   int    // the entry that is read or written next
	begun  string // the attempt that may act
	deaths int
}

type simStep struct {
	gate, undo bool
}

type simEntry struct {
	name  string
	value json.RawMessage
}

type simDeath struct{}

// maybeDie ends the process, now and then.
func (s *simulation) maybeDie(where string) {
	if s.deaths < 6 && rapid.IntRange(0, 9).Draw(s.t, "dies "+where) == 0 {
		s.deaths++
		panic(simDeath{})
	}
}

// recordSim is record in memory.
func recordSim[T any](s *simulation, name string, fn func() T) T {
	s.maybeDie("before " + name)
	var v T
	if s.next < len(s.entries) {
		e := s.entries[s.next]
		if e.name != name {
			s.t.Fatalf("entry %d was %q, and another process comes to %q", s.next, e.name, name)
		}
		if err := json.Unmarshal(e.value, &v); err != nil {
			s.t.Fatal(err)
		}
	} else {
		v = fn()
		b, err := json.Marshal(v)
		if err != nil {
			s.t.Fatal(err)
		}
		s.entries = append(s.entries, simEntry{name, b})
	}
	s.next++
	s.maybeDie("after " + name)
	return v
}

func (s *simulation) has(name string) (json.RawMessage, bool) {
	for _, e := range s.entries {
		if e.name == name {
			return e.value, true
		}
	}
	return nil, false
}

// done tells whether the last attempt at a step that is written down ended well.
func (s *simulation) done(phase state.Phase, pos int) bool {
	last := false
	for _, e := range s.entries {
		var o outcome
		if strings.HasPrefix(e.name, fmt.Sprintf("end %s %d ", phase, pos)) && json.Unmarshal(e.value, &o) == nil {
			last = o.OK
		}
		if s.steps[pos].gate && phase == state.Do && strings.HasPrefix(e.name, fmt.Sprintf("decide %s %d ", phase, pos)) {
			last = string(e.value) == `"continue"`
		}
	}
	return last
}

func (s *simulation) begin(_ context.Context, p point) (bool, error) {
	recordSim(s, "begin "+p.String(), func() bool {
		switch said := s.said(); {
		case said == state.Abandon, said == state.UndoRun && p.Phase == state.Do:
			s.t.Fatalf("%s begins, and somebody said %s", p, said)
		case p.Phase == state.Do && p.Pos > 0 && !s.done(state.Do, p.Pos-1):
			s.t.Fatalf("%s begins, and the step before it has not ended well", p)
		case p.Phase == state.Do && s.undoing():
			s.t.Fatalf("%s begins, and the run is being undone", p)
		case p.Phase == state.Undo:
			for later := p.Pos + 1; later < len(s.steps); later++ {
				if _, acted := s.has(fmt.Sprintf("begin do %d s%d #1", later, later)); acted && s.steps[later].undo && !s.done(state.Undo, later) {
					s.t.Fatalf("%s begins, and the later step %d is not undone", p, later)
				}
			}
		}
		return true
	})
	s.begun = p.String()
	return s.ended[p.String()], nil
}

// said is what somebody decided last.
func (s *simulation) said() (v state.Verb) {
	for _, e := range s.entries {
		if strings.HasPrefix(e.name, "decide ") {
			_ = json.Unmarshal(e.value, &v)
		}
	}
	return v
}

func (s *simulation) undoing() bool {
	return slices.ContainsFunc(s.entries, func(e simEntry) bool { return strings.HasPrefix(e.name, "begin undo") })
}

func (s *simulation) end(_ context.Context, p point, o outcome) (outcome, error) {
	return recordSim(s, "end "+p.String(), func() outcome {
		s.ended[p.String()] = true
		return o
	}), nil
}

func (s *simulation) again(_ context.Context, p point, pause time.Duration) (bool, error) {
	if pause < firstPause || pause > maxPause {
		s.t.Fatalf("it pauses for %s", pause)
	}
	s.maybeDie("while it pauses")
	return recordSim(s, "again "+p.String(), func() bool { return rapid.IntRange(0, 5).Draw(s.t, "cancelled in the pause") > 0 }), nil
}

func (s *simulation) decide(_ context.Context, p point, _ state.RunState, _ outcome, verbs ...state.Verb) (state.Verb, error) {
	recordSim(s, "wait "+p.String(), func() bool { return true })
	s.maybeDie("while it waits")
	return recordSim(s, "decide "+p.String(), func() state.Verb {
		if len(s.entries) > 150 {
			return state.Abandon // somebody has had enough
		}
		return rapid.SampledFrom(verbs).Draw(s.t, "verb")
	}), nil
}

func (s *simulation) finish(_ context.Context, st state.RunState, o outcome) error {
	recordSim(s, "finish "+string(st), func() bool {
		switch said := s.said(); {
		case st == state.Failed && o.Problem == "":
			s.t.Fatal("the run failed, and nobody knows why")
		case said == state.Abandon && st != state.Failed, said == state.UndoRun && st != state.Undone:
			s.t.Fatalf("somebody said %s, and it is %s", said, st)
		}
		return true
	})
	return nil
}

func (s *simulation) act(ctx context.Context, p point, do func(context.Context) (Result, error)) (outcome, error) {
	if _, ok := s.has("begin " + p.String()); !ok || s.begun != p.String() || s.ended[p.String()] {
		s.t.Fatalf("%s acts without an intent, or after it has ended", p)
	}
	s.maybeDie("before it acts")
	r, err := do(ctx)
	s.maybeDie("after it acted")
	o := outcomeOf(r, err)
	if err != nil && rapid.IntRange(0, 4).Draw(s.t, "cancelled") == 0 {
		o.Cancelled = true
	}
	return o, nil
}

// set is a step's way to its value in the world: it may fail before or after it took effect.
func (s *simulation) set(pos, to int) func(context.Context, *Session) (Result, error) {
	return func(context.Context, *Session) (Result, error) {
		s.calls++
		kinds := []fault.Kind{"", "", "", fault.Throttled, fault.Busy, fault.Unavailable, fault.Invalid, fault.Denied}
		before := rapid.SampledFrom(kinds).Draw(s.t, "fails before it acts")
		if before != "" {
			return Result{}, fault.Newf(before, "set", "no")
		}
		s.value[pos] = to
		if lost := rapid.SampledFrom(kinds).Draw(s.t, "fails after it acted"); lost != "" {
			return Result{}, fault.Newf(lost, "set", "the answer was lost")
		}
		return Result{Output: to}, nil
	}
}

// process takes the run as far as it lives.
func (s *simulation) process() (over bool) {
	defer func() {
		if v := recover(); v != nil {
			if _, ok := v.(simDeath); !ok {
				panic(v)
			}
		}
	}()
	s.next, s.begun = 0, ""
	m := &machine{book: s, act: s.act, session: Session{outputs: map[string]json.RawMessage{}}}
	for i, k := range s.steps {
		step := Step{Name: fmt.Sprintf("s%d", i), Do: s.set(i, 1)}
		if k.undo {
			step.Undo = s.set(i, 0)
		}
		if k.gate {
			step = Step{Name: step.Name, Gate: "look"}
		}
		m.steps = append(m.steps, step)
	}
	if err := m.run(context.Background()); err != nil {
		s.t.Fatal(err)
	}
	return true
}

func TestSimulatedRunsNeverDoWhatMustNotBe(t *testing.T) {
	t.Parallel()
	many(t, 10000, func(t *rapid.T) {
		s := &simulation{t: t, ended: map[string]bool{}}
		for i := range rapid.IntRange(1, 5).Draw(t, "steps") {
			gate := i > 0 && rapid.IntRange(0, 4).Draw(t, "gate") == 0
			s.steps = append(s.steps, simStep{gate: gate, undo: i > 0 && !gate && rapid.Bool().Draw(t, "undo")})
		}
		s.value = make([]int, len(s.steps))
		for !s.process() {
		}
		s.outcome()
		before := slices.Clone(s.entries)
		s.deaths = 100 // whoever reads the book again, comes to the same end without acting
		calls := s.calls
		s.process()
		if s.calls != calls || len(s.entries) != len(before) {
			t.Fatalf("after its end another process acted: %d, %d entries more", s.calls-calls, len(s.entries)-len(before))
		}
	})
}

// outcome checks the world when the run has ended.
func (s *simulation) outcome() {
	end := strings.TrimPrefix(s.entries[len(s.entries)-1].name, "finish ")
	for i, k := range s.steps {
		_, acted := s.has(fmt.Sprintf("begin do %d s%d #1", i, i))
		switch state.RunState(end) {
		case state.Done:
			if !k.gate && s.value[i] != 1 {
				s.t.Fatalf("the run is done, and step %d is not", i)
			}
		case state.Undone:
			if k.undo && acted && s.value[i] != 0 {
				s.t.Fatalf("the run is undone, and step %d is not", i)
			}
		case state.Cancelled:
			if i > 0 && acted {
				s.t.Fatalf("the run was cancelled before it began, and step %d acted", i)
			}
		case state.Failed:
		default:
			s.t.Fatalf("it ended as %q", end)
		}
	}
}

// many checks a property with n random inputs.
func many(t *testing.T, n int, property func(*rapid.T)) {
	t.Helper()
	for range max(1, n/100) {
		if rapid.Check(t, property); t.Failed() {
			return
		}
	}
}
