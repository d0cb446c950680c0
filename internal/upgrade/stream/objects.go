package stream

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

const (
	objectsAtOnce = 64       // large objects in a transaction
	objectChunk   = 64 << 10 // bytes of one that are read at once
)

type object struct {
	oid     uint32
	owner   string
	acl     bool
	comment *string
	data    []byte
}

// copyObjects does that again from where it was if the target's connection was lost.
func (c *copier) copyObjects(ctx context.Context) error {
	for try := 1; ; try++ {
		err := c.tryObjects(ctx)
		if err == nil || !again(ctx, err, try) {
			return err
		}
	}
}

// tryObjects copies large objects in the order of their numbers, with owners, privileges and comments.
func (c *copier) tryObjects(ctx context.Context) (err error) {
	from, err := c.source.reader(ctx)
	if err != nil {
		return failed("read large objects", "", err)
	}
	defer func() { _ = from.Close(context.WithoutCancel(ctx)) }()
	l := &line{copier: c}
	defer l.close(ctx)
	if err := l.ready(ctx); err != nil {
		return failed("write large objects", "", err)
	}
	var of int
	var upto uint32
	// The last one that an earlier try copied.
	if err := l.conn.QueryRow(ctx, "select coalesce(max(item::bigint), 0)::oid from "+bookSchema+".done where kind = '"+kindLO+"'").Scan(&upto); err != nil {
		return failed("write large objects", "", err)
	}
	if err := from.QueryRow(ctx, "select count(*) from pg_catalog.pg_largeobject_metadata where oid > $1", upto).Scan(&of); err != nil {
		return failed("read large objects", "", err)
	}
	c.tell.phase("large objects", of, 0)
	for of > 0 {
		some, err := readObjects(ctx, from, upto)
		if err != nil {
			return failed("read large objects", fmt.Sprintf("after number %d", upto), err)
		}
		if len(some) == 0 {
			return nil
		}
		upto = some[len(some)-1].oid
		if err := c.writeObjects(ctx, from, l.conn, some); err != nil {
			return failed("copy large objects", fmt.Sprintf("%d to %d", some[0].oid, upto), err)
		}
		for _, o := range some {
			c.tell.item(fmt.Sprintf("large object %d", o.oid))
		}
	}
	return nil
}

func readObjects(ctx context.Context, from *pgx.Conn, after uint32) ([]object, error) {
	rows, err := from.Query(ctx, `select m.oid, pg_catalog.pg_get_userbyid(m.lomowner), m.lomacl is not null, pg_catalog.obj_description(m.oid, 'pg_largeobject'),
 pg_catalog.lo_get(m.oid, 0, $2) from pg_catalog.pg_largeobject_metadata m where m.oid > $1 order by m.oid limit $3`, after, objectChunk, objectsAtOnce)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (object, error) {
		var o object
		err := row.Scan(&o.oid, &o.owner, &o.acl, &o.comment, &o.data)
		return o, err
	})
}

func (c *copier) writeObjects(ctx context.Context, from, to *pgx.Conn, all []object) error {
	tx, err := to.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	var bytes int64
	for _, o := range all {
		if _, err := tx.Exec(ctx, "select pg_catalog.lo_from_bytea($1, $2)", o.oid, o.data); err != nil {
			return err
		}
		bytes += int64(len(o.data))
		for at := int64(len(o.data)); len(o.data) == objectChunk; at += int64(len(o.data)) {
			if err := from.QueryRow(ctx, "select pg_catalog.lo_get($1, $2, $3)", o.oid, at, objectChunk).Scan(&o.data); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, "select pg_catalog.lo_put($1, $2, $3)", o.oid, at, o.data); err != nil {
				return err
			}
			bytes += int64(len(o.data))
		}
		sql, err := o.rights(ctx, from)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(ctx, note(kindLO, fmt.Sprint(all[len(all)-1].oid), int64(len(all)), bytes)); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// rights are a large object's owner, privileges and comment, as statements.
func (o object) rights(ctx context.Context, from *pgx.Conn) (string, error) {
	name := fmt.Sprintf("large object %d", o.oid)
	sql := []string{"alter " + name + " owner to " + ident(o.owner)}
	if o.acl {
		sql = append(sql, "revoke all on "+name+" from "+ident(o.owner))
		var may, who string
		var option bool
		err := each(ctx, from, `select a.privilege_type, case when a.grantee = 0 then 'public' else pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) end, a.is_grantable
 from pg_catalog.pg_largeobject_metadata m, pg_catalog.aclexplode(m.lomacl) with ordinality a where m.oid = $1 order by ordinality`, []any{o.oid}, []any{&may, &who, &option}, func() {
			grant := "grant " + may + " on " + name + " to " + who
			if option {
				grant += " with grant option"
			}
			sql = append(sql, grant)
		})
		if err != nil {
			return "", err
		}
	}
	if o.comment != nil {
		sql = append(sql, "comment on "+name+" is "+literal(*o.comment))
	}
	return strings.Join(sql, ";\n"), nil
}

const sequencesAtOnce = 200

// copySequences sets sequences to where those of the source stand now, which is never before the snapshot's rows.
func (c *copier) copySequences(ctx context.Context) error {
	from, err := open(ctx, c.Source, sourceSettings)
	if err != nil {
		return failed("read sequences", "", err)
	}
	defer from.Close(context.WithoutCancel(ctx))
	var all []string
	for _, it := range c.toc.items {
		if it.desc == "SEQUENCE" {
			all = append(all, ident(it.namespace, it.tag))
		}
	}
	rows, err := from.Query(ctx, `select pg_catalog.format('%I.%I', n.nspname, c.relname) from pg_catalog.pg_extension e, unnest(e.extconfig) u(rel)
 join pg_catalog.pg_class c on c.oid = u.rel join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.relkind = 'S'`)
	if err != nil {
		return failed("read sequences", "", err)
	}
	more, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return failed("read sequences", "", err)
	}
	all = append(all, more...)
	l := &line{copier: c}
	defer l.close(ctx)
	c.tell.phase("sequences", len(all), 0)
	for len(all) > 0 {
		some := all[:min(sequencesAtOnce, len(all))]
		all = all[len(some):]
		if err := setSequences(ctx, from, l, some); err != nil {
			return failed("set sequences", few(some), err)
		}
		for _, name := range some {
			c.tell.item(name)
		}
	}
	return nil
}

// setSequences may be done twice.
func setSequences(ctx context.Context, from *pgx.Conn, l *line, names []string) error {
	var reads, sets []string
	for i, name := range names {
		reads = append(reads, fmt.Sprintf("select %d, last_value, is_called from %s", i, name))
	}
	var i int
	var value int64
	var called bool
	err := each(ctx, from, strings.Join(reads, " union all "), nil, []any{&i, &value, &called}, func() {
		sets = append(sets, fmt.Sprintf("select pg_catalog.setval(%s, %d, %t)", literal(names[i]), value, called))
	})
	if err != nil {
		return err
	}
	return l.do(ctx, kindSeq, "", sets...)
}
