package audit

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"dbops/internal/fault"
	"dbops/internal/state/db"
)

// Verify reads the entries from number since on, computes the tree anew from their bodies, and compares it with the stored hashes and
// the signed head, and the head with what the witness remembers. With since 0 it reads everything; else the stored hashes stand for
// what is before, which the signed root covers. The error says that the store could not be read; what is wrong with the log is in the
// report. Others may append meanwhile.
func (l *Log) Verify(ctx context.Context, since int64) (Report, error) {
	op := "verify the audit log of " + l.d.Name
	r := Report{FirstBad: -1, Since: since, Signers: []string{}, Problems: []Problem{}, OpenIntents: []Entry{}}
	c, err := l.verifyHead(ctx, &r)
	if err != nil {
		return r, db.Fault(op, err)
	}
	r.Origin, r.Size, r.Root = c.Origin, c.Size, c.Root.String()
	if since < 0 || since > c.Size {
		return r, fault.Newf(fault.Usage, op, "there is no entry %d: it has %d", since, c.Size).Hint("entries count from 0")
	}
	v := verifier{l: l, q: l.d.Read(), r: &r, size: c.Size, open: map[string]int64{}}
	if err := errors.Join(v.walk(ctx, since, c), v.strangers(ctx), v.openIntents(ctx)); err != nil {
		return r, db.Fault(op, err)
	}
	return r, nil
}

// verifyHead returns the head's checkpoint, also if its signature is not valid, so that the entries can be compared with it.
func (l *Log) verifyHead(ctx context.Context, r *Report) (Checkpoint, error) {
	c, err := l.check(ctx)
	_, conflict := errors.AsType[*ConflictError](err)
	switch {
	case err == nil, conflict:
		r.Signers = append(r.Signers, c.Signers...)
	case fault.KindOf(err) != fault.Findings:
		return c, err
	}
	if err == nil {
		return c, nil
	}
	r.problem(-1, "%v", err)
	if conflict {
		return c, nil
	}
	h, err := readHead(ctx, l.d.Read(), "")
	if fault.KindOf(err) == fault.Findings {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	if c, err = parseNote(h.checkpoint); err != nil || c.Size != h.size {
		return Checkpoint{Origin: l.origin, Size: min(max(h.size, 0), maxSize)}, nil //nolint:nilerr // it is in the report
	}
	return c, nil
}

// verifier computes a log anew.
type verifier struct {
	l      *Log
	q      db.Querier
	r      *Report
	size   int64
	tree   *tree
	broken bool             // the tree cannot be computed any more: an entry and its hash are both missing
	open   map[string]int64 // intents without a result
	shift  int64            // by how much the number of the entry before was wrong
}

// batch is how many entries are read with one query.
const batch = 4096

func (v *verifier) walk(ctx context.Context, since int64, c Checkpoint) error {
	v.tree = &tree{size: since}
	if since > 0 {
		roots, err := v.l.hashes(ctx, v.q).ReadHashes(rootIndexes(since))
		if missing, ok := errors.AsType[*missingHashError](err); ok {
			v.r.problem(-1, "%v", missing)
			v.broken = true
		} else if err != nil {
			return err
		}
		v.tree.roots = roots
	}
	for lo := since; lo < v.size; lo += batch {
		if err := v.batch(ctx, lo, min(lo+batch, v.size)); err != nil {
			return err
		}
	}
	switch {
	case v.broken:
		v.r.problem(-1, "the root cannot be computed: both entries and their hashes are missing")
	case v.tree.root() != c.Root:
		v.r.problem(-1, "the root of the %d entries is %s, and %s was signed", v.size, v.tree.root(), c.Root)
	}
	return nil
}

// batch verifies the entries from lo to before hi.
func (v *verifier) batch(ctx context.Context, lo, hi int64) error {
	stored, err := v.stored(ctx, tlog.StoredHashIndex(0, lo), tlog.StoredHashIndex(0, hi))
	if err != nil {
		return err
	}
	next := lo
	err = db.Each(ctx, v.q, func(rows db.Rows) error {
		var seq int64
		var run string
		var body []byte
		if err := rows.Scan(&seq, &run, &body); err != nil {
			return err
		}
		v.missing(next, seq, stored)
		v.entry(seq, run, body, stored)
		next = seq + 1
		return nil
	}, "select seq, run, body from audit_entries where seq >= $1 and seq < $2 order by seq", lo, hi)
	if err == nil {
		v.missing(next, hi, stored)
	}
	return err
}

// storedHashes are those of a batch.
type storedHashes struct {
	from int64
	hash []tlog.Hash
	have []bool
}

func (s *storedHashes) at(index int64) (tlog.Hash, bool) {
	return s.hash[index-s.from], s.have[index-s.from]
}

func (v *verifier) stored(ctx context.Context, from, to int64) (*storedHashes, error) {
	s := &storedHashes{from: from, hash: make([]tlog.Hash, to-from), have: make([]bool, to-from)}
	err := db.Each(ctx, v.q, func(rows db.Rows) error {
		var idx int64
		var b []byte
		if err := rows.Scan(&idx, &b); err != nil {
			return err
		}
		if len(b) == tlog.HashSize {
			s.hash[idx-from], s.have[idx-from] = tlog.Hash(b), true
		}
		return nil
	}, "select idx, hash from audit_hashes where idx >= $1 and idx < $2", from, to)
	return s, err
}

// missing notes that the entries from lo to before hi are not there, and goes on with their hashes, if those are.
func (v *verifier) missing(lo, hi int64, stored *storedHashes) {
	switch hi - lo {
	case 0:
		return
	case 1:
		v.r.problem(lo, "entry %d is missing", lo)
	default:
		v.r.problem(lo, "the entries %d to %d are missing", lo, hi-1)
	}
	for seq := lo; seq < hi; seq++ {
		leaf, ok := stored.at(tlog.StoredHashIndex(0, seq))
		if !ok {
			v.broken = true
			return
		}
		v.push(seq, leaf, stored, true)
	}
}

func (v *verifier) entry(seq int64, run string, body []byte, stored *storedHashes) {
	s, ok := scan(body)
	shift := s.seq - seq
	moved := ok && shift != 0
	switch {
	case !ok:
		v.r.problem(seq, "entry %d is not in the form that dbops writes", seq)
	case moved && shift != v.shift: // a row put in between moves all that follow
		v.r.problem(seq, "in the place of entry %d is one with the number %d", seq, s.seq)
	case moved:
	case s.v == Version && unquote(s.run) != run:
		v.r.problem(seq, "entry %d is filed under the run %q, and is of %s", seq, cut(run, 80), s.run)
	case s.v == Version:
		v.follow(s)
	}
	v.shift = shift
	v.push(seq, tlog.RecordHash(body), stored, !moved)
}

// push adds a leaf, and compares what it completes with the stored hashes. Where they differ it goes on with the stored one, so that one
// change is one or two problems, and the root still tells whether the stored hashes are those that were signed. Of a leaf that is told already it says nothing.
func (v *verifier) push(seq int64, leaf tlog.Hash, stored *storedHashes, tell bool) {
	if v.broken {
		return
	}
	base := tlog.StoredHashIndex(0, seq)
	v.tree.push(leaf, func(level int, h tlog.Hash) tlog.Hash {
		want, ok := stored.at(base + int64(level))
		switch {
		case !ok:
			v.r.problem(seq, "the hash %d of level %d, written with entry %d, is missing or damaged", base+int64(level), level, seq)
			return h
		case h == want:
			return h
		case level == 0 && !tell:
		case level == 0:
			v.r.problem(seq, "entry %d is not the one that was hashed", seq)
		default:
			v.r.problem(seq, "the hash %d of level %d, written with entry %d, is not that of its entries", base+int64(level), level, seq)
		}
		return want
	})
}

// follow pairs intents with results. A later attempt of a step, which looks first at what is there, answers for the earlier ones.
func (v *verifier) follow(s scanned) {
	switch string(s.phase) {
	case `"intent"`:
		v.open[string(slices.Concat(s.run, s.kind, s.step, s.target))] = s.seq
	case `"result"`:
		delete(v.open, string(slices.Concat(s.run, s.kind, s.step, s.target)))
	}
}

func unquote(raw []byte) string {
	if s := raw[1 : len(raw)-1]; !slices.Contains(s, '\\') {
		return string(s)
	}
	var s string
	_ = json.Unmarshal(raw, &s) // what is not JSON equals nothing
	return s
}

// strangers finds rows that no entry can have written.
func (v *verifier) strangers(ctx context.Context) error {
	var n, first, size, last int64
	found, err := db.One(ctx, v.q, []any{&n, &first},
		"select count(*), coalesce(min(seq), 0) from audit_entries where seq < 0 or seq >= (select size from audit_head where id = 1)")
	if err != nil {
		return err
	}
	if found && n > 0 {
		v.r.problem(-1, "%d entries are outside of the log, the first is %d", n, first)
	}
	_, err = db.One(ctx, v.q, []any{&size, &last}, "select size, (select coalesce(max(idx), -1) from audit_hashes) from audit_head where id = 1")
	if err != nil {
		return err
	}
	if size >= 0 && size <= maxSize && last >= tlog.StoredHashCount(size) {
		v.r.problem(-1, "the hash %d is outside of the log", last)
	}
	h, err := readHead(ctx, v.q, "")
	if err != nil {
		return ignoreMismatch(err) // it is in the report
	}
	t, err := openTree(h.size, h.roots)
	c, err2 := parseNote(h.checkpoint)
	if h.checkpoint != "" && (err != nil || err2 != nil || t.root() != c.Root) {
		v.r.problem(-1, "the head's hashes are not those that were signed")
	}
	return nil
}

func ignoreMismatch(err error) error {
	if fault.KindOf(err) == fault.Findings {
		return nil
	}
	return err
}

// openIntents reads the intents that have no result.
func (v *verifier) openIntents(ctx context.Context) error {
	v.r.Open = len(v.open)
	seqs := make([]int64, 0, len(v.open))
	for _, seq := range v.open {
		seqs = append(seqs, seq)
	}
	slices.Sort(seqs)
	for _, seq := range seqs[:min(len(seqs), maxListed)] {
		var body []byte
		if _, err := db.One(ctx, v.q, []any{&body}, "select body from audit_entries where seq = $1", seq); err != nil {
			return err
		}
		e, err := decode(body)
		if err != nil {
			v.r.problem(seq, "entry %d: %v", seq, err)
			continue
		}
		v.r.OpenIntents = append(v.r.OpenIntents, e)
	}
	return nil
}
