package lint

func tableRules() []Rule {
	swap := "-- a new table with the other setting, filled in batches, swapped by rename; or pg_repack, outside of migrations"
	return []Rule{
		{
			ID: "vacuum-full", Severity: Error, Harm: rewrites, Lock: accessExclusive, on: []string{"VacuumStmt"}, check: vacuumFull,
			Title: "VACUUM FULL writes {table} anew", Why: "nobody can read it until the new copy is done", Rewrite: "VACUUM {table};\n-- for space that has to go back to the disk: pg_repack, outside of migrations",
		},
		{
			ID: "cluster", Severity: Error, Harm: rewrites, Lock: accessExclusive, on: []string{"ClusterStmt"},
			Title: "CLUSTER writes {table} anew", Why: "nobody can read it until the new copy is done", Rewrite: "-- pg_repack --order-by, outside of migrations",
		},
		{
			ID: "set-logged", Severity: Error, Harm: rewrites, Lock: accessExclusive, cmd: []string{"AT_SetLogged"}, check: onTable,
			Title: "SET LOGGED writes {table} anew", Why: "the whole table goes through the WAL while nobody can read it", Rewrite: swap,
		},
		{
			ID: "set-unlogged", Severity: Error, Harm: rewrites, Lock: accessExclusive, cmd: []string{"AT_SetUnLogged"}, check: onTable,
			Title: "SET UNLOGGED writes {table} anew, and a failover empties it", Why: "an unlogged table is not on replicas, and is empty after a crash", Rewrite: swap,
		},
		{
			ID: "set-tablespace", Severity: Error, Harm: rewrites, Lock: accessExclusive, cmd: []string{"AT_SetTableSpace"}, check: onTable,
			Title: "{table} is moved to another tablespace", Why: "it is copied while nobody can read it, unless it is there already", Rewrite: swap,
		},
		{
			ID: "set-access-method", Severity: Error, Harm: rewrites, Lock: accessExclusive, cmd: []string{"AT_SetAccessMethod"}, check: onTable,
			Title: "{table} is stored by another access method", Why: "it is written anew while nobody can read it, unless it has that method already", Rewrite: swap, Since: "15 is the first to have SET ACCESS METHOD",
		},
		{
			ID: "refresh-matview", Severity: Warn, Harm: rewrites, Lock: accessExclusive, on: []string{"RefreshMatViewStmt"}, check: refresh,
			Title: "the materialized view {table} cannot be read while it is computed", Why: "without CONCURRENTLY its readers wait for the whole query; CONCURRENTLY needs a unique index on it",
			Rewrite: "REFRESH MATERIALIZED VIEW CONCURRENTLY {table};",
		},
		{
			ID: "lock-table", Severity: Warn, Harm: waits, Lock: accessExclusive, on: []string{"LockStmt"}, check: lockTables,
			Title: "{table} is locked by hand until the transaction ends", Why: "each statement takes the lock that it needs by itself", Rewrite: "-- leave the LOCK TABLE out",
		},
		{
			ID: "trigger-create", Severity: Warn, Harm: waits, Lock: shareRowExclusive, on: []string{"CreateTrigStmt"},
			Title: "the new trigger locks {table} for writers", Why: "it waits for all writers under way, and new ones wait behind it", Rewrite: "SET LOCAL lock_timeout = '2s'; -- dbops migrate up does it, and tries again\n{sql};",
		},
		{
			ID: "trigger-drop", Severity: Warn, Harm: waits, Lock: accessExclusive, on: []string{"DropStmt"}, check: dropOf("OBJECT_TRIGGER"),
			Title: "dropping the trigger locks {table} for readers too", Why: "it waits for all that read or write, and new ones wait behind it", Rewrite: "SET LOCAL lock_timeout = '2s'; -- dbops migrate up does it, and tries again\n{sql};",
		},
		{
			ID: "trigger-disable", Severity: Warn, Harm: waits, Lock: shareRowExclusive, cmd: keys(triggerStates), check: onTable,
			Title: "switching triggers locks {table} for writers", Why: "what is written meanwhile goes past the trigger; with ALL, past foreign keys, which needs a superuser",
			Rewrite: "SET LOCAL session_replication_role = replica; -- for this transaction only, where it is allowed",
		},
		{
			ID: "no-inherit", Severity: Info, Harm: waits, Lock: accessExclusive, cmd: []string{"AT_DropInherit"}, check: onTable,
			Title: "{table} leaves its parent", Why: "queries of the parent do not see its rows any more",
		},
	}
}

func shortRules() []Rule {
	short := "a short lock; it waits for all that use the table, and others wait behind it, so it wants a lock_timeout"
	calm := "reads and writes go on; it waits for VACUUM and for other changes of the table"
	at := func(id, title string, cmd ...string) Rule {
		return Rule{ID: id, Severity: Info, Harm: waits, Lock: accessExclusive, cmd: cmd, check: onTable, Title: title, Why: short}
	}
	light := func(id, title string, cmd ...string) Rule {
		return Rule{ID: id, Severity: Info, Harm: waits, Lock: shareUpdateExclusive, cmd: cmd, check: onTable, Title: title, Why: calm}
	}
	on := func(r Rule, kinds []string, check func(*checking)) Rule {
		r.cmd, r.on, r.check = nil, kinds, check
		return r
	}
	return []Rule{
		at("rls", "row security of {table} is switched", "AT_EnableRowSecurity", "AT_DisableRowSecurity", "AT_ForceRowSecurity", "AT_NoForceRowSecurity"),
		on(at("policy", "a policy of {table} changes"), []string{"CreatePolicyStmt", "AlterPolicyStmt"}, nil),
		on(at("policy-drop", "a policy of {table} is dropped"), []string{"DropStmt"}, dropOf("OBJECT_POLICY")),
		on(at("rule", "{table} gets a rule"), []string{"RuleStmt"}, nil),
		at("replica-identity", "the replica identity of {table} changes", "AT_ReplicaIdentity"),
		at("owner", "{table} gets another owner", "AT_ChangeOwner"),
		at("set-storage", "how {column} is stored changes, for new rows", "AT_SetStorage", "AT_SetCompression"),
		at("add-column", "{table} gets a column", "AT_AddColumn"),
		at("column-default", "the default of {column} changes, for new rows", "AT_ColumnDefault"),
		at("drop-constraint", "constraint {name} is dropped", "AT_DropConstraint"),
		light("set-stats", "statistics of {column} are set", "AT_SetStatistics", "AT_SetOptions", "AT_ResetOptions"),
		light("set-options", "storage options of {table} are set", "AT_SetRelOptions", "AT_ResetRelOptions"),
		on(light("comment", "{table} gets a comment"), []string{"CommentStmt"}, onClaim),
		on(light("create-statistics", "{table} gets extended statistics"), []string{"CreateStatsStmt"}, onClaim),
		on(light("inherit-parent", "{table} gets a child"), []string{"CreateStmt"}, inherits),
		on(light("publication", "{table} is published"), []string{"CreatePublicationStmt", "AlterPublicationStmt"}, onClaim),
	}
}

// onClaim finds a statement only on tables that are not new.
func onClaim(c *checking) {
	for _, k := range c.s.claims {
		c.hit(hit{object: k.name})
	}
}

func inherits(c *checking) {
	s, ok := c.s.parsed.(*createTable)
	if !ok || len(s.Bound) > 0 {
		return
	}
	for _, n := range relations(s.Inherits) {
		c.hit(hit{object: n})
	}
}

func keys(m map[string]bool) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	return out
}

func vacuumFull(c *checking) {
	s, ok := c.s.parsed.(*vacuum)
	if !ok {
		return
	}
	if _, full := options(s.Options)["full"]; !full {
		return
	}
	for _, k := range vacuumClaims(s) {
		c.hit(hit{object: k.name})
	}
	if len(s.Rels) == 0 {
		c.hit(hit{title: "VACUUM FULL writes every table of the database anew"})
	}
}

func refresh(c *checking) {
	if s, ok := c.s.parsed.(*onRelation); ok && !s.Concurrent {
		c.hit(hit{object: s.name()})
	}
}

func lockTables(c *checking) {
	for _, k := range c.s.claims {
		c.hit(hit{object: k.name})
	}
}

func dropOf(kind string) func(*checking) {
	return func(c *checking) {
		s, ok := c.s.parsed.(*drop)
		if !ok || s.Type != kind {
			return
		}
		for _, parts := range s.names {
			if len(parts) > 1 {
				c.hit(hit{object: nameOf(parts[:len(parts)-1])})
			}
		}
	}
}
