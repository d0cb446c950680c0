package run

import (
	"slices"
	"strings"

	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// noted adds an event to those that are kept, which nobody else has. Of what a step says again and again the last word stays.
func (p Page) noted(e state.Event) Page {
	n := len(p.events)
	if n > 0 && e.Kind == op.EventProgress && p.events[n-1].Kind == op.EventProgress && p.events[n-1].Step == e.Step {
		p.events[n-1] = e
		return p
	}
	p.events = append(p.events, e)
	if p.back > 0 { // what is looked at stays in sight
		p.back++
	}
	return p
}

// log is the last h lines of the events, or of those that were scrolled back to.
func (p Page) log(s screen.Scene, w, h int) (lines []string) {
	th := s.Theme
	end := max(0, len(p.events)-p.back)
	for i := end - 1; i >= 0 && len(lines) < h; i-- {
		e := p.events[i]
		role := theme.Text
		switch e.Kind {
		case op.EventFailed:
			role = theme.Danger
		case op.EventParked, op.EventGate, op.EventRetry, op.EventWaiting:
			role = theme.Warn
		case op.EventProgress:
			role = theme.Muted
		}
		what := strings.TrimSpace(e.Step + "  " + e.Text)
		if what == "" || e.Text == "" {
			what = strings.TrimSpace(e.Kind + " " + what)
		}
		head := " " + text.Clock(e.At) + "  "
		var one []string
		for j, l := range text.Wrap(text.Clean(what), max(10, w-text.Width(head)-1)) {
			if j > 0 {
				one = append(one, text.Spaces(text.Width(head))+th.Paint(role, l))
				continue
			}
			one = append(one, th.Paint(theme.Muted, head)+th.Paint(role, l))
		}
		lines = slices.Concat(one, lines)
	}
	return lines[max(0, len(lines)-h):]
}
