package creds

import (
	"fmt"
	"strings"

	"dbops/internal/creds"
	"dbops/internal/tui/component"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// drawAudit draws who can log in to the instance: what is wrong with that first.
func (p Page) drawAudit(d *component.Doc) {
	failed(d, p.audit.Err())
	a, ok := p.audit.Value()
	if !ok {
		if p.audit.Loading() {
			d.Mark(theme.Pending, "reading who can log in, what they own and what they may")
		}
		return
	}
	r := a.report
	if r == nil {
		d.Add(theme.Muted, 0, "there is nothing to audit")
		return
	}
	d.Blank()
	d.Heading("FINDINGS")
	if len(r.Findings) == 0 {
		d.Add(theme.OK, 0, "none")
	}
	for _, f := range r.Findings {
		finding(d, f)
	}
	d.Heading("WHO CAN LOG IN")
	accounts(d, r.Accounts)
	d.Blank()
	d.Add(theme.Muted, 0, "PostgreSQL does not tell when somebody logged in last, nor which passwords are old or weak.")
}

// accounts is a table of all roles that can log in.
func accounts(d *component.Doc, all []creds.Account) {
	role, whose := len("ROLE"), len("WHOSE")
	for _, a := range all {
		role, whose = max(role, text.Width(text.Clean(a.Role))), max(whose, text.Width(text.Clean(owner(a))))
	}
	role, whose = min(role, d.W/3), min(whose, d.W/3)
	tail := d.Theme.Glyphs.Tail
	line := func(name, of, sessions, owns, rights, mighty string) string {
		return text.Left(text.Clean(name), role, tail) + "  " + text.Left(text.Clean(of), whose, tail) + "  " +
			text.Right(sessions, 8, "") + "  " + text.Right(owns, 5, "") + "  " + text.Right(rights, 6, "") + "  " + text.Clean(mighty)
	}
	d.Raw(d.Theme.Paint(theme.Heading, line("ROLE", "WHOSE", "SESSIONS", "OWNS", "RIGHTS", "MIGHTY")))
	for _, a := range all {
		paint := theme.Text
		if !a.Declared {
			paint = theme.Warn
		}
		mighty := strings.Join(a.Mighty, ", ")
		if mighty == "" {
			mighty = "-"
		}
		d.Raw(d.Theme.Paint(paint, line(a.Role, owner(a), fmt.Sprint(a.Sessions), fmt.Sprint(a.Owns), fmt.Sprint(a.Rights), mighty)))
	}
}

// owner is whose login it is.
func owner(a creds.Account) string {
	switch {
	case a.Container != "":
		return "slot " + a.Slot + " of " + a.Container
	case a.Declared:
		return "dbops"
	default:
		return "! unknown"
	}
}
