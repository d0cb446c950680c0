package op

import "dbops/internal/state"

// Effects are what a decision leads to, by the run's plan and journal.
func Effects(p *Plan, steps []state.Step, verb state.Verb) (lines []string) {
	begun := map[string]bool{}
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
		ahead := p.Steps // the journal has no gates: those before what was begun were passed
		for i, s := range p.Steps {
			if begun[s.Name] {
				ahead = p.Steps[i+1:]
			}
		}
		through := verb == state.Continue
		for _, s := range ahead {
			switch {
			case !s.Gate:
				lines = append(lines, s.Title)
			case through: // the gate that it waits at
				through = false
			default: // the next word is about what comes after it
				return append(lines, "as far as the next gate: "+s.Title)
			}
		}
	}
	if len(lines) == 0 {
		lines = []string{"nothing is changed"}
	}
	return lines
}
