package lint

func partitionRules() []Rule {
	return []Rule{
		{
			ID: "attach-no-check", Severity: Warn, Harm: scans, Lock: accessExclusive, cmd: []string{"AT_AttachPartition"}, check: attach,
			Title: "the new partition {table} is read to prove that its rows belong there", Why: "a valid CHECK that says the same as the bounds spares that; a default partition is read as well, unless it has a CHECK to the contrary",
			Rewrite: "ALTER TABLE {table} ADD CONSTRAINT bounds CHECK (...) NOT VALID;\n-- in a later file:\nALTER TABLE {table} VALIDATE CONSTRAINT bounds;\n{sql};\nALTER TABLE {table} DROP CONSTRAINT bounds;",
		},
		{
			ID: "detach", Severity: Warn, Harm: waits, Lock: accessExclusive, cmd: []string{"AT_DetachPartition"}, check: detach,
			Title: "detaching locks {table} and all of its partitions' readers", Why: "parent and partition are locked in the strongest mode; CONCURRENTLY is not possible while there is a default partition",
			Rewrite: "-- alone in its file:\n{sql} CONCURRENTLY;", Since: "from 14 on CONCURRENTLY",
		},
		{
			ID: "create-partition", Severity: Warn, Harm: waits, Lock: accessExclusive, on: []string{"CreateStmt"}, check: createPartition,
			Title: "PARTITION OF locks {table} for all readers", Why: "made apart and attached, a partition keeps out nobody who reads or writes",
			Rewrite: "CREATE TABLE {names} (LIKE {table} INCLUDING ALL);\nALTER TABLE {table} ATTACH PARTITION {names} FOR VALUES ...;",
		},
	}
}

func attach(c *checking) {
	p := as[partitionCmd](c.cmd.Def, "PartitionCmd")
	if p == nil || c.alter.Object == "OBJECT_INDEX" {
		return
	}
	n := p.Name.name()
	for _, k := range c.world.constraints(n) {
		if k.Kind == "c" && k.Valid && k.Proves == "" { // somebody has thought of it; what it says is the rehearsal's to judge
			return
		}
	}
	c.hit(hit{object: n})
}

func detach(c *checking) {
	p := as[partitionCmd](c.cmd.Def, "PartitionCmd")
	if p != nil && !p.Concurrent {
		c.hit(hit{object: c.alter.Relation.name()})
	}
}

func createPartition(c *checking) {
	s, ok := c.s.parsed.(*createTable)
	if !ok || len(s.Bound) == 0 {
		return
	}
	for _, n := range relations(s.Inherits) {
		c.hit(hit{object: n, names: s.Relation.name().String()})
	}
}
