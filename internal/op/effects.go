package op

import (
	"slices"

	"dbops/internal/state"
)

// Effects are what a decision leads to, by the run's plan and journal.
func Effects(p *Plan, steps []state.Step, verb state.Verb) (lines []string) {
	begun, at := map[string]bool{}, ""
	if verb == state.Continue {
		at = gateOf(p, steps)
	}
	for _, s := range steps {
		if s.Phase == state.Do {
			begun[s.Name] = true
		}
	}
	switch verb {
	case state.Abandon:
		return []string{"nothing more is done, and nothing is changed back"}
	case state.UndoRun:
		for i := len(p.Steps) - 1; i >= 0; i-- {
			if s := p.Steps[i]; begun[s.Name] && s.Undo != "" {
				lines = append(lines, s.Undo)
			}
		}
	default:
		gate := func(s StepInfo) bool { return s.Gate && !begun[s.Name] && s.Name != at }
		for _, s := range p.Steps {
			if gate(s) { // the next word is about what comes after it
				lines = append(lines, "as far as the next gate: "+s.Title)
				break
			}
			if !begun[s.Name] && !s.Gate {
				lines = append(lines, s.Title)
			}
		}
	}
	if len(lines) == 0 {
		lines = []string{"nothing is changed"}
	}
	return lines
}

// gateOf is the gate that a run with that journal is led through: the first one after all that was begun. The journal has no gates.
func gateOf(p *Plan, steps []state.Step) (at string) {
	begun := func(name string) bool {
		return slices.ContainsFunc(steps, func(s state.Step) bool { return s.Name == name })
	}
	for _, s := range p.Steps {
		switch {
		case begun(s.Name):
			at = ""
		case s.Gate && at == "":
			at = s.Name
		}
	}
	return at
}
