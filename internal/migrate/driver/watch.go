package driver

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Blocker is a session that keeps another from a lock.
type Blocker struct {
	PID         int
	User        string
	Application string
	State       string // active, idle in transaction
	Since       string // how long its transaction lasts
	Query       string // its beginning
}

func (b Blocker) String() string {
	s := fmt.Sprintf("session %d of %s", b.PID, b.User)
	if b.Application != "" {
		s += " (" + b.Application + ")"
	}
	if b.State != "" {
		s += ", " + b.State
	}
	if b.Since != "" {
		s += " for " + b.Since
	}
	return s
}

func blockersText(all []Blocker) string {
	names := make([]string, 0, 3)
	for i, b := range all {
		if i == 3 {
			names = append(names, fmt.Sprintf("%d more", len(all)-3))
			break
		}
		names = append(names, b.String())
	}
	return strings.Join(names, ", and ")
}

// A message that takes longer than watchAfter, or than a third of the lock time-out, is watched from a second session.
const (
	watchAfter = 300 * time.Millisecond
	watchEach  = 250 * time.Millisecond
)

// watcher looks, from a second session, what the first one waits for and how far it is.
type watcher struct {
	cancel context.CancelFunc
	done   chan struct{}

	d        *Driver
	blockers []Blocker
}

// stop ends the watching, and keeps who was seen to block.
func (w *watcher) stop() {
	w.cancel()
	<-w.done
	w.d.seen = w.blockers
}

// watch begins to watch the session.
func (d *Driver) watch() *watcher {
	ctx, cancel := context.WithCancel(context.WithoutCancel(d.ctx))
	w := &watcher{cancel: cancel, done: make(chan struct{}), d: d}
	pid := d.conn.PgConn().PID()
	go func() {
		defer close(w.done)
		pause := min(watchAfter, d.o.LockTimeout/3)
		for told := ""; ; {
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			pause = watchEach
			text, err := w.look(ctx, pid)
			if err != nil {
				if d.side != nil {
					_ = d.side.Close(context.WithoutCancel(ctx))
					d.side = nil
				}
				pause = 5 * time.Second // it is for information only
			} else if text != "" && text != told {
				told = text
				d.o.Tell(text)
			}
		}
	}()
	return w
}

const watchSQL = `select b.pid, coalesce(b.usename, '?'), coalesce(b.application_name, ''), coalesce(b.state, ''),
 coalesce(date_trunc('second', clock_timestamp() - b.xact_start)::text, ''), left(coalesce(b.query, ''), 80), ''
 from unnest(pg_blocking_pids(%[1]d)) p(pid) left join pg_stat_activity b on b.pid = p.pid
union all
select 0, '', '', '', '', '', 'building index: ' || phase || case when blocks_total > 0 then ', ' || (100 * blocks_done / blocks_total) || '%% of the blocks'
 when tuples_total > 0 then ', ' || (100 * tuples_done / tuples_total) || '%% of the rows' else '' end
 || case when lockers_total > 0 then ', waiting for ' || (lockers_total - lockers_done) || ' transactions' else '' end
 from pg_stat_progress_create_index where pid = %[1]d
union all
select 0, '', '', '', '', '', command || ': ' || phase || case when heap_blks_total > 0 then ', ' || (100 * heap_blks_scanned / heap_blks_total) || '%% of the table' else '' end
 from pg_stat_progress_cluster where pid = %[1]d
union all
select 0, '', '', '', '', '', 'VACUUM: ' || phase || case when heap_blks_total > 0 then ', ' || (100 * heap_blks_scanned / heap_blks_total) || '%% of the table' else '' end
 from pg_stat_progress_vacuum where pid = %[1]d`

func (w *watcher) look(ctx context.Context, pid uint32) (string, error) {
	d := w.d
	if d.side == nil {
		conn, err := d.o.Connect(ctx, func(c *pgx.ConnConfig) { c.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol })
		if err != nil {
			return "", err
		}
		d.side = conn
	}
	rows, err := d.side.Query(ctx, fmt.Sprintf(watchSQL, pid))
	if err != nil {
		return "", err
	}
	defer rows.Close()
	var blockers []Blocker
	progress := ""
	for rows.Next() {
		var b Blocker
		var text string
		if err := rows.Scan(&b.PID, &b.User, &b.Application, &b.State, &b.Since, &b.Query, &text); err != nil {
			return "", err
		}
		if text != "" {
			progress = text
		} else {
			blockers = append(blockers, b)
		}
	}
	if err := rows.Err(); err != nil {
		return "", err
	}
	if len(blockers) > 0 {
		w.blockers = blockers
		if progress != "" {
			progress += "; it waits for " + blockersText(blockers)
		} else {
			progress = "waiting for a lock that is kept by " + blockersText(blockers)
		}
	}
	return progress, nil
}

// Ended are the sessions that were ended because they kept a lock, on request.
func (d *Driver) Ended() []string { return d.ended }

// endBlockers ends sessions that keep a lock from us, for who asked for it.
func (d *Driver) endBlockers(all []Blocker) {
	for _, b := range all {
		if b.PID <= 0 { // a prepared transaction has no session
			d.o.Tell("the lock is kept by a prepared transaction: see pg_prepared_xacts")
			continue
		}
		var ended bool
		if err := d.conn.QueryRow(d.ctx, fmt.Sprintf("select pg_terminate_backend(%d)", b.PID)).Scan(&ended); err != nil {
			d.o.Tell(fmt.Sprintf("%s could not be ended: %s", b, d.fail("end it", err)))
			continue
		}
		d.o.Tell(fmt.Sprintf("ended %s", b))
		d.ended = append(d.ended, b.String())
	}
}
