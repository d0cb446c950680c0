package audit

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// signed is a log of some entries in memory, with a proof of the first and an export.
func signed(t testing.TB) (signer note.Signer, public string, proof []byte, export string) {
	t.Helper()
	signer, public = stranger(t, "alice@laptop")
	tr := &tree{}
	var stored []tlog.Hash
	var bodies []string
	for i := range int64(5) {
		e := step("run-1", "modify")[0]
		e.Seq = i
		b, err := e.encode()
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, string(b))
		export += entryStart + string(b) + entryEnd
		tr.push(tlog.RecordHash(b), func(_ int, h tlog.Hash) tlog.Hash { stored = append(stored, h); return h })
	}
	c, err := sign("dbops/test", 5, tr.root(), signer)
	if err != nil {
		t.Fatal(err)
	}
	line, err := json.Marshal(checkpointLine{CheckpointSchema, c.Text})
	if err != nil {
		t.Fatal(err)
	}
	p := Proof{Schema: ProofSchema, Checkpoint: c.Text}
	for i, b := range bodies[:2] {
		path, err := tlog.ProveRecord(5, int64(i), tlog.HashReaderFunc(func(at []int64) ([]tlog.Hash, error) {
			var hashes []tlog.Hash
			for _, x := range at {
				hashes = append(hashes, stored[x])
			}
			return hashes, nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		p.Entries = append(p.Entries, ProvenEntry{int64(i), b, path})
	}
	if proof, err = json.Marshal(p); err != nil {
		t.Fatal(err)
	}
	return signer, public, proof, export + string(line) + "\n"
}

func FuzzVerifyProof(f *testing.F) {
	_, public, proof, _ := signed(f)
	if _, err := VerifyProof(proof, []string{public}); err != nil {
		f.Fatal(err)
	}
	f.Add(proof)
	f.Add([]byte(strings.Replace(string(proof), `"path":[`, `"path":[null,`, 1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := VerifyProof(b, []string{public})
		if err == nil && (e.Size != 5 || len(e.Entries) == 0 || len(e.Entries) > 2) {
			t.Errorf("%q proves %+v", b, e)
		}
	})
}

func FuzzVerifyExport(f *testing.F) {
	_, public, _, export := signed(f)
	if _, err := VerifyExport(strings.NewReader(export), []string{public}); err != nil {
		f.Fatal(err)
	}
	f.Add(export)
	f.Fuzz(func(t *testing.T, s string) {
		if e, err := VerifyExport(strings.NewReader(s), []string{public}); err == nil && e.Size != 5 {
			t.Errorf("%q proves %+v", s, e)
		}
	})
}

// FuzzCheckpoint has a signer who means ill: what is signed may be anything, of any size.
func FuzzCheckpoint(f *testing.F) {
	signer, public, _, _ := signed(f)
	f.Add("dbops/test\n5\n"+tlog.Hash{}.String()+"\n", int64(3))
	f.Add("dbops/test\n9223372036854775807\n"+tlog.Hash{}.String()+"\nmore\n", int64(9223372036854775806))
	f.Add("\n\n\n\n", int64(-1))
	f.Fuzz(func(t *testing.T, s string, seq int64) {
		known := keyring{}
		if err := known.add(public); err != nil {
			t.Fatal(err)
		}
		_, _ = openCheckpoint(s, known)
		_, _ = parseNote(s)
		text, err := note.Sign(&note.Note{Text: s}, signer)
		if err != nil {
			return
		}
		bundle := fmt.Appendf(nil, `{"schema":%q,"checkpoint":%s,"entries":[{"seq":%d,"body":"{}","path":[]}]}`, ProofSchema, quote(t, string(text)), seq)
		if e, err := VerifyProof(bundle, []string{public}); err == nil {
			t.Errorf("%q proves %+v", s, e)
		}
		c, err := openCheckpoint(string(text), known)
		if err == nil && (c.Size < 0 || c.Size > maxSize || c.Origin == "") {
			t.Errorf("%q is %+v", s, c)
		}
	})
}

func quote(t *testing.T, s string) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func FuzzVerifierKey(f *testing.F) {
	_, public, _, _ := signed(f)
	f.Add(public)
	f.Add("a+00000000+AQ")
	f.Fuzz(func(t *testing.T, s string) {
		k := keyring{}
		if err := k.add(s); err != nil && len(k) > 0 {
			t.Errorf("%q: %v", s, err)
		}
		_ = keyName(s)
		if n := keyName(s); len(n) > 128 || strings.ContainsAny(n, " +\n") {
			t.Errorf("%q is named %q", s, n)
		}
	})
}
