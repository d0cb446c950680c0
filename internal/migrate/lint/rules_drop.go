package lint

import "strings"

func dropRules() []Rule {
	return []Rule{
		{
			ID: "rename-table", Severity: Error, Harm: breaks, Lock: accessExclusive, on: []string{"RenameStmt"}, check: renameOf("OBJECT_TABLE", "OBJECT_VIEW", "OBJECT_MATVIEW"),
			Title: "{table} is renamed to {name}", Why: "code that runs now asks for the old name, and fails from that moment on",
			Rewrite: "{sql};\nCREATE VIEW {table} AS SELECT * FROM {name}; -- in the same transaction, until no code asks for the old name",
		},
		{
			ID: "rename-column", Severity: Error, Harm: breaks, Lock: accessExclusive, on: []string{"RenameStmt"}, check: renameOf("OBJECT_COLUMN"),
			Title: "column {column} is renamed to {name}", Why: "code that runs now asks for the old name, and fails from that moment on",
			Rewrite: "ALTER TABLE {table} ADD COLUMN {name} ...;\n-- write both, fill in batches, read the new one, and in a later release:\nALTER TABLE {table} DROP COLUMN {column};",
		},
		{
			ID: "rename-enum-value", Severity: Error, Harm: breaks, on: []string{"AlterEnumStmt"}, check: renameEnum,
			Title: "a value of the enum {name} is renamed", Why: "code that runs now writes and compares the old value, and fails from that moment on",
			Rewrite: "-- add the new value, move rows and code to it, and leave the old one alone:\nALTER TYPE {name} ADD VALUE '...';",
		},
		{
			ID: "drop-table", Severity: Error, Harm: loses, Lock: accessExclusive, on: []string{"DropStmt"}, check: dropTable,
			Title: "table {table} is dropped with all of its rows", Why: "code that still uses it fails, and going down does not bring the rows back",
			Rewrite: "-- after a release that does not use it, and a backup that is known to restore:\n-- dbops:allow drop-table unused since ...\nDROP TABLE {table};",
		},
		{
			ID: "drop-column", Severity: Error, Harm: loses, Lock: accessExclusive, cmd: []string{"AT_DropColumn"}, check: onTable,
			Title: "column {column} of {table} is dropped with all of its values", Why: "code that still names it fails, also by SELECT * and prepared statements, and going down does not bring the values back",
			Rewrite: "-- after a release that does not use it:\n-- dbops:allow drop-column unused since ...\nALTER TABLE {table} DROP COLUMN {column};",
		},
		{
			ID: "drop-schema", Severity: Error, Harm: loses, Lock: accessExclusive, on: []string{"DropStmt"}, check: dropSchema,
			Title: "schema {name} is dropped", Why: "with CASCADE everything in it goes, whatever it is by then",
			Rewrite: "-- name what goes, table by table, then:\nDROP SCHEMA {name};",
		},
		{
			ID: "cascade", Severity: Error, Harm: loses, Lock: accessExclusive, on: []string{"DropStmt", "TruncateStmt"}, cmd: []string{"AT_DropColumn", "AT_DropConstraint"}, check: cascade,
			Title: "CASCADE takes along what the file does not name", Why: "views, foreign keys and rows of other tables go with it, those that exist by then",
			Rewrite: "-- name each object that has to go, without CASCADE",
		},
		{
			ID: "truncate", Severity: Error, Harm: loses, Lock: accessExclusive, on: []string{"TruncateStmt"}, check: truncates,
			Title: "all rows of {table} go", Why: "readers wait too, a pg_dump under way holds it up, and going down does not bring the rows back",
			Rewrite: "-- in batches, in a file of its own with -- dbops:no-transaction:\nDELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} LIMIT 10000));",
		},
	}
}

func renameOf(types ...string) func(*checking) {
	return func(c *checking) {
		s, ok := c.s.parsed.(*rename)
		if !ok {
			return
		}
		for _, t := range types {
			if s.Type == t {
				c.hit(hit{object: s.Relation.name(), column: s.Sub, name: s.New})
			}
		}
	}
}

func renameEnum(c *checking) {
	if s, ok := c.s.parsed.(*alterEnum); ok && s.Old != "" {
		c.hit(hit{name: strings.Join(texts(s.Type), ".")})
	}
}

func dropTable(c *checking) {
	s, ok := c.s.parsed.(*drop)
	if !ok || (s.Type != "OBJECT_TABLE" && s.Type != "OBJECT_FOREIGN_TABLE") {
		return
	}
	for _, parts := range s.names {
		c.hit(hit{object: nameOf(parts)})
	}
}

func dropSchema(c *checking) {
	if s, ok := c.s.parsed.(*drop); ok && s.Type == "OBJECT_SCHEMA" {
		for _, parts := range s.names {
			c.hit(hit{name: strings.Join(parts, "."), lock: accessExclusive})
		}
	}
}

func cascade(c *checking) {
	h := hit{}
	switch s := c.s.parsed.(type) {
	case *drop:
		if s.Behavior != "DROP_CASCADE" {
			return
		}
		if s.Type == "OBJECT_TABLE" && len(s.names) > 0 {
			h.object = nameOf(s.names[0])
		}
	case *truncate:
		if s.Behavior != "DROP_CASCADE" {
			return
		}
		if t := relations(s.Relations); len(t) > 0 {
			h.object = t[0]
		}
	case *alterTable:
		if c.cmd.Behavior != "DROP_CASCADE" {
			return
		}
		h.object = s.Relation.name()
	}
	c.hit(h)
}

func truncates(c *checking) {
	if s, ok := c.s.parsed.(*truncate); ok {
		for _, n := range relations(s.Relations) {
			c.hit(hit{object: n})
		}
	}
}
