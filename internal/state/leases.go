package state

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"dbops/internal/state/db"
)

// ErrLost says that a runner's lease is over: it must not touch anything any more.
var ErrLost = errors.New("the lease is lost: another runner may work on it")

// Runner is a process that works on runs.
type Runner struct {
	ID      string    `json:"id"`
	Host    string    `json:"host"`
	PID     int       `json:"pid"`
	Queues  []string  `json:"queues"`
	Started time.Time `json:"started"`
	Seen    time.Time `json:"seen"` // when it last renewed its lease
	Expires time.Time `json:"expires"`

	Process string `json:"-"` // see [OwnProcess]
}

// AddRunner registers a runner, whose lease is good for ttl.
func (t *Tx) AddRunner(ctx context.Context, r Runner, ttl time.Duration) error {
	return t.exec(ctx, `insert into runners (id, host, pid, process, queues, started_ms, seen_ms, expires_ms)
		values ($1, $2, $3, $4, $5, `+t.now()+`, `+t.now()+`, `+t.now()+` + $6)`, r.ID, r.Host, r.PID, r.Process, strings.Join(r.Queues, " "), ttl.Milliseconds())
}

// RenewRunner makes a runner's lease good for ttl from now. One that is over stays over: [ErrLost].
func (t *Tx) RenewRunner(ctx context.Context, id string, ttl time.Duration) error {
	n, err := t.q.Exec(ctx, `update runners set seen_ms = `+t.now()+`, expires_ms = `+t.now()+` + $1 where id = $2 and expires_ms > `+t.now(), ttl.Milliseconds(), id)
	if err == nil && n == 0 {
		return ErrLost
	}
	return err
}

// RemoveRunner ends a runner's lease.
func (t *Tx) RemoveRunner(ctx context.Context, id string) error {
	return t.exec(ctx, `delete from runners where id = $1`, id)
}

// RemoveOtherRunners ends the leases of all runners but one that is known to be the only one alive.
func (t *Tx) RemoveOtherRunners(ctx context.Context, id string) error {
	return t.exec(ctx, `delete from runners where id <> $1`, id)
}

// ForgetRunners removes those whose lease has been over for a day.
func (t *Tx) ForgetRunners(ctx context.Context) error {
	return t.exec(ctx, `delete from runners where expires_ms < `+t.now()+` - 86400000`)
}

// Dead are the runners whose lease is good, and which were processes of this machine that are no more.
func (t *Tx) Dead(ctx context.Context) ([]Runner, error) {
	all, err := t.runners(ctx)
	return slices.DeleteFunc(all, func(r Runner) bool { return !gone(r.PID, r.Process) }), err
}

// Runners are those that are alive.
func (t *Tx) Runners(ctx context.Context) ([]Runner, error) {
	all, err := t.runners(ctx)
	return slices.DeleteFunc(all, func(r Runner) bool { return gone(r.PID, r.Process) }), err
}

// runners are those whose lease is good.
func (t *Tx) runners(ctx context.Context) (all []Runner, err error) {
	err = db.Each(ctx, t.q, func(rows db.Rows) error {
		var r Runner
		var queues string
		var started, seen, expires int64
		if err := rows.Scan(&r.ID, &r.Host, &r.PID, &r.Process, &queues, &started, &seen, &expires); err != nil {
			return err
		}
		r.Queues, r.Started, r.Seen, r.Expires = strings.Fields(queues), fromMS(started), fromMS(seen), fromMS(expires)
		all = append(all, r)
		return nil
	}, `select id, host, pid, process, queues, started_ms, seen_ms, expires_ms from runners where expires_ms > `+t.now()+` order by started_ms, id`)
	return all, err
}

// Lease is the right of one runner to work for one run on one target.
type Lease struct {
	Target string // "prod/main"
	Run    string
	Runner string
	Token  int64 // grows with each holder; what an older holder does is refused
}

// HeldError says who has a target.
type HeldError struct {
	Lease
	Alive bool // the runner is
}

func (e *HeldError) Error() string {
	if e.Alive {
		return fmt.Sprintf("%s is being changed by run %s", e.Target, e.Run)
	}
	return fmt.Sprintf("%s has an unfinished run, %s, that nobody works on", e.Target, e.Run)
}

// Acquire gives a target to a run, in the hands of a runner. It belongs to the run until [Tx.Release], whoever works on it; the runner
// that works on it can be replaced only when its own lease is over. A target that is not free is a [*HeldError], an own lease that
// is over [ErrLost].
func (t *Tx) Acquire(ctx context.Context, target, run, runner string) (l Lease, err error) {
	if err := t.checkRunner(ctx, runner); err != nil {
		return l, err
	}
	if err := t.exec(ctx, `insert into leases (target, token, run, runner) values ($1, 0, '', '') on conflict (target) do nothing`, target); err != nil {
		return l, err
	}
	if _, err := db.One(ctx, t.q, []any{&l.Target, &l.Token, &l.Run, &l.Runner},
		`select target, token, run, runner from leases where target = $1`+t.store.DB.ForUpdate(), target); err != nil {
		return l, err
	}
	if l.Run == run && l.Runner == runner {
		return l, nil
	}
	if l.Run != "" {
		alive, err := t.runnerAlive(ctx, l.Runner)
		if err != nil {
			return l, err
		}
		if l.Run != run || alive {
			return l, &HeldError{l, alive}
		}
	}
	l.Run, l.Runner, l.Token = run, runner, l.Token+1
	return l, t.exec(ctx, `update leases set token = $1, run = $2, runner = $3 where target = $4`, l.Token, run, runner, target)
}

// Check returns [ErrLost] unless the lease is still what it was and its runner's is good. The rows stay as they are until the
// transaction ends.
func (t *Tx) Check(ctx context.Context, l Lease) error {
	var token int64
	found, err := db.One(ctx, t.q, []any{&token}, `select token from leases where target = $1 and run = $2 and runner = $3`+t.store.DB.ForUpdate(),
		l.Target, l.Run, l.Runner)
	if err != nil {
		return err
	}
	if !found || token != l.Token {
		return ErrLost
	}
	return t.checkRunner(ctx, l.Runner)
}

// Release frees the targets of a run.
func (t *Tx) Release(ctx context.Context, run string) error {
	return t.exec(ctx, `update leases set run = '', runner = '' where run = $1`, run)
}

// Leases are those that are held.
func (t *Tx) Leases(ctx context.Context) (all []Lease, err error) {
	err = db.Each(ctx, t.q, func(rows db.Rows) error {
		var l Lease
		if err := rows.Scan(&l.Target, &l.Token, &l.Run, &l.Runner); err != nil {
			return err
		}
		all = append(all, l)
		return nil
	}, `select target, token, run, runner from leases where run <> '' order by target`)
	return all, err
}

func (t *Tx) checkRunner(ctx context.Context, id string) error {
	alive, err := t.runnerAlive(ctx, id)
	if err == nil && !alive {
		return ErrLost
	}
	return err
}

// runnerAlive judges by the store's clock, and by the process where that can be looked for.
func (t *Tx) runnerAlive(ctx context.Context, id string) (bool, error) {
	var expires, now int64
	var pid int
	var process string
	found, err := db.One(ctx, t.q, []any{&expires, &now, &pid, &process}, `select expires_ms, `+t.now()+`, pid, process from runners where id = $1`, id)
	return found && expires > now && (pid == os.Getpid() || !gone(pid, process)), err
}
