package state

import (
	"context"
	"time"

	"dbops/internal/state/db"
)

// NoticeState is how far a notice is.
type NoticeState string

// The states of a notice.
const (
	NoticeDue  NoticeState = "due"  // it is to be sent, now or when its time comes again
	NoticeSent NoticeState = "sent" // its receiver has taken it
	NoticeLost NoticeState = "lost" // it was given up
)

// Notice is one message to one receiver. It is stored together with what it tells of, and sent afterwards, at least once.
type Notice struct {
	ID          string      `json:"id"`
	Receiver    string      `json:"receiver"` // a webhook of dbops.yaml
	Environment string      `json:"environment"`
	Run         string      `json:"run,omitempty"`
	Occasion    string      `json:"occasion"`
	Body        []byte      `json:"-"` // JSON
	State       NoticeState `json:"state"`
	Attempts    int         `json:"attempts"`
	Problem     string      `json:"problem,omitempty"` // of the last attempt
	Created     time.Time   `json:"created"`
	Due         time.Time   `json:"due,omitzero"`
	Ended       time.Time   `json:"ended,omitzero"`
}

// AddNotice stores a notice that is due at once; storing it again changes nothing.
func (t *Tx) AddNotice(ctx context.Context, n Notice) error {
	return t.exec(ctx, `insert into notices (id, receiver, environment, run, occasion, body, state, created_ms, due_ms)
		values ($1, $2, $3, $4, $5, $6, 'due', `+t.now()+`, `+t.now()+`) on conflict (id) do nothing`,
		n.ID, n.Receiver, n.Environment, n.Run, n.Occasion, n.Body)
}

// ClaimNotice takes a notice that is due for as long as one attempt may last: nobody else sends it meanwhile. ok is false if somebody was faster, or
// it is not due.
func (t *Tx) ClaimNotice(ctx context.Context, id string, attempts int, lasts time.Duration) (ok bool, err error) {
	n, err := t.q.Exec(ctx, `update notices set attempts = attempts + 1, due_ms = `+t.now()+` + $1 where id = $2 and state = 'due' and attempts = $3
		and due_ms <= `+t.now(), lasts.Milliseconds(), id, attempts)
	return n == 1, err
}

// EndNotice says how an attempt ended. A notice that is still due is tried again after a pause.
func (t *Tx) EndNotice(ctx context.Context, id string, s NoticeState, problem string, pause time.Duration) error {
	ended := "0"
	if s != NoticeDue {
		ended = t.now()
	}
	return t.exec(ctx, `update notices set state = $1, problem = $2, due_ms = `+t.now()+` + $3, ended_ms = `+ended+` where id = $4`,
		string(s), problem, pause.Milliseconds(), id)
}

// NoticeFilter chooses notices.
type NoticeFilter struct {
	Due   bool // only those to be sent now, the oldest first; else all, the newest first
	Limit int  // 0: 100
}

// Notices lists notices.
func (t *Tx) Notices(ctx context.Context, f NoticeFilter) (all []Notice, err error) {
	clause := "order by created_ms desc, id"
	if f.Due {
		clause = "where state = 'due' and due_ms <= " + t.now() + " order by created_ms, id"
	}
	if f.Limit <= 0 {
		f.Limit = 100
	}
	err = db.Each(ctx, t.q, func(rows db.Rows) error {
		var n Notice
		var s string
		var created, due, ended int64
		if err := rows.Scan(&n.ID, &n.Receiver, &n.Environment, &n.Run, &n.Occasion, &n.Body, &s, &n.Attempts, &n.Problem, &created, &due, &ended); err != nil {
			return err
		}
		n.State, n.Created, n.Ended = NoticeState(s), fromMS(created), fromMS(ended)
		if n.State == NoticeDue {
			n.Due = fromMS(due)
		}
		all = append(all, n)
		return nil
	}, `select id, receiver, environment, run, occasion, body, state, attempts, problem, created_ms, due_ms, ended_ms from notices `+clause+` limit $1`, f.Limit)
	return all, err
}

// ForgetNotices removes those that ended before a while.
func (t *Tx) ForgetNotices(ctx context.Context, age time.Duration) error {
	return t.exec(ctx, `delete from notices where state <> 'due' and ended_ms < `+t.now()+` - $1`, age.Milliseconds())
}
