package lint

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"dbops/internal/migrate/lint/grammar"
	"dbops/internal/migrate/source"
	"dbops/internal/migrate/split"
)

// statement is one of a file, as far as the grammar knows it.
type statement struct {
	split.Statement
	node
	parsed  any
	base    int            // what to add to the tree's places
	unknown *grammar.Error // the grammar does not know it
	claims  []claim        // on tables that are not new
}

// file is an input, taken apart.
type file struct {
	Input
	read       split.File
	statements []*statement
	allows     []*allow
}

// run is one call of Check.
type run struct {
	l        *Linter
	facts    *Facts
	files    []*file
	byKind   map[string][]*Rule
	byCmd    map[string][]*Rule
	ofFile   []*Rule
	rules    map[string]*Rule
	findings []Finding
}

func (r *run) rule(id string) *Rule { return r.rules[id] }

// checking is what a rule is given.
type checking struct {
	*run
	rule  *Rule
	world *world
	fresh map[Name]bool // tables that the files made
	file  *file
	s     *statement // nil for a file
	alter *alterTable
	cmd   *alterCmd
}

// Check judges files in the order in which they run. Findings are in the order of the files; one that a comment allows is Info. An error
// is the catalog's, or a failure of the grammar itself.
func (l *Linter) Check(ctx context.Context, files []Input, known Catalog) ([]Finding, error) {
	r := &run{l: l, rules: map[string]*Rule{}, byKind: map[string][]*Rule{}, byCmd: map[string][]*Rule{}}
	all := Rules()
	for i := range all {
		rule := &all[i]
		r.rules[rule.ID] = rule
		for _, k := range rule.on {
			r.byKind[k] = append(r.byKind[k], rule)
		}
		for _, k := range rule.cmd {
			r.byCmd[k] = append(r.byCmd[k], rule)
		}
		if rule.file != nil {
			r.ofFile = append(r.ofFile, rule)
		}
	}
	for _, in := range files {
		f, err := open(in)
		if err != nil {
			return nil, err
		}
		r.files = append(r.files, f)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	var err error
	if r.facts, err = known.Look(ctx, r.question()); err != nil {
		return nil, err
	}
	if err := r.syntax(ctx, known); err != nil {
		return nil, err
	}
	r.judge()
	for i := range r.findings {
		r.weigh(&r.findings[i])
	}
	r.plain()
	r.allow()
	return r.findings, nil
}

// open takes a file apart, with the grammar at once if it can, else statement by statement.
func open(in Input) (*file, error) {
	f := &file{Input: in, read: split.Read(in.SQL)}
	statements, _ := split.Split(in.SQL)
	f.allows = allowsIn(in.SQL, statements)
	if !utf8.ValidString(in.SQL) || strings.IndexByte(in.SQL, 0) >= 0 {
		return f, nil // the folder says it
	}
	if len(f.read.Problems) > 0 { // its statements are not to be trusted; the folder says why
		return f, nil
	}
	for _, s := range statements {
		f.statements = append(f.statements, &statement{Statement: s})
	}
	text, err := grammar.Parse(in.SQL)
	if err == nil {
		var t tree
		if json.Unmarshal([]byte(text), &t) == nil && len(t.Stmts) == len(statements) {
			for i, s := range f.statements {
				s.node, s.parsed = t.Stmts[i].Stmt, decode(t.Stmts[i].Stmt)
				s.trim()
			}
			return f, nil
		}
	}
	for _, s := range f.statements {
		if err := s.alone(); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// alone parses one statement.
func (s *statement) alone() error {
	text, err := grammar.Parse(s.Text)
	if e, ok := err.(*grammar.Error); ok { //nolint:errorlint // Parse returns it as it is
		s.unknown = e
		return nil
	}
	if err != nil {
		return err
	}
	var t tree
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return err
	}
	s.base = s.Start
	if len(t.Stmts) == 1 {
		s.node, s.parsed = t.Stmts[0].Stmt, decode(t.Stmts[0].Stmt)
		s.trim()
	}
	return nil
}

// trim lets go of trees that nobody reads again: a folder may hold megabytes of INSERT.
func (s *statement) trim() {
	if s.kind == "InsertStmt" || s.kind == "AlterTableStmt" || s.parsed == nil && len(s.raw) > 64<<10 {
		s.raw = nil
	}
}

// question is what the catalog is asked.
func (r *run) question() Question {
	var q Question
	w := newWorld(&Facts{})
	seen := map[Name]bool{}
	functions := map[string]bool{}
	for _, f := range r.files {
		if f.Old {
			continue
		}
		for _, s := range f.statements {
			for _, c := range w.claims(s.parsed, s.kind) {
				if !seen[c.name.key()] && c.name.Rel != "" {
					seen[c.name.key()] = true
					q.Relations = append(q.Relations, c.name.key())
				}
			}
			if a, ok := s.parsed.(*alterTable); ok {
				for _, c := range a.cmds {
					if d := as[columnDef](c.Def, "ColumnDef"); d != nil && c.Subtype == "AT_AddColumn" {
						for _, fn := range functionsOf(d) {
							functions[fn] = true
						}
					}
				}
			}
		}
	}
	q.Functions = slices.Sorted(maps.Keys(functions))
	return q
}

// syntax brings in the server's verdict.
func (r *run) syntax(ctx context.Context, known Catalog) error {
	var texts []string
	type at struct {
		f *file
		s *statement
	}
	var where []at
	for _, f := range r.files {
		if f.Old {
			continue
		}
		for _, s := range f.statements {
			texts, where = append(texts, s.Text), append(where, at{f, s})
		}
	}
	verdicts, err := known.Syntax(ctx, texts)
	if err != nil {
		return err
	}
	for i, v := range verdicts {
		s := where[i].s
		c := &checking{run: r, file: where[i].f, s: s}
		switch {
		case v != nil:
			c.rule = r.rule("syntax")
			c.hit(hit{offset: s.Start + max(0, v.Offset), why: "PostgreSQL " + itoa(r.facts.Major) + " says: " + v.Message})
			s.unknown = nil
		case s.unknown != nil && !r.facts.Connected && r.facts.Major > 0 && r.facts.Major <= grammar.Major:
			c.rule = r.rule("syntax")
			c.hit(hit{offset: s.Start + max(0, s.unknown.Offset), why: "PostgreSQL's grammar says: " + s.unknown.Message})
			s.unknown = nil
		}
	}
	return nil
}

func ruleOf(id string) *Rule {
	r, _ := Find(id)
	return &r
}

// judge goes through the files and lets the rules look.
func (r *run) judge() {
	w := newWorld(r.facts)
	fresh := map[Name]bool{}
	for _, f := range r.files {
		down := f.Direction == source.Down
		if !down && (r.l.Apart || f.Old) {
			fresh = map[Name]bool{}
		}
		here, new := w, fresh
		if down { // it changes nothing for the files after it; its up file's tables are its own
			here, new = w.copy(), maps.Clone(fresh)
		}
		here.enums = map[string]bool{}
		if f.Migration == nil && !f.Old { // else the folder says it
			for _, p := range f.read.Problems {
				c := &checking{run: r, rule: r.rule("not-sql"), file: f}
				c.hit(hit{why: p.Text, rewrite: "-- " + p.Remedy, line: p.Line, at: p.Column})
			}
		}
		for _, s := range f.statements {
			c := &checking{run: r, world: here, fresh: new, file: f, s: s}
			for _, k := range here.claims(s.parsed, s.kind) {
				if !new[k.name.key()] && k.name.Rel != "" {
					s.claims = append(s.claims, k)
				}
			}
			if !f.Old {
				c.statement()
			}
			before := len(here.made)
			here.follow(s.parsed)
			if !f.Old && before != len(here.made) || s.kind == "RenameStmt" {
				noteFresh(s.parsed, new)
			}
		}
		if !f.Old {
			for _, rule := range r.ofFile {
				c := &checking{run: r, rule: rule, world: here, fresh: new, file: f}
				rule.file(c)
			}
		}
	}
}

func noteFresh(s any, fresh map[Name]bool) {
	switch s := s.(type) {
	case *createTable:
		fresh[s.Relation.name().key()] = true
	case *createTableAs:
		if s.Into != nil {
			fresh[s.Into.Rel.name().key()] = true
		}
	case *rename:
		if n := s.Relation.name(); fresh[n.key()] && s.Type == "OBJECT_TABLE" {
			fresh[Name{n.Schema, s.New}.key()] = true
		}
	case *createIndex:
		if fresh[s.Relation.name().key()] {
			fresh[Name{s.Relation.Schema, s.Name}.key()] = true
		}
	}
}

func (w *world) copy() *world {
	c := newWorld(w.facts)
	for n, t := range w.made {
		d := *t
		d.columns, d.constraints = maps.Clone(t.columns), maps.Clone(t.constraints)
		c.made[n] = &d
	}
	return c
}

func (c *checking) statement() {
	if c.s.unknown != nil {
		c.with(c.run.rule("not-judged")).hit(hit{offset: c.s.Start + max(0, c.s.unknown.Offset), why: "PostgreSQL " + itoa(grammar.Major) + "'s grammar says: " + c.s.unknown.Message})
		return
	}
	for _, rule := range c.byKind[c.s.kind] {
		c.with(rule).run1()
	}
	a, ok := c.s.parsed.(*alterTable)
	if !ok {
		return
	}
	for _, cmd := range a.cmds {
		for _, rule := range c.byCmd[cmd.Subtype] {
			with := c.with(rule)
			with.alter, with.cmd = a, cmd
			with.run1()
		}
	}
}

func (c *checking) with(rule *Rule) *checking {
	d := *c
	d.rule = rule
	return &d
}

// run1 lets the rule look; one without a look of its own finds each.
func (c *checking) run1() {
	if c.rule.check != nil {
		c.rule.check(c)
		return
	}
	for _, k := range c.s.claims {
		c.hit(hit{object: k.name})
		return
	}
	if len(c.world.claims(c.s.parsed, c.s.kind)) == 0 {
		c.hit(hit{})
	}
}

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
