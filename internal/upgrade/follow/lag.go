package follow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
)

// Lag is how far behind the follower is.
type Lag struct {
	Bytes   int64  `json:"bytes"` // of the log: not of what has to be applied, which may be less
	Now     string `json:"now"`   // where the publisher's log is
	Applied string `json:"applied"`
	// Attached tells that there is a subscription, Running that its worker runs at this moment.
	Attached bool `json:"attached"`
	Running  bool `json:"running"`
	// WAL is what the publisher says of the log that it keeps: reserved, extended, unreserved, lost.
	WAL string `json:"wal"`
	// Errors counts what made the worker end, lost connections too; -1 where the server does not count.
	Errors int64 `json:"errors"`
	// Error is why the next transaction cannot be applied, in the server's words.
	Error string `json:"error,omitempty"`
	// Conflicts counts rows that were not as they should have been, by kind, where the server counts, from PostgreSQL 18 on.
	Conflicts map[string]int64 `json:"conflicts,omitempty"`
	// NotReady are tables that the subscription does not follow yet.
	NotReady []string `json:"not_ready,omitempty"`
}

// Look says how far behind the target is. It fails with fault.Stale if the schema of the source was altered since [Begin], and with
// fault.Failed if the target refuses what it should apply; what it has learned comes with that. It changes nothing.
func Look(ctx context.Context, j Job) (Lag, error) { return j.forward().look(ctx) }

func (w *way) look(ctx context.Context) (Lag, error) {
	from, to, err := w.both(ctx)
	if err != nil {
		return Lag{Errors: -1}, err
	}
	defer shut(ctx, from)
	defer shut(ctx, to)
	l, err := w.lag(ctx, from, to)
	if err == nil {
		err = w.explained(ctx, from, to, &l)
	}
	if err == nil {
		err = w.unaltered(ctx, from)
	}
	return l, failed("look after the replication", err)
}

// lag reads what both servers count.
func (w *way) lag(ctx context.Context, from, to *pgx.Conn) (Lag, error) {
	l := Lag{Errors: -1}
	s, err := w.slot(ctx, from)
	if err != nil {
		return l, err
	}
	l.Bytes, l.Now, l.Applied, l.WAL = s.Behind, s.Now, s.Confirmed, s.WAL
	var id uint32
	var enabled bool
	err = to.QueryRow(ctx, `select s.oid, s.subenabled, exists (select from pg_stat_subscription st where st.subid = s.oid and st.relid is null and st.pid is not null)
 from pg_subscription s where s.subname = $1 and s.subdbid = (select oid from pg_database where datname = current_database())`, w.name).Scan(&id, &enabled, &l.Running)
	if errors.Is(err, pgx.ErrNoRows) {
		return l, nil
	}
	if err != nil {
		return l, err
	}
	l.Attached = true
	if !enabled {
		return l, fault.Newf(fault.Failed, "look after the replication", "subscription %s on the %s is disabled", w.name, w.to.what).Hint("attach again")
	}
	if l.NotReady, err = column[string](ctx, to, `select r.srrelid::regclass::text from pg_subscription_rel r where r.srsubid = $1 and r.srsubstate <> 'r' order by 1`, id); err != nil {
		return l, err
	}
	return l, l.counted(ctx, to, id)
}

// counted reads what the server counts, as far as its major does.
func (l *Lag) counted(ctx context.Context, conn *pgx.Conn, id uint32) error {
	has, err := one[bool](ctx, conn, "select to_regclass('pg_catalog.pg_stat_subscription_stats') is not null")
	if err != nil || !has {
		return err
	}
	rows, err := conn.Query(ctx, `select e.key, e.value::bigint from pg_stat_subscription_stats s, jsonb_each_text(to_jsonb(s)) e
 where s.subid = $1 and (e.key = 'apply_error_count' or e.key like 'confl_%')`, id)
	if err != nil {
		return err
	}
	var key string
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&key, &n}, func() error {
		switch {
		case key == "apply_error_count":
			l.Errors = n
		case n > 0:
			if l.Conflicts == nil {
				l.Conflicts = map[string]int64{}
			}
			l.Conflicts[key[len("confl_"):]] = n
		}
		return nil
	})
	return errors.Join(err, rows.Err())
}

// explained fails if the target refuses to apply what comes next. While the worker runs, nothing speaks for that.
func (w *way) explained(ctx context.Context, from, to *pgx.Conn, l *Lag) error {
	if !l.Attached || l.Running || l.Bytes == 0 {
		return nil
	}
	why, err := w.words(ctx, from, to)
	if err != nil || why == nil {
		return err
	}
	l.Error = why.Error()
	return fault.New(fault.Failed, "apply on the "+w.to.what+" what was written to the "+w.from.what, why).
		Hint("mend the row or the table on the %s, and it goes on by itself; or %s", w.to.what, beginAnew)
}

const (
	watchEvery  = time.Second
	schemaEvery = 15 * time.Second // reading it is dear
	workerGrace = 30 * time.Second // how long a worker may be away: it comes back every five seconds
)

// Watch waits until the target is less than so many bytes behind, and returns the last it saw. It fails as [Look] does.
func Watch(ctx context.Context, j Job, below int64) (Lag, error) {
	w := j.forward()
	from, to, err := w.both(ctx)
	if err != nil {
		return Lag{Errors: -1}, err
	}
	defer shut(ctx, from)
	defer shut(ctx, to)
	l, err := w.watch(ctx, from, to, func(l Lag) bool { return l.Attached && l.Bytes < below && len(l.NotReady) == 0 }, watchEvery)
	return l, failed("wait for the "+w.to.what+" to catch up", err)
}

// watch looks again and again until something is so.
func (w *way) watch(ctx context.Context, from, to *pgx.Conn, until func(Lag) bool, every time.Duration) (Lag, error) {
	var seen, told time.Time
	var s stuck
	for {
		l, err := w.lag(ctx, from, to)
		if err == nil && time.Since(seen) > schemaEvery {
			seen = time.Now()
			err = w.unaltered(ctx, from)
		}
		if err != nil {
			return l, err
		}
		if until(l) {
			w.tell(l)
			return l, nil
		}
		if err := w.explained(ctx, from, to, &l); err != nil {
			return l, err
		}
		if why := s.why(l); why != "" {
			return l, fault.Newf(fault.Failed, "wait for the "+w.to.what+" to catch up", "the worker of subscription %s %s", w.name, why).
				Hint("the log of the %s's server says why: a row in its way, or it cannot reach the %s", w.to.what, w.from.what)
		}
		if time.Since(told) >= watchEvery {
			told = time.Now()
			w.tell(l)
		}
		if err := pause(ctx, every); err != nil {
			return l, fmt.Errorf("%w, %d bytes behind", err, l.Bytes)
		}
	}
}

// stuck finds out that a follower does not go on, for logins that may not see why.
type stuck struct {
	at     string
	ran    time.Time // when its worker was last seen
	errors int64
}

const stuckErrors = 4 // in one place: it tries every five seconds

func (s *stuck) why(l Lag) string {
	if l.Applied != s.at || !l.Attached {
		*s = stuck{at: l.Applied, ran: time.Now(), errors: l.Errors}
	}
	if l.Running {
		s.ran = time.Now()
	}
	switch {
	case l.Errors-s.errors >= stuckErrors:
		return fmt.Sprintf("failed %d times in the same place", l.Errors-s.errors)
	case time.Since(s.ran) > workerGrace:
		return "was not seen for " + workerGrace.String()
	}
	return ""
}
