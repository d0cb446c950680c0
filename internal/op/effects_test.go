package op

import (
	"testing"

	"dbops/internal/state"
)

func TestEffectsGoAsFarAsTheNextGate(t *testing.T) {
	t.Parallel()
	p := &Plan{Steps: []StepInfo{
		{Name: "a", Title: "do a", Undo: "undo a"},
		{Name: "first", Title: "look at a", Gate: true},
		{Name: "b", Title: "do b"},
		{Name: "c", Title: "do c"},
		{Name: "second", Title: "look at c", Gate: true},
		{Name: "d", Title: "do d"},
	}}
	journal := func(names ...string) (steps []state.Step) {
		for _, n := range append([]string{CheckStep}, names...) {
			steps = append(steps, state.Step{Phase: state.Do, Name: n})
		}
		return steps
	}
	for name, c := range map[string]struct {
		steps []state.Step
		verb  state.Verb
		want  []string
	}{
		"through the first gate":         {journal("a"), state.Continue, []string{"do b", "do c", "as far as the next gate: look at c"}},
		"through the second":             {journal("a", "b", "c"), state.Continue, []string{"do d"}},
		"on after a failure":             {journal("a", "b"), state.Retry, []string{"do c", "as far as the next gate: look at c"}},
		"on before the first gate":       {journal(), state.Retry, []string{"do a", "as far as the next gate: look at a"}},
		"back":                           {journal("a", "b"), state.UndoRun, []string{"undo a"}},
		"an end":                         {journal("a"), state.Abandon, []string{"nothing more is done, and nothing is changed back"}},
		"on where nothing is left to do": {journal("a", "b", "c", "d"), state.Retry, []string{"nothing is changed"}},
	} {
		wants(t, name, Effects(p, c.steps, c.verb), c.want)
	}
}
