package lint

import "strings"

func constraintRules() []Rule {
	add := []string{"AT_AddConstraint"}
	return []Rule{
		{
			ID: "add-check", Severity: Error, Harm: scans, Lock: accessExclusive, cmd: add, check: addConstraint(false, "CONSTR_CHECK"),
			Title: "CHECK {name} is checked for each old row now", Why: "the whole table is read while nobody can use it",
		},
		{
			ID: "add-fk", Severity: Error, Harm: scans, Lock: shareRowExclusive, cmd: add, check: addConstraint(false, "CONSTR_FOREIGN"),
			Title: "foreign key {name} is checked for each old row now", Why: "both tables are read, and nobody can write to either; on a partitioned table NOT VALID is possible from PostgreSQL 18 on",
			Since: "NOT VALID on a partitioned table: from 18 on",
		},
		{
			ID: "add-unique", Severity: Error, Harm: builds, Lock: accessExclusive, cmd: add, check: addConstraint(true, "CONSTR_UNIQUE"),
			Title: "UNIQUE {name} builds its index now", Why: "the index is built while nobody can read the table",
			Rewrite: "-- in a file of its own:\nCREATE UNIQUE INDEX CONCURRENTLY {name} ON {table} ({names});\n-- then:\nALTER TABLE {table} ADD CONSTRAINT {name} UNIQUE USING INDEX {name};",
		},
		{
			ID: "add-pk", Severity: Error, Harm: builds, Lock: accessExclusive, cmd: add, check: addConstraint(true, "CONSTR_PRIMARY"),
			Title: "PRIMARY KEY {name} builds its index now", Why: "the index is built, and NOT NULL proved, while nobody can read the table",
			Rewrite: "-- prove NOT NULL by a CHECK first (see set-not-null); in a file of its own:\nCREATE UNIQUE INDEX CONCURRENTLY {name} ON {table} ({names});\n-- then:\nALTER TABLE {table} ADD CONSTRAINT {name} PRIMARY KEY USING INDEX {name};",
		},
		{
			ID: "add-exclude", Severity: Error, Harm: builds, Lock: accessExclusive, cmd: add, check: addConstraint(true, "CONSTR_EXCLUSION"),
			Title: "EXCLUDE {name} builds its index now", Why: "the index is built while nobody can read the table, and PostgreSQL has no other way: plan for a pause, or make a new table",
		},
		{
			ID: "validate-same-tx", Severity: Error, Harm: scans, Lock: accessExclusive, cmd: []string{"AT_ValidateConstraint"}, check: validateSame,
			Title: "constraint {name} is validated in the transaction that made it", Why: "the strong lock of ADD CONSTRAINT is kept until the end of the transaction, so nothing is won by NOT VALID",
			Rewrite: "-- in a later file:\nALTER TABLE {table} VALIDATE CONSTRAINT {name};",
		},
		{
			ID: "validate", Severity: Info, Harm: waits, Lock: shareUpdateExclusive, cmd: []string{"AT_ValidateConstraint"}, check: onTable,
			Title: "constraint {name} is validated", Why: "the table is read while others read and write; it waits for VACUUM, and VACUUM for it",
		},
		{
			ID: "drop-constraint-fk", Severity: Warn, Harm: waits, Lock: accessExclusive, cmd: []string{"AT_DropConstraint"}, check: dropFK,
			Title: "dropping foreign key {name} locks both tables", Why: "both locks are had one after the other, which may deadlock with code that takes them the other way round",
			Rewrite: "-- alone in its file, so that nothing else is held while it waits:\n{sql};",
		},
		{
			ID: "create-table-fk", Severity: Info, Harm: waits, Lock: shareRowExclusive, on: []string{"CreateStmt"}, check: createFK,
			Title: "the new table's foreign key locks {table}", Why: "writers of that table wait for a moment, and this waits for all of them that are under way; a warning where a connection shows writes",
			Rewrite: "-- with a lock_timeout, as dbops migrate up sets one; else, before the statement:\nSET LOCAL lock_timeout = '2s';",
		},
		{
			ID: "alter-domain-add-constraint", Severity: Error, Harm: scans, Lock: share, on: []string{"AlterDomainStmt"}, check: domainConstraint,
			Title: "the new constraint of domain {name} is checked in every table that uses it", Why: "each of those tables is read, and nobody can write to any of them",
			Rewrite: "ALTER DOMAIN {name} ADD CONSTRAINT ... CHECK (...) NOT VALID;\n-- in a later file:\nALTER DOMAIN {name} VALIDATE CONSTRAINT ...;",
		},
	}
}

// addConstraint finds constraints of a kind that were not added NOT VALID, or USING INDEX.
func addConstraint(index bool, kind string) func(*checking) {
	return func(c *checking) {
		k := as[constraint](c.cmd.Def, "Constraint")
		if k == nil || k.Type != kind || (index && k.Index != "") || (!index && k.Skip) {
			return
		}
		t := c.alter.Relation.name()
		columns := append(texts(k.FK), texts(k.Keys)...)
		h := hit{object: t, name: constraintName(t, columns, k), offset: c.s.base + k.Location}
		h.names = quoted(columns)
		if !index {
			h.rewrite = notValid(c, k)
		}
		if kind == "CONSTR_FOREIGN" && c.world.kind(t) == "p" && c.facts.Major > 0 && c.facts.Major < 18 {
			h.rewrite = "-- on a partitioned table NOT VALID needs PostgreSQL 18; add the key to each partition first, NOT VALID and then VALIDATE"
		}
		c.hit(h)
	}
}

// notValid is the constraint's own text with NOT VALID, where it is the only thing that the statement does.
func notValid(c *checking, k *constraint) string {
	validate := ";\n-- in a later file:\nALTER TABLE {table} VALIDATE CONSTRAINT {name};"
	switch {
	case len(c.alter.cmds) == 1 && k.Name != "":
		return "{sql} NOT VALID" + validate
	case k.Type == "CONSTR_FOREIGN":
		return "ALTER TABLE {table} ADD CONSTRAINT {name} FOREIGN KEY (" + quoted(texts(k.FK)) + ") REFERENCES " + k.Table.name().String() + references(k) + " NOT VALID" + validate
	}
	return "ALTER TABLE {table} ADD CONSTRAINT {name} CHECK " + parenthesis(c.file.SQL[min(c.s.base+k.Location, len(c.file.SQL)):]) + " NOT VALID" + validate
}

// parenthesis is the first pair of them in a text, with what is between.
func parenthesis(sql string) string {
	depth, from := 0, -1
	quote := byte(0)
	for i := range len(sql) {
		switch b := sql[i]; {
		case quote != 0:
			if b == quote {
				quote = 0
			}
		case b == '\'' || b == '"':
			quote = b
		case b == '(':
			if depth++; from < 0 {
				from = i
			}
		case b == ')':
			if depth--; depth == 0 && from >= 0 {
				return sql[from : i+1]
			}
		}
	}
	return "(...)"
}

func references(k *constraint) string {
	if len(k.PK) == 0 {
		return ""
	}
	return " (" + quoted(texts(k.PK)) + ")"
}

func quoted(names []string) string {
	out := make([]string, 0, len(names))
	for _, n := range names {
		out = append(out, quote(n))
	}
	return strings.Join(out, ", ")
}

func validateSame(c *checking) {
	if c.file.read.Mode != "tx" {
		return
	}
	t := c.alter.Relation.name()
	for _, s := range c.file.statements {
		a, ok := s.parsed.(*alterTable)
		if !ok || a.Relation.name().key() != t.key() {
			if s == c.s {
				return
			}
			continue
		}
		for _, cmd := range a.cmds {
			k := as[constraint](cmd.Def, "Constraint")
			if cmd.Subtype == "AT_AddConstraint" && k != nil && constraintName(t, append(texts(k.FK), texts(k.Keys)...), k) == c.cmd.Name {
				lock := accessExclusive
				if k.Type == "CONSTR_FOREIGN" {
					lock = shareRowExclusive
				}
				c.hit(hit{object: t, name: c.cmd.Name, lock: lock})
				return
			}
		}
		if s == c.s {
			return
		}
	}
}

func dropFK(c *checking) {
	t := c.alter.Relation.name()
	k, known := c.world.constraint(t, c.cmd.Name)
	n := c.cmd.Name
	looks := len(n) > 5 && n[len(n)-5:] == "_fkey" || len(n) > 3 && (n[:3] == "fk_" || n[len(n)-3:] == "_fk")
	switch {
	case known && k.Kind == "f":
		c.hit(hit{object: t, name: n, title: "dropping foreign key {name} locks " + t.String() + " and " + k.Other.String()})
	case !known && looks:
		c.hit(hit{object: t, name: n})
	}
}

func createFK(c *checking) {
	s, ok := c.s.parsed.(*createTable)
	if !ok {
		return
	}
	seen := map[Name]bool{}
	for _, k := range s.foreignKeys() {
		n := k.Table.name()
		if seen[n.key()] || n.key() == s.Relation.name().key() {
			continue
		}
		seen[n.key()] = true
		h := hit{object: n, offset: c.s.base + k.Location}
		if r, ok := c.world.relation(n); ok && r.Writes > 0 {
			h.severity = Warn
		}
		c.hit(h)
	}
}

func domainConstraint(c *checking) {
	s, ok := c.s.parsed.(*alterDomain)
	if !ok || (s.Subtype != "C" && s.Subtype != "O") {
		return
	}
	if k := as[constraint](s.Def, "Constraint"); k != nil && k.Skip {
		return
	}
	name := nameOf(texts(s.Type))
	c.hit(hit{name: name.String(), lock: share})
}
