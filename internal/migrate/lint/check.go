package lint

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"dbops/internal/migrate/lint/grammar"
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
			names := []Name{}
			if t, ok := s.parsed.(*createTable); ok && t.Maybe {
				names = append(names, t.Relation.name())
			}
			for _, c := range w.claims(s.parsed, s.kind) {
				names = append(names, c.name)
			}
			for _, n := range names {
				if !seen[n.key()] && n.Rel != "" {
					seen[n.key()] = true
					q.Relations = append(q.Relations, n.key())
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
