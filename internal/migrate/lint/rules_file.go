package lint

import (
	"path/filepath"
	"strings"

	"dbops/internal/migrate/source"
)

func fileRules() []Rule {
	return []Rule{
		{
			ID: "syntax", Severity: Error, Harm: fails, Title: "it is not SQL that the server takes", Why: "the server's grammar does not know it",
		},
		{
			ID: "not-judged", Severity: Info, Harm: style, Title: "the statement could not be judged", Why: "the grammar of PostgreSQL 17 does not know it",
			Rewrite: "-- with --connect, or --server-version up to 17, it is known whether it is a mistake",
		},
		{
			ID: "not-sql", Severity: Error, Harm: fails, Title: "the file holds what no server takes", Why: "psql's own commands, COPY with data in the file, a quote that is not closed",
		},
		{
			ID: "file-name", Severity: Error, Harm: fails, Title: "the file does not fit into its folder", Why: "a migration is VERSION_name.up.sql or VERSION_name.down.sql, in UTF-8, each version once",
		},
		{
			ID: "byte-order-mark", Severity: Warn, Harm: fails, Title: "the file begins with a byte order mark", Why: "dbops passes over it; golang-migrate sends it, and the server refuses the file", Rewrite: "-- save it as UTF-8 without a mark",
		},
		{
			ID: "version-gap", Severity: Info, Harm: style, file: versionGap, Title: "versions are missing before it", Why: "a numbered folder has a hole: a file may have been left out of the commit",
		},
		{
			ID: "empty-up", Severity: Warn, Harm: fails, file: emptyUp, Title: "the file does nothing", Why: "running it changes the version and nothing else", Rewrite: "-- say in a comment why nothing is to be done",
		},
		{
			ID: "missing-up", Severity: Warn, Harm: fails, file: missingUp, Title: "there is no up file", Why: "going up changes the version and nothing else",
		},
		{
			ID: "missing-down", Severity: Warn, Harm: fails, file: missingDown, Title: "there is no down file", Why: "going down changes the version and nothing else, and nobody is told",
			Rewrite: "-- dbops: irreversible: why (in a down file, or anywhere in this one)",
		},
		{
			ID: "empty-down", Severity: Warn, Harm: fails, file: emptyDown, Title: "the down file does nothing", Why: "going down changes the version and nothing else, and nobody is told",
			Rewrite: "-- dbops: irreversible: why",
		},
		{
			ID: "allow", Severity: Warn, Harm: style, Title: "a comment that allows nothing", Why: "it is written -- dbops:allow RULE reason, above the statement", Rewrite: "-- dbops:allow RULE reason",
		},
	}
}

const irreversible = "dbops: irreversible"

func versionGap(c *checking) {
	m := c.file.Migration
	if m == nil || c.file.Direction == source.Down || len(m.Digits) > 6 { // timestamps have gaps
		return
	}
	last := int64(-1)
	for _, f := range c.files {
		if f.Migration == nil {
			continue
		}
		if f.Migration == m {
			if last > 0 && m.Version > last+1 && m.Version < last+10 {
				c.hit(hit{})
			}
			return
		}
		if filepath.Dir(f.Path) == filepath.Dir(c.file.Path) {
			last = f.Migration.Version
		}
	}
}

func emptyUp(c *checking) {
	if c.file.Direction == source.Up && strings.TrimSpace(c.file.SQL) == "" {
		c.hit(hit{})
	}
}

func missingUp(c *checking) {
	if m := c.file.Migration; m != nil && c.file.Direction == source.Down && m.Up == nil {
		c.hit(hit{})
	}
}

func missingDown(c *checking) {
	if m := c.file.Migration; m != nil && c.file.Direction == source.Up && m.Down == nil && !strings.Contains(c.file.SQL, irreversible) {
		c.hit(hit{})
	}
}

func emptyDown(c *checking) {
	if c.file.Direction == source.Down && len(c.file.statements) == 0 && len(c.file.read.Problems) == 0 && !strings.Contains(c.file.SQL, irreversible) {
		c.hit(hit{})
	}
}

// FolderFindings are what is wrong with a folder as such. Those of the files are [Linter.Check]'s.
func FolderFindings(f *source.Folder) []Finding {
	var out []Finding
	for _, p := range f.Problems {
		id := "file-name"
		switch {
		case p.Line > 0:
			id = "not-sql"
		case !p.Fatal && strings.HasPrefix(p.Text, "it is empty"), strings.HasPrefix(p.Text, "there is no file that goes up"):
			continue // empty-up and missing-up say it
		}
		rule := ruleOf(id)
		severity := rule.Severity
		if !p.Fatal && id == "file-name" {
			severity = Warn
		}
		rewrite := ""
		if p.Remedy != "" {
			rewrite = "-- " + p.Remedy
		}
		out = append(out, Finding{
			Rule: id, Severity: severity, File: filepath.Join(f.Path, filepath.FromSlash(p.File)), Line: p.Line, Column: p.Column,
			Title: rule.Title, Why: p.Text, Rewrite: rewrite, harm: fails,
		})
	}
	return out
}

// Marked are findings of files that begin with a byte order mark.
func Marked(paths []string) []Finding {
	rule := ruleOf("byte-order-mark")
	var out []Finding
	for _, p := range paths {
		out = append(out, Finding{Rule: rule.ID, Severity: rule.Severity, File: p, Title: rule.Title, Why: rule.Why, Rewrite: rule.Rewrite, harm: fails})
	}
	return out
}
