package audit

import (
	"bytes"
	"context"
	"crypto/rand"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"dbops/internal/fault"
	"dbops/internal/state/db"
)

// sql changes the store past the package.
func sql(t testing.TB, d *db.DB, query string, args ...any) {
	t.Helper()
	if n, err := d.Read().Exec(t.Context(), query, args...); err != nil || n == 0 {
		t.Fatalf("%s: %d rows, %v", query, n, err)
	}
}

func body(t testing.TB, d *db.DB, seq int64) []byte {
	t.Helper()
	var b []byte
	if found, err := db.One(t.Context(), d.Read(), []any{&b}, "select body from audit_entries where seq = $1", seq); err != nil || !found {
		t.Fatalf("entry %d: %v", seq, err)
	}
	return b
}

func edit(t testing.TB, d *db.DB, seq int64, from, to string) {
	t.Helper()
	b := body(t, d, seq)
	edited := bytes.Replace(b, []byte(from), []byte(to), 1)
	if bytes.Equal(b, edited) {
		t.Fatalf("%s has no %q", b, from)
	}
	sql(t, d, "update audit_entries set body = $1 where seq = $2", edited, seq)
}

// stored is a store to be manipulated.
type stored struct {
	t testing.TB
	d *db.DB
}

func (s stored) sql(query string, args ...any)   { s.t.Helper(); sql(s.t, s.d, query, args...) }
func (s stored) body(seq int64) []byte           { s.t.Helper(); return body(s.t, s.d, seq) }
func (s stored) edit(seq int64, from, to string) { s.t.Helper(); edit(s.t, s.d, seq, from, to) }

func leaf(seq int64) int64 { return tlog.StoredHashIndex(0, seq) }

// rewrite computes all hashes of the bodies anew, as somebody would who knows the format, and has the head signed by signer.
func rewrite(t testing.TB, d *db.DB, signer note.Signer) {
	t.Helper()
	var name string
	if _, err := db.One(t.Context(), d.Read(), []any{&name}, "select value from meta where name = $1", metaOrigin); err != nil {
		t.Fatal(err)
	}
	var bodies [][]byte
	err := db.Each(t.Context(), d.Read(), func(r db.Rows) error {
		var b []byte
		bodies = append(bodies, nil)
		err := r.Scan(&b)
		bodies[len(bodies)-1] = bytes.Clone(b)
		return err
	}, "select body from audit_entries order by seq")
	if err != nil {
		t.Fatal(err)
	}
	sql(t, d, "delete from audit_entries")
	sql(t, d, "delete from audit_hashes")
	tr, a := &tree{}, addition{}
	for _, b := range bodies {
		e, err := decode(b)
		if err != nil {
			t.Fatal(err)
		}
		e.Seq = tr.size
		if b, err = canonical(e); err != nil {
			t.Fatal(err)
		}
		a.runs, a.bodies = append(a.runs, e.Run), append(a.bodies, b)
		tr.push(tlog.RecordHash(b), func(_ int, h tlog.Hash) tlog.Hash { a.hashes = append(a.hashes, h); return h })
	}
	c, err := sign(name, tr.size, tr.root(), signer)
	if err != nil {
		t.Fatal(err)
	}
	a.head = head{tr.size, tr.pack(), c.Text}
	if err := a.write(t.Context(), d.Read(), false); err != nil {
		t.Fatal(err)
	}
}

func stranger(t testing.TB, name string) (note.Signer, string) {
	t.Helper()
	private, public, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	return s, public
}

// save keeps the whole log, and returns what puts it back.
func save(t testing.TB, d *db.DB) (restore func()) {
	t.Helper()
	tables := []string{"audit_head", "audit_entries", "audit_hashes"}
	for _, name := range tables {
		if _, err := d.Read().Exec(t.Context(), "create table keep_"+name+" as select * from "+name); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		t.Helper()
		err := d.Tx(t.Context(), func(ctx context.Context, q db.Querier) error {
			for _, name := range tables {
				for _, s := range []string{"delete from " + name, "insert into " + name + " select * from keep_" + name} {
					if _, err := q.Exec(ctx, s); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestManipulationIsFound(t *testing.T) {
	t.Parallel()
	last := int64(40) // 1 registration and 20 steps of 2 entries
	for _, c := range []struct {
		name string
		do   func(s stored)
		bad  int64
		want string
	}{
		{"a byte of a body", func(s stored) { s.edit(5, "alice", "mallo") }, 5, "entry 5 is not the one that was hashed"},
		{"a space in a body", func(s stored) { s.edit(5, `,"at"`, ` ,"at"`) }, 5, "entry 5 is not the one that was hashed"},
		{"the last body", func(s stored) { s.edit(last, "alice", "mallo") }, last, "entry 40 is not the one that was hashed"},
		{"the hash of an entry", func(s stored) {
			s.sql("update audit_hashes set hash = $1 where idx = $2", make([]byte, 32), leaf(6))
		}, 6, "entry 6 is not the one that was hashed"},
		{"a hash within the tree", func(s stored) {
			s.sql("update audit_hashes set hash = $1 where idx = $2", make([]byte, 32), tlog.StoredHashIndex(2, 1))
		}, 7, "of level 2, written with entry 7, is not that of its entries"},
		{"a hash that is too short", func(s stored) {
			s.sql("update audit_hashes set hash = $1 where idx = $2", make([]byte, 31), leaf(6))
		}, 6, "is missing or damaged"},
		{"a hash deleted", func(s stored) { s.sql("delete from audit_hashes where idx = $1", leaf(6)) }, 6, "is missing or damaged"},
		{"a hash inserted", func(s stored) {
			s.sql("insert into audit_hashes values ($1, $2)", 1000, make([]byte, 32))
		}, -1, "the hash 1000 is outside of the log"},
		{"a body and its hash", func(s stored) {
			s.edit(6, "alice", "mallo")
			h := tlog.RecordHash(s.body(6))
			s.sql("update audit_hashes set hash = $1 where idx = $2", h[:], leaf(6))
		}, 7, "written with entry 7, is not that of its entries"},
		{"a middle row deleted", func(s stored) { s.sql("delete from audit_entries where seq = 7") }, 7, "entry 7 is missing"},
		{"middle rows and hashes deleted", func(s stored) {
			s.sql("delete from audit_entries where seq between 7 and 9")
			s.sql("delete from audit_hashes where idx between $1 and $2", leaf(7), leaf(9))
		}, 7, "the entries 7 to 9 are missing"},
		{"the end deleted", func(s stored) { s.sql("delete from audit_entries where seq > 37") }, 38, "the entries 38 to 40 are missing"},
		{"the end deleted and the head's size set back", func(s stored) {
			s.sql("delete from audit_entries where seq > 37")
			s.sql("update audit_head set size = 38")
		}, -1, "the head counts 38 entries, its signed checkpoint 41"},
		{"two rows swapped", func(s stored) {
			s.sql("update audit_entries set seq = -3 where seq = 3")
			s.sql("update audit_entries set seq = 3 where seq = 4")
			s.sql("update audit_entries set seq = 4 where seq = -3")
		}, 3, "in the place of entry 3 is one with the number 4"},
		{"two rows and their hashes swapped", func(s stored) {
			for _, at := range [][3]any{{"audit_entries", "seq", []int64{3, 4}}, {"audit_hashes", "idx", []int64{leaf(3), leaf(4)}}} {
				x := at[2].([]int64) //nolint:forcetypeassert // of the line above
				set := "update " + at[0].(string) + " set " + at[1].(string) + " = $1 where " + at[1].(string) + " = $2"
				s.sql(set, -3, x[0])
				s.sql(set, x[0], x[1])
				s.sql(set, x[1], -3)
			}
		}, 3, "in the place of entry 3 is one with the number 4"},
		{"a row inserted at the end", func(s stored) {
			s.sql("insert into audit_entries values ($1, '', $2)", 41, s.body(40))
		}, -1, "1 entries are outside of the log, the first is 41"},
		{"a row inserted before the start", func(s stored) {
			s.sql("insert into audit_entries values ($1, '', $2)", -1, s.body(40))
		}, -1, "1 entries are outside of the log, the first is -1"},
		{"a row inserted in the middle", func(s stored) {
			s.sql("update audit_entries set seq = -seq where seq > 10")
			s.sql("update audit_entries set seq = 1 - seq where seq < 0")
			s.sql("insert into audit_entries values ($1, '', $2)", 11, s.body(10))
		}, 11, "in the place of entry 11 is one with the number 10"},
		{"a row filed under another run", func(s stored) {
			s.sql("update audit_entries set run = 'other' where seq = 5")
		}, 5, `entry 5 is filed under the run "other"`},
		{"everything rewritten, signed by somebody", func(s stored) {
			s.edit(5, "alice", "mallo")
			signer, _ := stranger(s.t, "alice@laptop")
			rewrite(s.t, s.d, signer)
		}, -1, "no such key is known"},
		{"everything rewritten under the old signature", func(s stored) {
			var checkpoint string
			if _, err := db.One(s.t.Context(), s.d.Read(), []any{&checkpoint}, "select checkpoint from audit_head"); err != nil {
				s.t.Fatal(err)
			}
			s.edit(5, "alice", "mallo")
			signer, _ := stranger(s.t, "alice@laptop")
			rewrite(s.t, s.d, signer)
			s.sql("update audit_head set checkpoint = $1", checkpoint)
		}, -1, "the root of the 41 entries is"},
		{"a byte of the signature", func(s stored) {
			s.sql("update audit_head set checkpoint = replace(checkpoint, $1, $2)", "\n41\n", "\n42\n")
		}, -1, "invalid signature"},
		{"the head's hashes", func(s stored) {
			s.sql("update audit_head set roots = $1", make([]byte, 96))
		}, -1, "the head's hashes are not those that were signed"},
		{"the head deleted", func(s stored) { s.sql("delete from audit_head") }, -1, "the head of the audit log is missing"},
		{"the store renamed", func(s stored) {
			s.sql("update meta set value = 'dbops/other' where name = $1", metaOrigin)
		}, -1, `this one is "dbops/other"`},
		{"everything deleted", func(s stored) {
			s.sql("delete from audit_entries")
			s.sql("delete from audit_hashes")
			s.sql("update audit_head set size = 0, roots = '', checkpoint = ''")
		}, -1, "the log is empty, yet 1 keys have signed it"},
		{"a key replaced", func(s stored) {
			_, public := stranger(s.t, "alice@laptop")
			s.sql("update meta set value = $1 where name like 'audit_key:%'", public)
		}, -1, "no such key is known"},
	} {
		for name, store := range stores() {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				d := store(t)
				l := open(t, d, Keys{File: keysIn(t.TempDir()).File, Name: "alice@laptop"})
				for range 20 {
					add(t, l, step("run-1", "modify")...)
				}
				if r := verify(t, l); !r.OK() {
					t.Fatalf("before: %+v", r)
				}
				c.do(stored{t, d})
				r := verify(t, open(t, d, Keys{})) // as another process, without a witness
				if r.OK() || r.FirstBad != c.bad {
					t.Errorf("first bad entry %d, want %d: %+v", r.FirstBad, c.bad, r.Problems)
				}
				if !strings.Contains(text(r), c.want) {
					t.Errorf("%q is not among %+v", c.want, r.Problems)
				}
				if len(r.Problems) > 8 {
					t.Errorf("%d problems of one change: %+v", len(r.Problems), r.Problems)
				}
				if err := r.Err(); fault.KindOf(err) != fault.Findings || fault.HintOf(err) == "" {
					t.Errorf("%v", err)
				}
			})
		}
	}
}

func text(r Report) string {
	var b strings.Builder
	for _, p := range r.Problems {
		b.WriteString(p.Text + "\n")
	}
	return b.String()
}

// A new signature over a manipulated store would hide what happened to it.
func TestAManipulatedHeadIsNotSignedAgain(t *testing.T) {
	t.Parallel()
	for name, store := range stores() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := store(t)
			l := open(t, d, Keys{File: keysIn(t.TempDir()).File})
			add(t, l, step("run-1", "modify")...)
			for _, change := range []func(){
				func() { sql(t, d, "update audit_head set roots = $1", make([]byte, 64)) },
				func() { s, _ := stranger(t, "mallory"); rewrite(t, d, s) },
				func() { sql(t, d, "update audit_head set size = 2") },
				func() { sql(t, d, "update audit_head set size = 0, checkpoint = '', roots = ''") },
				func() { sql(t, d, "delete from audit_head") },
			} {
				change()
				err := d.Tx(t.Context(), func(ctx context.Context, q db.Querier) error {
					_, err := l.Append(ctx, q, step("run-2", "modify")[0])
					return err
				})
				if fault.KindOf(err) != fault.Findings {
					t.Errorf("%v", err)
				}
			}
		})
	}
}

// Somebody who may write to the store could register a key; the keys in dbops.yaml are out of reach.
func TestPinnedKeysCountAlone(t *testing.T) {
	t.Parallel()
	for name, store := range stores() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := store(t)
			keys := keysIn(t.TempDir())
			l := open(t, d, keys)
			add(t, l, step("run-1", "modify")...)
			edit(t, d, 1, "alice", "mallo")
			signer, public := stranger(t, "mallory")
			sql(t, d, "insert into meta values ($1, $2)", metaKey+"mallory", public)
			rewrite(t, d, signer)
			if r := verify(t, open(t, d, Keys{})); !r.OK() {
				t.Errorf("without pinned keys: %+v", r)
			}
			if r := verify(t, open(t, d, Keys{Trusted: []string{l.VerifierKey()}})); r.OK() || !strings.Contains(text(r), "signed by mallory") {
				t.Errorf("with pinned keys: %+v", r)
			}
		})
	}
}
