package preflight

import (
	"embed"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
)

//go:embed sql
var sqlFiles embed.FS

// shown is how many objects a finding names; the others are counted.
const shown = 5

// judged is how many rows are read of a check that is decided here rather than by its query.
const judged = 10000

// check is one question to the source. Its query is sql/<file>.sql: one statement that gives two texts, an object and a detail, for
// each thing that is wrong. It may use $1, the target's major. Where there is a sql/<name>.hidden.sql, that one lists what the role
// cannot look at.
type check struct {
	name     string // also in JSON and in docs: never changed
	severity Severity
	source   majors // of the source where this may occur
	target   majors // of the target where this matters
	engine   Engine // the only one that is concerned; empty: each
	needs    need
	what     string // the finding's sentence, without its objects
	why      string
	remedy   string // {object} and {detail} stand for the first one's, {role} for the one that looks
	// superuser: somebody who is one can do it after all, so that it only warns.
	superuser bool
	file      string                                                 // where it is not name
	judge     func(in given, rows []row) (bad []row, unknown string) // which rows are wrong; nil: all
}

// need is what a query shows other sessions' rows by: without it they are there, and empty.
type need int

const (
	nothing need = iota
	stats        // membership in pg_read_all_stats
)

// majors is a span of versions, both ends included; zero is open.
type majors struct{ from, to int }

func (m majors) has(major int) bool { return major >= m.from && (m.to == 0 || major <= m.to) }

// upTo and since make spans.
func upTo(major int) majors  { return majors{to: major} }
func since(major int) majors { return majors{from: major} }

// row is what a query gives.
type row struct {
	object, detail string
	total          int // of all rows, also those that were not read
}

func (c check) applies(source int, t Target, e Engine) bool {
	// What a major brought or took is met only on the way across it: an upgrade from 17 has passed what 16 changed.
	return c.source.has(source) && c.target.has(t.Major) && (c.engine == "" || c.engine == e)
}

func (c check) sql() (string, error) {
	name := c.file
	if name == "" {
		name = c.name
	}
	return readSQL(name)
}

// hidden is the query of what cannot be looked at; empty where there is none.
func (c check) hidden() string {
	q, err := readSQL(c.name + ".hidden")
	if err != nil {
		return ""
	}
	return q
}

func readSQL(name string) (string, error) {
	b, err := sqlFiles.ReadFile("sql/" + name + ".sql")
	if err != nil {
		return "", fmt.Errorf("read the query of %s: %w", name, err)
	}
	return strings.TrimSpace(string(b)), nil
}

// bounded makes a query of a check give its first rows, in order, and how many there are.
func bounded(sql string, limit int) string {
	return fmt.Sprintf("SELECT left(object, 300), left(detail, 300), count(*) OVER () FROM (\n%s\n) AS r(object, detail)\n"+
		"ORDER BY object COLLATE \"C\", detail COLLATE \"C\" LIMIT %d", sql, limit)
}

func (c check) finding(db string, f Facts, rows []row) Finding {
	severity := c.severity
	if c.superuser && f.Superuser && severity == Block {
		severity = Warn
	}
	total := max(len(rows), rows[0].total)
	out := Finding{
		Check: c.name, Severity: severity, Database: db, Why: c.why, Count: total,
		Text: c.what + ": " + cut(rows[0].object),
		Remedy: strings.NewReplacer("{object}", cut(rows[0].object), "{detail}", cut(rows[0].detail),
			"{role}", pgx.Identifier{f.Role}.Sanitize()).Replace(c.remedy),
	}
	if total > 1 {
		out.Text += fmt.Sprintf(" and %d more", total-1)
	}
	for _, r := range rows[:min(shown, len(rows))] {
		out.Evidence = append(out.Evidence, Evidence{Object: cut(r.object), Detail: cut(r.detail)})
	}
	return out
}

// unknown is the finding of a check that could not look.
func (c check) unknown(db, reason, remedy string) Finding {
	return Finding{
		Check: c.name, Severity: unblocked(c.severity), Database: db, Text: "could not look whether: " + c.what, Why: c.why,
		Evidence: []Evidence{}, Remedy: remedy, Unknown: reason,
	}
}

// blind is the finding of a check that could not look at everything.
func (c check) blind(db string, rows []row) Finding {
	f := c.unknown(db, fmt.Sprintf("%d objects cannot be read", rows[0].total), "GRANT the right that each lacks")
	f.Count = rows[0].total
	for _, r := range rows {
		f.Evidence = append(f.Evidence, Evidence{Object: cut(r.object), Detail: cut(r.detail)})
	}
	return f
}

func unblocked(s Severity) Severity {
	if s == Block {
		return Warn
	}
	return s
}

// cut keeps a line of evidence a line.
func cut(s string) string {
	const most = 200
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most-1]) + "…"
}
