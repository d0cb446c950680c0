package rehearse

import (
	"context"
	"strings"
	"time"

	"dbops/internal/migrate/split"
)

// alone runs what no transaction may hold. Its locks are gone when it ends, so it is made to wait at the first one: another session has every
// table locked until it has been seen to wait. Later ones are looked for while it goes on.
func (p *player) alone(ctx context.Context, s split.Statement, st *Statement) (time.Duration, error) {
	if p.idle {
		return p.timed(ctx, s.Text)
	}
	pid := p.conn.PgConn().PID()
	if err := p.closeGate(ctx); err != nil {
		return 0, err
	}
	type end struct {
		took time.Duration
		err  error
	}
	done := make(chan end, 1)
	go func() {
		took, err := p.timed(ctx, s.Text)
		done <- end{took, err}
	}()
	ranks := map[uint32]int{}
	closed := true
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	var e end
	var failed error
	waited := time.Now()
	for over := false; !over; {
		select {
		case e = <-done:
			over = true
			continue
		case <-tick.C:
		}
		if failed != nil {
			continue
		}
		waits, err := p.peek(ctx, pid, ranks)
		if failed = err; closed && (waits || failed != nil) {
			closed = false
			failed = p.openGate(ctx, failed)
			waited = time.Now()
		}
	}
	if closed {
		failed = p.openGate(ctx, failed)
	}
	if e.err != nil || failed != nil {
		return e.took, firstError(e.err, failed)
	}
	now, err := p.changed(ctx, ranks)
	if err != nil {
		return e.took, err
	}
	clear(p.marks)
	p.note(now, st, false)
	clear(p.marks)
	return min(e.took, time.Since(waited)), nil
}

func firstError(all ...error) error {
	for _, err := range all {
		if err != nil {
			return err
		}
	}
	return nil
}

// closeGate locks every table, so that nothing but reading and writing gets through.
func (p *player) closeGate(ctx context.Context) error {
	if _, err := p.side.Exec(ctx, "begin"); err != nil {
		return err
	}
	var names []string
	for _, r := range p.known {
		if r.kind == 'r' || r.kind == 'p' {
			names = append(names, "only "+r.name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	_, err := p.side.Exec(ctx, "lock table "+strings.Join(names, ", ")+" in share update exclusive mode")
	return err
}

// openGate lets it through. It may be called again.
func (p *player) openGate(ctx context.Context, before error) error {
	_, err := p.side.Exec(ctx, "rollback")
	return firstError(before, err)
}

const peekSQL = `select l.relation, max(array_position(array['AccessShareLock', 'RowShareLock', 'RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock',
 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'], l.mode)), bool_or(not l.granted)
 from pg_catalog.pg_locks l where l.pid = %d and l.locktype = 'relation' and l.relation >= 16384 group by 1`

// peek notes the locks that a session has or wants, and tells whether it waits for one.
func (p *player) peek(ctx context.Context, pid uint32, ranks map[uint32]int) (waits bool, err error) {
	rows, err := p.side.Query(ctx, strings.Replace(peekSQL, "%d", itoa(pid), 1))
	if err != nil {
		return false, err
	}
	defer rows.Close()
	for rows.Next() {
		var oid uint32
		var rank int
		var wants bool
		if err := rows.Scan(&oid, &rank, &wants); err != nil {
			return false, err
		}
		ranks[oid] = max(ranks[oid], rank)
		waits = waits || wants
	}
	return waits, rows.Err()
}

// changed is what is different in the copy, and what was locked for it.
func (p *player) changed(ctx context.Context, ranks map[uint32]int) (out []locked, err error) {
	after, err := relations(ctx, p.conn)
	if err != nil {
		return nil, err
	}
	for oid, r := range after {
		old, was := p.known[oid]
		if ranks[oid] > 0 || !was || old.file != r.file {
			out = append(out, locked{oid: oid, rel: r, mark: mark{rank: ranks[oid]}})
		}
	}
	for oid, r := range p.known {
		if _, there := after[oid]; !there {
			out = append(out, locked{oid: oid, gone: true, rel: r, mark: mark{rank: ranks[oid]}})
		}
	}
	return out, nil
}
