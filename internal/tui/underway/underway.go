// Package underway tells of the runs that work on an instance: what a tab shows above what they change.
package underway

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"dbops/internal/state"
	"dbops/internal/tui/core"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// Change is a run that has not ended.
type Change struct {
	Run     state.Run
	Request []byte // of its plan; nil where that is not known
	Step    string // in words
	At, Of  int    // which step of how many
}

// Read are the runs of an instance that have not ended and whose kind begins with a room's name, as in creds.
func Read(ctx context.Context, c core.Changes, env, instance, room string) (out []Change, err error) {
	runs, err := c.Runs(ctx, state.RunFilter{Environment: env, Instance: instance, Active: true})
	if err != nil {
		return nil, err
	}
	for _, r := range runs {
		if !strings.HasPrefix(r.Kind, room+".") {
			continue
		}
		one := Change{Run: r, Step: r.Step}
		if v, err := c.View(ctx, r.ID); err == nil && v.Plan != nil {
			one.Run, one.Of, one.Request = v.Run, len(v.Plan.Steps), v.Plan.Request
			for i, s := range v.Plan.Steps {
				if s.Name == v.Run.Step {
					one.Step, one.At = s.Title, i+1
				}
			}
		}
		out = append(out, one)
	}
	return out, nil
}

// Verb is what is done, as in rotate.
func (c Change) Verb() string {
	_, verb, _ := strings.Cut(c.Run.Kind, ".")
	return verb
}

// Word is how it stands.
func (c Change) Word() (string, theme.Role) {
	switch {
	case c.Run.State == state.Gate || c.Run.State == state.Parked:
		return "waits for a person", theme.Warn
	case c.Run.Interrupted():
		return "interrupted", theme.Warn
	default:
		return "runs", theme.Pending
	}
}

// Line is the change of something in a line.
func (c Change) Line(what string, s screen.Scene) (string, theme.Role) {
	word, role := c.Word()
	out := theme.Mark(role) + " " + strings.TrimSpace(c.Verb()+" "+what) + " " + word + ": "
	if c.At > 0 {
		out += fmt.Sprintf("step %d of %d, ", c.At, c.Of)
	}
	if c.Run.Problem != "" && role == theme.Warn {
		return out + c.Run.Problem, role
	}
	return out + cmp.Or(c.Step, string(c.Run.State)) + ", for " + text.Age(s.Now.Sub(c.Run.Updated)), role
}
