package driver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"dbops/internal/fault"
	"dbops/internal/migrate/source"
	"dbops/internal/migrate/split"
)

// stepwise runs a file statement by statement. Beside each statement that can be in a transaction, how far the file is is recorded in the
// same one; the others are looked at when the file is resumed. from is the entry of an earlier attempt.
func (d *Driver) stepwise(j Job, from *Entry) error {
	file := j.file()
	st := file.Split().Statements
	d.steps, d.done = st, 0
	begun := time.Now()
	id, done, err := d.beginStepwise(j, from, len(st))
	if err != nil {
		return err
	}
	d.done = done
	attempt := 1
	for i, s := range st {
		if i < done {
			if err := d.resetting(s); err != nil {
				return d.stepFailed(j, id, i, err, attempt)
			}
			continue
		}
		if d.ctx.Err() != nil {
			return d.stepFailed(j, id, i, context.Cause(d.ctx), attempt)
		}
		d.o.Tell(fmt.Sprintf("%s: statement %d of %d, line %d: %s", j, i+1, len(st), s.Line, s.Name()))
		if attempt, err = d.statement(j, s, id, i, from != nil && i == done); err != nil {
			return d.stepFailed(j, id, i, err, attempt)
		}
		d.o.hook("statement")
		if d.conn.PgConn().TxStatus() == 'I' {
			d.done = i + 1
		}
	}
	if d.conn.PgConn().TxStatus() != 'I' {
		return d.stepFailed(j, id, len(st)-1, errors.New("the file leaves its transaction open, so what is in it was taken back: end it with COMMIT"), attempt)
	}
	_, err = d.conn.Exec(d.ctx, "rollback;reset role;reset all;begin;"+d.versionSQL(j, false, d.home.many)+
		fmt.Sprintf("update %s set outcome = 'ok', statements_done = %d, duration_ms = extract(epoch from clock_timestamp() - started_at) * 1000 where id = %d;commit", d.home.history.sql(), len(st), id))
	if err != nil {
		d.rollback()
		return d.stepFailed(j, id, len(st), err, attempt)
	}
	d.o.hook("committed")
	d.o.Applied(j, time.Since(begun))
	return nil
}

// beginStepwise records that the file has begun: the version is dirty until it has ended.
func (d *Driver) beginStepwise(j Job, from *Entry, statements int) (id int64, done int, err error) {
	if from != nil {
		_, err = d.conn.Exec(d.ctx, fmt.Sprintf(
			"update %s set outcome = 'running', attempts = attempts + 1, started_at = clock_timestamp(), error_state = null, error_text = null, error_line = null, checksum = %s, statements = %d where id = %d",
			d.home.history.sql(), literal(j.file().Sum), statements, from.ID))
		if err != nil {
			return 0, 0, d.fail("record that "+j.String()+" is resumed", err)
		}
		return from.ID, from.Done, nil
	}
	e := jobEntry(j, string(split.Stepwise), Running)
	e.statements = statements
	rows, err := d.conn.PgConn().Exec(d.ctx, "begin;"+d.versionSQL(j, true, d.home.many)+d.insertSQL(e)+" returning id;commit").ReadAll()
	if err != nil {
		d.rollback()
		return 0, 0, d.fail("record that "+j.String()+" begins", err)
	}
	for _, r := range rows {
		if len(r.Rows) == 1 && len(r.Rows[0]) == 1 {
			if _, err := fmt.Sscan(string(r.Rows[0][0]), &id); err != nil {
				return 0, 0, err
			}
		}
	}
	d.o.hook("begun")
	return id, 0, nil
}

// resetting takes a statement again that a resumed session has not seen: the settings that hold for the rest of the file.
func (d *Driver) resetting(s split.Statement) error {
	if len(s.Words) == 0 || (s.Words[0] != "set" && s.Words[0] != "reset") || slices.Contains(s.Words, "local") {
		return nil
	}
	_, err := d.conn.Exec(d.ctx, s.Text)
	return err
}

// statement runs one statement, as often as it takes to get its locks. resumed tells that it may have been run before.
func (d *Driver) statement(j Job, s split.Statement, id int64, i int, resumed bool) (attempt int, err error) {
	wait := backoff{until: time.Now().Add(d.o.Patience)}
	for attempt = 1; ; attempt++ {
		err = d.once(s, id, i, resumed || attempt > 1)
		if err == nil {
			return attempt, nil
		}
		f := d.stepError(j, i, err, attempt)
		if d.conn.IsClosed() || d.ctx.Err() != nil || !f.passes() || !wait.more() || d.conn.PgConn().TxStatus() != 'I' {
			return attempt, err
		}
		d.o.Tell(fmt.Sprintf("%s: %s; attempt %d follows", j, f.waited(), attempt+1))
		if d.o.EndBlockers {
			d.endBlockers(f.Blockers)
		}
		if err := wait.pause(d.ctx); err != nil {
			return attempt, err
		}
	}
}

// doneSQL records that n statements are done, and which.
func (d *Driver) doneSQL(id int64, n int) string {
	return fmt.Sprintf("update %s set statements_done = %d, done_checksum = %s where id = %d;", d.home.history.sql(), n, literal(sumOf(d.steps[:n])), id)
}

// sumOf tells statements apart, whatever is between them.
func sumOf(st []split.Statement) string {
	h := sha256.New()
	for _, s := range st {
		_, _ = io.WriteString(h, strings.ReplaceAll(s.Text, "\r\n", "\n")+";") // never fails
	}
	return hex.EncodeToString(h.Sum(nil))
}

// CanResume tells whether a file can go on where an entry ends: what is done is what the file begins with. What follows may have been mended.
func CanResume(f *source.File, e Entry) bool {
	if f == nil {
		return false
	}
	st := f.Split().Statements
	return e.Done <= len(st) && (e.Done == 0 || e.DoneSum == sumOf(st[:e.Done]))
}

// once runs a statement once.
func (d *Driver) once(s split.Statement, id int64, i int, again bool) error {
	blockers := d.watch()
	defer blockers.stop()
	switch {
	case d.conn.PgConn().TxStatus() == 'T' && s.Commits():
		return after(d.doneSQL(id, i+1), d.exec(d.doneSQL(id, i+1)+s.Text))
	case d.conn.PgConn().TxStatus() != 'I', s.TransactionControl(): // in the file's own transaction
		return d.exec(s.Text)
	case s.Alone():
		if err := d.alone(s, again); err != nil {
			return err
		}
		d.o.hook("alone")
		return d.exec(d.doneSQL(id, i+1))
	default:
		err := d.exec("begin;" + s.Text + "\n;" + d.doneSQL(id, i+1) + "commit")
		if err != nil && !d.conn.IsClosed() && d.conn.PgConn().TxStatus() != 'I' {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(d.ctx), 10*time.Second)
			defer cancel()
			_, _ = d.conn.Exec(ctx, "rollback")
		}
		return after("begin;", err)
	}
}

func (d *Driver) exec(sql string) error {
	_, err := d.conn.Exec(d.ctx, sql)
	return err
}

// prefixed is an error of a statement that was sent after something else.
type prefixed struct {
	error
	prefix int // characters
}

func (p prefixed) Unwrap() error { return p.error }

func after(prefix string, err error) error {
	if err == nil {
		return nil
	}
	return prefixed{err, utf8.RuneCountInString(prefix)}
}

// stepFailed records how a statement failed, and returns why.
func (d *Driver) stepFailed(j Job, id int64, i int, err error, attempt int) error {
	f := d.stepError(j, i, err, attempt)
	if d.ctx.Err() != nil {
		f.Cancelled, f.cause = true, context.Cause(d.ctx)
	}
	if !d.conn.IsClosed() {
		outcome := Failed
		if f.Cancelled {
			outcome = Cancelled
		}
		line := "null"
		if f.Line > 0 {
			line = fmt.Sprint(f.Line)
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(d.ctx), 10*time.Second)
		defer cancel()
		_, werr := d.conn.Exec(ctx, "rollback;reset role;reset all;"+fmt.Sprintf(
			"update %s set outcome = %s, error_state = %s, error_text = %s, error_line = %s, duration_ms = extract(epoch from clock_timestamp() - started_at) * 1000 where id = %d",
			d.home.history.sql(), literal(outcome), orNull(f.State), literal(f.Message), line, id))
		if werr != nil {
			d.o.Tell("the failure could not be written to the history: " + werr.Error())
		}
	}
	return f
}

// stepError places the error of a statement in its file.
func (d *Driver) stepError(j Job, i int, err error, attempt int) *FileError {
	st := j.file().Split().Statements
	f := &FileError{
		File: j.String(), Path: j.file().Path, What: d.o.What, Statement: i + 1, Statements: len(st), Message: err.Error(), Attempt: attempt,
		Stepwise: true, Done: d.done, Blockers: d.seen, Lost: d.conn.IsClosed(),
	}
	if i >= len(st) {
		return f
	}
	offset := st[i].Start
	prefix := 0
	var p prefixed
	if errors.As(err, &p) {
		prefix = p.prefix
	}
	if pos := f.server(err) - prefix; pos > 0 {
		if at := byteAt(st[i].Text, pos-1); at < len(st[i].Text) {
			offset += at
		}
	}
	f.place(j.file().SQL, offset, st[i].Text)
	return f
}

// Resume ends a file that is run stepwise and was cut short, from its first statement that is not done.
func (d *Driver) Resume(ctx context.Context, j Job) error {
	d.ctx = ctx
	if err := d.Lock(); err != nil {
		return err
	}
	st, err := d.Read(ctx)
	if err != nil {
		return errors.Join(err, d.Unlock())
	}
	e, ok := st.Unfinished()
	what := "go on with " + j.String() + " on " + d.o.What
	switch {
	case !ok || e.Version != j.Migration.Version || e.Direction != string(j.Direction):
		err = fault.Newf(fault.Stale, what, "the history knows no beginning of it")
	case !CanResume(j.file(), e):
		err = fault.Newf(fault.Blocked, what, "the file does not begin with the %d statements that are done", e.Done).Hint("bring back that part of the file as it was")
	default:
		err = d.stepwise(j, &e)
	}
	return plainError(errors.Join(err, d.Unlock()))
}
