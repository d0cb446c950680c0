package creds

import (
	"strconv"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	"dbops/internal/creds"
	"dbops/internal/fault"
	"dbops/internal/secret"
	"dbops/internal/tui/dialog"
	"dbops/internal/tui/screen"
)

// plan asks for the plan of a change.
func (p Page) plan(kind string, request any, title string, cli []string) screen.OpenPlan {
	return screen.OpenPlan{
		Change: app.Change{Environment: p.at.Environment, Instance: p.at.Name, Kind: kind, Request: request}, Title: title, CLI: cli,
	}
}

// form asks for what a change needs to know; nil for one that needs nothing.
func (p Page) form(id string, s screen.Scene) screen.Dialog {
	l, _ := p.selected()
	show := func(title string, fields []dialog.Field, then func(dialog.Answers) (tea.Msg, string)) screen.Dialog {
		return dialog.NewForm(title, p.at.Environment, s.Protected(p.at.Environment), fields, then)
	}
	switch id {
	case actRotate:
		return show("Rotate credentials", rotateFields(l.Name), func(a dialog.Answers) (tea.Msg, string) { return p.rotate(l.Name, a, s.Now) })
	case actRollback:
		return show("Roll "+l.Name+" back", []dialog.Field{grace, polls}, func(a dialog.Answers) (tea.Msg, string) { return p.rollback(l.Name, a) })
	case actRevoke:
		return show("Revoke "+l.Name, []dialog.Field{
			{Name: "reason", Label: "reason", Help: "why, for the plan and the audit log; it may stay empty"},
		}, func(a dialog.Answers) (tea.Msg, string) { return p.revoke(l.Name, a["reason"]), "" })
	case actAdopt:
		return show("Adopt a login for "+l.Name, []dialog.Field{
			{Name: "login", Label: "login", Value: l.User, Need: true, Help: "the role that it logs in as now; u lists who can log in"},
			{Name: "secret", Label: "password at", Help: "where its password is now, such as aws-sm:NAME, never the password itself; empty: where it is delivered to"},
		}, func(a dialog.Answers) (tea.Msg, string) { return p.adopt(l.Name, a) })
	}
	return nil
}

const (
	whoAll  = "all"
	whoOld  = "older than"
	oldKept = "until unused"
	oldCut  = "ended at once"
)

var (
	grace = dialog.Field{Name: "grace", Label: "grace", Value: creds.DefaultGrace.String(), Need: true, Help: "how long nobody must have been logged in with the other credential before it is disabled"}
	polls = dialog.Field{Name: "polls", Label: "looks", Value: strconv.Itoa(creds.DefaultPolls), Need: true, Help: "how often to look in that time, at least"}
)

func rotateFields(name string) []dialog.Field {
	cut := func(a dialog.Answers) bool { return a["old"] == oldCut }
	wait := grace
	wait.Off = cut
	return []dialog.Field{
		{Name: "who", Label: "whose", Value: name, Options: []string{name, whoAll, whoOld}, Help: "on this instance; all and older leave out what was revoked"},
		{Name: "age", Label: "older than", Value: "90d", Need: true, Help: "as in 90d, 12w or 36h", Off: func(a dialog.Answers) bool { return a["who"] != whoOld }},
		{Name: "old", Label: "old credential", Value: oldKept, Options: []string{oldKept, oldCut}, Help: "ended at once is for one that leaked: its sessions are cut, and there is no way back"},
		wait,
		{Name: "soak", Label: "soak", Value: creds.DefaultSoak.String(), Need: true, Off: cut, Help: "how long the old credential stays disabled, and can come back, before it is destroyed"},
		{Name: "reason", Label: "reason", Help: "why, for the plan and the audit log; needed where the old one is ended at once"},
	}
}

// rotate is the plan of a rotation.
func (p Page) rotate(name string, a dialog.Answers, now time.Time) (tea.Msg, string) {
	r := creds.RotateRequest{
		Containers: []string{name}, Grace: creds.Span(creds.DefaultGrace), Soak: creds.Span(creds.DefaultSoak), Polls: creds.DefaultPolls,
		Compromised: a["old"] == oldCut, Reason: a["reason"],
	}
	if r.Compromised && r.Reason == "" {
		return nil, "say why the old one is ended at once"
	}
	cli, title := p.cli("rotate", name), "rotate the credential of "+name
	if a["who"] != name {
		var age time.Duration
		cli, title = p.cliHere("rotate", "--all"), "rotate all credentials of "+p.at.Name
		if a["who"] == whoOld {
			var err error
			if age, err = app.ParseAge(a["age"]); err != nil {
				return nil, fault.Reason(err) + ": " + fault.HintOf(err)
			}
			cli, title = p.cliHere("rotate", "--older-than", a["age"]), "rotate credentials older than "+a["age"]
		}
		known, _ := p.list.Value()
		if r.Containers, _ = app.ChooseCredentials(known.all, age, now); len(r.Containers) == 0 {
			return nil, "no container is meant by that"
		}
	}
	for _, span := range []struct {
		name string
		to   *creds.Span
	}{{"grace", &r.Grace}, {"soak", &r.Soak}} {
		given, in := a[span.name]
		d, err := time.ParseDuration(given)
		switch {
		case !in:
			continue
		case err != nil || d < 0:
			return nil, span.name + " is a time, as in 30s or 5m"
		case creds.Span(d) != *span.to:
			cli = append(cli, "--"+span.name, given)
		}
		*span.to = creds.Span(d)
	}
	if r.Compromised {
		cli = append(cli, "--compromised")
	}
	return p.plan(creds.RotateKind, r, title, reasoned(cli, r.Reason)), ""
}

func (p Page) rollback(name string, a dialog.Answers) (tea.Msg, string) {
	d, err := time.ParseDuration(a["grace"])
	if err != nil || d < 0 {
		return nil, "grace is a time, as in 30s or 5m"
	}
	looks, err := strconv.Atoi(a["polls"])
	if err != nil || looks < 1 {
		return nil, "looks is a number, 1 or more"
	}
	r := creds.RollbackRequest{Containers: []string{name}, Grace: creds.Span(d), Polls: looks}
	cli := p.cli("rollback", name)
	if d != creds.DefaultGrace {
		cli = append(cli, "--grace", a["grace"])
	}
	if r.Polls != creds.DefaultPolls {
		cli = append(cli, "--polls", a["polls"])
	}
	return p.plan(creds.RollbackKind, r, "make the previous credential of "+name+" current again", cli), ""
}

func (p Page) revoke(name, reason string) tea.Msg {
	return p.plan(creds.RevokeKind, creds.RevokeRequest{Container: name, Reason: reason}, "revoke the access of "+name, reasoned(p.cli("revoke", name), reason))
}

func (p Page) adopt(name string, a dialog.Answers) (tea.Msg, string) {
	cli := p.cli("adopt", name, "--login", a["login"])
	if at := strings.TrimSpace(a["secret"]); at != "" {
		if _, err := secret.ParseRef(at); err != nil {
			return nil, "that names no place: " + fault.Reason(err)
		}
		cli = append(cli, "--secret", at)
	}
	return p.plan(creds.AdoptKind, creds.AdoptRequest{Container: name, Login: a["login"], Secret: a["secret"]}, "adopt "+a["login"]+" for "+name, cli), ""
}

func reasoned(cli []string, reason string) []string {
	if reason == "" {
		return cli
	}
	return append(cli, "--reason", reason)
}
