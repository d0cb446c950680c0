package rehearse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Probe is a question about the target's rows: if the query returns one, the files are going to fail.
type Probe struct {
	Relation string `json:"relation"`
	What     string `json:"what"` // "orders.note has no NULL"
	SQL      string `json:"sql,omitempty"`
	// Unknown says why it cannot be asked.
	Unknown string `json:"unknown,omitempty"`
	// Changed tells that the files change rows of the table before, and may mend what the query finds.
	Changed bool `json:"changed,omitempty"`
}

// What came of a probe.
const (
	Clean    = "clean"
	Violated = "violated"
	Unasked  = "unknown" // it took too long, or may not be asked
)

// ProbeResult is the target's answer.
type ProbeResult struct {
	Probe
	Answer string `json:"answer"`
	Why    string `json:"why,omitempty"` // it is unknown
}

// probes are the questions that the difference between two shapes asks, in terms of the first.
func probes(old, now *shape, files []File) (out []Probe) {
	written := map[string]bool{}
	for _, f := range files {
		for _, st := range f.Statements {
			for _, n := range st.Writes {
				written[n] = true
			}
		}
	}
	add := func(table uint32, what, sql, unknown string) {
		n := old.tables[table]
		out = append(out, Probe{Relation: n, What: what, SQL: sql, Unknown: unknown, Changed: written[n]})
	}
	const isNew = "it is of a column that the database does not have yet"
	for id, c := range now.cols {
		table, there := old.tables[id.table]
		before, was := old.cols[id]
		switch {
		case !there:
		case !was && c.notNull && !c.hasDefault:
			add(id.table, table+" is empty: "+c.name+" is added without a value", "select 1 from "+table+" limit 1", "")
		case !was:
		case c.notNull && !before.notNull:
			add(id.table, table+"."+before.name+" is never null", "select 1 from "+table+" where "+before.name+" is null limit 1", "")
		}
		if was && there && c.typ != before.typ && !widens(before.typ, c.typ) {
			add(id.table, fmt.Sprintf("every %s.%s can become %s", table, before.name, c.typ), "", "how the file converts it is not looked into")
		}
	}
	for oid, k := range now.keys {
		table, there := old.tables[k.table]
		if !there || old.hasKey(oid, k) {
			continue
		}
		what := table + " has no duplicates for " + k.name
		cols, ok := old.names(k.table, k.nums)
		switch {
		case len(k.nums) == 0:
			add(k.table, what, "", "it is of an expression, or an exclusion")
		case !ok:
			add(k.table, what, "", isNew)
		default:
			add(k.table, what, duplicates(table, cols, k), "")
		}
	}
	for oid, c := range now.cons {
		table, there := old.tables[c.table]
		before, was := old.cons[oid]
		if !there || !c.valid || was && before.valid || old.hasConstraint(c) {
			continue
		}
		cols, ok := old.names(c.table, c.nums)
		what := fmt.Sprintf("every row of %s fulfils %s", table, c.name)
		switch {
		case c.kind == "x":
			add(c.table, what, "", "it is an exclusion")
		case !ok:
			add(c.table, what, "", isNew)
		case c.kind == "c" && slices.Equal(cols, now.must(c.table, c.nums)):
			add(c.table, what, fmt.Sprintf("select 1 from %s where not (%s) limit 1", table, c.expr), "")
		case c.kind == "c":
			add(c.table, what, "", "a column of it is renamed")
		default:
			others, known := old.names(c.other, c.others)
			if !known {
				add(c.table, what, "", "it points to what the database does not have yet")
				continue
			}
			add(c.table, what, orphans(table, cols, old.tables[c.other], others), "")
		}
	}
	slices.SortFunc(out, func(a, b Probe) int { return cmp.Or(cmp.Compare(a.Relation, b.Relation), cmp.Compare(a.What, b.What)) })
	return out
}

func (s *shape) must(table uint32, nums []int16) []string {
	out, _ := s.names(table, nums)
	return out
}

// hasKey tells whether the same was unique before.
func (s *shape) hasKey(oid uint32, k key) bool {
	if _, ok := s.keys[oid]; ok {
		return true
	}
	for _, o := range s.keys {
		if o.table == k.table && len(k.nums) > 0 && slices.Equal(o.nums, k.nums) && o.where == k.where && o.nullsToo == k.nullsToo {
			return true
		}
	}
	return false
}

// hasConstraint tells whether the rows fulfilled the same before: a change of a column's type makes its constraints anew.
func (s *shape) hasConstraint(c constraint) bool {
	for _, o := range s.cons {
		if o.valid && o.table == c.table && o.kind == c.kind && o.other == c.other && o.expr == c.expr && slices.Equal(o.nums, c.nums) && slices.Equal(o.others, c.others) {
			return c.kind != "x"
		}
	}
	return false
}

func duplicates(table string, cols []string, k key) string {
	var conditions []string
	if k.where != "" {
		conditions = append(conditions, "("+k.where+")")
	}
	if !k.nullsToo {
		for _, c := range cols {
			conditions = append(conditions, c+" is not null")
		}
	}
	where := ""
	if len(conditions) > 0 {
		where = " where " + strings.Join(conditions, " and ")
	}
	return fmt.Sprintf("select 1 from %s%s group by %s having count(*) > 1 limit 1", table, where, strings.Join(cols, ", "))
}

func orphans(table string, cols []string, other string, others []string) string {
	var set, match []string
	for i, c := range cols {
		set = append(set, "a."+c+" is not null")
		match = append(match, "b."+others[i]+" = a."+c)
	}
	return fmt.Sprintf("select 1 from %s a where %s and not exists (select 1 from %s b where %s) limit 1",
		table, strings.Join(set, " and "), other, strings.Join(match, " and "))
}

// widens tells that every value of a type is one of the other.
func widens(from, to string) bool {
	integers := []string{"smallint", "integer", "bigint", "numeric"}
	i, j := slices.Index(integers, from), slices.Index(integers, to)
	return i >= 0 && j > i || to == "text" && (strings.HasPrefix(from, "character") || from == "uuid") || to == "character varying" && strings.HasPrefix(from, "character varying")
}

// RunProbes asks the target, each question for a time at most. It changes nothing, and takes the locks of reading.
func RunProbes(ctx context.Context, conn *pgx.Conn, all []Probe, each time.Duration) ([]ProbeResult, error) {
	out := make([]ProbeResult, 0, len(all))
	for _, p := range all {
		r := ProbeResult{Probe: p, Answer: Unasked, Why: p.Unknown}
		if p.SQL != "" {
			if err := ask(ctx, conn, &r, each); err != nil {
				return nil, err
			}
		}
		out = append(out, r)
	}
	return out, nil
}

func ask(ctx context.Context, conn *pgx.Conn, r *ProbeResult, each time.Duration) error {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly})
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, fmt.Sprintf("set local default_transaction_read_only = on; set local lock_timeout = '1s'; set local statement_timeout = %d", max(1, each.Milliseconds())),
		pgx.QueryExecModeSimpleProtocol)
	if err == nil {
		var one int
		err = tx.QueryRow(ctx, r.SQL, pgx.QueryExecModeSimpleProtocol).Scan(&one)
		pe, refused := serverError(err)
		switch {
		case err == nil:
			r.Answer = Violated
		case errors.Is(err, pgx.ErrNoRows):
			r.Answer, err = Clean, nil
		case refused && pe.Code == "57014":
			r.Why, err = fmt.Sprintf("no answer in %s", each), nil
		case refused: // its text may hold a value
			r.Why, err = "the server refused it: SQLSTATE "+pe.Code, nil
		}
	}
	if rerr := tx.Rollback(context.WithoutCancel(ctx)); err == nil {
		err = rerr
	}
	return err
}
