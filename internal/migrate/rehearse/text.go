package rehearse

import (
	"fmt"
	"io"
	"strings"
	"time"

	"dbops/internal/migrate/split"
	"dbops/internal/pg/catalog"
)

// Base in words.
func (f Facts) baseText() string {
	s := fmt.Sprintf("on a scratch copy of the schema, without rows (PostgreSQL %d)", f.Major)
	switch f.Base {
	case Replayed:
		return s + "; the applied files made it, and it equals the database's"
	case Dumped:
		return s + "; it was dumped from the database"
	}
	return s + "; the applied files made it, and it is NOT as the database's"
}

// DriftWords say how the database differs from what its files make.
func DriftWords(all []catalog.Change) (out []string) {
	for _, s := range catalog.Words(all) {
		out = append(out, strings.NewReplacer(" added: ", ", which no file makes: ").Replace(s))
	}
	for i, s := range out {
		if rest, ok := strings.CutSuffix(s, " removed"); ok {
			out[i] = rest + " is missing"
		} else if rest, ok := strings.CutSuffix(s, " added"); ok {
			out[i] = rest + ", which no file makes"
		}
	}
	return out
}

// blocks is what a lock keeps others from.
func (l Lock) blocks() string {
	switch r := l.rank(); {
	case r == accessExclusive:
		return "nobody reads or writes it"
	case r >= share:
		return "nobody writes it"
	}
	return "reads and writes go on"
}

// lockGroup are the tables that are locked alike.
type lockGroup struct{ mode, blocks, tables string }

// byMode groups locks from a rank on, strongest first.
func byMode(all []Lock, from int) (out []lockGroup) {
	for rank := accessExclusive; rank >= from; rank-- {
		var names []string
		for _, l := range all {
			if l.rank() == rank {
				names = append(names, l.Relation)
			}
		}
		if len(names) > 0 {
			out = append(out, lockGroup{modes[rank], Lock{Mode: modes[rank]}.blocks(), list(names)})
		}
	}
	return out
}

const mostTables = 8

// list is some names on a line.
func list(names []string) string {
	if len(names) <= mostTables {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:mostTables], ", "), len(names)-mostTables)
}

// Effects are what a statement does, one line each; none for a quiet one.
func (r *Report) Effects(s Statement) (out []string) {
	if s.Skipped {
		return []string{"not run here"}
	}
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, n := range s.Rewrites {
		say("rewrites %s and its indexes%s", n, r.sizeText(n, true))
	}
	for _, n := range s.Empties {
		say("empties %s%s", n, r.sizeText(n, false))
	}
	if len(s.Builds) > 0 {
		on := make([]string, len(s.BuildsOn))
		for i, n := range s.BuildsOn {
			on[i] = n + r.sizeText(n, false)
		}
		say("builds %s on %s", list(s.Builds), list(on))
	}
	for _, n := range s.Scans {
		if has(s.Rewrites, n) || has(s.BuildsOn, n) {
			continue
		}
		if s.Data {
			say("reads %s%s, how much of it is not known", n, r.sizeText(n, false))
		} else {
			say("reads all of %s%s", n, r.sizeText(n, false))
		}
	}
	for _, n := range s.Writes {
		say("changes rows of %s%s; how many, and how long that takes, is not known", n, r.sizeText(n, false))
	}
	for _, g := range byMode(s.Locks, shareUpdateExclusive) {
		say("locks %s (%s: %s)", g.tables, g.mode, g.blocks)
	}
	if s.Alone && len(out) == 0 {
		say("runs outside of a transaction")
	}
	return out
}

func has(all []string, one string) bool {
	for _, s := range all {
		if s == one {
			return true
		}
	}
	return false
}

// sizeText is " (40 GB, about 1,200 rows)", "" for a table that the target does not have.
func (r *Report) sizeText(relation string, indexes bool) string {
	s, ok := r.size(relation)
	if !ok {
		return ""
	}
	bytes := s.Bytes
	if indexes {
		bytes += s.Indexes
	}
	if s.Bytes == 0 {
		return " (empty)"
	}
	if s.Rows < 0 {
		return " (" + bytesText(bytes) + ")"
	}
	return " (" + bytesText(bytes) + ", about " + thousands(s.Rows) + " rows)"
}

func bytesText(n int64) string {
	f, i := float64(n), 0
	units := []string{"bytes", "kB", "MB", "GB", "TB", "PB"}
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	if i > 0 && f < 10 {
		return fmt.Sprintf("%.1f %s", f, units[i])
	}
	return fmt.Sprintf("%.0f %s", f, units[i])
}

func thousands(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

const mostDrift = 12

// WriteText writes a report for a person.
func WriteText(w io.Writer, r *Report) error {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("Rehearsed %s.", r.Facts.baseText())
	for _, p := range r.Facts.Partial {
		line("! %s", p)
	}
	if drift := DriftWords(r.Facts.Drift); len(drift) > 0 {
		line("! The database differs from what its files make:")
		for _, d := range drift[:min(len(drift), mostDrift)] {
			line("    %s", d)
		}
		if n := len(drift) - mostDrift; n > 0 {
			line("    and %d more", n)
		}
	}
	data := false
	for i, f := range r.Facts.Files {
		r.fileText(line, i)
		for _, s := range f.Statements {
			data = data || s.Data
		}
	}
	if words := catalog.Words(r.Facts.Changes); len(words) > 0 {
		line("\nThe schema afterwards:")
		for _, s := range words {
			line("  %s", s)
		}
	} else if len(r.Facts.Files) > 0 && r.Facts.Failed() == nil {
		line("\nThe schema stays as it is.")
	}
	r.probeText(line)
	if data {
		line("\nThe copy has no rows: what statements about rows do, and how long, is not seen.")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// took is how long a statement took on the copy, "" if it is not known.
func (r *Report) took(file, statement int) string {
	if file >= len(r.Times.Statements) || statement >= len(r.Times.Statements[file]) {
		return ""
	}
	t := r.Times.Statements[file][statement]
	if t < time.Millisecond {
		return "; took less than 1 ms here, without rows"
	}
	return fmt.Sprintf("; took %s here, without rows", t.Round(time.Millisecond))
}

func (r *Report) fileText(line func(string, ...any), file int) {
	f := r.Facts.Files[file]
	manner := "one transaction"
	if f.Mode == string(split.Stepwise) {
		manner = "statement by statement"
	}
	if f.Missing {
		line("\n%s: nothing is run", f.Name)
		return
	}
	line("\n%s (%s)", f.Name, manner)
	quiet := 0
	for i, s := range f.Statements {
		if f.Failure != nil && i == f.Failure.Statement-1 {
			continue
		}
		if s.quiet() {
			quiet++
			continue
		}
		line("  %d:%d  %s", s.Line, s.Column, s.Text)
		effects := r.Effects(s)
		for j, e := range effects {
			if j == len(effects)-1 && !s.Skipped {
				e += r.took(file, i)
			}
			line("        %s", e)
		}
	}
	switch {
	case quiet == 1:
		line("  1 more statement: no new lock, nothing read or built")
	case quiet > 1:
		line("  %d more statements: no new lock, nothing read or built", quiet)
	}
	for _, g := range byMode(f.Held, share) {
		line("  locked until it has ended: %s (%s: %s)", g.tables, g.mode, g.blocks)
	}
	if f.Failure != nil {
		line("  FAILS at %s: %s", f.Place(), f.Failure)
		for l := range strings.Lines(f.Failure.Excerpt) {
			line("    %s", strings.TrimRight(l, "\n"))
		}
		if f.Failure.Rights {
			line("    the scratch server's login is no superuser; the database may allow it")
		}
	}
	downText(line, f.Down)
}

func downText(line func(string, ...any), d *Verified) {
	switch {
	case d == nil:
	case d.Missing:
		line("  down: there is no file, so there is no way back")
	case d.Failure != nil:
		line("  down: it FAILS: %s", d.Failure)
	case !d.Restores && d.Unknown == "":
		line("  down: it does NOT bring back the schema: %s", few(catalog.Words(d.Left)))
	case d.Unknown != "":
		line("  down: %s", d.Unknown)
	case !d.Again:
		line("  down: it brings back the schema, but going up again leads elsewhere")
	default:
		line("  down: it brings back the schema")
	}
}

func (r *Report) probeText(line func(string, ...any)) {
	if len(r.Facts.Probes) == 0 {
		return
	}
	if len(r.Data) == 0 {
		line("\nIt fails unless, in the database:")
		for _, p := range r.Facts.Probes {
			why := ""
			if p.Unknown != "" {
				why = " (" + p.Unknown + ")"
			}
			line("  %s%s%s", p.What, why, p.changedText())
		}
		return
	}
	line("\nWhat the rows of the database say:")
	for _, p := range r.Data {
		switch p.Answer {
		case Clean:
			line("  ok: %s", p.What)
		case Violated:
			line("  NOT so: %s%s", p.What, p.changedText())
		default:
			line("  unknown (%s): %s", p.Why, p.What)
		}
	}
}

func (p Probe) changedText() string {
	if !p.Changed {
		return ""
	}
	return " (the files change rows of it before)"
}
