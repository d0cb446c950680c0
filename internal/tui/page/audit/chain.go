package audit

import (
	"context"
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/fault"
	"dbops/internal/state/audit"
	"dbops/internal/tui/component"
	"dbops/internal/tui/core"
	"dbops/internal/tui/overview"
	"dbops/internal/tui/reading"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
	"dbops/internal/tui/work"
)

// chain is whether the log is what was signed. All of it is verified once, and when it is asked for; then what is new. It is a value.
type chain struct {
	core  core.Audit
	scope work.Scope

	busy  bool
	began time.Time

	report audit.Report
	at     time.Time // since when the report is so; zero before the first
	whole  time.Time // when all of it was verified last
	open   int       // changes without a result, then
	err    error     // why it could not be found out
}

type verifiedMsg struct {
	to     work.ID
	report audit.Report
	err    error
}

// Addressee implements [work.Addressed].
func (m verifiedMsg) Addressee() work.ID { return m.to }

// verify begins, unless it has: with all of the log, or with what is new.
func (c chain) verify(now time.Time, all bool) (chain, tea.Cmd) {
	if c.busy {
		return c, nil
	}
	c.busy, c.began = true, now
	since := int64(0)
	if !all && c.err == nil && c.report.OK() {
		since = c.report.Size
	}
	core, scope := c.core, c.scope
	return c, scope.Do(func(ctx context.Context) tea.Msg {
		ctx, cancel := context.WithTimeout(ctx, reading.Limit)
		defer cancel()
		r, err := core.VerifyAudit(ctx, since)
		if err != nil && ctx.Err() != nil {
			err = fault.New(fault.Unavailable, "verify the audit log", err).Hint("dbops audit verify takes the time that it needs")
		}
		return verifiedMsg{scope.ID, r, err}
	})
}

func (c chain) verified(m verifiedMsg) chain {
	c.busy, c.err = false, m.err
	if m.err != nil {
		return c
	}
	c.report, c.at = m.report, c.began
	if m.report.Since == 0 {
		c.whole, c.open = c.began, m.report.Open
	}
	return c
}

// due tells that there may be something new to verify.
func (c chain) due(s screen.Scene) bool { return !c.busy && s.Now.Sub(c.began) >= s.Refresh }

// facts is the state in a few words.
func (c chain) facts() string {
	switch {
	case c.at.IsZero():
		return ""
	case !c.report.OK():
		return "chain BROKEN"
	}
	return fmt.Sprintf("chain ok, 1 to %d", c.report.Size)
}

// draw says how it stands.
func (c chain) draw(d *component.Doc, now time.Time) {
	if c.err != nil {
		d.Mark(theme.Danger, "the log could not be verified: "+fault.Reason(c.err))
		if hint := overview.Hint(c.err); hint != "" {
			d.Add(theme.Text, 2, "next: "+hint)
		}
	}
	switch {
	case c.at.IsZero():
		if c.busy {
			d.Mark(theme.Pending, "verifying all of the log")
		}
	case !c.report.OK():
		err := c.report.Err()
		d.Mark(theme.Danger, "THE LOG IS NOT WHAT WAS SIGNED: "+fault.Reason(err))
		d.Add(theme.Text, 2, "next: "+overview.Hint(err))
	default:
		role, when := theme.OK, text.Age(now.Sub(c.at))+" ago"
		if c.err != nil {
			role = theme.Muted
		}
		d.Add(role, 0, fmt.Sprintf("%s the chain is whole: %d entries are what %s signed, as of %s", d.Theme.Glyphs.Done, c.report.Size, signers(c.report), when))
	}
	if c.open > 0 {
		d.Mark(theme.Warn, fmt.Sprintf("%s had no result at %s: under way, or broken off (dbops audit verify)", text.Count(c.open, "announced change"), text.Clock(c.whole)))
	}
}

func signers(r audit.Report) string {
	if len(r.Signers) == 0 {
		return "nobody yet"
	}
	return strings.Join(r.Signers, ", ")
}
