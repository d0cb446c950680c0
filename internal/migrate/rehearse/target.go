package rehearse

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"dbops/internal/migrate/driver"
	"dbops/internal/pg/catalog"
)

// target is what a rehearsal depends on of the database.
type target struct {
	major    int
	database string
	role     string            // who runs the files
	settings map[string]string // of a session, that change what statements mean
	roles    []string
	without  [][2]string // the runner's own tables
	catalog  *catalog.Catalog
}

const settingNames = `'search_path', 'TimeZone', 'DateStyle', 'IntervalStyle', 'check_function_bodies'`

func lookAt(ctx context.Context, q Request) (*target, error) {
	t := &target{settings: map[string]string{}}
	states := []driver.State{q.State}
	for _, o := range q.Beside {
		states = append(states, o.State)
	}
	for _, s := range states {
		for _, own := range []driver.Table{s.Table, s.History, {Schema: driver.HistorySchema, Name: driver.HistoryTable}, {Schema: s.Table.Schema, Name: "dbops_migration_history"}} {
			if one := [2]string{own.Schema, own.Name}; own.Name != "" && !slices.Contains(t.without, one) {
				t.without = append(t.without, one)
			}
		}
	}
	simple := pgx.QueryExecModeSimpleProtocol
	var version int
	err := q.Target.QueryRow(ctx, `select current_setting('server_version_num')::int, current_database(), coalesce(nullif(`+literal(q.Role)+`, ''), current_user)`, simple).
		Scan(&version, &t.database, &t.role)
	if err != nil {
		return nil, err
	}
	t.major = version / 10000
	var name, value string
	err = each(ctx, q.Target, `select rolname from pg_catalog.pg_roles where rolname !~ '^pg_' order by 1`, []any{&name}, func() { t.roles = append(t.roles, name) })
	if err != nil {
		return nil, err
	}
	err = each(ctx, q.Target, `select name, setting from pg_catalog.pg_settings where name in (`+settingNames+`)`, []any{&name, &value}, func() { t.settings[name] = value })
	if err != nil {
		return nil, err
	}
	if s := q.Table.Schema; s != "" { // as the runner has it
		t.settings["search_path"] = pgx.Identifier{s}.Sanitize()
		if s != "public" {
			t.settings["search_path"] += ", public"
		}
	}
	t.catalog, err = catalog.Read(ctx, q.Target, t.without...)
	return t, err
}

func literal(s string) string {
	return "E'" + strings.NewReplacer(`\`, `\\`, `'`, `''`, "\x00", "").Replace(s) + "'"
}

const sizesSQL = `with recursive named as (
 select n, to_regclass(n) as top from unnest(%s) n
), tree as (
 select n, top as oid from named where top is not null
 union all select tree.n, i.inhrelid from tree join pg_catalog.pg_inherits i on i.inhparent = tree.oid join pg_catalog.pg_class c on c.oid = i.inhrelid and c.relispartition
)
select n, sum(case when pg_relation_size(c.oid) = 0 then 0 else pg_table_size(c.oid) end)::bigint, sum(pg_indexes_size(c.oid))::bigint,
 case when bool_or(c.reltuples < 0) then -1 else sum(c.reltuples)::bigint end
from tree join pg_catalog.pg_class c on c.oid = tree.oid where c.relkind in ('r', 'm') group by n order by n`

// readSizes asks the target for the sizes of tables. Those that it does not have are left out.
func readSizes(ctx context.Context, conn *pgx.Conn, names []string) ([]Size, error) {
	if len(names) == 0 {
		return nil, nil
	}
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = literal(n)
	}
	rows, err := conn.Query(ctx, fmt.Sprintf(sizesSQL, "array["+strings.Join(quoted, ", ")+"]"), pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return nil, fmt.Errorf("read the sizes of tables: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Size])
	if err != nil {
		return nil, fmt.Errorf("read the sizes of tables: %w", err)
	}
	return all, nil
}

// touched are the tables whose sizes matter.
func (f Facts) touched() (out []string) {
	seen := map[string]bool{}
	note := func(names ...string) {
		for _, n := range names {
			if !seen[n] {
				seen[n] = true
				out = append(out, n)
			}
		}
	}
	for _, file := range f.Files {
		for _, s := range file.Statements {
			for _, l := range s.Locks {
				note(l.Relation)
			}
			note(s.Rewrites...)
			note(s.Scans...)
			note(s.BuildsOn...)
			note(s.Empties...)
			note(s.Writes...)
		}
	}
	return out
}
