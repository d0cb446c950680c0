package lint

import (
	"strings"
)

func indexRules() []Rule {
	return []Rule{
		{
			ID: "index-not-concurrent", Severity: Error, Harm: builds, Lock: share, on: []string{"IndexStmt"}, check: plainIndex,
			Title: "index {name} is built while nobody can write to {table}", Why: "CREATE INDEX without CONCURRENTLY keeps writers out until it is done",
		},
		{
			ID: "partitioned-index", Severity: Error, Harm: builds, Lock: share, on: []string{"IndexStmt"}, check: partitionedIndex,
			Title: "index {name} is built on every partition of {table} at once", Why: "CONCURRENTLY is not possible on a partitioned table, and all partitions are locked until the last one is done",
			Rewrite: "CREATE INDEX {name} ON ONLY {table} (...);\n-- for each partition, in a file of its own:\nCREATE INDEX CONCURRENTLY ... ON partition (...);\nALTER INDEX {name} ATTACH PARTITION ...;",
		},
		{
			ID: "cic-in-tx", Severity: Error, Harm: fails, Lock: "", on: []string{"IndexStmt", "DropStmt", "ReindexStmt"}, check: concurrentlyInTx,
			Title: "CONCURRENTLY cannot run in a transaction", Why: "PostgreSQL refuses it with 25001",
			Rewrite: "-- alone in its file, without BEGIN and COMMIT:\n{sql};",
		},
		{
			ID: "cic-if-not-exists", Severity: Warn, Harm: fails, on: []string{"IndexStmt"}, check: concurrentIfNotExists,
			Title: "IF NOT EXISTS takes a broken index for a good one", Why: "a build that failed leaves an INVALID index of that name, which a second try skips with success",
			Rewrite: "-- dbops migrate up drops what a failed build left; by hand, before the next try:\nDROP INDEX CONCURRENTLY IF EXISTS {name};",
		},
		{
			ID: "cic-timeout", Severity: Warn, Harm: fails, on: []string{"IndexStmt"}, check: concurrentTimeout,
			Title: "a timeout may end the build of {name} half-way", Why: "a build that is ended leaves an INVALID index, which costs writes and answers nothing",
			Rewrite: "SET statement_timeout = 0;\nSET lock_timeout = 0;",
		},
		{
			ID: "drop-index", Severity: Warn, Harm: waits, Lock: accessExclusive, on: []string{"DropStmt"}, check: dropIndex,
			Title: "dropping index {name} locks its table", Why: "reads of the table wait as well, and it waits for all that run",
			Rewrite: "-- alone in its file:\nDROP INDEX CONCURRENTLY {name};",
		},
		{
			ID: "reindex", Severity: Error, Harm: builds, Lock: share, on: []string{"ReindexStmt"}, check: plainReindex,
			Title: "the index is built anew while nobody can write, or read through it", Why: "REINDEX without CONCURRENTLY takes SHARE on the table and ACCESS EXCLUSIVE on the index",
			Rewrite: "-- alone in its file:\n{sql};",
		},
		{
			ID: "reindex-system", Severity: Error, Harm: fails, on: []string{"ReindexStmt"}, check: reindexSystem,
			Title: "a whole schema, database or its catalogue is reindexed", Why: "it locks table after table, the system's too, and is no matter of a migration",
			Rewrite: "-- outside of migrations, for one index at a time:\nREINDEX INDEX CONCURRENTLY ...;",
		},
	}
}

func plainIndex(c *checking) {
	s, ok := c.s.parsed.(*createIndex)
	if !ok || s.Concurrent || c.world.kind(s.Relation.name()) == "p" || !s.Relation.Inh {
		return
	}
	c.hit(hit{object: s.Relation.name(), name: s.Name, rewrite: "-- alone in its file:\n" + afterWord(c.s.Text, "index", " CONCURRENTLY") + ";"})
}

// afterWord puts a text behind the first bare word.
func afterWord(sql, word, text string) string {
	for i := 0; i+len(word) <= len(sql); i++ {
		if strings.EqualFold(sql[i:i+len(word)], word) && (i == 0 || sql[i-1] <= ' ') {
			return sql[:i+len(word)] + text + sql[i+len(word):]
		}
	}
	return sql
}

func partitionedIndex(c *checking) {
	s, ok := c.s.parsed.(*createIndex)
	if ok && c.world.kind(s.Relation.name()) == "p" && s.Relation.Inh {
		c.hit(hit{object: s.Relation.name(), name: s.Name})
	}
}

// concurrently tells whether a statement is one of those.
func (s *statement) concurrently() bool {
	switch p := s.parsed.(type) {
	case *createIndex:
		return p.Concurrent
	case *drop:
		return p.Concurrent
	case *reindex:
		return p.concurrent()
	}
	return false
}

func concurrentlyInTx(c *checking) {
	if !c.s.concurrently() {
		return
	}
	open, others := false, 0
	for _, s := range c.file.statements {
		if t, ok := s.parsed.(*transaction); ok && s.Start < c.s.Start {
			open = t.Kind == "TRANS_STMT_BEGIN" || t.Kind == "TRANS_STMT_START" || (open && !s.Commits() && t.Kind != "TRANS_STMT_ROLLBACK")
		}
		if s != c.s {
			others++
		}
	}
	switch {
	case open:
		c.hit(hit{})
	case others > 0:
		c.hit(hit{
			severity: Warn, title: "CONCURRENTLY shares its file with other statements",
			why: "dbops runs such a file statement by statement, so what was done stays done if a later one fails; golang-migrate and Encore send the file as one transaction and are refused with 25001",
		})
	}
}

func concurrentIfNotExists(c *checking) {
	if s, ok := c.s.parsed.(*createIndex); ok && s.Concurrent && s.IfNotExists {
		c.hit(hit{name: s.Name})
	}
}

func concurrentTimeout(c *checking) {
	s, ok := c.s.parsed.(*createIndex)
	if !ok || !s.Concurrent {
		return
	}
	last := map[string]bool{}
	for _, before := range c.file.statements {
		if before == c.s {
			break
		}
		if v, ok := before.parsed.(*setVariable); ok && (v.Name == "statement_timeout" || v.Name == "lock_timeout") {
			last[v.Name] = !v.zero()
		}
	}
	if last["statement_timeout"] || last["lock_timeout"] {
		c.hit(hit{name: s.Name})
	}
}

// zero tells whether a variable is set to nothing: 0, '0', DEFAULT.
func (v *setVariable) zero() bool {
	if len(v.Args) == 0 {
		return true
	}
	k := as[constant](v.Args[0], "A_Const")
	if k == nil {
		return false
	}
	return (k.Ival != nil && k.Ival.Ival == 0) || (k.Sval != nil && strings.Trim(k.Sval.Sval, "0 ms") == "")
}

func dropIndex(c *checking) {
	s, ok := c.s.parsed.(*drop)
	if !ok || s.Type != "OBJECT_INDEX" || s.Concurrent {
		return
	}
	for _, parts := range s.names {
		n := nameOf(parts)
		h := hit{object: n, name: n.Rel, lock: accessExclusive}
		h.rewrite = "-- alone in its file:\nDROP INDEX CONCURRENTLY " + n.String() + ";"
		if t, ok := c.world.tableOf(n); ok {
			h.object, h.title = t, "dropping index {name} locks {table}"
		}
		if !c.fresh[n.key()] {
			c.hit(h)
		}
	}
}

func plainReindex(c *checking) {
	s, ok := c.s.parsed.(*reindex)
	if !ok || s.concurrent() || s.Relation.name().Rel == "" {
		return
	}
	word := "table"
	if s.Kind == "REINDEX_OBJECT_INDEX" {
		word = "index"
	}
	c.hit(hit{object: s.Relation.name(), rewrite: "-- alone in its file:\n" + afterWord(c.s.Text, word, " CONCURRENTLY") + ";"})
}

func reindexSystem(c *checking) {
	if s, ok := c.s.parsed.(*reindex); ok && s.Relation.name().Rel == "" {
		c.hit(hit{})
	}
}
