// Package audit is the log of what dbops changed, in which later manipulation is found.
//
// Entries are the leaves of a Merkle tree (RFC 6962), whose root is signed at every append in the same transaction; interior hashes are
// stored, so a few entries can be proven to somebody who has no access to the store. What the log can show and what it cannot is in
// docs/audit.md.
//
// Nothing here keeps secrets out: callers name places and versions, never values that are secret.
package audit

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"dbops/internal/fault"
	"dbops/internal/state/db"
)

// Log is the audit log of a store. Its methods may be called by many goroutines.
type Log struct {
	d      *db.DB
	keys   Keys
	signer note.Signer // nil: read-only
	public string      // the signer's verifier key

	mu     sync.Mutex
	origin string
	known  keyring    // whose signatures count
	valid  string     // the text of the last checkpoint that was found valid, so as not to check it twice
	seen   Checkpoint // the largest committed one that this process has seen
}

// Open opens the log of a migrated store. With a key it gives the store a name and registers the key if that has not happened, and
// it is a fault.Findings if the store went back behind what the witness remembers. With a key that is not trusted it opens, and Append is
// a fault.Denied that shows the key. Without a key nothing is written to the store, and
// Verify tells what is wrong.
func Open(ctx context.Context, d *db.DB, keys Keys) (*Log, error) {
	op := "open the audit log of " + d.Name
	l := &Log{d: d, keys: keys}
	if keys.File != "" {
		var err error
		if l.signer, l.public, err = loadKey(keys.File, keys.Name); err != nil {
			return nil, err
		}
	}
	if err := l.load(ctx, d.Read()); err != nil {
		return nil, db.Fault(op, err)
	}
	if l.signer == nil {
		return l, nil
	}
	if l.origin == "" {
		if err := d.Tx(ctx, makeOrigin); err != nil {
			return nil, db.Fault(op, err)
		}
		if err := l.load(ctx, d.Read()); err != nil {
			return nil, db.Fault(op, err)
		}
	}
	if _, err := l.Check(ctx); err != nil {
		return nil, err
	}
	if !l.trusted() {
		return l, nil
	}
	if err := l.register(ctx); err != nil {
		return nil, db.Fault(op, err)
	}
	_, err := l.Check(ctx)
	return l, err
}

// VerifierKey is the public half of this process's key, as it is written into dbops.yaml; empty if the log is read-only.
func (l *Log) VerifierKey() string { return l.public }

// load reads the store's name and the keys that count.
func (l *Log) load(ctx context.Context, q db.Querier) error {
	name, err := origin(ctx, q)
	if err != nil {
		return err
	}
	keys := l.keys.Trusted
	if len(keys) == 0 {
		if keys, err = registered(ctx, q); err != nil {
			return err
		}
	}
	known := keyring{}
	for _, k := range keys {
		if err := known.add(k); err != nil {
			if len(l.keys.Trusted) == 0 {
				return fault.New(fault.Findings, "read the keys of the audit log", err).Hint("somebody changed table meta of the state")
			}
			return fault.New(fault.Config, "read the trusted keys of the audit log", err).Hint("take the verifier key that dbops audit verify prints")
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.origin, l.known = name, known
	return nil
}

// mayAppend tells why this process cannot sign.
func (l *Log) mayAppend() error {
	const op = "record in the audit log"
	switch {
	case l.signer == nil:
		return fault.Newf(fault.Internal, op, "the log was opened without a key")
	case !l.trusted():
		return fault.Newf(fault.Denied, op, "the key %s is not among the trusted ones", l.public).
			Hint("add it to the trusted audit keys in dbops.yaml and have that reviewed: %s", l.public)
	}
	return nil
}

func (l *Log) trusted() bool {
	return len(l.keys.Trusted) == 0 || slices.Contains(l.keys.Trusted, l.public)
}

// register makes the key known in the store, with an entry that says so: the first that the key signs.
func (l *Log) register(ctx context.Context) error {
	keys, err := registered(ctx, l.d.Read())
	if err != nil || slices.Contains(keys, l.public) {
		return err
	}
	return l.d.Tx(ctx, func(ctx context.Context, q db.Querier) error {
		if _, err := readHead(ctx, q, l.d.ForUpdate()); err != nil { // another process may register the same key
			return err
		}
		if keys, err := registered(ctx, q); err != nil || slices.Contains(keys, l.public) {
			return err
		}
		_, host, _ := strings.Cut(l.signer.Name(), "@")
		e := Entry{Actor: l.signer.Name(), Host: host, Kind: "audit.key", Phase: Note, Text: l.public}
		if _, err := l.Append(ctx, q, e); err != nil {
			return err
		}
		id := metaKey + l.public[:strings.LastIndexByte(l.public, '+')]
		_, err := q.Exec(ctx, "insert into meta (name, value) values ($1, $2)", id, l.public)
		return err
	})
}

// Append adds e inside the caller's transaction, which has the log to itself from here to its end: append last. It returns the entry as
// it was written. Without it the change that it announces must not be made.
func (l *Log) Append(ctx context.Context, q db.Querier, e Entry) (Entry, error) {
	written, err := l.appendAll(ctx, q, []Entry{e})
	if err != nil {
		return Entry{}, db.Fault("record in the audit log", err)
	}
	return written[0], nil
}

func (l *Log) appendAll(ctx context.Context, q db.Querier, entries []Entry) ([]Entry, error) {
	if err := l.mayAppend(); err != nil {
		return nil, err
	}
	h, err := readHead(ctx, q, l.d.ForUpdate())
	if err != nil {
		return nil, err
	}
	t, err := l.extend(ctx, q, h)
	if err != nil {
		return nil, err
	}
	add := addition{first: t.size, firstHash: tlog.StoredHashCount(t.size)}
	for i := range entries {
		e := &entries[i]
		if e.Seq = t.size; e.At.IsZero() {
			e.At = time.Now()
		}
		body, err := e.encode()
		if err != nil {
			return nil, err
		}
		add.runs, add.bodies = append(add.runs, e.Run), append(add.bodies, body)
		t.push(tlog.RecordHash(body), func(_ int, h tlog.Hash) tlog.Hash {
			add.hashes = append(add.hashes, h)
			return h
		})
	}
	c, err := sign(l.origin, t.size, t.root(), l.signer)
	if err != nil {
		return nil, err
	}
	add.head = head{t.size, t.pack(), c.Text}
	if err := add.write(ctx, q, l.d.Postgres()); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.valid = c.Text
	return entries, nil
}

// extend opens the tree of a head that is fit to be signed again: signed by a known key, not behind what was seen, and whole.
func (l *Log) extend(ctx context.Context, q db.Querier, h head) (*tree, error) {
	l.mu.Lock()
	valid, seen := l.valid, l.seen
	l.mu.Unlock()
	if h.size < seen.Size {
		return nil, mismatch("the log has %d entries, and had %d before", h.size, seen.Size)
	}
	var c Checkpoint
	var err error
	if h.checkpoint != "" && h.checkpoint == valid {
		c, err = parseNote(valid)
	} else {
		c, err = l.checked(ctx, q, h)
	}
	if err != nil {
		return nil, err
	}
	t, err := openTree(h.size, h.roots)
	if err != nil || c.Size != h.size || t.root() != c.Root {
		return nil, mismatch("the head's hashes are not those that were signed")
	}
	return t, nil
}
