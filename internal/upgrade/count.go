package upgrade

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
	"dbops/internal/op"
)

// tally is what is compared before and after an upgrade in place: by database, what there is and how much of it.
type tally map[string]map[string]string

// there lists what a database holds: tables with how many rows they have, sequences with where they stand, and how many of everything else.
const there = `select format('%s %s', c.relkind, c.oid::regclass), case when c.relkind in ('r', 'm') then null else '' end from pg_catalog.pg_class c
 join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S', 'i', 'I') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
 union all select format('sequence %s', quote_ident(schemaname) || '.' || quote_ident(sequencename)), coalesce(last_value::text, 'unused') from pg_catalog.pg_sequences
 union all select 'function ' || p.oid::regprocedure, '' from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
 where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
 and not exists (select from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
 union all select format('constraint %s of %s', conname, conrelid::regclass), convalidated::text from pg_catalog.pg_constraint c
 join pg_catalog.pg_namespace n on n.oid = c.connamespace where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and contype in ('c', 'f', 'p', 'u', 'x')
 union all select 'large objects', count(*)::text from pg_catalog.pg_largeobject_metadata
 union all select 'extension ' || extname, '' from pg_catalog.pg_extension`

// tallied counts every database.
func (m *moving) tallied(ctx context.Context, s *op.Session) (tally, error) {
	out := tally{}
	return out, m.inTurn(func(name string) error {
		conn, err := m.r.d.Connect(ctx, m.t, m.from, name, func(c *pgx.ConnConfig) { c.RuntimeParams["search_path"] = "pg_catalog" })
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		rows, err := conn.Query(ctx, there)
		if err != nil {
			return err
		}
		all, count := map[string]string{}, []string{}
		var what string
		var value *string
		if _, err := pgx.ForEachRow(rows, []any{&what, &value}, func() error {
			if value == nil {
				count = append(count, what)
			} else {
				all[what] = *value
			}
			return nil
		}); err != nil {
			return err
		}
		if err := rows.Err(); err != nil {
			return err
		}
		for i, what := range count {
			_, table, _ := strings.Cut(what, " ")
			var n int64
			if err := conn.QueryRow(ctx, "select count(*) from "+table).Scan(&n); err != nil {
				return fmt.Errorf("count the rows of %s: %w", table, err)
			}
			all[what] = fmt.Sprint(n)
			s.Progress(ctx, "%s: counted %d of %d, %s", name, i+1, len(count), table)
		}
		out[name] = all
		return nil
	})
}

func (m *moving) count(ctx context.Context, s *op.Session) (op.Result, error) {
	all, err := m.tallied(ctx, s)
	n := 0
	for _, one := range all {
		n += len(one)
	}
	return op.Result{Output: all, Text: fmt.Sprintf("%d things in %d databases", n, len(all))}, err
}

// recount compares with what was counted before.
func (m *moving) recount(ctx context.Context, s *op.Session) (op.Result, error) {
	var was tally
	if _, err := s.Output("count", &was); err != nil {
		return op.Result{}, err
	}
	now, err := m.tallied(ctx, s)
	if err != nil {
		return op.Result{}, err
	}
	var bad []string
	n := 0
	for _, db := range slices.Sorted(maps.Keys(was)) {
		n += len(was[db])
		for _, what := range slices.Sorted(maps.Keys(was[db])) {
			if is, ok := now[db][what]; !ok {
				bad = append(bad, fmt.Sprintf("%s: %s is gone", db, what))
			} else if is != was[db][what] {
				bad = append(bad, fmt.Sprintf("%s: %s was %s and is %s", db, what, was[db][what], is))
			}
		}
		for _, what := range slices.Sorted(maps.Keys(now[db])) {
			if _, ok := was[db][what]; !ok {
				bad = append(bad, fmt.Sprintf("%s: %s was not there", db, what))
			}
		}
	}
	if len(bad) > 0 {
		return op.Result{}, fault.Newf(fault.Findings, "compare "+m.from.Name+" with what it held before", "%d things differ: %s", len(bad), strings.Join(bad[:min(len(bad), 3)], "; ")).
			Hint("the backup of the run holds what was there; dbops runs decide %s retry compares again", s.Run)
	}
	return op.Result{
		Output: verified{Note: "contents of rows: in place the cloud keeps them, and only their number was compared"},
		Text:   fmt.Sprintf("%d things in %d databases are as before: tables with their number of rows, sequences, indexes, constraints, functions", n, len(was)),
	}, nil
}
