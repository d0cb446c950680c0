package lint

import (
	"encoding/json"

	"dbops/internal/migrate/split"
)

func dataRules() []Rule {
	return []Rule{
		{
			ID: "backfill-in-ddl", Severity: Error, Harm: scans, Lock: rowExclusive, on: []string{"UpdateStmt", "DeleteStmt"}, check: backfill,
			Title: "all rows of {table} are changed in one statement", Why: "its locks on rows, its dead rows and its WAL last until the end, and replicas lag behind",
			Rewrite: "-- dbops:no-transaction (first line of a file of its own; batches until no row is left)\nWITH batch AS (SELECT ctid FROM {table} WHERE ... LIMIT 5000 FOR UPDATE SKIP LOCKED)\nUPDATE {table} SET ... WHERE ctid IN (SELECT ctid FROM batch);",
		},
		{
			ID: "do-block", Severity: Info, Harm: style, on: []string{"DoStmt"},
			Title: "what a DO block does is not seen here", Why: "lint reads SQL, not what a block makes up as it runs; dbops migrate plan rehearses it, and sees its locks",
		},
	}
}

func backfill(c *checking) {
	s, ok := c.s.parsed.(*onRelation)
	if !ok {
		return
	}
	h := hit{object: s.name()}
	held, on := "", Name{}
	if c.file.read.Mode == split.InTransaction {
		for _, other := range c.file.statements {
			if other == c.s {
				break
			}
			for _, k := range other.claims {
				if stronger(k.lock, shareUpdateExclusive) && stronger(k.lock, held) {
					held, on = k.lock, k.name
				}
			}
		}
	}
	switch {
	case c.narrow(s):
		return
	case held != "":
		h.title, h.why = "rows of {table} are changed while the transaction holds "+held+" on "+on.String(), "what blocks others for a moment now blocks them until the last row is written"
		h.lock = rowExclusive
	case s.Where.kind == "":
	case c.s.limited():
		return
	default:
		h.severity, h.title, h.why = Warn, "rows of {table} are changed in one statement", "how many they are is not known here; a large number of them bloats the table, keeps rows locked and makes replicas lag"
	}
	c.hit(h)
}

// narrow tells whether a WHERE holds a column against a constant, and nothing is alternative to it: few rows, by all that is seen.
func (c *checking) narrow(s *onRelation) bool {
	var narrow func(n node) bool
	narrow = func(n node) bool {
		if e := as[struct {
			Kind  string `json:"kind"`
			Name  []node `json:"name"`
			Right node   `json:"rexpr"`
		}](n, "A_Expr"); e != nil {
			op := texts(e.Name)
			if len(op) != 1 || op[0] != "=" {
				return false
			}
			return e.Kind == "AEXPR_IN" || (e.Kind == "AEXPR_OP" && (e.Right.kind == "A_Const" || e.Right.kind == "TypeCast"))
		}
		if b := as[struct {
			Op   string `json:"boolop"`
			Args []node `json:"args"`
		}](n, "BoolExpr"); b != nil && b.Op == "AND_EXPR" {
			for _, a := range b.Args {
				if narrow(a) {
					return true
				}
			}
		}
		return false
	}
	return narrow(s.Where)
}

// limited tells whether a LIMIT is in the statement: it is a batch.
func (s *statement) limited() bool {
	found := false
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if _, ok := v["limitCount"]; ok {
				found = true
			}
			for _, x := range v {
				walk(x)
			}
		case []any:
			for _, x := range v {
				walk(x)
			}
		}
	}
	var v any
	if json.Unmarshal(s.raw, &v) == nil {
		walk(v)
	}
	return found
}
