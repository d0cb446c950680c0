package driver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/fault"
)

// Files that are quick are sent several at once, each still a transaction of its own: at a distance of 20 ms that is ten times as fast.
// What is sent at once should take no longer than a person would wait for it to stop.
const (
	maxBatch     = 256 << 10 // bytes
	maxBatchJobs = 64
	batchTime    = 250 * time.Millisecond
)

// message is what is sent at once, and where the jobs' texts are in it.
type message struct {
	sql    strings.Builder
	runes  int // in sql
	bodies []span
}

// span is a file's text in a message.
type span struct {
	from, to int // in characters, as the server counts
	results  int // before it
	own      int // statements of its own
}

func (m *message) add(s string) {
	m.sql.WriteString(s)
	m.runes += utf8.RuneCountInString(s)
}

// transactions is the message that applies jobs, each with its version and its entry in one transaction.
func (d *Driver) transactions(jobs []Job, attempt int) *message {
	m := &message{}
	results := 0
	for _, j := range jobs {
		m.add("begin;select set_config('dbops.started', clock_timestamp()::text, true);\n")
		results += 2
		file := j.text()
		m.bodies = append(m.bodies, span{m.runes, m.runes + utf8.RuneCountInString(file.sql), results, file.statements})
		m.add(file.sql)
		e := jobEntry(j, "tx", OK)
		e.started = "current_setting('dbops.started')::timestamptz"
		e.statements, e.done, e.attempts = file.statements, file.statements, attempt
		version := d.versionSQL(j, false, d.home.many)
		// The file may have taken another role, or another search path: both end with it.
		m.add("\n;reset role;" + version + d.insertSQL(e) + ";commit;reset all;")
		results += file.statements + strings.Count(version, ";") + 4
	}
	return m
}

// text is what a file's transaction holds of it.
type text struct {
	sql        string
	statements int
}

func (j Job) text() text {
	f := j.file()
	if f == nil {
		return text{}
	}
	read := f.Split()
	if !read.Outer {
		return text{f.SQL, len(read.Statements)}
	}
	// Its own BEGIN and COMMIT are left out, and every other character keeps its place.
	if len(read.Statements) == 0 {
		return text{}
	}
	first, last := read.Statements[0], read.Statements[len(read.Statements)-1]
	return text{blank(f.SQL[:first.Start]) + f.SQL[first.Start:last.End], len(read.Statements)}
}

// blank replaces all but line ends.
func blank(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' {
			return r
		}
		return ' '
	}, s)
}

// flush sends what is queued, and sees each of its files applied, or returns why one was not.
func (d *Driver) flush() error {
	jobs := d.queue
	d.queue, d.size = nil, 0
	wait := backoff{until: time.Now().Add(d.o.Patience)}
	for attempt := 1; len(jobs) > 0; {
		if d.ctx.Err() != nil {
			return context.Cause(d.ctx)
		}
		send := jobs
		if attempt > 1 {
			send = jobs[:1]
		}
		begun := d.o.now()
		done, err := d.send(d.transactions(send, attempt))
		took := d.o.now().Sub(begun)
		if done > 0 {
			attempt = 1
			for _, j := range jobs[:done] {
				d.o.Applied(j, took/time.Duration(len(send)))
			}
			jobs = jobs[done:]
		}
		if err == nil {
			d.adapt(took / time.Duration(len(send)))
			continue
		}
		failure := d.failure(jobs[0], err, attempt)
		found, err := d.again(&wait, send[done:], failure, attempt)
		if err != nil {
			return err
		}
		for _, j := range jobs[:found] {
			d.o.Applied(j, took/time.Duration(len(send)))
		}
		jobs = jobs[found:]
		attempt++
		if found > 0 {
			attempt = 1
		}
	}
	return nil
}

// adapt chooses how many files are sent at once, from how long one takes.
func (d *Driver) adapt(each time.Duration) {
	n := maxBatchJobs
	if each > 0 {
		n = int(batchTime / each)
	}
	d.batch = min(max(1, n), maxBatchJobs, 4*d.batch)
}

// sendError is an error of a message, and where it was.
type sendError struct {
	err     error
	results int // statements that were done before, since the last transaction that was
	in      int // job of the message
	m       *message
}

func (e *sendError) Error() string { return e.err.Error() }
func (e *sendError) Unwrap() error { return e.err }

// send sends a message of transactions and returns how many of them are committed for certain.
func (d *Driver) send(m *message) (done int, err error) {
	blockers := d.watch()
	defer blockers.stop()
	d.o.hook("sending")
	rr := d.conn.PgConn().Exec(d.ctx, m.sql.String())
	results := 0
	for rr.NextResult() {
		tag, err := rr.ResultReader().Close()
		if err != nil {
			break
		}
		results++
		if tag.String() == "COMMIT" {
			done++
			d.o.hook("committed")
		}
	}
	if err := rr.Close(); err != nil {
		return done, &sendError{err: err, results: results, in: done, m: m}
	}
	return len(m.bodies), nil
}

// rollback ends a transaction that failed, if there is still a session.
func (d *Driver) rollback() {
	if d.conn.IsClosed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(d.ctx), 10*time.Second)
	defer cancel()
	_, _ = d.conn.Exec(ctx, "rollback;reset role;reset all") // a session that is gone ends it by itself
}

// again decides what to do when the first of jobs that were sent failed: an error ends it. found are those that were committed all the same,
// of which only the answer was lost.
func (d *Driver) again(wait *backoff, jobs []Job, failure *FileError, attempt int) (found int, err error) {
	j := jobs[0]
	if d.conn.IsClosed() {
		if found, err = d.reconnect(jobs); err != nil {
			return 0, errors.Join(failure, err)
		}
		if found == 0 {
			failure.Lost = true
			return 0, failure
		}
		return found, nil
	}
	d.rollback()
	if d.ctx.Err() != nil {
		failure.Cancelled, failure.cause = true, context.Cause(d.ctx)
		d.recordFailure(j, failure, Cancelled)
		return 0, failure
	}
	if !failure.passes() || !wait.more() {
		d.recordFailure(j, failure, Failed)
		return 0, failure
	}
	d.o.Tell(fmt.Sprintf("%s: %s; attempt %d follows", j, failure.waited(), attempt+1))
	if d.o.EndBlockers {
		d.endBlockers(failure.Blockers)
	}
	return 0, wait.pause(d.ctx)
}

// reconnect opens a new session after the old one broke, and tells how many of the jobs were committed.
func (d *Driver) reconnect(jobs []Job) (found int, err error) {
	d.locked = nil
	if err := d.connect(d.ctx); err != nil {
		return 0, err
	}
	if err := d.lock(); err != nil { // the server has seen the end of the old session
		return 0, err
	}
	for _, j := range jobs {
		var outcome string
		q := fmt.Sprintf("select coalesce((select outcome from %s where versions = %s and version = %d and run is not distinct from %s and direction = %s order by id desc limit 1), '')",
			d.home.history.sql(), literal(d.home.versions.String()), j.Migration.Version, orNull(d.o.Who.Run), literal(string(j.Direction)))
		if err := d.conn.QueryRow(d.ctx, q).Scan(&outcome); err != nil {
			return 0, d.fail("see whether "+j.String()+" was applied to "+d.o.What, err)
		}
		if outcome != OK {
			break
		}
		found++
	}
	return found, nil
}

// recordFailure adds an attempt that failed to the history. That it could not be written is told; the failure itself is reported anyway.
func (d *Driver) recordFailure(j Job, failure *FileError, outcome string) {
	e := jobEntry(j, "tx", outcome)
	e.failure, e.statements, e.attempts = failure, j.text().statements, failure.Attempt // there may be no file
	ctx, cancel := context.WithTimeout(context.WithoutCancel(d.ctx), 10*time.Second)
	defer cancel()
	if _, err := d.conn.Exec(ctx, d.insertSQL(e)); err != nil {
		d.o.Tell("the failure could not be written to the history: " + err.Error())
	}
}

// backoff spreads attempts out, with jitter, until a time.
type backoff struct {
	until time.Time
	next  time.Duration
}

func (b *backoff) more() bool { return time.Now().Before(b.until) }

func (b *backoff) pause(ctx context.Context) error {
	b.next = min(max(b.next+b.next/2, 200*time.Millisecond), 5*time.Second)
	t := time.NewTimer(b.next/2 + rand.N(b.next))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// fail is an error of the server as a person sees it.
func (d *Driver) fail(what string, err error) error {
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		if d.ctx.Err() != nil {
			return context.Cause(d.ctx)
		}
		return fault.New(fault.Unavailable, what, err)
	}
	kind := fault.Failed
	if slices.Contains([]string{"42501", "28000", "28P01"}, pe.Code) {
		kind = fault.Denied
	}
	return fault.Newf(kind, what, "%s (SQLSTATE %s)", pe.Message, pe.Code)
}
