package audit

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"dbops/internal/fault"
	"dbops/internal/state/db"
)

// head is the row of audit_head.
type head struct {
	size       int64
	roots      []byte
	checkpoint string
}

func readHead(ctx context.Context, q db.Querier, lock string) (head, error) {
	var h head
	found, err := db.One(ctx, q, []any{&h.size, &h.roots, &h.checkpoint}, "select size, roots, checkpoint from audit_head where id = 1"+lock)
	if err == nil && !found {
		err = mismatch("the head of the audit log is missing")
	}
	return h, err
}

// mismatch is what a person must look into.
func mismatch(format string, args ...any) error {
	return fault.Newf(fault.Findings, "check the audit log", format, args...).
		Hint("somebody or something changed the store past dbops: keep a copy of it, run dbops audit verify, and see docs/audit.md")
}

// checked opens the signed checkpoint of a head. An empty log has none.
func (l *Log) checked(ctx context.Context, q db.Querier, h head) (Checkpoint, error) {
	if h.size == 0 && h.checkpoint == "" {
		return l.empty(ctx, q)
	}
	c, err := l.openKnown(ctx, q, h.checkpoint)
	if err != nil {
		return Checkpoint{}, mismatch("the checkpoint of the head is not valid: %w", err)
	}
	if c.Size != h.size {
		return Checkpoint{}, mismatch("the head counts %d entries, its signed checkpoint %d", h.size, c.Size)
	}
	return c, nil
}

func (l *Log) empty(ctx context.Context, q db.Querier) (Checkpoint, error) {
	keys, err := registered(ctx, q)
	if err != nil {
		return Checkpoint{}, err
	}
	if len(keys) > 0 {
		switch h, err := readHead(ctx, q, ""); { // again: the first entry may have come since
		case err != nil:
			return Checkpoint{}, err
		case h.size > 0:
			return l.checked(ctx, q, h)
		}
		return Checkpoint{}, mismatch("the log is empty, yet %d keys have signed it", len(keys))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return Checkpoint{Origin: l.origin, Root: (&tree{}).root()}, nil
}

// openKnown checks a checkpoint of this store. The store may have got its name, or another key, since they were read.
func (l *Log) openKnown(ctx context.Context, q db.Querier, text string) (Checkpoint, error) {
	for again := true; ; again = false {
		l.mu.Lock()
		known, name := l.known, l.origin
		l.mu.Unlock()
		c, err := openCheckpoint(text, known)
		unknown, ok := errors.AsType[*note.UnverifiedNoteError](err)
		if again && (ok || err == nil && name == "") {
			if err := l.load(ctx, q); err != nil {
				return Checkpoint{}, err
			}
			continue
		}
		switch {
		case ok:
			return Checkpoint{}, unknownSigner(unknown)
		case err == nil && c.Origin != name:
			return Checkpoint{}, fmt.Errorf("it is of the store %q, and this one is %q", cut(c.Origin, 80), name)
		}
		return c, err
	}
}

func unknownSigner(err *note.UnverifiedNoteError) error {
	var names []string
	for _, s := range err.Note.UnverifiedSigs {
		names = append(names, fmt.Sprintf("%s+%08x", cut(s.Name, 80), s.Hash))
	}
	return fmt.Errorf("it is signed by %s, and no such key is known", strings.Join(names, ", "))
}

// addition is what an append writes.
type addition struct {
	first     int64 // seq of the first entry
	runs      []string
	bodies    [][]byte
	firstHash int64 // index of the first hash
	hashes    []tlog.Hash
	head      head
}

// chunk is how many rows one statement inserts.
const chunk = 512

func (a addition) write(ctx context.Context, q db.Querier, postgres bool) error {
	if len(a.bodies) == 1 && postgres {
		return a.writeAtOnce(ctx, q)
	}
	for i := 0; i < len(a.bodies); i += chunk {
		var s statement
		s.entries(a, i, min(i+chunk, len(a.bodies)))
		if _, err := q.Exec(ctx, s.String(), s.args...); err != nil {
			return err
		}
	}
	for i := 0; i < len(a.hashes); i += chunk {
		var s statement
		s.hashes(a, i, min(i+chunk, len(a.hashes)))
		if _, err := q.Exec(ctx, s.String(), s.args...); err != nil {
			return err
		}
	}
	var s statement
	s.head(a)
	return one(q.Exec(ctx, s.String(), s.args...))
}

// writeAtOnce saves two round trips.
func (a addition) writeAtOnce(ctx context.Context, q db.Querier) error {
	var s statement
	s.WriteString("with e as (")
	s.entries(a, 0, 1)
	s.WriteString("), h as (")
	s.hashes(a, 0, len(a.hashes))
	s.WriteString(") ")
	s.head(a)
	return one(q.Exec(ctx, s.String(), s.args...))
}

func one(n int64, err error) error {
	if err == nil && n != 1 {
		err = fmt.Errorf("the head of the audit log has %d rows", n)
	}
	return err
}

// statement is SQL with its arguments.
type statement struct {
	strings.Builder
	args []any
}

func (s *statement) row(args ...any) {
	for i, a := range args {
		s.args = append(s.args, a)
		sep := ", "
		if i == 0 {
			sep = "("
		}
		s.WriteString(sep + "$" + strconv.Itoa(len(s.args)))
	}
	s.WriteString(")")
}

func (s *statement) entries(a addition, from, to int) {
	s.WriteString("insert into audit_entries (seq, run, body) values ")
	for i := from; i < to; i++ {
		if i > from {
			s.WriteString(", ")
		}
		s.row(a.first+int64(i), a.runs[i], a.bodies[i])
	}
}

func (s *statement) hashes(a addition, from, to int) {
	s.WriteString("insert into audit_hashes (idx, hash) values ")
	for i := from; i < to; i++ {
		if i > from {
			s.WriteString(", ")
		}
		s.row(a.firstHash+int64(i), a.hashes[i][:])
	}
}

func (s *statement) head(a addition) {
	s.WriteString("update audit_head set (size, roots, checkpoint) = ")
	s.row(a.head.size, a.head.roots, a.head.checkpoint)
	s.WriteString(" where id = 1")
}
