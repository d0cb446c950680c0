package follow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/fault"
	"dbops/internal/pg/catalog"
)

// Slot is a replication slot that keeps what is written from now on, and a snapshot of what was written before.
type Slot struct {
	Name     string
	Snapshot string // for stream.Job.Snapshot, until Close
	LSN      string // from where on the slot keeps

	conn *pgx.Conn // a walsender: its next command would end the snapshot
}

// Close lets go of the snapshot; the slot stays. It may be called twice.
func (s *Slot) Close() {
	s.shut(context.Background())
}

func (s *Slot) shut(ctx context.Context) {
	if s != nil && s.conn != nil {
		shut(ctx, s.conn)
		s.conn = nil
	}
}

const beginTries = 3 // while somebody makes tables

// Begin publishes all tables of the source and makes the slot, whose snapshot is to be copied. The source keeps its log from here on, until
// [Detach]. It may be called again after it failed or was killed: what an earlier try left is brought up to date, and its slot made anew,
// as its snapshot is gone. It waits for transactions that are open on the source; ctx limits that.
func Begin(ctx context.Context, j Job) (*Slot, error) {
	w := j.forward()
	from, to, err := w.both(ctx)
	if err != nil {
		return nil, err
	}
	defer shut(ctx, from)
	defer shut(ctx, to)
	if err := w.unattached(ctx, to, j.back(), from); err != nil {
		return nil, failed("begin the replication", err)
	}
	s, err := w.begin(ctx, from)
	return s, failed("begin the replication", err)
}

// unattached refuses to begin what goes on already, in one direction or the other.
func (w *way) unattached(ctx context.Context, to *pgx.Conn, other *way, from *pgx.Conn) error {
	if has, err := subscribed(ctx, to, w.name); err != nil {
		return err
	} else if has {
		return fault.Newf(fault.Blocked, "begin the replication", "the %s follows already, by subscription %s", w.to.what, w.name).
			Hint("%s: the slot of a subscription is not taken from it", beginAnew)
	}
	return other.absent(ctx, to, from)
}

// absent refuses while the other direction is there: rows would go round.
func (w *way) absent(ctx context.Context, from, to *pgx.Conn) error {
	const op = "replicate in one direction only"
	if has, err := subscribed(ctx, to, w.name); err != nil {
		return err
	} else if has {
		return fault.Newf(fault.Blocked, op, "the %s still subscribes to the %s by %s", w.to.what, w.from.what, w.name).Hint("end that first")
	}
	has, err := one[bool](ctx, from, "select exists (select from pg_replication_slots where slot_name = $1)", w.name)
	if err == nil && has {
		err = fault.Newf(fault.Blocked, op, "the %s still has the slot %s for the %s", w.from.what, w.name, w.to.what).Hint("end that first")
	}
	return err
}

func (w *way) begin(ctx context.Context, conn *pgx.Conn) (*Slot, error) {
	for try := 1; ; try++ {
		if err := w.dropSlot(ctx, conn); err != nil {
			return nil, err
		}
		st, err := w.publish(ctx, conn)
		if err != nil {
			return nil, err
		}
		slot, err := w.makeSlot(ctx, conn)
		if err != nil {
			return nil, err
		}
		found, err := w.since(ctx, conn, slot, st)
		if err == nil && len(found) == 0 {
			return slot, nil
		}
		slot.shut(ctx)
		if err != nil {
			return nil, err
		}
		if try >= beginTries {
			return nil, fault.Newf(fault.Stale, "begin the replication", "the schema changes all the time: %s", few(found)).
				Hint("let nobody alter the schema from now on until the upgrade is over, and run it again")
		}
	}
}

// makeSlot makes the slot on a connection that stays open, as the snapshot lives as long as that.
func (w *way) makeSlot(ctx context.Context, admin *pgx.Conn) (*Slot, error) {
	conn, err := w.from.connect(ctx, func(c *pgx.ConnConfig) {
		c.RuntimeParams["application_name"] = w.name
		c.RuntimeParams["replication"] = "database"
		c.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	})
	if err != nil {
		return nil, fmt.Errorf("open a replication connection to the %s: %w", w.from.what, err)
	}
	s := &Slot{conn: conn}
	if err := w.export(ctx, s); err != nil {
		s.shut(ctx)
		if ctx.Err() != nil {
			err = w.waitedFor(ctx, admin, err)
		}
		return nil, err
	}
	return s, nil
}

func (w *way) export(ctx context.Context, s *Slot) error {
	major, err := majorOf(ctx, s.conn)
	if err != nil {
		return err
	}
	// Nothing but Close may end the session that keeps the snapshot.
	off := []string{"statement_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"}
	if major >= 17 {
		off = append(off, "transaction_timeout")
	}
	for _, name := range off {
		if err := script(ctx, s.conn, "set "+name+" = 0"); err != nil {
			return err
		}
	}
	res, err := s.conn.PgConn().Exec(ctx, "CREATE_REPLICATION_SLOT "+ident(w.name)+" LOGICAL pgoutput").ReadAll() // it exports a snapshot if not told otherwise
	if err != nil {
		return err
	}
	row, err := single(res)
	if err != nil {
		return err
	}
	s.Name, s.LSN, s.Snapshot = row[0], row[1], row[2]
	return nil
}

func single(res []*pgconn.Result) ([]string, error) {
	if len(res) != 1 || len(res[0].Rows) != 1 || len(res[0].Rows[0]) < 3 {
		return nil, errors.New("the server made a slot and did not say which snapshot it shows")
	}
	var out []string
	for _, v := range res[0].Rows[0] {
		out = append(out, string(v))
	}
	return out, nil
}

// since finds what was altered between the publication and the snapshot: it would be neither copied nor followed.
func (w *way) since(ctx context.Context, conn *pgx.Conn, s *Slot, st state) ([]string, error) {
	if err := script(ctx, conn, "begin isolation level repeatable read read only; set transaction snapshot "+literal(s.Snapshot)); err != nil {
		return nil, err
	}
	found, err := w.unpublished(ctx, conn)
	if err == nil {
		var c *catalog.Catalog
		if c, err = catalog.ReadWithin(ctx, conn); err == nil {
			found = append(found, altered(st.Schema, sums(c))...)
		}
	}
	return found, errors.Join(err, script(ctx, conn, "rollback"))
}

// unpublished are tables that the publication does not have.
func (w *way) unpublished(ctx context.Context, conn *pgx.Conn) (out []string, err error) {
	all, err := tables(ctx, conn)
	if err != nil {
		return nil, err
	}
	published, err := w.published(ctx, conn)
	for _, t := range all {
		if !slices.Contains(published, t.String()) {
			out = append(out, "table "+t.String()+" was created")
		}
	}
	return out, err
}

// waitedFor names who held up the slot: it begins when all who write at that moment have ended.
func (w *way) waitedFor(ctx context.Context, conn *pgx.Conn, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	who, qerr := column[string](ctx, conn, openSQL, "0 s")
	if qerr != nil || len(who) == 0 {
		return err
	}
	return fault.Newf(fault.Busy, "make a replication slot on the "+w.from.what, "%w; it waits for all transactions that were open: %s", err, few(who)).
		Hint("let them end, or end them with pg_terminate_backend or ROLLBACK PREPARED, then run it again")
}

// openSQL names transactions that have written and are open for longer than some time.
const openSQL = `select format('session %s of %s since %s', a.pid, coalesce(a.usename, 'nobody'), coalesce(date_trunc('second', a.xact_start)::text, 'a while')) from pg_stat_activity a
 where exists (select from pg_locks l where l.pid = a.pid and l.locktype = 'transactionid' and l.mode = 'ExclusiveLock' and l.granted)
 and a.pid <> pg_backend_pid() and coalesce(a.xact_start <= now() - $1::interval, $1::interval = interval '0')
union all select format('prepared transaction %L of %s since %s', gid, owner, date_trunc('second', prepared)) from pg_prepared_xacts where prepared <= now() - $1::interval`

const slotPatience = 30 * time.Second

// dropSlot drops the slot, and ends who uses it or keeps its snapshot. It may be called without one.
func (w *way) dropSlot(ctx context.Context, conn *pgx.Conn) error {
	if _, err := conn.Exec(ctx, `select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1 and usename = current_user and pid <> pg_backend_pid()`, w.name); err != nil {
		return err
	}
	until := time.Now().Add(slotPatience)
	for {
		pids, err := column[*int32](ctx, conn, "select active_pid from pg_replication_slots where slot_name = $1", w.name)
		if err != nil || len(pids) == 0 {
			return err
		}
		if pids[0] != nil {
			// Not everybody may: then it ends by itself, when it sees that nobody listens.
			if _, err := conn.Exec(ctx, "select pg_terminate_backend($1)", *pids[0]); err != nil && !refused(err) {
				return err
			}
		}
		_, err = conn.Exec(ctx, "select pg_drop_replication_slot($1)", w.name)
		pe, ok := serverError(err)
		switch {
		case err == nil:
			continue
		case ok && pe.Code == "42704": // gone meanwhile
			return nil
		case !ok || pe.Code != "55006":
			return err
		case time.Now().After(until):
			return fault.New(fault.Busy, "drop the replication slot "+w.name, err).Hint("end the session that uses it with pg_terminate_backend, then run it again")
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

func refused(err error) bool {
	pe, ok := serverError(err)
	return ok && slices.Contains([]string{"42501", "0LP01"}, pe.Code)
}

func majorOf(ctx context.Context, conn *pgx.Conn) (int, error) {
	res, err := conn.PgConn().Exec(ctx, "select current_setting('server_version_num')::int / 10000").ReadAll()
	if err != nil {
		return 0, err
	}
	var n int
	_, err = fmt.Sscan(strings.TrimSpace(string(res[0].Rows[0][0])), &n)
	return n, err
}

func subscribed(ctx context.Context, conn *pgx.Conn, name string) (bool, error) {
	return one[bool](ctx, conn, "select exists (select from pg_subscription where subname = $1 and subdbid = (select oid from pg_database where datname = current_database()))", name)
}
