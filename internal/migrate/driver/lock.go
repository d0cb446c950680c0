package driver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-migrate/migrate/v4/database"
	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
)

// Lock implements database.Driver: it takes golang-migrate's locks, so that no other migration of the database runs, and makes the tables
// that are missing. It asks again and again and never waits in the server, where a session that waits keeps CREATE INDEX CONCURRENTLY of
// another one from ending.
func (d *Driver) Lock() error {
	if err := d.lock(); err != nil {
		return err
	}
	return d.make(d.ctx)
}

func (d *Driver) lock() error {
	if err := d.find(d.ctx); err != nil {
		return err
	}
	ids, err := d.home.lockIDs()
	if err != nil {
		return fault.New(fault.Internal, "lock the migrations of "+d.o.What, err)
	}
	wait := backoff{until: time.Now().Add(d.o.Patience)}
	told := ""
	for {
		free, err := d.tryLock(ids)
		if err != nil || free {
			return err
		}
		holder := d.lockHolder(ids)
		if holder != told {
			d.o.Tell("waiting for another migration: " + holder)
			told = holder
		}
		if !wait.more() {
			return fault.Newf(fault.Busy, "migrate "+d.o.What, "another migration runs: %s", holder).
				Hint("wait for its end; or end it, if nobody needs it: select pg_terminate_backend(PID)")
		}
		if err := wait.pause(d.ctx); err != nil {
			return err
		}
	}
}

// tryLock takes all of the locks, or none.
func (d *Driver) tryLock(ids []string) (bool, error) {
	for i, id := range ids {
		var ok bool
		if err := d.conn.QueryRow(d.ctx, "select pg_try_advisory_lock("+id+")").Scan(&ok); err != nil {
			return false, d.fail("lock the migrations of "+d.o.What, err)
		}
		if !ok {
			return false, d.release(ids[:i])
		}
	}
	d.locked = slices.Clone(ids)
	return true, nil
}

func (d *Driver) release(ids []string) error {
	if len(ids) == 0 || d.conn.IsClosed() {
		return nil
	}
	var calls []string
	for _, id := range ids {
		calls = append(calls, "pg_advisory_unlock("+id+")")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(d.ctx), 10*time.Second) // also of a run that is stopped
	defer cancel()
	if _, err := d.conn.Exec(ctx, "select "+strings.Join(calls, ", ")); err != nil {
		return d.fail("unlock the migrations of "+d.o.What, err)
	}
	return nil
}

// lockHolder names who has one of the locks.
func (d *Driver) lockHolder(ids []string) string {
	h, err := holder(d.ctx, d.conn, ids)
	if err != nil || h == "" {
		return "a session that has just ended"
	}
	return h
}

// Holder names the session that migrates a database now; "" if none does.
func Holder(ctx context.Context, conn *pgx.Conn, t Table) (string, error) {
	if t.Name == "" {
		t.Name = DefaultTable
	}
	h, _, err := find(ctx, conn, t)
	if err != nil {
		return "", err
	}
	ids, err := h.lockIDs()
	if err != nil {
		return "", err
	}
	return holder(ctx, conn, ids)
}

func holder(ctx context.Context, conn *pgx.Conn, ids []string) (string, error) {
	q := `select l.pid, coalesce(a.usename, '?'), coalesce(a.application_name, ''), coalesce(host(a.client_addr), 'local'), coalesce(to_char(a.backend_start, 'YYYY-MM-DD HH24:MI:SS TZ'), '?')
 from pg_locks l left join pg_stat_activity a using (pid)
 where l.locktype = 'advisory' and l.granted and l.classid = 0 and l.objsubid = 1 and l.objid::bigint in (` + strings.Join(ids, ", ") + `)
 and l.database = (select oid from pg_database where datname = current_database()) limit 1`
	var pid int
	var user, app, addr, since string
	err := conn.QueryRow(ctx, q).Scan(&pid, &user, &app, &addr, &since)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return fmt.Sprintf("session %d of %s (%s) from %s, since %s", pid, user, app, addr, since), err
}

// Unlock implements database.Driver, after what is still queued.
func (d *Driver) Unlock() error {
	err := d.flush()
	ids := d.locked
	d.locked = nil
	if d.conn.IsClosed() {
		return err // the session's end unlocked
	}
	if uerr := d.release(ids); err == nil {
		err = uerr
	}
	return err
}

// Version implements database.Driver.
func (d *Driver) Version() (version int, dirty bool, err error) {
	s, err := d.Read(d.ctx)
	if err != nil {
		return 0, false, err
	}
	at := int64(database.NilVersion)
	if s.Any {
		at = s.Version
	}
	if at != d.from && !s.Dirty {
		return 0, false, fault.Newf(fault.Stale, "migrate "+d.o.What, "it is at version %s, not at %s: somebody else migrated it", versionText(at), versionText(d.from)).
			Hint("make a new plan")
	}
	return int(at), s.Dirty, nil
}

func versionText(v int64) string {
	if v < 0 {
		return "none"
	}
	return fmt.Sprint(v)
}
