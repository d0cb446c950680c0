package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"
	"golang.org/x/mod/sumdb/tlog"

	"dbops/internal/fault"
	"dbops/internal/state/db"
)

// memory is the witness file: the last checkpoint seen of each store.
type memory struct {
	Schema string       `json:"schema"` // memorySchema
	Stores []remembered `json:"stores"`
}

const memorySchema = "dbops/audit-witness/v1"

type remembered struct {
	Origin     string   `json:"origin"`
	Places     []string `json:"places"` // where it was, so that a store that was replaced by another is noticed
	Checkpoint string   `json:"checkpoint"`
}

// ConflictError says that a store does not continue what was seen of it: its end was cut off, an older copy was put back, history was
// rewritten, or two copies went separate ways.
type ConflictError struct {
	Seen, Now Checkpoint
	Why       string
}

// Error names both sizes and roots.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("%s: seen before were %d entries of %s with root %s, now there are %d of %s with root %s",
		e.Why, e.Seen.Size, e.Seen.Origin, e.Seen.Root, e.Now.Size, e.Now.Origin, e.Now.Root)
}

// Check reads the head, demands that it is signed and that it continues what the witness remembers, and remembers it. It is cheap;
// call it when a command starts and when a run ends. A store that went back or was rewritten is a fault.Findings with a [ConflictError].
func (l *Log) Check(ctx context.Context) (Checkpoint, error) {
	op := "check the audit log of " + l.d.Name
	c, err := l.check(ctx)
	if _, ok := errors.AsType[*ConflictError](err); ok {
		where := "what it said before"
		if l.keys.Witness != "" {
			where = l.keys.Witness
		}
		return c, fault.New(fault.Findings, op, err).Hint("keep copies of the store and of %s, and look for who changed it or put it back; "+
			"if an older state was restored on purpose, remove this store's part from that file", where)
	}
	return c, db.Fault(op, err)
}

// check reads the head after what it is compared with, which is thus never the newer one: not for another goroutine of this process, and
// not for another process, which waits for the file's lock.
func (l *Log) check(ctx context.Context) (c Checkpoint, err error) {
	var file *witnessFile
	if l.keys.Witness != "" {
		if file, err = openWitness(ctx, l.keys.Witness); err != nil {
			if ctx.Err() != nil {
				return Checkpoint{}, ctx.Err()
			}
			return Checkpoint{}, witnessFault(l.keys.Witness, err)
		}
		defer func() { err = errors.Join(err, file.close()) }()
	}
	l.mu.Lock()
	seen := l.seen
	l.mu.Unlock()
	h, err := readHead(ctx, l.d.Read(), "")
	if err != nil {
		return Checkpoint{}, err
	}
	if c, err = l.checked(ctx, l.d.Read(), h); err != nil {
		return Checkpoint{}, err
	}
	if err := l.continues(ctx, seen, c); err != nil {
		return c, err
	}
	if file != nil {
		if err := l.compare(ctx, file, c); err != nil {
			return c, err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.Size > l.seen.Size {
		l.seen, l.valid = c, c.Text
	}
	return c, nil
}

// compare compares c with what the file remembers, and makes it the last seen.
func (l *Log) compare(ctx context.Context, f *witnessFile, c Checkpoint) error {
	at := -1
	for i, r := range f.memory.Stores {
		if r.Origin != c.Origin && !slices.Contains(r.Places, l.d.Name) {
			continue
		}
		seen, err := parseNote(r.Checkpoint)
		if err != nil {
			return witnessFault(l.keys.Witness, err)
		}
		if r.Origin != c.Origin {
			return &ConflictError{Seen: seen, Now: c, Why: "another store is in its place"}
		}
		if err := l.continues(ctx, seen, c); err != nil {
			return err
		}
		at = i
	}
	if c.Size == 0 {
		return nil
	}
	if at < 0 {
		at = len(f.memory.Stores)
		f.memory.Stores = append(f.memory.Stores, remembered{Origin: c.Origin})
	}
	r := &f.memory.Stores[at]
	if r.Checkpoint == c.Text && slices.Contains(r.Places, l.d.Name) {
		return nil
	}
	if r.Checkpoint = c.Text; !slices.Contains(r.Places, l.d.Name) {
		r.Places = append(r.Places, l.d.Name)
	}
	if err := f.save(); err != nil {
		return witnessFault(l.keys.Witness, err)
	}
	return nil
}

func witnessFault(path string, err error) error {
	return fault.New(fault.Config, "remember the audit log in "+path, err).
		Hint("dbops must be able to write it; a damaged one is to be kept and moved away: what it remembered is not compared any more then")
}

// continues demands that the tree of now holds that of seen as its beginning.
func (l *Log) continues(ctx context.Context, seen, now Checkpoint) error {
	conflict := func(why string) error { return &ConflictError{Seen: seen, Now: now, Why: why} }
	switch {
	case seen.Size == 0:
		return nil
	case seen.Size > now.Size:
		return conflict("the end of the log was cut off, or an older copy of the store was put back")
	case seen.Size == now.Size && seen.Root == now.Root:
		return nil
	case seen.Size == now.Size:
		return conflict("the log was rewritten, or a copy of the store went another way")
	}
	proof, err := tlog.ProveTree(now.Size, seen.Size, l.hashes(ctx, l.d.Read()))
	if missing, ok := errors.AsType[*missingHashError](err); ok {
		return conflict(missing.Error())
	}
	if err != nil {
		return err
	}
	if tlog.CheckTree(proof, now.Size, now.Root, seen.Size, seen.Root) != nil {
		return conflict("the log was rewritten, or a copy of the store went another way")
	}
	return nil
}

// witnessFile is an open and locked witness file.
type witnessFile struct {
	path   string
	lock   *flock.Flock
	memory memory
}

// lockPoll is how often another process's lock is tried again; it holds it for two queries.
const lockPoll = 5 * time.Millisecond

func openWitness(ctx context.Context, path string) (*witnessFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f := &witnessFile{path: path, lock: flock.New(path+".lock", flock.SetPermissions(0o600))}
	if _, err := f.lock.TryLockContext(ctx, lockPoll); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &f.memory)
	}
	if err == nil && f.memory.Schema != memorySchema {
		err = fmt.Errorf("its schema is %q, not %s", cut(f.memory.Schema, 80), memorySchema)
	}
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

func (f *witnessFile) save() error {
	f.memory.Schema = memorySchema
	b, err := json.MarshalIndent(f.memory, "", "  ")
	if err != nil {
		return err
	}
	return renameio.WriteFile(f.path, append(b, '\n'), 0o600)
}

func (f *witnessFile) close() error { return f.lock.Unlock() }
