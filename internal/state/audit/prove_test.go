package audit

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"dbops/internal/fault"
)

// filled is a log of five runs, ten steps each in turn.
func filled(t testing.TB, l *Log) {
	t.Helper()
	for range 10 {
		for _, run := range []string{"run-1", "run-2", "run-3", "run-4", "run-5"} {
			add(t, l, step(run, "modify")...)
		}
	}
}

func TestAProofIsCheckedWithoutTheStore(t *testing.T) {
	t.Parallel()
	for name, store := range stores() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := open(t, store(t), keysIn(t.TempDir()))
			filled(t, l)
			p, err := l.Prove(t.Context(), l.d.Read(), Filter{Run: "run-3"})
			if err != nil {
				t.Fatal(err)
			}
			bundle, err := json.MarshalIndent(p, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			evidence, err := VerifyProof(bundle, []string{l.VerifierKey()})
			if err != nil || evidence.Size != 101 || len(evidence.Entries) != 20 || evidence.Signers[0] != "alice@laptop" {
				t.Fatalf("%+v, %v", evidence, err)
			}
			listed, err := l.List(t.Context(), l.d.Read(), Filter{Run: "run-3"})
			if err != nil || !reflect.DeepEqual(listed, evidence.Entries) {
				t.Errorf("%v: other entries are listed than proven", err)
			}
			if _, err := l.Prove(t.Context(), l.d.Read(), Filter{Run: "none"}); fault.KindOf(err) != fault.NotFound {
				t.Errorf("%v", err)
			}
			edit(t, l.d, p.Entries[4].Seq, "alice", "mallo")
			if _, err := l.Prove(t.Context(), l.d.Read(), Filter{Run: "run-3"}); fault.KindOf(err) != fault.Findings {
				t.Errorf("an edited entry: %v", err)
			}
		})
	}
}

func TestAFalseProofIsRefused(t *testing.T) {
	t.Parallel()
	l := open(t, sqlite(t, filepath.Join(t.TempDir(), "state.db")), keysIn(t.TempDir()))
	filled(t, l)
	good, err := l.Prove(t.Context(), l.d.Read(), Filter{Run: "run-3"})
	if err != nil {
		t.Fatal(err)
	}
	signer, public := stranger(t, "mallory")
	ours := []string{l.VerifierKey()}
	for _, c := range []struct {
		name  string
		do    func(p *Proof)
		trust []string
		want  string
	}{
		{"as it is", func(*Proof) {}, ours, ""},
		{"an edited body", func(p *Proof) { p.Entries[3].Body = strings.Replace(p.Entries[3].Body, "alice", "mallo", 1) }, ours, "is not in the log that was signed"},
		{"a space in a body", func(p *Proof) { p.Entries[3].Body += " " }, ours, "is not in the log that was signed"},
		{"another path", func(p *Proof) { p.Entries[3].Path = p.Entries[4].Path }, ours, "is not in the log that was signed"},
		{"a shorter path", func(p *Proof) { p.Entries[3].Path = p.Entries[3].Path[1:] }, ours, "is not in the log that was signed"},
		{"no path", func(p *Proof) { p.Entries[3].Path = nil }, ours, "is not in the log that was signed"},
		{"another number", func(p *Proof) { p.Entries[0].Seq-- }, ours, "is not in the log that was signed"},
		{"a negative number", func(p *Proof) { p.Entries[0].Seq = -1 }, ours, "comes after"},
		{"an entry twice", func(p *Proof) { p.Entries[1] = p.Entries[0] }, ours, "comes after"},
		{"no entries", func(p *Proof) { p.Entries = nil }, ours, "no entries"},
		{"another schema", func(p *Proof) { p.Schema = "dbops/audit-proof/v2" }, ours, "schema"},
		{"another size", func(p *Proof) { p.Checkpoint = strings.Replace(p.Checkpoint, "\n101\n", "\n102\n", 1) }, ours, "invalid signature"},
		{"no checkpoint", func(p *Proof) { p.Checkpoint = "" }, ours, "malformed"},
		{"a key that is not trusted", func(*Proof) {}, []string{public}, "no such key is known"},
		{"signed by somebody", func(p *Proof) {
			c, err := parseNote(p.Checkpoint)
			if err != nil {
				t.Fatal(err)
			}
			if c, err = sign(c.Origin, c.Size, c.Root, signer); err != nil {
				t.Fatal(err)
			}
			p.Checkpoint = c.Text
		}, ours, "signed by mallory"},
	} {
		p := good
		p.Entries = append([]ProvenEntry(nil), good.Entries...)
		c.do(&p)
		bundle, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		_, err = VerifyProof(bundle, c.trust)
		if c.want == "" && err == nil {
			continue
		}
		if fault.KindOf(err) != fault.Findings || !strings.Contains(err.Error(), c.want) || fault.HintOf(err) == "" {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	bundle, err := json.Marshal(good)
	if err != nil {
		t.Fatal(err)
	}
	for _, keys := range [][]string{nil, {"alice"}} {
		if _, err := VerifyProof(bundle, keys); fault.KindOf(err) != fault.Usage {
			t.Errorf("keys %q: %v", keys, err)
		}
	}
	if _, err := VerifyProof(append(bundle, "{}"...), ours); err == nil {
		t.Error("something follows it")
	}
}

func TestAnExportIsCheckedWithoutTheStore(t *testing.T) {
	t.Parallel()
	for name, store := range stores() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := open(t, store(t), keysIn(t.TempDir()))
			filled(t, l)
			var out bytes.Buffer
			if _, err := l.Export(t.Context(), &out); err != nil {
				t.Fatal(err)
			}
			export, ours := out.String(), []string{l.VerifierKey()}
			if e, err := VerifyExport(strings.NewReader(export), ours); err != nil || e.Size != 101 {
				t.Errorf("%+v, %v", e, err)
			}
			lines := strings.SplitAfter(export, "\n")
			if len(lines) != 103 { // 101 entries, the checkpoint, and what follows the last newline
				t.Fatalf("%d lines", len(lines))
			}
			for i, line := range lines[:102] {
				var l struct {
					Schema string
					Entry  Entry
				}
				if err := json.Unmarshal([]byte(line), &l); err != nil || l.Schema == EntrySchema && l.Entry.Seq != int64(i) {
					t.Errorf("%s: %v", line, err)
				}
			}
			for name, changed := range map[string]string{
				"an edited line":  strings.Replace(export, "alice@example.com", "mallo@example.com", 1),
				"a missing line":  strings.Join(append(append([]string{}, lines[:5]...), lines[6:]...), ""),
				"no checkpoint":   strings.Join(lines[:101], ""),
				"two checkpoints": export + lines[101],
				"nothing":         "",
				"something else":  "hello\n" + export,
			} {
				if _, err := VerifyExport(strings.NewReader(changed), ours); fault.KindOf(err) != fault.Findings {
					t.Errorf("%s: %v", name, err)
				}
			}
			edit(t, l.d, 5, "alice", "mallo")
			out.Reset()
			if _, err := l.Export(t.Context(), &out); fault.KindOf(err) != fault.Findings || strings.Contains(out.String(), CheckpointSchema) {
				t.Errorf("of an edited log: %v", err)
			}
		})
	}
}

func TestAnAnchorIsComparedWithTheStore(t *testing.T) {
	t.Parallel()
	for name, store := range stores() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := store(t)
			keys := Keys{File: keysIn(t.TempDir()).File, Name: "alice@laptop"}
			l := open(t, d, keys)
			restore := save(t, d)
			add(t, l, step("run-1", "modify")...)
			anchor, err := l.Anchor(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for range 5 {
				if a, err := l.CheckAnchor(t.Context(), "\r\n"+strings.ReplaceAll(strings.TrimSpace(anchor.Text), "\n", "\r\n")+"  "); err != nil || a.Size != 3 {
					t.Errorf("%+v, %v", a, err)
				}
				add(t, l, step("run-2", "modify")...)
			}
			restore()
			if _, err := open(t, d, keys).CheckAnchor(t.Context(), anchor.Text); conflictOf(t, err).Now.Size != 1 {
				t.Error(err)
			}
			again := open(t, d, keys)
			for range 4 {
				add(t, again, step("run-3", "modify")...)
			}
			if _, err := again.CheckAnchor(t.Context(), anchor.Text); conflictOf(t, err).Now.Size != 9 {
				t.Error(err)
			}
			other := open(t, sqlite(t, filepath.Join(t.TempDir(), "other.db")), keys)
			for _, text := range []string{"", "hello", anchor.Text[1:], anchor.Text} { // the last is of another store
				if _, err := other.CheckAnchor(t.Context(), text); fault.KindOf(err) != fault.Findings || fault.HintOf(err) == "" {
					t.Errorf("%q: %v", text, err)
				}
			}
		})
	}
}

func TestListingTheLog(t *testing.T) {
	t.Parallel()
	for name, store := range stores() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := open(t, store(t), keysIn(t.TempDir()))
			var many []Entry
			start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			for i := range 600 { // more than a page
				e := step("run-1", "modify")[0]
				if e.At = start.Add(time.Duration(i) * time.Hour); i%100 == 0 {
					e.Target, e.Actor, e.Run = "prod/other", "bob", "run-2"
				}
				many = append(many, e)
			}
			add(t, l, many...)
			for _, c := range []struct {
				name        string
				f           Filter
				n           int
				first, last int64
			}{
				{"all", Filter{}, 601, 0, 600},
				{"the last", Filter{Limit: 5}, 5, 596, 600},
				{"those before", Filter{Limit: 5, Before: 596}, 5, 591, 595},
				{"of a target", Filter{Target: "prod/other"}, 6, 1, 501},
				{"of an actor, the last", Filter{Actor: "bob", Limit: 2}, 2, 401, 501},
				{"of a run", Filter{Run: "run-2"}, 6, 1, 501},
				{"of a run, before", Filter{Run: "run-2", Before: 501}, 5, 1, 401},
				{"since", Filter{Since: start.Add(597 * time.Hour)}, 3, 598, 600},
			} {
				got, err := l.List(t.Context(), l.d.Read(), c.f)
				if err != nil || len(got) != c.n || got[0].Seq != c.first || got[c.n-1].Seq != c.last {
					t.Errorf("%s: %d entries, want %d (%d to %d), %v", c.name, len(got), c.n, c.first, c.last, err)
				}
			}
			sql(t, l.d, "update audit_entries set body = $1 where seq = 3", []byte("{"))
			if got, err := l.List(t.Context(), l.d.Read(), Filter{Before: 5}); err != nil || len(got) != 5 || !strings.HasPrefix(got[3].Text, "damaged") || got[3].Seq != 3 {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}
