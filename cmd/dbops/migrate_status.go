package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dbops/internal/fault"
	"dbops/internal/migrate"
)

type migrateStatusOptions struct {
	migratePick
	check, history bool
}

// migrateStatusJSON is dbops/migrate-status/v1.
type migrateStatusJSON struct {
	Schema    string           `json:"schema"`
	Clean     bool             `json:"clean"`
	Databases []migrate.Status `json:"databases"`
}

func newMigrateStatusCmd(c *cli) *cobra.Command {
	o := &migrateStatusOptions{}
	cmd := &cobra.Command{
		Use: "status [-e ENV] [DATABASE...]", Short: "The version of every database, and what is pending, late, changed or dirty",
		Long: `Show for each database its version, what is pending, whether a migration ended half-way (dirty), which files were changed since they were applied,
what comes before the version and was never applied (late), and who applied the last one, when, and for how long. Nothing is locked or changed; a
login that may read is enough.

Exit status: 0 shown; 1 a database could not be looked at; 2 usage or configuration; 5 with --check, something is not as the folder has it.`,
		Example: "  dbops migrate status\n  dbops migrate status -e prod --check\n  dbops migrate status -e prod shop --history\n  dbops migrate status -o json",
		RunE:    func(cmd *cobra.Command, args []string) error { return runMigrateStatus(cmd.Context(), c, o, args) },
	}
	o.flags(cmd, false)
	cmd.Flags().BoolVar(&o.check, "check", false, "end with 5 if something is pending, late, changed, dirty or ahead")
	cmd.Flags().BoolVar(&o.history, "history", false, "show who did what, and when: the last 1,000 entries")
	return cmd
}

func runMigrateStatus(ctx context.Context, c *cli, o *migrateStatusOptions, names []string) error {
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	all, err := a.Migrations(ctx, o.pick(names), o.history)
	if err != nil {
		return err
	}
	out := migrateStatusJSON{"dbops/migrate-status/v1", true, all}
	var failed error
	onlyConfig := true
	var unclean []string
	for i := range all {
		if err := all[i].Err(); err != nil {
			onlyConfig = onlyConfig && fault.KindOf(err) == fault.Config
			failed = errors.Join(failed, err)
		}
		if !all[i].Clean() {
			out.Clean = false
			unclean = append(unclean, all[i].Environment+" "+all[i].Name+": "+all[i].Word())
		}
	}
	if c.json() {
		err = printJSON(c.out, out)
	} else {
		err = printMigrateStatus(c.out, all, o.history, time.Now())
	}
	switch {
	case err != nil:
		return err
	case failed != nil:
		kind := fault.Failed
		if onlyConfig {
			kind = fault.Config
		}
		return fault.New(kind, "look at the migrations", failed).Hint("%s", fault.HintOf(failed))
	case o.check && len(unclean) > 0:
		return fault.Newf(fault.Findings, "compare the databases with their folders", "%s", strings.Join(unclean, "; ")).Hint("%s", migrateNext(all))
	}
	return nil
}

// migrateNext is what to do about the first database that is not as its folder.
func migrateNext(all []migrate.Status) string {
	for _, s := range all {
		at := "-e " + s.Environment + " " + s.Name
		switch {
		case s.Clean():
		case s.Held != "":
			return "wait for the end of what runs, and look again"
		case s.Dirty:
			return "dbops migrate repair " + at
		case s.Word() == "broken folder":
			return "mend the files that are named above"
		case len(s.Unknown) > 0:
			return "check out the branch that has the database's version"
		case len(s.Late) > 0:
			return "dbops migrate up " + at + " --out-of-order applies them; or give the files versions after the last one"
		case len(s.Changed) > 0:
			return "dbops migrate repair " + at
		default:
			return "dbops migrate plan " + at + " shows what up would do"
		}
	}
	return ""
}

func printMigrateStatus(w io.Writer, all []migrate.Status, history bool, now time.Time) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(w, "dbops.yaml names no migrations: databases.NAME.migrations is a folder of them")
		return err
	}
	rows := make([][]string, 0, len(all))
	for _, s := range all {
		last := "-"
		if l := s.Last; l != nil {
			what := fmt.Sprintf("%s %d", l.Direction, l.Version)
			if l.Outcome != "ok" {
				what += " " + strings.ToUpper(l.Outcome)
			}
			last = fmt.Sprintf("%s, %s, %s ago, took %s", what, l.Who, ageText(now.Sub(l.At)), tookText(l.Seconds))
			if s.Foreign {
				last = "by another tool since; before: " + last
			}
		} else if s.Assumed {
			last = "by another tool"
		}
		rows = append(rows, []string{s.Environment, s.Instance, s.Name, migrateVersion(s.Version), migrateVersion(s.Latest), s.Word(), last})
	}
	if err := printTable(w, []string{"ENVIRONMENT", "INSTANCE", "DATABASE", "VERSION", "LATEST", "STATE", "LAST"}, rows); err != nil {
		return err
	}
	for _, s := range all {
		for _, line := range migrateNotes(s, history) {
			if _, err := fmt.Fprintf(w, "%s %s: %s\n", s.Environment, s.Name, oneBlock(line)); err != nil {
				return err
			}
		}
	}
	return nil
}

// migrateNotes are what a person should know of a database beyond its row.
func migrateNotes(s migrate.Status, history bool) (out []string) {
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if s.Error != "" {
		add("%s", s.Error)
		if s.Hint != "" {
			add("%s", s.Hint)
		}
		return out
	}
	if s.Held != "" {
		add("running: it is migrated by %s", s.Held)
	}
	if c := s.Cut; c != nil && s.Held == "" {
		add("dirty: %s %s ended after %d of %d statements (%s); next %s", c.Name, c.Direction, c.Done, c.Statements, c.Outcome, c.Next)
	}
	if s.Dirty && s.Held == "" {
		add("dirty: dbops migrate repair -e %s %s shows what was left, and the ways out", s.Environment, s.Name)
	}
	list := func(word string, names []string) {
		if len(names) > 0 {
			add("%s: %s", word, firstFew(names))
		}
	}
	list("pending", s.Pending)
	list("late, before the version and not applied", s.Late)
	list("changed since applied", s.Changed)
	for _, v := range s.Unknown {
		add("ahead: the database has version %d, which the folder does not have", v)
	}
	for _, p := range s.Problems {
		add("%s", p)
	}
	if !history {
		return out
	}
	for _, h := range s.History {
		line := fmt.Sprintf("%s %-8s %d %s %s by %s, %s", stamp(h.At), h.Direction, h.Version, h.Name, h.Outcome, h.Who, tookText(h.Seconds))
		if h.Commit != "" {
			line += ", commit " + h.Commit[:min(12, len(h.Commit))]
		}
		if h.Reason != "" {
			line += ": " + h.Reason
		}
		if h.Error != "" {
			line += ": " + h.Error
		}
		out = append(out, line)
	}
	return out
}

func firstFew(names []string) string {
	const most = 8
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

func migrateVersion(v *int64) string {
	if v == nil || *v < 0 {
		return "-"
	}
	return fmt.Sprint(*v)
}

func tookText(seconds float64) string {
	return time.Duration(seconds * float64(time.Second)).Round(time.Millisecond).String()
}
