package verify

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// columns of a table, as SQL.
type columns struct {
	Name string
	All  string // all columns, by name
	Key  string // the primary key's
	Size int64
}

const columnsSQL = `select pg_catalog.format('%I.%I', n.nspname, c.relname),
 coalesce((select pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' order by a.attname collate "C") from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped), ''),
 coalesce((select pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' order by a.attname collate "C") from pg_catalog.pg_index i join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = any (i.indkey)
  where i.indrelid = c.oid and i.indisprimary), ''), pg_catalog.pg_table_size(c.oid)
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r' and c.relpersistence <> 't' and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', '` + ours + `')
and not exists (select from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')`

func (s *side) columns(ctx context.Context) (map[string]columns, error) {
	rows, err := s.keep.Query(ctx, columnsSQL)
	if err != nil {
		return nil, fmt.Errorf("read what tables there are on the %s: %w", s.what, err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[columns])
	out := map[string]columns{}
	for _, t := range all {
		out[t.Name] = t
	}
	return out, err
}

// smallTable is not sampled.
const smallTable = 8 << 20

// sum is a row's, of its text. The server's own hash of texts has to stay what it is, or partitions by hash would hold rows of others after
// an upgrade in place; that of records would be faster, but takes an enum's number, which differs.
func (c *comparison) sum(text string) string {
	if c.Strong || c.from.Encoding != c.to.Encoding {
		return "(('x' || left(encode(sha256(convert_to(" + text + ", 'UTF8')), 'hex'), 16))::bit(64)::bigint)"
	}
	return "hashtextextended(" + text + ` collate "C", 0)`
}

func row(cols string) string { return "row(" + cols + ")::text" }

// query counts and sums a table without what inherits from it; the sum of all does not depend on their order.
func (c *comparison) query(t columns, sample bool) string {
	sum := "0"
	switch {
	case c.CountOnly || t.All == "":
	case sample:
		sum = fmt.Sprintf(`sum(%s) filter (where hashtextextended(%s collate "C", 1) %% %d = 0)`, c.sum(row(t.All)), row(t.Key), c.Sample)
	default:
		sum = "sum(" + c.sum(row(t.All)) + ")"
	}
	return "select count(*), coalesce(" + sum + ", 0)::text from only " + t.Name
}

func (c *comparison) tables(ctx context.Context) error {
	a, err := c.from.columns(ctx)
	if err != nil {
		return err
	}
	b, err := c.to.columns(ctx)
	if err != nil {
		return err
	}
	if !c.CountOnly {
		c.r.Formula = "sum of " + c.sum("row(the columns by name)::text")
	}
	names := maps.Clone(a)
	maps.Copy(names, b)
	maps.Copy(names, a)
	order := slices.SortedFunc(maps.Values(names), func(x, y columns) int { return cmp.Or(cmp.Compare(y.Size, x.Size), strings.Compare(x.Name, y.Name)) })
	c.r.Tables = make([]Table, len(order))
	work := make(chan int, len(order))
	for i := range order {
		work <- i
	}
	close(work)
	done := 0
	g, ctx := errgroup.WithContext(ctx)
	for range c.Jobs {
		g.Go(func() error {
			return c.pair(ctx, func(from, to *pgx.Conn) error {
				for i := range work {
					name := order[i].Name
					t, err := c.table(ctx, from, to, name, a, b)
					if err != nil {
						return err
					}
					c.mu.Lock()
					c.r.Tables[i] = t
					if done++; c.Progress != nil {
						c.Progress(Progress{Table: name, Done: done, Of: len(order)})
					}
					c.mu.Unlock()
				}
				return nil
			})
		})
	}
	err = g.Wait()
	slices.SortFunc(c.r.Tables, func(x, y Table) int { return strings.Compare(x.Name, y.Name) })
	return err
}

// pair runs do with a session on either side.
func (c *comparison) pair(ctx context.Context, do func(from, to *pgx.Conn) error) error {
	from, err := c.from.session(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close(context.WithoutCancel(ctx)) }()
	to, err := c.to.session(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = to.Close(context.WithoutCancel(ctx)) }()
	return do(from, to)
}

func (c *comparison) table(ctx context.Context, from, to *pgx.Conn, name string, a, b map[string]columns) (Table, error) {
	x, inSource := a[name]
	y, inTarget := b[name]
	t := Table{Name: name}
	switch {
	case !inTarget:
		t.Why = "it is not on the target"
	case !inSource:
		t.Why = "it is not on the source"
	case x.All != y.All:
		t.Why = "it has other columns"
	}
	if t.Why != "" {
		t.How = "not compared"
		return t, nil
	}
	sample := c.Sample > 1 && x.Key != "" && x.Key == y.Key && x.Size > smallTable
	switch {
	case c.CountOnly:
		t.How = "counted"
	case sample:
		t.How = fmt.Sprintf("all rows counted, one in %d by primary key summed", c.Sample)
	default:
		t.How = "all rows counted and summed"
	}
	return t, c.sides(ctx, &t, from, to, c.query(x, sample))
}

// sides runs a query for a number and a sum on both sides at once.
func (c *comparison) sides(ctx context.Context, t *Table, from, to *pgx.Conn, sql string) error {
	g, ctx := errgroup.WithContext(ctx)
	ask := func(s *side, conn *pgx.Conn, rows *int64, sum *string) func() error {
		return func() error {
			if err := conn.QueryRow(ctx, sql).Scan(rows, sum); err != nil {
				return fmt.Errorf("read %s on the %s: %w", t.Name, s.what, err)
			}
			return nil
		}
	}
	g.Go(ask(c.from, from, &t.SourceRows, &t.SourceSum))
	g.Go(ask(c.to, to, &t.TargetRows, &t.TargetSum))
	if err := g.Wait(); err != nil {
		return err
	}
	switch {
	case t.SourceRows != t.TargetRows:
		t.Why = fmt.Sprintf("%d rows on the source, %d on the target", t.SourceRows, t.TargetRows)
	case t.SourceSum != t.TargetSum:
		t.Why = fmt.Sprintf("its %d rows are not the same", t.SourceRows)
	default:
		t.Equal = true
	}
	if c.CountOnly {
		t.SourceSum, t.TargetSum = "", ""
	}
	return nil
}

// objectsSQL reads large objects by pieces, so that none has to fit into a server's memory.
const objectsSQL = `with recursive piece as (
 select oid, lomowner, 0::bigint as at, octet_length(b) as n, pg_catalog.sha256(b) as sum from (select oid, lomowner, pg_catalog.lo_get(oid, 0, 1048576) as b from pg_catalog.pg_largeobject_metadata) first
 union all
 select oid, lomowner, at, octet_length(b), pg_catalog.sha256(b) from (select oid, lomowner, at + 1048576 as at, pg_catalog.lo_get(oid, at + 1048576, 1048576) as b from piece where n = 1048576) next
) select count(*) filter (where at = 0), coalesce(sum(hashtextextended(pg_catalog.concat_ws(' ', oid, pg_catalog.pg_get_userbyid(lomowner), at, pg_catalog.encode(sum, 'hex')) collate "C", 0)), 0)::text from piece`

func (c *comparison) objects(ctx context.Context) error {
	t := Table{Name: "large objects", How: "all counted and summed"}
	sql := objectsSQL
	if c.CountOnly {
		t.How, sql = "counted", "select count(*), '' from pg_catalog.pg_largeobject_metadata"
	}
	err := c.sides(ctx, &t, c.from.keep, c.to.keep, sql)
	c.r.LargeObjects = t
	return err
}
