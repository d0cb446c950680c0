package lint

import (
	"maps"

	"dbops/internal/migrate/lint/grammar"
	"dbops/internal/migrate/source"
)

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
			here, new = w.over(), maps.Clone(fresh)
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
			if !f.Old {
				here.noteFresh(s.parsed, new)
			}
			here.follow(s.parsed)
		}
		if !f.Old {
			for _, rule := range r.ofFile {
				c := &checking{run: r, rule: rule, world: here, fresh: new, file: f}
				rule.file(c)
			}
		}
	}
}

// noteFresh takes note of the tables and indexes that a statement makes.
func (w *world) noteFresh(s any, fresh map[Name]bool) {
	switch s := s.(type) {
	case *createTable:
		n := s.Relation.name()
		_, there := w.relation(n)
		if !s.Maybe || (!there && w.kind(n) == "") {
			fresh[n.key()] = true
		}
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
