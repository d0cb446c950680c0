package lint

import (
	"cmp"
	"slices"
	"strings"

	"dbops/internal/migrate/source"
	"dbops/internal/migrate/split"
)

// hit is what a rule says of one place, where it differs from what the rule says of all.
type hit struct {
	object       Name
	severity     Severity
	harm         Harm
	lock, title  string
	why, rewrite string
	column, name string
	names        string // quoted, with commas
	typ          string
	offset       int  // bytes into the file; 0: the statement's start
	fresh        bool // also of a new table
	line, at     int  // of a hit without a statement
}

// hit notes a finding.
func (c *checking) hit(h hit) {
	harm := cmp.Or(h.harm, c.rule.Harm)
	if harm != fails && harm != style && !h.fresh && h.object.Rel != "" && c.fresh[h.object.key()] {
		return
	}
	f := Finding{
		Rule: c.rule.ID, Severity: cmp.Or(h.severity, c.rule.Severity), File: c.file.Path, Title: cmp.Or(h.title, c.rule.Title),
		Why: cmp.Or(h.why, c.rule.Why), Rewrite: cmp.Or(h.rewrite, c.rule.Rewrite), Since: c.rule.Since, harm: harm, table: h.object, Lock: h.lock,
	}
	f.Line, f.Column = h.line, h.at
	sql := ""
	if c.s != nil {
		sql = c.s.Text
		f.Line, f.Column, f.Statement, f.start = c.s.Line, c.s.Column, shorten(sql), c.s.Start
		if h.offset > 0 {
			f.Line, f.Column = split.Place(c.file.SQL, h.offset)
		}
		if h.object.Rel != "" && f.Lock == "" {
			for _, k := range c.s.claims {
				if k.name.key() == h.object.key() && stronger(k.lock, f.Lock) {
					f.Lock = k.lock
				}
			}
		}
	}
	if h.object.Rel != "" {
		f.Object = h.object.String()
	}
	if f.Lock != "" && harm != fails && harm != style {
		f.Blocks = blocked(f.Lock)
		if f.Lock != shareUpdateExclusive {
			f.Blocks = strings.TrimSpace(f.Blocks + " " + harm.howLong())
		}
	}
	f.Rewrite = strings.NewReplacer("{table}", f.Object, "{names}", h.names, "{column}", quote(h.column), "{name}", quote(h.name), "{type}", h.typ, "{sql}", sql).Replace(f.Rewrite)
	f.Title = strings.NewReplacer("{table}", f.Object, "{column}", h.column, "{name}", h.name, "{type}", h.typ).Replace(f.Title)
	if c.file.Direction == source.Down && (harm == loses || harm == breaks) {
		f.Severity = Info // that is what going down is; its plan says what would go, with row counts
	}
	c.run.findings = append(c.run.findings, f)
}

// weigh lets the real table decide how bad it is.
func (r *run) weigh(f *Finding) {
	rel, ok := r.facts.Relations[f.table.key()]
	if ok && rel.Kind == "i" {
		rel, ok = r.facts.Relations[rel.Table.key()]
	}
	if !ok || f.table.Rel == "" {
		return
	}
	f.Seen = f.Object + ": " + rel.String()
	if rel.Bytes > 0 && f.harm.grows() {
		f.Blocks = strings.Replace(f.Blocks, "the whole table", bytesText(rel.Bytes), 1)
	}
	empty := rel.Bytes == 0 && rel.Rows <= 0
	switch {
	case empty && (f.harm.grows() || f.harm == rows), empty && rel.Quiet() && f.harm == loses:
		f.Severity, f.Seen = Info, f.Object+": empty table, fine"
	case rel.Bytes < 0:
	case f.harm.grows() && rel.Bytes <= tiny:
		f.Severity = Info
	case f.harm.grows() && rel.Bytes <= small && f.Severity == Error:
		f.Severity = Warn
	case f.harm == waits && rel.Quiet():
		f.Severity = Info
	}
}

// plain drops what is good to know of a statement of which there is worse to say.
func (r *run) plain() {
	worse := map[[2]string]bool{}
	key := func(f Finding) [2]string { return [2]string{f.File, itoa(f.start) + " " + f.Object} }
	for _, f := range r.findings {
		if rule := r.rule(f.Rule); rule.Severity != Info {
			worse[key(f)] = true
		}
	}
	r.findings = slices.DeleteFunc(r.findings, func(f Finding) bool {
		return f.harm == waits && r.rule(f.Rule).Severity == Info && worse[key(f)]
	})
}

func shorten(sql string) string {
	const most = 400
	if len(sql) <= most {
		return sql
	}
	return strings.ToValidUTF8(sql[:most], "") + " ..."
}
