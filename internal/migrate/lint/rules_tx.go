package lint

import (
	"maps"
	"slices"
	"strings"

	"dbops/internal/migrate/source"
	"dbops/internal/migrate/split"
)

func transactionRules() []Rule {
	return []Rule{
		{
			ID: "multi-table-tx", Severity: Warn, Harm: waits, Lock: accessExclusive, file: multiTable,
			Title: "several tables are locked at once", Why: "each lock is kept until the transaction ends, the first one also while it waits for the second; code that takes them the other way round deadlocks",
			Rewrite: "-- one table in each file",
		},
		{
			ID: "tx-control", Severity: Warn, Harm: fails, file: transactionControl,
			Title: "the file has transactions of its own", Why: "dbops runs it statement by statement then, and a failure leaves what was committed before",
			Rewrite: "-- leave BEGIN and COMMIT out: the file is one transaction; or one file for each of them",
		},
		{
			ID: "uncommitted-tx", Severity: Error, Harm: fails, file: uncommitted,
			Title: "a BEGIN has no COMMIT", Why: "what follows it is committed only if a tool happens to do it", Rewrite: "-- leave BEGIN out, or at the end of the file:\nCOMMIT;",
		},
		{
			ID: "session-set", Severity: Warn, Harm: fails, on: []string{"VariableSetStmt", "SelectStmt"}, check: sessionSet,
			Title: "{name} is set for the session, not for the file", Why: "tools that run all files in one session carry it into the next file; dbops resets it",
			Rewrite: "SET LOCAL ...;",
		},
		{
			ID: "missing-timeout", Severity: Info, Harm: style, file: missingTimeout,
			Title: "no lock_timeout is set", Why: "dbops sets one, and tries again; run by anything else, the file may stop all traffic behind it while it waits for a lock",
			Rewrite: "SET LOCAL lock_timeout = '2s';",
		},
		{
			ID: "enum-add-used", Severity: Error, Harm: fails, on: []string{"AlterEnumStmt"}, check: enumUsed,
			Title: "the new value '{column}' of {name} is used in the transaction that adds it", Why: "PostgreSQL refuses it with 55P04 until the transaction is over", Rewrite: "-- what uses the value: in a later file",
		},
		{
			ID: "enum-add-down", Severity: Warn, Harm: fails, on: []string{"AlterEnumStmt"}, check: enumDown,
			Title: "going down does not take '{column}' out of {name}", Why: "PostgreSQL has no DROP VALUE, so the down file does not bring the old schema back",
			Rewrite: "-- dbops: irreversible: a value of an enum stays (as a comment in the down file)",
		},
	}
}

func multiTable(c *checking) {
	if c.file.read.Mode != split.InTransaction {
		return
	}
	tables := map[string]bool{}
	var second *statement
	var table Name
	for _, s := range c.file.statements {
		for _, k := range s.claims {
			kind := c.world.kind(k.name)
			if k.lock != accessExclusive || kind == "i" || dropsIndex(s, k.name) {
				continue
			}
			tables[k.name.key().String()] = true
			if len(tables) == 2 && second == nil {
				second, table = s, k.name
			}
		}
	}
	if second != nil {
		with := *c
		with.s = second
		with.hit(hit{object: table, title: "ACCESS EXCLUSIVE locks on " + strings.Join(slices.Sorted(maps.Keys(tables)), ", ") + " are held together", lock: accessExclusive})
	}
}

func dropsIndex(s *statement, n Name) bool {
	d, ok := s.parsed.(*drop)
	if !ok || d.Type != "OBJECT_INDEX" {
		return false
	}
	return slices.ContainsFunc(d.names, func(parts []string) bool { return nameOf(parts) == n })
}

func transactionControl(c *checking) {
	if c.file.read.Outer {
		return
	}
	for _, s := range c.file.statements {
		if s.TransactionControl() {
			with := *c
			with.s = s
			with.hit(hit{})
			return
		}
	}
}

func uncommitted(c *checking) {
	var open *statement
	for _, s := range c.file.statements {
		if t, ok := s.parsed.(*transaction); ok {
			switch t.Kind {
			case "TRANS_STMT_BEGIN", "TRANS_STMT_START":
				open = s
			case "TRANS_STMT_COMMIT", "TRANS_STMT_ROLLBACK", "TRANS_STMT_PREPARE":
				open = nil
			}
		}
	}
	if open != nil {
		with := *c
		with.s = open
		with.hit(hit{})
	}
}

func sessionSet(c *checking) {
	switch s := c.s.parsed.(type) {
	case *setVariable:
		if s.Local || s.Kind != "VAR_SET_VALUE" && s.Kind != "VAR_SET_DEFAULT" || s.Name == "" {
			return
		}
		if c.file.read.Mode != split.InTransaction { // LOCAL would last for nothing
			return
		}
		c.hit(hit{name: s.Name, rewrite: afterWord(c.s.Text, "set", " LOCAL") + ";"})
	case *selectStmt:
		for _, t := range s.Targets {
			r := as[struct {
				Val node `json:"val"`
			}](t, "ResTarget")
			if r == nil {
				continue
			}
			f := as[funcCall](r.Val, "FuncCall")
			if f == nil || len(f.Args) != 3 || !slices.Contains(texts(f.Name), "set_config") {
				continue
			}
			name, local := as[constant](f.Args[0], "A_Const"), as[constant](f.Args[2], "A_Const")
			if name != nil && name.Sval != nil && local != nil && local.Boolval != nil && !local.Boolval.Boolval {
				c.hit(hit{name: name.Sval.Sval, rewrite: "SELECT set_config('" + name.Sval.Sval + "', ..., true);"})
			}
		}
	}
}

func missingTimeout(c *checking) {
	for _, s := range c.file.statements {
		if v, ok := s.parsed.(*setVariable); ok && v.Name == "lock_timeout" {
			return
		}
		for _, k := range s.claims {
			if stronger(k.lock, shareUpdateExclusive) {
				with := *c
				with.s = s
				with.hit(hit{object: k.name})
				return
			}
		}
	}
}

func enumUsed(c *checking) {
	s, ok := c.s.parsed.(*alterEnum)
	if !ok || s.Old != "" || c.file.read.Mode != split.InTransaction || c.world.enums[strings.Join(texts(s.Type), ".")] {
		return
	}
	after := false
	for _, other := range c.file.statements {
		if other == c.s {
			after = true
			continue
		}
		used := false
		if after && other.kind != "CreateFunctionStmt" && other.kind != "AlterEnumStmt" && other.kind != "CommentStmt" {
			if other.raw == nil {
				used = strings.Contains(other.Text, "'"+s.New+"'")
			} else {
				literals(other.raw, func(text string) { used = used || text == s.New })
			}
		}
		if used {
			with := *c
			with.s = other
			with.hit(hit{name: strings.Join(texts(s.Type), "."), column: s.New})
			return
		}
	}
}

func enumDown(c *checking) {
	s, ok := c.s.parsed.(*alterEnum)
	if !ok || s.Old != "" || s.New == "" || c.file.Direction == source.Down || c.file.Migration == nil || c.file.Migration.Down == nil {
		return
	}
	if !strings.Contains(strings.ToLower(c.file.Migration.Down.SQL), "irreversible") {
		c.hit(hit{name: strings.Join(texts(s.Type), "."), column: s.New})
	}
}
