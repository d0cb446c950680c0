package lint

import (
	"strings"
)

func styleRules() []Rule {
	tables, column := []string{"CreateStmt"}, []string{"AT_AddColumn"}
	typed := func(id, title, why, rewrite string, is func(*columnDef, columnType) bool) Rule {
		return Rule{
			ID: id, Severity: Info, Harm: style, on: tables, cmd: column, Title: title, Why: why, Rewrite: rewrite,
			check: func(c *checking) {
				for _, d := range c.newColumns() {
					if t := typeOf(d.Type); is(d, t) {
						c.hit(hit{column: d.Name, typ: t.String(), offset: c.s.base + d.Location})
					}
				}
			},
		}
	}
	base := func(names ...string) func(*columnDef, columnType) bool {
		return func(_ *columnDef, t columnType) bool {
			for _, n := range names {
				if t.base == n {
					return true
				}
			}
			return false
		}
	}
	return []Rule{
		typed("type-json", "{column} is json", "json has no equality, so DISTINCT and GROUP BY fail on it, and it is parsed at each use", "{column} jsonb", base("json")),
		typed("type-timestamp", "{column} is a timestamp without time zone", "it does not say which moment it is once two time zones are in play", "{column} timestamptz", base("timestamp")),
		typed("type-char", "{column} is {type}", "it is padded with blanks, and no faster than text", "{column} text", base("bpchar")),
		typed("type-serial", "{column} is serial", "its sequence has rights and an owner of its own; an identity has not", "{column} bigint GENERATED ALWAYS AS IDENTITY", base("serial", "bigserial", "smallserial", "serial2", "serial4", "serial8")),
		typed("type-int-key", "the primary key {column} ends at 2,147,483,647", "to widen it later writes the table and its indexes anew", "{column} bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
			func(d *columnDef, t columnType) bool {
				return (t.base == "int4" || t.base == "serial" || t.base == "serial4") && d.has("CONSTR_PRIMARY") != nil
			}),
		{
			ID: "long-identifier", Severity: Info, Harm: style, on: []string{"CreateStmt", "IndexStmt"}, cmd: []string{"AT_AddColumn", "AT_AddConstraint"}, check: longNames,
			Title: "the name {name} has more than 63 bytes", Why: "PostgreSQL cuts it off, and two that begin alike collide", Rewrite: "-- a shorter name",
		},
		{
			ID: "touches-history", Severity: Warn, Harm: fails, file: touchesHistory,
			Title: "the file changes the table of versions itself", Why: "that table says which files were run; the runner writes it in the same transaction", Rewrite: "-- leave schema_migrations to dbops migrate: repair, baseline and goto change it",
		},
	}
}

// newColumns are those that the statement or command makes.
func (c *checking) newColumns() []*columnDef {
	if c.cmd != nil {
		if d := c.newColumn(); d != nil {
			return []*columnDef{d}
		}
		return nil
	}
	if s, ok := c.s.parsed.(*createTable); ok {
		return s.columns()
	}
	return nil
}

// longNames looks at the text, where the grammar has cut names off already.
func longNames(c *checking) {
	check := func(name string) {
		if len(name) != 63 { // cut off, or just as long as it may be
			return
		}
		if i := strings.Index(strings.ToLower(c.s.Text), strings.ToLower(name)); i >= 0 && i+63 < len(c.s.Text) {
			if r := c.s.Text[i+63]; r == '_' || r >= 0x80 || (r >= '0' && r <= '9') || (r|0x20 >= 'a' && r|0x20 <= 'z') {
				c.hit(hit{name: name + "..."})
			}
		}
	}
	for _, d := range c.newColumns() {
		check(d.Name)
	}
	switch s := c.s.parsed.(type) {
	case *createTable:
		check(s.Relation.Rel)
	case *createIndex:
		check(s.Name)
	case *alterTable:
		if k := as[constraint](c.cmd.Def, "Constraint"); k != nil {
			check(k.Name)
		}
	}
}

var historyTables = map[string]bool{"schema_migrations": true, "migration_history": true}

func touchesHistory(c *checking) {
	for _, s := range c.file.statements {
		for _, k := range newWorld(c.facts).claims(s.parsed, s.kind) {
			if historyTables[k.name.Rel] && stronger(k.lock, rowShare) {
				with := *c
				with.s = s
				with.hit(hit{object: k.name, fresh: true})
				return
			}
		}
	}
}
