package summary

import (
	"context"

	"dbops/internal/fault"
	"dbops/internal/state"
	"dbops/internal/tui/component"
	"dbops/internal/tui/core"
	"dbops/internal/tui/overview"
	"dbops/internal/tui/page/runs"
	"dbops/internal/tui/reading"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
	"dbops/internal/tui/work"
)

// newLast reads the newest run of an instance; nil if there was none.
func newLast(c core.Core, scope work.Scope, k overview.Known) reading.One[*state.Run] {
	return reading.NewOne(scope, func(ctx context.Context) (*state.Run, error) {
		all, err := c.Runs(ctx, state.RunFilter{Environment: k.Environment, Instance: k.Name, Limit: 1})
		if err != nil || len(all) == 0 {
			return nil, err
		}
		return &all[0], nil
	})
}

// lastRun is the block that says what was done to the instance last.
func lastRun(one reading.One[*state.Run], s screen.Scene) component.Block {
	b := component.Block{Title: "LAST RUN", Wrap: true}
	add := func(r theme.Role, label, value string) {
		if value != "" {
			b.Facts = append(b.Facts, component.Fact{Label: label, Value: value, Role: r})
		}
	}
	r, known := one.Value()
	switch err := one.Err(); {
	case err != nil:
		add(theme.Warn, "unknown", theme.Mark(theme.Warn)+" "+fault.Reason(err))
		add(theme.Text, "next", overview.Hint(err))
		if known && r != nil {
			add(theme.Muted, "shown", "as it was "+text.Age(s.Now.Sub(one.At()))+" ago")
		}
	case !known:
		add(theme.Muted, "runs", "being read")
	case r == nil:
		add(theme.Muted, "runs", "dbops has changed nothing here")
	}
	if r == nil {
		return b
	}
	c := runs.State(*r)
	add(c.Role, "state", c.Text)
	add(theme.Text, "what", r.Title)
	add(theme.Text, "kind", r.Kind)
	add(theme.Text, "run", r.ID)
	add(theme.Text, "by", r.Requester)
	add(theme.Text, "made", text.Age(s.Now.Sub(r.Created))+" ago")
	if !r.Ended.IsZero() {
		add(theme.Text, "ended", text.Age(s.Now.Sub(r.Ended))+" ago")
	}
	if r.State != state.Done {
		add(c.Role, "problem", r.Problem)
	}
	return b
}
