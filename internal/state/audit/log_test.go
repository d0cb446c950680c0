package audit

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
	"golang.org/x/sync/errgroup"

	"dbops/internal/fault"
	"dbops/internal/state/db"
)

func TestWhatIsAppendedVerifies(t *testing.T) {
	t.Parallel()
	for name, store := range stores() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := open(t, store(t), keysIn(t.TempDir()))
			for range 20 {
				add(t, l, step("run-1", "modify")...)
			}
			intent := step("run-2", "reboot")[0]
			written := add(t, l, intent)
			r := verify(t, l)
			if !r.OK() || r.Size != 42 || !slices.Equal(r.Signers, []string{"alice@laptop"}) || r.FirstBad != -1 || r.Err() != nil {
				t.Errorf("%+v", r)
			}
			if r.Open != 1 || r.OpenIntents[0].Seq != written[0].Seq || r.OpenIntents[0].Run != "run-2" {
				t.Errorf("open intents %+v, want %+v", r.OpenIntents, written)
			}
			for since := range int64(43) {
				if r, err := l.Verify(t.Context(), since); err != nil || !r.OK() {
					t.Errorf("since %d: %+v, %v", since, r, err)
				}
			}
			if _, err := l.Verify(t.Context(), 43); fault.KindOf(err) != fault.Usage {
				t.Errorf("%v", err)
			}
			edit(t, l.d, 30, "alice", "mallo")
			if r, err := l.Verify(t.Context(), 30); err != nil || r.FirstBad != 30 {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

// A later attempt looks at what the earlier one left, so its result answers for both.
func TestWhichIntentsAreOpen(t *testing.T) {
	t.Parallel()
	l := open(t, sqlite(t, filepath.Join(t.TempDir(), "state.db")), keysIn(t.TempDir()))
	intent := func(step, target string, attempt int) Entry {
		return Entry{Run: `run "1"\`, Kind: "upgrade", Step: step, Target: target, Attempt: attempt, Phase: Intent}
	}
	result := func(e Entry) Entry { e.Phase, e.Outcome = Result, Failed; return e }
	add(t, l,
		intent("a", "prod/main", 1), intent("a", "prod/main", 2), result(intent("a", "prod/main", 2)),
		intent("b", "prod/main", 1), intent("b", "prod/other", 1), result(intent("b", "prod/other", 1)),
		Entry{Run: `run "1"\`, Kind: "upgrade", Step: "b", Target: "prod/main", Phase: Note},
	)
	r := verify(t, l)
	if !r.OK() || r.Open != 1 || r.OpenIntents[0].Step != "b" || r.OpenIntents[0].Target != "prod/main" || r.OpenIntents[0].Run != `run "1"\` {
		t.Errorf("%+v", r)
	}
}

// The tree is that of the library, whatever its size.
func TestTheTreeIsThatOfTheLibrary(t *testing.T) {
	t.Parallel()
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(at []int64) ([]tlog.Hash, error) {
		hashes := make([]tlog.Hash, len(at))
		for i, x := range at {
			hashes[i] = stored[x]
		}
		return hashes, nil
	})
	tr := &tree{}
	for n := range int64(300) {
		body := fmt.Append(nil, "entry ", n)
		want, err := tlog.StoredHashes(n, body, reader)
		if err != nil {
			t.Fatal(err)
		}
		var got []tlog.Hash
		tr.push(tlog.RecordHash(body), func(level int, h tlog.Hash) tlog.Hash {
			if level != len(got) {
				t.Errorf("level %d, want %d", level, len(got))
			}
			got = append(got, h)
			return h
		})
		if stored = append(stored, want...); !slices.Equal(got, want) {
			t.Errorf("%d: other hashes", n)
		}
		root, err := tlog.TreeHash(n+1, reader)
		if err != nil || root != tr.root() {
			t.Errorf("%d: root %s, want %s, %v", n, tr.root(), root, err)
		}
		roots, err := reader(rootIndexes(n + 1))
		if err != nil || !slices.Equal(roots, tr.roots) {
			t.Errorf("%d: other roots", n)
		}
		again, err := openTree(n+1, tr.pack())
		if err != nil || again.root() != root {
			t.Errorf("%d: %v", n, err)
		}
	}
	if root, err := tlog.TreeHash(0, reader); err != nil || root != (&tree{}).root() {
		t.Errorf("the empty tree: %v", err)
	}
}

func TestATransactionThatIsRolledBackLeavesNoGap(t *testing.T) {
	t.Parallel()
	for name, store := range stores() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := open(t, store(t), keysIn(t.TempDir()))
			add(t, l, step("run-1", "modify")...)
			failed := errors.New("the step's own work failed")
			err := l.d.Tx(t.Context(), func(ctx context.Context, q db.Querier) error {
				for _, e := range step("run-2", "modify") {
					if _, err := l.Append(ctx, q, e); err != nil {
						return err
					}
				}
				return failed
			})
			if !errors.Is(err, failed) {
				t.Fatal(err)
			}
			if w := add(t, l, step("run-3", "modify")...); w[0].Seq != 3 || w[1].Seq != 4 {
				t.Errorf("%+v", w)
			}
			if r := verify(t, l); !r.OK() || r.Size != 5 {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestManyWritersAndAVerifierAtOnce(t *testing.T) {
	t.Parallel()
	for name, store := range stores() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, dir := store(t), t.TempDir()
			const writers, each = 6, 20
			var g errgroup.Group
			done := make(chan struct{})
			for i := range writers {
				keys := keysIn(dir)
				keys.File, keys.Name = fmt.Sprintf("%s-%d", keys.File, i), fmt.Sprintf("runner-%d@host", i)
				g.Go(func() error {
					l, err := Open(t.Context(), d, keys)
					for n := 0; n < each && err == nil; n++ {
						err = d.Tx(t.Context(), func(ctx context.Context, q db.Querier) error {
							_, err := l.Append(ctx, q, step(keys.Name, "modify")[0])
							return err
						})
					}
					return err
				})
			}
			verified := make(chan error, 1)
			go func() { verified <- verifyUntil(t.Context(), d, done) }()
			err := g.Wait()
			close(done)
			if err := errors.Join(err, <-verified); err != nil {
				t.Fatal(err)
			}
			r := verify(t, open(t, d, Keys{}))
			if !r.OK() || r.Size != writers*(each+1) {
				t.Errorf("%+v", r)
			}
		})
	}
}

func verifyUntil(ctx context.Context, d *db.DB, done <-chan struct{}) error {
	for {
		select {
		case <-done:
			return nil
		default:
		}
		l, err := Open(ctx, d, Keys{})
		if err != nil {
			return err
		}
		r, err := l.Verify(ctx, 0)
		if err == nil {
			err = r.Err()
		}
		if err != nil {
			return err
		}
	}
}

func TestAKeyThatIsNotTrustedSignsNothing(t *testing.T) {
	t.Parallel()
	d, keys := sqlite(t, filepath.Join(t.TempDir(), "state.db")), keysIn(t.TempDir())
	_, public := stranger(t, "bob@desktop")
	keys.Trusted = []string{public}
	l := open(t, d, keys)
	err := d.Tx(t.Context(), func(ctx context.Context, q db.Querier) error {
		_, err := l.Append(ctx, q, step("run-1", "modify")[0])
		return err
	})
	if fault.KindOf(err) != fault.Denied || !strings.Contains(fault.HintOf(err), l.VerifierKey()) {
		t.Errorf("%v (hint %q)", err, fault.HintOf(err))
	}
	keys.Trusted = append(keys.Trusted, l.VerifierKey())
	add(t, open(t, d, keys), step("run-1", "modify")...)
	keys.Trusted = []string{"bob+00000000+AAAA"}
	if _, err := Open(t.Context(), d, keys); fault.KindOf(err) != fault.Config {
		t.Errorf("a wrong key: %v", err)
	}
}

func TestALogWithoutAKeyIsReadOnly(t *testing.T) {
	t.Parallel()
	d := sqlite(t, filepath.Join(t.TempDir(), "state.db"))
	l := open(t, d, Keys{Witness: filepath.Join(t.TempDir(), "witness.json")})
	if r := verify(t, l); !r.OK() || r.Size != 0 {
		t.Errorf("%+v", r)
	}
	var n int
	if _, err := db.One(t.Context(), d.Read(), []any{&n}, "select count(*) from meta"); err != nil || n != 0 {
		t.Errorf("%d rows were written, %v", n, err)
	}
	if _, err := l.Append(t.Context(), d.Read(), step("run-1", "modify")[0]); err == nil {
		t.Error("it was written to")
	}
}

// Another process may give the store its name and its first key at any time.
func TestALogThatWasOpenedBeforeTheFirstEntry(t *testing.T) {
	t.Parallel()
	d, keys := sqlite(t, filepath.Join(t.TempDir(), "state.db")), keysIn(t.TempDir())
	_, public, err := loadKey(keys.File, keys.Name)
	if err != nil {
		t.Fatal(err)
	}
	early := []*Log{open(t, d, Keys{}), open(t, d, Keys{Trusted: []string{public}})}
	add(t, open(t, d, keys), step("run-1", "modify")...)
	for _, l := range early {
		if r := verify(t, l); !r.OK() || r.Size != 3 || r.Origin == "" {
			t.Errorf("%+v", r)
		}
	}
}
