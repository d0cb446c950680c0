package backups

import (
	"slices"
	"strconv"
	"strings"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	"dbops/internal/backup"
	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/tui/dialog"
	"dbops/internal/tui/screen"
)

// ask shows a form about the instance.
func (p Page) ask(title string, fields []dialog.Field, then func(dialog.Answers) (tea.Msg, string)) screen.Out {
	return screen.Say(screen.Show{Dialog: dialog.NewForm(title, p.At.Environment, p.At.Protected, fields, then)})
}

var yesNo = []string{"yes", "no"}

func answer(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

// complaint is an error as a form says it.
func complaint(err error) string {
	return strings.TrimSuffix(fault.Reason(err)+": "+fault.HintOf(err), ": ")
}

func (p Page) cliCreate(label string) []string {
	if label != "" {
		return p.Sheet.CLI([]string{"backup", "create"}, "--label", label)
	}
	return p.Sheet.CLI([]string{"backup", "create"})
}

func (p Page) create() screen.Out {
	return p.ask("Back up "+p.At.Name, []dialog.Field{
		{Name: "label", Label: "label", Help: "What it is for: letters, digits and hyphens. It may stay empty. Nothing is made before you run the plan."},
	}, func(a dialog.Answers) (tea.Msg, string) {
		return p.Plan(backup.CreateKind, "back up "+p.At.Name, backup.CreateRequest{Label: a["label"]}, p.cliCreate(a["label"])), ""
	})
}

// cliRestore is the command line of a restore from a backup, else to a moment, else to the latest.
func (p Page) cliRestore(id, at, to string) []string {
	from := []string{"--latest"}
	switch {
	case id != "":
		from = []string{"--backup", id}
	case at != "":
		from = []string{"--at", at}
	}
	return p.Sheet.CLI([]string{"backup", "restore"}, append(from, "--to", to)...)
}

const fromLatest, fromMoment, fromBackup = "latest", "a moment", "this backup"

func (p Page) restore(id string) screen.Out {
	sources := []string{fromLatest, fromMoment}
	if id != "" {
		sources = []string{fromBackup, fromLatest, fromMoment}
	}
	help := "The latest moment that can be restored, or a moment of your choice."
	if id != "" {
		help = "This backup is " + id + "."
	}
	return p.ask("Restore "+p.At.Name, []dialog.Field{
		{Name: "from", Label: "from", Value: sources[0], Options: sources, Help: help},
		{
			Name: "at", Label: "moment", Need: true, Help: "In UTC, as in 2026-11-28T03:15:00Z.",
			Off: func(a dialog.Answers) bool { return a["from"] != fromMoment },
		},
		{Name: "to", Label: "new instance", Need: true, Help: "Its name at the provider. A restore never overwrites: it makes a new instance, which is paid for."},
	}, func(a dialog.Answers) (tea.Msg, string) {
		at, err := app.Moment(a["at"])
		if err != nil {
			return nil, complaint(err)
		}
		r := backup.RestoreRequest{Time: at, To: a["to"], Latest: a["from"] == fromLatest}
		if a["from"] == fromBackup {
			r.Backup = id
		}
		return p.Plan(backup.RestoreKind, "restore "+p.At.Name+" to "+r.To, r, p.cliRestore(r.Backup, a["at"], r.To)), ""
	})
}

func (p Page) cliDrill(at string, databases []string, keep bool) []string {
	var rest []string
	if at != "" {
		rest = append(rest, "--at", at)
	}
	for _, d := range databases {
		rest = append(rest, "--database", d)
	}
	if keep {
		rest = append(rest, "--keep")
	}
	return p.Sheet.CLI([]string{"backup", "drill"}, rest...)
}

func (p Page) drill(v *app.Recovery) screen.Out {
	return p.ask("Drill a restore of "+p.At.Name, []dialog.Field{
		{Name: "at", Label: "moment", Help: "Empty: the latest that can be restored. In UTC, as in 2026-11-28T03:15:00Z."},
		{Name: "databases", Label: "databases", Help: "Compare only these, by their names on the server, with blanks between. Empty: all."},
		{Name: "keep", Label: "keep it", Value: "no", Options: yesNo, Help: "Leave the scratch instance, which is paid for. The source is only read."},
	}, func(a dialog.Answers) (tea.Msg, string) {
		at, err := app.Moment(a["at"])
		if err != nil {
			return nil, complaint(err)
		}
		r := backup.DrillRequest{Time: at, Databases: strings.Fields(a["databases"]), Keep: a.Yes("keep"), Targets: v.Targets}
		return p.Plan(backup.DrillKind, "drill a restore of "+p.At.Name, r, p.cliDrill(a["at"], r.Databases, r.Keep)), ""
	})
}

func (p Page) rename(v *app.Recovery) screen.Out {
	return p.ask("Rename "+p.At.Name, []dialog.Field{
		{Name: "to", Label: "new name", Need: true, Help: "RDS: the old DNS name is gone at once. Cloud SQL: a clone takes the name, and the old instance stays."},
	}, func(a dialog.Answers) (tea.Msg, string) {
		r := backup.RenameRequest{To: a["to"], Names: v.Names}
		return p.Plan(backup.RenameKind, "rename "+p.At.Name+" to "+r.To, r, p.Sheet.CLI([]string{"rename"}, "--to", r.To)), ""
	})
}

func (p Page) configure(v *app.Recovery) screen.Out {
	b := v.Live.Backups
	onRDS := func(dialog.Answers) bool { return v.Live.Provider == cloud.RDS }
	days, window := "Days that transaction logs are kept.", "When backups are made, in UTC: 03:00."
	if v.Live.Provider == cloud.RDS {
		days, window = "Days that backups are kept. 0 turns them off, and point-in-time recovery with them.", "When backups are made, in UTC: 03:00-04:00."
	}
	return p.ask("Backups of "+p.At.Name, []dialog.Field{
		{Name: "retention", Label: "days kept", Value: strconv.Itoa(b.RetentionDays), Help: days + " What stays as it is, is left alone."},
		{Name: "window", Label: "window", Value: b.Window, Help: window},
		{Name: "retained", Label: "backups kept", Value: strconv.Itoa(b.Retained), Help: "Their number.", Off: onRDS},
		{Name: "enabled", Label: "automatic", Value: answer(b.Enabled), Options: yesNo, Help: "Whether backups are made by themselves.", Off: onRDS},
		{Name: "pitr", Label: "to a moment", Value: answer(b.PITR), Options: yesNo, Help: "Point-in-time recovery. Its switch restarts the database.", Off: onRDS},
	}, func(a dialog.Answers) (tea.Msg, string) {
		r, flags, err := settings(a, b)
		switch {
		case err != "":
			return nil, err
		case len(flags) == 0:
			return nil, "nothing is changed"
		}
		return p.Plan(backup.ConfigureKind, "configure the backups of "+p.At.Name, r, p.Sheet.CLI([]string{"backup", "configure"}, flags...)), ""
	})
}

// settings are those of a form that differ from what is, as a request and as flags.
func settings(a dialog.Answers, is cloud.Backups) (r backup.ConfigureRequest, flags []string, complaint string) {
	for _, one := range []struct {
		name string
		is   bool
		to   **bool
	}{{"enabled", is.Enabled, &r.Enabled}, {"pitr", is.PITR, &r.PITR}} {
		if _, in := a[one.name]; in && a.Yes(one.name) != one.is {
			*one.to = new(a.Yes(one.name))
			flags = append(flags, "--"+one.name+"="+strconv.FormatBool(a.Yes(one.name)))
		}
	}
	for _, one := range []struct {
		name string
		is   int
		to   **int
	}{{"retention", is.RetentionDays, &r.RetentionDays}, {"retained", is.Retained, &r.Retained}} {
		text, in := a[one.name]
		if !in || text == strconv.Itoa(one.is) {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return r, nil, text + " is no number"
		}
		*one.to = new(n)
		flags = append(flags, "--"+one.name, text)
	}
	if w := a["window"]; w != "" && w != is.Window {
		r.Window = &w
		flags = append(flags, "--window", w)
	}
	return r, slices.Clip(flags), ""
}
