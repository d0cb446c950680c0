package audit

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"dbops/internal/fault"
	"dbops/internal/state/db"
)

func conflictOf(t testing.TB, err error) *ConflictError {
	t.Helper()
	c, ok := errors.AsType[*ConflictError](err)
	if !ok || fault.KindOf(err) != fault.Findings || fault.HintOf(err) == "" {
		t.Fatalf("no conflict: %v (%s)", err, fault.KindOf(err))
	}
	for _, want := range []string{c.Seen.Root.String(), c.Now.Root.String()} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name the root %s", err, want)
		}
	}
	return c
}

func TestTheWitnessFindsWhatTheStoreCannotTell(t *testing.T) {
	t.Parallel()
	for name, store := range stores() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := store(t)
			alice, bob := keysIn(t.TempDir()), keysIn(t.TempDir())
			bob.Name = "bob@desktop"
			l := open(t, d, alice)
			open(t, d, bob)
			add(t, l, step("run-1", "modify")...)
			restore := save(t, d)
			add(t, l, step("run-2", "reboot")...)
			add(t, l, step("run-3", "reboot")...)
			if _, err := l.Check(t.Context()); err != nil {
				t.Fatal(err)
			}

			restore() // an older copy of the store, complete and signed
			if r := verify(t, open(t, d, Keys{})); !r.OK() {
				t.Errorf("the copy itself is whole: %+v", r)
			}
			if c := conflictOf(t, second(Open(t.Context(), d, alice))); c.Seen.Size != 8 || c.Now.Size != 4 {
				t.Errorf("%v", c)
			}
			if _, err := l.Check(t.Context()); conflictOf(t, err).Seen.Size != 8 { // a process that ran on
				t.Error(err)
			}
			err := d.Tx(t.Context(), func(ctx context.Context, q db.Querier) error {
				_, err := l.Append(ctx, q, step("run-4", "modify")[0])
				return err
			})
			if fault.KindOf(err) != fault.Findings || !strings.Contains(err.Error(), "has 4 entries, and had 8") {
				t.Errorf("a process that ran on appends: %v", err)
			}
			r := verify(t, open(t, d, Keys{Witness: alice.Witness}))
			if r.OK() || !strings.Contains(text(r), "cut off") {
				t.Errorf("%+v", r)
			}

			// Bob saw nothing of runs 2 and 3: he goes on with the copy, which is a fork from then on.
			forked := open(t, d, bob)
			for _, run := range []string{"run-4", "run-5"} {
				add(t, forked, step(run, "modify")...)
			}
			if c := conflictOf(t, second(Open(t.Context(), d, alice))); c.Seen.Size != 8 || c.Now.Size != 8 || c.Seen.Root == c.Now.Root {
				t.Errorf("%v", c)
			}
			add(t, forked, step("run-6", "modify")...)
			if c := conflictOf(t, second(Open(t.Context(), d, alice))); c.Seen.Size != 8 || c.Now.Size != 10 || !strings.Contains(c.Why, "another way") {
				t.Errorf("%v", c)
			}
			if r := verify(t, open(t, d, Keys{Witness: bob.Witness})); !r.OK() {
				t.Errorf("bob: %+v", r)
			}
		})
	}
}

func second(_ *Log, err error) error { return err }

func TestAStoreReplacedByAnotherIsNoticed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state.db")
	keys := keysIn(t.TempDir())
	d := sqlite(t, path)
	add(t, open(t, d, keys), step("run-1", "modify")...)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for _, end := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + end); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if c := conflictOf(t, second(Open(t.Context(), sqlite(t, path), keys))); !strings.Contains(c.Why, "another store") {
		t.Errorf("%v", c)
	}
	other := keys // another store in another place is none of its business
	open(t, sqlite(t, filepath.Join(t.TempDir(), "other.db")), other)
}

func TestACopyInAnotherPlaceIsCompared(t *testing.T) {
	t.Parallel()
	dir, keys := t.TempDir(), keysIn(t.TempDir())
	d := sqlite(t, filepath.Join(dir, "state.db"))
	l := open(t, d, keys)
	add(t, l, step("run-1", "modify")...)
	copied := filepath.Join(dir, "copy.db")
	if _, err := d.SQL.ExecContext(t.Context(), "vacuum into '"+copied+"'"); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(copied, 0o600); err != nil {
		t.Fatal(err)
	}
	add(t, l, step("run-2", "modify")...)
	if _, err := l.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c := conflictOf(t, second(Open(t.Context(), sqlite(t, copied), keys))); c.Seen.Size != 5 || c.Now.Size != 3 {
		t.Errorf("%v", c)
	}
}

func TestTheWitnessFileIsItsOwnersAndSurvivesManyWriters(t *testing.T) {
	t.Parallel()
	d, keys := sqlite(t, filepath.Join(t.TempDir(), "state.db")), keysIn(t.TempDir())
	var g errgroup.Group
	for range 6 {
		g.Go(func() error { // as six processes that start for the first time
			l, err := Open(t.Context(), d, keys)
			if err != nil {
				return err
			}
			for range 10 {
				err = d.Tx(t.Context(), func(ctx context.Context, q db.Querier) error {
					_, err := l.Append(ctx, q, step("run-1", "modify")[0])
					return err
				})
				if _, err2 := l.Check(t.Context()); err != nil || err2 != nil {
					return errors.Join(err, err2)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, open(t, d, keys)); !r.OK() || r.Size != 61 {
		t.Errorf("%+v", r)
	}
	for _, f := range []string{keys.File, keys.Witness} {
		if info, err := os.Stat(f); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f, info.Mode(), err)
		}
	}
	f, err := openWitness(t.Context(), keys.Witness)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.close() }()
	if c, err := parseNote(f.memory.Stores[0].Checkpoint); err != nil || c.Size != 61 || len(f.memory.Stores) != 1 {
		t.Errorf("%+v, %v", f.memory, err)
	}
}

// A head that was read before the lock was had may be older than what another process has remembered since.
func TestAProcessWaitsForTheOtherThatComparesItself(t *testing.T) {
	t.Parallel()
	d, keys := sqlite(t, filepath.Join(t.TempDir(), "state.db")), keysIn(t.TempDir())
	l := open(t, d, keys)
	f, err := openWitness(t.Context(), keys.Witness)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := l.Check(ctx); !errors.Is(err, context.DeadlineExceeded) || fault.KindOf(err) != fault.Unavailable {
		t.Errorf("it did not wait: %v", err)
	}
	if err := f.close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestADamagedWitnessFileIsNoReasonToForget(t *testing.T) {
	t.Parallel()
	d, keys := sqlite(t, filepath.Join(t.TempDir(), "state.db")), keysIn(t.TempDir())
	open(t, d, keys)
	for _, content := range []string{"", "{}", `{"schema":"dbops/audit-witness/v2"}`, `{"schema":"dbops/audit-witness/v1","stores":[{"places":["` + d.Name + `"]}]}`} {
		if err := os.WriteFile(keys.Witness, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), d, keys); err == nil || fault.HintOf(err) == "" {
			t.Errorf("%q: %v", content, err)
		}
	}
}

func TestProcessesThatStartAtOnceAgreeOnTheKey(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "new", "audit.key")
	var mu sync.Mutex
	seen := map[string]bool{}
	var g errgroup.Group
	for range 16 {
		g.Go(func() error {
			_, public, err := loadKey(file, "alice+1@lap top")
			mu.Lock()
			defer mu.Unlock()
			seen[public] = true
			return err
		})
	}
	if err := g.Wait(); err != nil || len(seen) != 1 {
		t.Errorf("%v, %v", seen, err)
	}
	left, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}

func TestWhyAKeyFileIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, content string
		mode          os.FileMode
		kind          fault.Kind
	}{
		{"others may read it", "PRIVATE+KEY+a+b+c", 0o644, fault.Denied},
		{"it is empty", "", 0o600, fault.Config},
		{"it is no key", "PRIVATE+KEY+alice+00000000+AQID", 0o600, fault.Config},
	} {
		file := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(file, []byte(c.content), c.mode); err != nil {
			t.Fatal(err)
		}
		_, _, err := loadKey(file, "")
		if fault.KindOf(err) != c.kind || fault.HintOf(err) == "" || err != nil && strings.Contains(err.Error(), "AQID") {
			t.Errorf("%s: %v", c.name, err)
		}
		if b, err := os.ReadFile(file); err != nil || string(b) != c.content {
			t.Errorf("%s: it was changed to %q", c.name, b)
		}
	}
}
