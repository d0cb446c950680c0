package state

import (
	"context"
	"strings"
	"time"

	"dbops/internal/state/db"
)

// RunState is how far a run is.
type RunState string

// The states of a run.
const (
	Queued    RunState = "queued"    // nobody has begun
	Running   RunState = "running"   // steps are done, by a runner that is alive or was
	Gate      RunState = "gate"      // a step waits for a person
	Parked    RunState = "parked"    // a step failed or was cancelled: somebody decides what next
	Undoing   RunState = "undoing"   // steps are undone, in reverse
	Done      RunState = "done"      // ended: everything happened
	Failed    RunState = "failed"    // ended: nothing was changed, or somebody gave it up as it is
	Undone    RunState = "undone"    // ended: what was changed is changed back
	Cancelled RunState = "cancelled" // ended before anything was changed
)

// Ended tells whether nothing will happen any more.
func (s RunState) Ended() bool {
	return s == Done || s == Failed || s == Undone || s == Cancelled
}

// Run is one execution of a plan.
type Run struct {
	ID          string    `json:"id"`
	PlanHash    string    `json:"plan"`
	Kind        string    `json:"kind"`
	Environment string    `json:"environment"`
	Instance    string    `json:"instance"`
	Title       string    `json:"title"`
	Requester   string    `json:"requester"`           // who asked for its plan
	Actor       string    `json:"actor,omitempty"`     // who started it, resumed it, or decided last; empty if an older dbops made it
	ActorVia    string    `json:"actor_via,omitempty"` // how that is known
	PartOf      string    `json:"part_of,omitempty"`   // the run that it is a part of, as an operation of a runbook is
	PartStep    string    `json:"part_step,omitempty"` // by which of that run's steps
	Queue       string    `json:"queue"`
	State       RunState  `json:"state"`
	Step        string    `json:"step,omitempty"`    // what it does, waits for, or failed at
	Problem     string    `json:"problem,omitempty"` // why it is parked or failed
	Hint        string    `json:"hint,omitempty"`
	Verbs       []string  `json:"verbs,omitempty"` // what it waits for somebody to say
	Runner      string    `json:"runner,omitempty"`
	Alive       bool      `json:"alive"` // the runner's lease is good, and it is no process of this machine that is gone
	Host        string    `json:"runner_host,omitempty"`
	PID         int       `json:"runner_pid,omitempty"`
	Seen        time.Time `json:"runner_seen,omitzero"` // when the runner last renewed its lease
	LeaseEnds   time.Time `json:"lease_ends,omitzero"`
	Created     time.Time `json:"created"`
	Started     time.Time `json:"started,omitzero"`
	Updated     time.Time `json:"updated"`
	Ended       time.Time `json:"ended,omitzero"`

	read time.Time // by the store's clock
}

// Interrupted tells whether a run was begun and nobody works on it: its runner ended or died. It can be resumed.
func (r *Run) Interrupted() bool {
	return !r.Alive && !r.State.Ended() && r.State != Queued
}

// Silent tells whether the runner, which may be alive, has not renewed its lease for more than half of its time; left is when that ends.
func (r *Run) Silent() (silent bool, left time.Duration) {
	left = r.LeaseEnds.Sub(r.read)
	return r.Alive && r.read.Sub(r.Seen) > left, left
}

// PutRun stores a new run; storing it again changes nothing.
func (t *Tx) PutRun(ctx context.Context, r Run) error {
	return t.exec(ctx, `insert into runs (id, plan_hash, kind, environment, instance, title, requester, actor, actor_via, queue, state, part_of, part_step, created_ms, updated_ms)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, `+t.now()+`, `+t.now()+`) on conflict (id) do nothing`,
		r.ID, r.PlanHash, r.Kind, r.Environment, r.Instance, r.Title, r.Requester, r.Actor, r.ActorVia, r.Queue, string(Queued), r.PartOf, r.PartStep)
}

// SetRun says how far a run is. Begun sets when it was begun if that is not known yet.
func (t *Tx) SetRun(ctx context.Context, id string, s RunState, step, problem, hint string) error {
	ended := "0"
	if s.Ended() {
		ended = t.now()
	}
	return t.exec(ctx, `update runs set state = $1, step = $2, problem = $3, hint = $4, verbs = '', updated_ms = `+t.now()+`, ended_ms = `+ended+`,
		started_ms = case when started_ms = 0 then `+t.now()+` else started_ms end where id = $5`,
		string(s), step, problem, hint, id)
}

// SetVerbs says what a run waits for, until its state is set again.
func (t *Tx) SetVerbs(ctx context.Context, id string, verbs []Verb) error {
	words := make([]string, len(verbs))
	for i, v := range verbs {
		words[i] = string(v)
	}
	return t.exec(ctx, `update runs set verbs = $1 where id = $2`, strings.Join(words, " "), id)
}

// SetActor says by whose word a run goes on, and how that is known.
func (t *Tx) SetActor(ctx context.Context, id, actor, via string) error {
	return t.exec(ctx, `update runs set actor = $1, actor_via = $2 where id = $3`, actor, via, id)
}

// SetRunner says who works on a run.
func (t *Tx) SetRunner(ctx context.Context, id, runner string) error {
	return t.exec(ctx, `update runs set runner = $1, updated_ms = `+t.now()+` where id = $2`, runner, id)
}

// SetQueue says where a run waits.
func (t *Tx) SetQueue(ctx context.Context, id, queue string) error {
	return t.exec(ctx, `update runs set queue = $1, updated_ms = `+t.now()+` where id = $2`, queue, id)
}

// Run returns a run.
func (t *Tx) Run(ctx context.Context, id string) (r Run, found bool, err error) {
	all, err := t.runs(ctx, `where r.id = $1`, id)
	if err != nil || len(all) == 0 {
		return r, false, err
	}
	return all[0], true, nil
}

// LockRun is [Tx.Run], and keeps others from changing the run until the transaction ends.
func (t *Tx) LockRun(ctx context.Context, id string) (r Run, found bool, err error) {
	if _, err := db.One(ctx, t.q, []any{&r.ID}, `select id from runs where id = $1`+t.store.DB.ForUpdate(), id); err != nil {
		return r, false, err
	}
	return t.Run(ctx, id)
}

// Orphans are runs of a queue that have not ended and that nobody alive works on, oldest first.
func (t *Tx) Orphans(ctx context.Context, queue string, limit int) ([]Run, error) {
	return t.runs(ctx, `where r.queue = $1 and r.`+active+` and not exists (select 1 from runners n where n.id = r.runner and n.expires_ms > `+t.now()+`)
		order by r.created_ms, r.id limit $2`, queue, limit)
}

const active = "state not in ('done', 'failed', 'undone', 'cancelled')"

// RunFilter picks runs. What is empty matches all.
type RunFilter struct {
	Environment, Instance, PlanHash string
	IDPrefix                        string
	PartOf                          string
	Active                          bool // not ended
	Limit                           int  // 0: 100
}

// Runs lists runs, newest first.
func (t *Tx) Runs(ctx context.Context, f RunFilter) ([]Run, error) {
	var where []string
	var args []any
	add := func(clause string, v any) {
		args = append(args, v)
		where = append(where, strings.ReplaceAll(clause, "?", placeholder(len(args))))
	}
	if f.Environment != "" {
		add("r.environment = ?", f.Environment)
	}
	if f.Instance != "" {
		add("r.instance = ?", f.Instance)
	}
	if f.PlanHash != "" {
		add("r.plan_hash = ?", f.PlanHash)
	}
	if f.IDPrefix != "" {
		add("substr(r.id, 1, length(?)) = ?", f.IDPrefix)
	}
	if f.PartOf != "" {
		add("r.part_of = ?", f.PartOf)
	}
	if f.Active {
		where = append(where, "r."+active)
	}
	clause := ""
	if len(where) > 0 {
		clause = "where " + strings.Join(where, " and ")
	}
	if f.Limit <= 0 {
		f.Limit = 100
	}
	args = append(args, f.Limit)
	return t.runs(ctx, clause+" order by r.created_ms desc, r.id desc limit "+placeholder(len(args)), args...)
}

func (t *Tx) runs(ctx context.Context, clause string, args ...any) (all []Run, err error) {
	err = db.Each(ctx, t.q, func(rows db.Rows) error {
		var r Run
		var s, verbs string
		var created, started, updated, ended, seen, expires, now int64
		var process string
		if err := rows.Scan(&r.ID, &r.PlanHash, &r.Kind, &r.Environment, &r.Instance, &r.Title, &r.Requester, &r.Actor, &r.ActorVia, &r.PartOf, &r.PartStep, &r.Queue, &s, &r.Step,
			&r.Problem, &r.Hint, &verbs, &r.Runner, &created, &started, &updated, &ended,
			&r.Host, &r.PID, &process, &seen, &expires, &now); err != nil {
			return err
		}
		r.State, r.Alive, r.Verbs = RunState(s), expires > now && !gone(r.PID, process), strings.Fields(verbs)
		r.Seen, r.LeaseEnds, r.read = fromMS(seen), fromMS(expires), fromMS(now)
		r.Created, r.Started, r.Updated, r.Ended = fromMS(created), fromMS(started), fromMS(updated), fromMS(ended)
		all = append(all, r)
		return nil
	}, `select r.id, r.plan_hash, r.kind, r.environment, r.instance, r.title, r.requester, r.actor, r.actor_via, r.part_of, r.part_step, r.queue, r.state, r.step,
		r.problem, r.hint, r.verbs, r.runner, r.created_ms, r.started_ms, r.updated_ms, r.ended_ms,
		coalesce(n.host, ''), coalesce(n.pid, 0), coalesce(n.process, ''), coalesce(n.seen_ms, 0), coalesce(n.expires_ms, 0), `+t.now()+`
		from runs r left join runners n on n.id = r.runner `+clause, args...)
	return all, err
}

func placeholder(n int) string { return "$" + itoa(n) }

// TakeRun gives a run from a runner that is not alive, or from nobody, to another; ok is false if somebody was faster.
func (t *Tx) TakeRun(ctx context.Context, id, from, to string) (ok bool, err error) {
	n, err := t.q.Exec(ctx, `update runs set runner = $1, updated_ms = `+t.now()+` where id = $2 and runner = $3 and `+active+`
		and not exists (select 1 from runners n where n.id = $3 and n.expires_ms > `+t.now()+`)`, to, id, from)
	return n == 1, err
}

// LeaveRun makes a run nobody's, if it is that runner's.
func (t *Tx) LeaveRun(ctx context.Context, id, runner string) error {
	return t.exec(ctx, `update runs set runner = '', updated_ms = `+t.now()+` where id = $1 and runner = $2`, id, runner)
}
