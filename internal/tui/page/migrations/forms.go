package migrations

import (
	"fmt"
	"strconv"
	"time"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	"dbops/internal/migrate"
	"dbops/internal/tui/dialog"
	"dbops/internal/tui/screen"
)

const (
	all       = "all here"
	wayResume = "resume"
	wayAt     = "at a version"
	wayAccept = "accept changed"
)

// form asks for what a change needs to know; nil for no change.
func (p Page) form(id string, set *app.MigrationSet, file *app.MigrationFile, s screen.Scene) screen.Dialog {
	protected := s.Protected(p.at.Environment)
	show := func(title string, fields []dialog.Field, then func(dialog.Answers) (tea.Msg, string)) screen.Dialog {
		return dialog.NewForm(title, p.at.Environment, protected, fields, then)
	}
	version := dialog.Field{Name: "to", Label: "version", Need: true, Help: "the number that a file's name begins with, or none"}
	if file != nil {
		version.Value = strconv.FormatInt(file.Version, 10)
	}
	reason := dialog.Field{Name: "reason", Label: "reason", Help: "why, for the history"}
	switch id {
	case actUp:
		to := dialog.Field{Name: "to", Label: "up to version", Help: "the number that a file's name begins with; empty: all that is pending", Off: func(a dialog.Answers) bool { return a["who"] == all }}
		return show("Apply what is pending", append([]dialog.Field{
			{Name: "who", Label: "whose", Value: set.Name, Options: []string{set.Name, all}, Help: "all databases of this instance: the first alone, the others after it went well"},
			to, yes("late", "out of order", false, "apply also what comes before the version and was never applied"),
		}, manner(protected)...), func(a dialog.Answers) (tea.Msg, string) { return p.up(set, a) })
	case actDown:
		return show("Take migrations of "+set.Name+" back", append([]dialog.Field{
			{Name: "steps", Label: "how many", Value: "1", Need: true, Help: "the last ones, or all; the plan says which data that drops"},
		}, manner(protected)...), func(a dialog.Answers) (tea.Msg, string) { return p.downBy(set, a) })
	case actGoto:
		return show("Bring "+set.Name+" to a version", append([]dialog.Field{version}, manner(protected)...), func(a dialog.Answers) (tea.Msg, string) { return p.gotoVersion(set, a) })
	case actRepair:
		version.Off = func(a dialog.Answers) bool { return a["way"] != wayAt }
		reason.Off = func(a dialog.Answers) bool { return a["way"] == wayResume }
		reason.Need, reason.Help = true, "how you know, for the history"
		return show("Repair "+set.Name, append([]dialog.Field{
			{Name: "way", Label: "way out", Value: wayResume, Options: []string{wayResume, wayAt, wayAccept}, Help: "go on with the file; record the version that it has; take changed files as what was applied (e shows which fits)"},
			version, reason,
		}, manner(protected)[1:]...), func(a dialog.Answers) (tea.Msg, string) { return p.repair(set, a) })
	case actBaseline:
		version.Help = "the number that a file's name begins with: the schema is as that file leaves it"
		return show("Take "+set.Name+" over", []dialog.Field{version, reason}, func(a dialog.Answers) (tea.Msg, string) { return p.baseline(set, a) })
	}
	return nil
}

func yes(name, label string, on bool, help string) dialog.Field {
	return dialog.Field{Name: name, Label: label, Value: map[bool]string{true: "yes", false: "no"}[on], Options: []string{"no", "yes"}, Help: help}
}

// manner asks whether the files are rehearsed, and how they are run.
func manner(protected bool) []dialog.Field {
	return []dialog.Field{
		yes("rehearse", "rehearse", protected, "run the files on a scratch copy of the schema first"),
		{Name: "lock", Label: "lock timeout", Value: migrate.Usual().LockTimeout.String(), Need: true, Help: "of each attempt to get a lock: traffic queues behind it for no longer"},
		yes("end", "end blockers", false, "end the sessions that keep a lock from the migration, from the second attempt on"),
	}
}

// asked reads how the files are run, and says it to the command line.
func asked(a dialog.Answers, protected bool, cli []string) (m migrate.Manner, rehearse bool, out []string, complaint string) {
	m = migrate.Usual()
	lock, err := time.ParseDuration(a["lock"])
	if err != nil || lock < time.Millisecond {
		return m, false, nil, "the lock timeout is a time of at least 1ms, as in 500ms or 2s"
	}
	if migrate.Span(lock) != m.LockTimeout {
		cli = append(cli, "--lock-timeout", a["lock"])
	}
	m.LockTimeout, m.EndBlockers = migrate.Span(lock), a.Yes("end")
	if m.EndBlockers {
		cli = append(cli, "--end-blockers")
	}
	if _, in := a["rehearse"]; in && a.Yes("rehearse") != protected {
		cli = append(cli, fmt.Sprintf("--rehearse=%t", a.Yes("rehearse")))
	}
	return m, a.Yes("rehearse"), cli, ""
}

func plan(w app.Change, title string, cli []string) tea.Msg {
	return screen.OpenPlan{Change: w, Title: title, CLI: cli}
}

func (p Page) change(kind string, request any) app.Change {
	return app.Change{Environment: p.at.Environment, Instance: p.at.Name, Kind: kind, Request: request}
}

// versionOf reads one that the folder has.
func versionOf(set *app.MigrationSet, s string) (*int64, string) {
	v, err := app.ParseVersion("version", s)
	if err != nil {
		return nil, fmt.Sprintf("%q is no version: it is the number that a file's name begins with", s)
	}
	if v == nil || *v < 0 {
		return v, ""
	}
	for _, f := range set.Files {
		if f.Version == *v {
			return v, ""
		}
	}
	return nil, "the folder has no version " + s
}

func (p Page) up(set *app.MigrationSet, a dialog.Answers) (tea.Msg, string) {
	to, complaint := versionOf(set, a["to"])
	if complaint != "" {
		return nil, complaint
	}
	asks, title, cli := []migrate.Ask{set.Ask}, "apply what is pending of "+set.Name, p.cli("up", set.Name)
	if a["who"] == all {
		known, _ := p.look.Value()
		asks, title, cli = nil, "apply what is pending on "+p.at.Name, p.cliHere("up")
		for i := range known.sets {
			asks = append(asks, known.sets[i].Ask)
		}
	}
	if to != nil {
		cli = append(cli, "--to", a["to"])
	}
	if a.Yes("late") {
		cli = append(cli, "--out-of-order")
	}
	m, rehearse, cli, complaint := asked(a, set.Ask.Target.Protected, cli)
	if complaint != "" {
		return nil, complaint
	}
	return plan(app.UpChanges(asks, app.UpOptions{To: to, Late: a.Yes("late"), Manner: m, Concurrency: 4, Rehearse: &rehearse})[0], title, cli), ""
}

func (p Page) downBy(set *app.MigrationSet, a dialog.Answers) (tea.Msg, string) {
	m, rehearse, cli, complaint := asked(a, set.Ask.Target.Protected, p.cli("down", set.Name))
	if complaint != "" {
		return nil, complaint
	}
	r := migrate.DownRequest{Set: set.Name, Manner: m, Rehearse: rehearse, All: a["steps"] == "all"}
	if r.All {
		return plan(p.change(migrate.DownKind, r), "take all migrations of "+set.Name+" back", append(cli, "--all")), ""
	}
	var err error
	if r.Steps, err = strconv.Atoi(a["steps"]); err != nil || r.Steps < 1 {
		return nil, "how many is a number of at least 1, or all"
	}
	if r.Steps > 1 {
		cli = append(cli, "--steps", a["steps"])
	}
	return plan(p.change(migrate.DownKind, r), "take the last migrations of "+set.Name+" back", cli), ""
}

func (p Page) gotoVersion(set *app.MigrationSet, a dialog.Answers) (tea.Msg, string) {
	to, complaint := versionOf(set, a["to"])
	if complaint != "" {
		return nil, complaint
	}
	m, rehearse, cli, complaint := asked(a, set.Ask.Target.Protected, p.cli("goto", set.Name, a["to"]))
	if complaint != "" {
		return nil, complaint
	}
	w := app.GotoChange(set.Ask, set.Status, to, m, rehearse)
	return plan(w, "bring "+set.Name+" to version "+a["to"], cli), ""
}

func (p Page) repair(set *app.MigrationSet, a dialog.Answers) (tea.Msg, string) {
	r := migrate.RepairRequest{Set: set.Name, Resume: a["way"] == wayResume, Accept: a["way"] == wayAccept, Reason: a["reason"]}
	cli := p.cli("repair", set.Name)
	switch a["way"] {
	case wayResume:
		cli = append(cli, "--resume")
	case wayAccept:
		cli = append(cli, "--accept-changed", "--reason", r.Reason)
	default:
		var complaint string
		if r.Version, complaint = versionOf(set, a["to"]); complaint != "" {
			return nil, complaint
		}
		cli = append(cli, "--at", a["to"], "--reason", r.Reason)
	}
	var complaint string
	if r.Manner, _, cli, complaint = asked(a, set.Ask.Target.Protected, cli); complaint != "" {
		return nil, complaint
	}
	return plan(p.change(migrate.RepairKind, r), "repair the migrations of "+set.Name, cli), ""
}

func (p Page) baseline(set *app.MigrationSet, a dialog.Answers) (tea.Msg, string) {
	v, complaint := versionOf(set, a["to"])
	if complaint != "" {
		return nil, complaint
	}
	if v == nil || *v < 0 {
		return nil, "a baseline is a version of the folder"
	}
	cli := p.cli("baseline", set.Name, a["to"])
	if a["reason"] != "" {
		cli = append(cli, "--reason", a["reason"])
	}
	return plan(p.change(migrate.BaselineKind, migrate.BaselineRequest{Set: set.Name, Version: *v, Reason: a["reason"]}), "take "+set.Name+" over at version "+a["to"], cli), ""
}
