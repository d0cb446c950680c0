package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
)

// bookSchema is on the target while the copy is not finished.
const bookSchema = "dbops_upgrade"

// What the book says of a copy as a whole.
const (
	phaseBegun    = "begun"
	phaseRestored = "restoring" // of the second engine
	phaseDone     = "done"
)

// The kinds of what is done.
const (
	kindPre   = "pre"
	kindTable = "table"
	kindRange = "range"
	kindStep  = "step" // how a table is split: a table that grows must not be split otherwise by the next try
	kindLO    = "lo"
	kindSeq   = "sequences"
	kindPost  = "post"
)

// book is the notes of what is done, written in the transactions that do it.
type book struct {
	connect  Connect
	conn     *pgx.Conn
	phase    string // "" when nothing has begun
	source   string
	snapshot string
	sum      string
	done     map[string]bool
	steps    map[string]int64 // pages, by table
}

const bookTables = `create schema ` + bookSchema + `;
create table ` + bookSchema + `.copy (one boolean primary key default true check (one), engine text not null, phase text not null,
 source text not null, snapshot text not null, schema_sum text not null, began timestamptz not null default pg_catalog.clock_timestamp());
create table ` + bookSchema + `.done (kind text, item text, rows bigint not null default 0, bytes bigint not null default 0,
 at timestamptz not null default pg_catalog.clock_timestamp(), primary key (kind, item))`

// openBook reads the notes, or makes sure that the target is empty.
func openBook(ctx context.Context, connect Connect, engine string) (*book, error) {
	conn, err := open(ctx, connect, targetSettings)
	if err != nil {
		return nil, fmt.Errorf("log in to the target: %w", err)
	}
	b := &book{connect: connect, conn: conn, done: map[string]bool{}, steps: map[string]int64{}}
	err = b.lock(ctx)
	if err == nil {
		err = endSessions(ctx, conn, 0)
	}
	if err == nil {
		err = b.read(ctx, engine)
	}
	if err != nil {
		b.close(ctx)
		return nil, err
	}
	return b, nil
}

func (b *book) close(ctx context.Context) { _ = b.conn.Close(context.WithoutCancel(ctx)) }

// letGo is how long the session of a copy that was killed may take to end, and its lock with it.
const letGo = 3 * time.Second

// lock makes sure that nobody else copies into this database. It ends with the session.
func (b *book) lock(ctx context.Context) error {
	for began := time.Now(); ; {
		var got bool
		if err := b.conn.QueryRow(ctx, "select pg_catalog.pg_try_advisory_lock(hashtext('"+bookSchema+"'), 0)").Scan(&got); err != nil || got {
			return err
		}
		if time.Since(began) > letGo {
			return fault.Newf(fault.Busy, "copy into the target", "somebody else copies into this database").Hint("wait until that is done, or end its sessions, which are named %q", ourName)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

const whatIsThere = `select string_agg(name, ', ') from (select name from (
 select c.oid::regclass::text as name from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', '` + bookSchema + `') and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
 and not exists (select 1 from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
 union all select 'schema ' || quote_ident(n.nspname) from pg_catalog.pg_namespace n where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'public', '` + bookSchema + `')
 and not exists (select 1 from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_namespace'::regclass and d.objid = n.oid and d.deptype = 'e')
 union all select 'large object ' || oid from pg_catalog.pg_largeobject_metadata) x limit 5) y`

func (b *book) read(ctx context.Context, engine string) error {
	var there bool
	if err := b.conn.QueryRow(ctx, "select pg_catalog.to_regclass('"+bookSchema+".copy') is not null").Scan(&there); err != nil {
		return err
	}
	if !there {
		var names *string
		if err := b.conn.QueryRow(ctx, whatIsThere).Scan(&names); err != nil {
			return err
		}
		if names != nil {
			return fault.Newf(fault.Blocked, "copy into the target", "it holds something already: %s", *names).
				Hint("copy into an empty database, or drop this one and create it again")
		}
		return nil
	}
	var made string
	err := b.conn.QueryRow(ctx, "select engine, phase, source, snapshot, schema_sum from "+bookSchema+".copy").Scan(&made, &b.phase, &b.source, &b.snapshot, &b.sum)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read what is done: %w", err)
	}
	if made != engine {
		return fault.Newf(fault.Blocked, "go on with the copy", "it was begun by the engine %s, and this one is %s", made, engine).
			Hint("go on with the engine %s, or drop the target database and create it again", made)
	}
	var kind, item string
	var n int64
	return each(ctx, b.conn, "select kind, item, rows from "+bookSchema+".done", nil, []any{&kind, &item, &n}, func() {
		b.done[kind+" "+item] = true
		if kind == kindStep {
			b.steps[item] = n
		}
	})
}

// has tells whether an earlier try did it.
func (b *book) has(kind, item string) bool { return b.done[kind+" "+item] }

func (b *book) database() string { return databaseIn(b.source) }

func (b *book) begin(ctx context.Context, source, snapshot, sum string) error {
	return b.start(ctx, "stream", phaseBegun, source, snapshot, sum)
}

// do runs statements in a transaction that may be run twice.
func (b *book) do(ctx context.Context, sql ...string) error {
	return b.use(ctx, func(conn *pgx.Conn) error { return transaction(ctx, conn, sql...) })
}

// use does what may be done twice, and once more if the connection was lost.
func (b *book) use(ctx context.Context, do func(*pgx.Conn) error) error {
	for try := 1; ; try++ {
		err := b.ready(ctx)
		if err == nil {
			err = do(b.conn)
		}
		if err == nil || !again(ctx, err, try) {
			return err
		}
		b.close(ctx)
	}
}

func (b *book) ready(ctx context.Context) error {
	if !b.conn.IsClosed() {
		return nil
	}
	conn, err := open(ctx, b.connect, targetSettings)
	if err != nil {
		return err
	}
	old := b.conn.PgConn().PID()
	b.conn = conn
	if err := endSessions(ctx, conn, old); err != nil { // it may still hold the lock
		return err
	}
	return b.lock(ctx)
}

func (b *book) start(ctx context.Context, engine, phase, source, snapshot, sum string) error {
	b.phase, b.source, b.snapshot, b.sum = phase, source, snapshot, sum
	err := transaction(ctx, b.conn, bookTables, fmt.Sprintf("insert into %s.copy (engine, phase, source, snapshot, schema_sum) values (%s, %s, %s, %s, %s)",
		bookSchema, literal(engine), literal(phase), literal(source), literal(snapshot), literal(sum)))
	if err != nil {
		return failed("prepare the target", "", err)
	}
	return nil
}

// renew notes a new snapshot: nothing of the old one is left.
func (b *book) renew(source, snapshot string) string {
	return fmt.Sprintf("delete from %[1]s.done where kind <> '%[2]s'; update %[1]s.copy set source = %[3]s, snapshot = %[4]s",
		bookSchema, kindPre, literal(source), literal(snapshot))
}

// forget makes the next try begin again.
func (b *book) forget(ctx context.Context) error {
	return b.do(ctx, "update "+bookSchema+".copy set snapshot = ''")
}

// note is the statement that notes what is done.
func note(kind, item string, rows, bytes int64) string {
	return fmt.Sprintf("insert into %s.done (kind, item, rows, bytes) values (%s, %s, %d, %d)", bookSchema, literal(kind), literal(item), rows, bytes)
}

// noted looks whether a transaction whose end was not seen has been committed.
func noted(ctx context.Context, conn *pgx.Conn, kind, item string) (bool, error) {
	var is bool
	err := conn.QueryRow(ctx, "select exists (select from "+bookSchema+".done where kind = $1 and item = $2)", kind, item).Scan(&is)
	return is, err
}

func (b *book) finish(ctx context.Context) error {
	b.phase = phaseDone
	// One commit that waits for the disk takes all before it along.
	return b.do(ctx, "set local synchronous_commit = on", "update "+bookSchema+".copy set phase = '"+phaseDone+"'")
}

func (b *book) totals(ctx context.Context, r *Result) error {
	return b.use(ctx, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `select (select snapshot from `+bookSchema+`.copy), count(*) filter (where kind = 'table'), coalesce(sum(rows) filter (where kind in ('table', 'range')), 0)::bigint,
 coalesce(sum(bytes) filter (where kind in ('table', 'range')), 0)::bigint, coalesce(sum(rows) filter (where kind = 'lo'), 0)::bigint,
 count(*) filter (where kind in ('pre', 'post')) from `+bookSchema+`.done`).Scan(&r.Snapshot, &r.Tables, &r.Rows, &r.Bytes, &r.Objects, &r.Items)
	})
}
