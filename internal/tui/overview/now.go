package overview

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"dbops/internal/fault"
	"dbops/internal/tui/component"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// Now is what is read of an instance beside its status, each part with its age and with why it could not be read anew.
func Now(k Known, now time.Time) []component.Block {
	return []component.Block{measured(k, now), standing(k, now)}
}

// cell is a cell as a fact; nothing where the cell tells nothing.
func (f *facts) cell(label string, c component.Cell, more string) {
	if c.Text != unknown.Text {
		f.role(label, c.Text+more, c.Role)
	}
}

func measured(k Known, now time.Time) component.Block {
	var f facts
	failure(&f, "not read", k.Load)
	f.cell("CPU", k.CPUCell(now), "")
	f.cell("connections", k.ConnectionsCell(now), "")
	if used, size := k.disk(); size > 0 {
		f.cell("disk", k.DiskCell(now), ", "+text.Bytes(used)+" of "+text.Bytes(size))
	}
	f.cell("replica lag", k.LagCell(now), "")
	age(&f, k.Load, now, loadOld)
	return component.Block{Title: "MEASURED", Facts: f, Wrap: true}
}

func standing(k Known, now time.Time) component.Block {
	var f facts
	failure(&f, "no ages", k.Creds)
	if c := k.Creds.Value; c != nil && !c.Created.IsZero() {
		more := ", of " + c.Container
		if n := len(c.Over); n > 0 {
			more += fmt.Sprintf("; %s older than %dd", text.Count(n, "credential"), int(c.Limit.Hours()/24))
		}
		f.cell("credentials", k.CredsCell(now), more)
		age(&f, k.Creds, now, seldomOld)
	}
	failure(&f, "not compared", k.Drift)
	if d := k.Drift.Value; d != nil && d.known() {
		c := k.DriftCell(now)
		if words := d.words(); words != "" {
			c.Text = strings.TrimSpace(theme.Mark(c.Role) + " " + words)
		}
		f.cell("drift", c, "")
		age(&f, k.Drift, now, seldomOld)
	}
	return component.Block{Title: "CREDENTIALS, DRIFT", Facts: f, Wrap: true}
}

// words are what differs, and what is not known.
func (d Drifted) words() string {
	var out []string
	add := func(n int, what string) {
		if n > 0 {
			out = append(out, strconv.Itoa(n)+" "+what)
		}
	}
	add(d.Drifted, "drifted")
	add(d.Pending, "pending")
	add(d.Unknown, "not known")
	if len(d.Settings) > 0 {
		out[0] += " (" + strings.Join(d.Settings, ", ") + ")"
	}
	return strings.Join(out, ", ")
}

// age is how old what was read is.
func age[T any](f *facts, r Reading[T], now time.Time, limit time.Duration) {
	if r.Value == nil {
		return
	}
	ago := text.Age(now.Sub(r.At)) + " ago"
	if old(r, now, limit) {
		f.role("as of", "! "+ago, theme.Warn)
	} else {
		f.role("as of", ago, theme.Muted)
	}
}

// failure is why the last reading failed, and what to do.
func failure[T any](f *facts, label string, r Reading[T]) {
	if r.Err == nil {
		return
	}
	f.role(label, fault.Reason(r.Err), theme.Warn)
	f.role("next", Hint(r.Err), theme.Text)
}
