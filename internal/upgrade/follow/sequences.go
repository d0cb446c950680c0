package follow

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

const sequencesAtOnce = 200

// Sequences sets every sequence of the target to exactly where that of the source stands: replication carries none. It is called after
// [Drain], and may be called again until somebody writes to the target.
func Sequences(ctx context.Context, j Job) error { return j.forward().sequences(ctx) }

func (w *way) sequences(ctx context.Context) error {
	from, to, err := w.both(ctx)
	if err != nil {
		return err
	}
	defer shut(ctx, from)
	defer shut(ctx, to)
	all, err := column[string](ctx, from, `select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relkind = 'S' and c.relpersistence <> 't' and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'dbops_upgrade')
 and (not exists (select from pg_depend e where e.classid = 'pg_class'::regclass and e.objid = c.oid and e.deptype = 'e') or exists (select from pg_extension x where c.oid = any (x.extconfig)))
 order by 1`)
	if err != nil {
		return failed("read the sequences of the "+w.from.what, err)
	}
	for len(all) > 0 {
		some := all[:min(sequencesAtOnce, len(all))]
		all = all[len(some):]
		sets, err := readSequences(ctx, from, some)
		if err != nil {
			return failed("read the sequences of the "+w.from.what, err)
		}
		if err := transaction(ctx, to, sets...); err != nil {
			return failed("set the sequences of the "+w.to.what, err)
		}
	}
	return nil
}

// readSequences returns the statements that set sequences to where they stand.
func readSequences(ctx context.Context, conn *pgx.Conn, names []string) ([]string, error) {
	reads := make([]string, len(names))
	for i, name := range names {
		reads[i] = fmt.Sprintf("select %d as i, last_value, is_called from %s", i, name)
	}
	rows, err := conn.Query(ctx, strings.Join(reads, " union all ")+" order by 1")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		var i int
		var value int64
		var called bool
		err := row.Scan(&i, &value, &called)
		return fmt.Sprintf("select setval(%s, %d, %t)", literal(names[min(i, len(names)-1)]), value, called), err
	})
}
