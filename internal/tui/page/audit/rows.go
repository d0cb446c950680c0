package audit

import (
	"fmt"
	"strings"
	"time"

	"dbops/internal/state/audit"
	"dbops/internal/tui/component"
	"dbops/internal/tui/listing"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// columns of the log; the target goes without saying where it is one instance's. When, what and the outcome never leave.
func columns(ofOne bool) []component.Column {
	all := []component.Column{
		{Title: "TIME (UTC)", Min: 14},
		{Title: "OUTCOME", Min: 11, Max: 12},
		{Title: "WHO", Min: 12, Max: 30, Leave: 1},
		{Title: "ACTION", Min: 18, Max: 34},
		{Title: "TARGET", Min: 14, Max: 28, Leave: 2},
		{Title: "RUN", Min: 11, Leave: 4},
		{Title: "TEXT", Min: 14, Max: 80, Leave: 5},
	}
	if ofOne {
		all = append(all[:4:4], all[5:]...)
	}
	return all
}

// outcome is what came of what an entry tells, in a word with its mark.
func outcome(e audit.Entry) component.Cell {
	word, role := e.Outcome, theme.Text
	switch {
	case e.V == 0:
		word, role = "damaged", theme.Danger
	case e.Phase == audit.Intent:
		word, role = "announced", theme.Muted
	case e.Phase == audit.Note:
		word, role = "note", theme.Muted
	case e.Outcome == audit.Failed:
		role = theme.Danger
	case e.Outcome == audit.Done:
		role = theme.OK
	}
	mark := theme.Mark(role)
	if mark == "" {
		mark = " "
	}
	return component.Cell{Text: mark + " " + orDash(word), Role: role}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// action is what an entry is about: the operation, and its step.
func action(e audit.Entry) string { return strings.TrimSpace(e.Kind + " " + e.Step) }

func row(e audit.Entry, ofOne bool) component.Row {
	quiet := theme.Text
	if e.Phase == audit.Intent { // its result says the rest
		quiet = theme.Muted
	}
	cells := []component.Cell{
		{Text: moment(e.At), Role: quiet},
		outcome(e),
		{Text: orDash(listing.Who(e.Actor)), Role: quiet},
		{Text: orDash(action(e)), Role: quiet},
		{Text: orDash(e.Target), Role: quiet},
		{Text: orDash(e.Run), Role: quiet},
		{Text: e.Text, Role: quiet},
	}
	if ofOne {
		cells = append(cells[:4:4], cells[5:]...)
	}
	return component.Row{Key: fmt.Sprint(e.Seq), Cells: cells}
}

// moment is a time without its year, to the second.
func moment(t time.Time) string { return t.UTC().Format("01-02 15:04:05") }

// about says all of an entry.
func about(d *component.Doc, e audit.Entry) {
	o := outcome(e)
	d.Fact(o.Role, "outcome", strings.TrimSpace(o.Text))
	d.Fact(theme.Strong, "action", orDash(action(e)))
	d.Fact(theme.Text, "time", e.At.UTC().Format(time.RFC3339Nano))
	d.Fact(theme.Text, "who", fmt.Sprintf("%s (known by %s)", orDash(e.Actor), orDash(e.Via)))
	for _, f := range []struct{ label, value string }{
		{"host", e.Host}, {"target", e.Target}, {"run", e.Run}, {"attempt", attempt(e)}, {"text", e.Text}, {"request id", e.RequestID}, {"plan", e.Plan},
	} {
		if f.value != "" {
			d.Fact(theme.Text, f.label, f.value)
		}
	}
	if hash := e.Leaf(); hash != "" {
		d.Fact(theme.Muted, "leaf hash", hash)
	}
	if len(e.Changes) == 0 {
		return
	}
	d.Heading("CHANGES")
	label, from := 0, 0
	for _, c := range e.Changes {
		label, from = max(label, text.Width(text.Clean(c.Setting))), max(from, text.Width(text.Clean(orDash(c.From))))
	}
	label, from = min(label, d.W*2/5), min(from, d.W/4)
	for _, c := range e.Changes {
		d.Change(c.Setting, orDash(c.From), orDash(c.To), label, from)
	}
}

func attempt(e audit.Entry) string {
	if e.Attempt < 2 {
		return ""
	}
	return fmt.Sprint(e.Attempt)
}
