package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"dbops/internal/fault"
	"dbops/internal/state/db"
)

// ProofSchema is the schema of a [Proof].
const ProofSchema = "dbops/audit-proof/v1"

// Proof shows to somebody without access to the store that a log which dbops signed holds some entries. It does not show that these
// are all entries of a run: that needs an export.
type Proof struct {
	Schema     string        `json:"schema"`
	Checkpoint string        `json:"checkpoint"`
	Entries    []ProvenEntry `json:"entries"` // in the order of their numbers
}

// ProvenEntry is an entry with its audit path (RFC 6962). Body is the exact text that is hashed, an [Entry] as JSON.
type ProvenEntry struct {
	Seq  int64       `json:"seq"`
	Body string      `json:"body"`
	Path []tlog.Hash `json:"path"` // base64
}

// Prove makes the proof of the entries that f means. If there is none it is a fault.NotFound.
func (l *Log) Prove(ctx context.Context, q db.Querier, f Filter) (Proof, error) {
	op := "prove entries of the audit log of " + l.d.Name
	h, err := readHead(ctx, q, "")
	if err != nil {
		return Proof{}, db.Fault(op, err)
	}
	c, err := l.checked(ctx, q, h)
	if err != nil {
		return Proof{}, db.Fault(op, err)
	}
	var rows []row
	if f.Before <= 0 || f.Before > c.Size {
		f.Before = c.Size
	}
	if c.Size > 0 {
		rows, err = l.list(ctx, q, f)
	}
	if err != nil {
		return Proof{}, db.Fault(op, err)
	}
	if len(rows) == 0 {
		return Proof{}, fault.Newf(fault.NotFound, op, "there is no such entry").Hint("dbops audit list")
	}
	p := Proof{Schema: ProofSchema, Checkpoint: c.Text}
	for _, r := range rows {
		seq := r.entry.Seq
		path, err := tlog.ProveRecord(c.Size, seq, l.hashes(ctx, q))
		if missing, ok := errors.AsType[*missingHashError](err); ok {
			err = mismatch("entry %d: %w", seq, missing)
		}
		if err == nil && tlog.CheckRecord(path, c.Size, c.Root, seq, tlog.RecordHash(r.body)) != nil {
			err = mismatch("entry %d is not the one that was signed", seq)
		}
		if err != nil {
			return Proof{}, db.Fault(op, err)
		}
		p.Entries = append(p.Entries, ProvenEntry{seq, string(r.body), path})
	}
	return p, nil
}

// Evidence is what a proof or an export shows.
type Evidence struct {
	Origin  string   `json:"origin"`
	Size    int64    `json:"size"`
	Root    string   `json:"root"`
	Signers []string `json:"signers"`
	Entries []Entry  `json:"entries,omitempty"` // of a proof
}

func (c Checkpoint) evidence() Evidence {
	return Evidence{Origin: c.Origin, Size: c.Size, Root: c.Root.String(), Signers: c.Signers}
}

// maxProof bounds what is read of a stranger's proof.
const maxProof = 64 << 20

// VerifyProof checks a [Proof] as JSON, without a store: trusted are the verifier keys that the reader has from elsewhere. A proof that
// does not hold is a fault.Findings.
func VerifyProof(bundle []byte, trusted []string) (Evidence, error) {
	const op = "verify the proof of audit entries"
	known, err := trust(op, trusted)
	if err != nil {
		return Evidence{}, err
	}
	evidence, err := verifyProof(bundle, known)
	if err != nil {
		return Evidence{}, fault.New(fault.Findings, op, err).Hint("the bundle proves nothing: ask for it again, and for the keys of those who may sign")
	}
	return evidence, nil
}

func verifyProof(bundle []byte, known keyring) (Evidence, error) {
	if len(bundle) > maxProof {
		return Evidence{}, errors.New("it is too large")
	}
	var p Proof
	d := json.NewDecoder(bytes.NewReader(bundle))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return Evidence{}, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Evidence{}, errors.New("something follows it")
	}
	if p.Schema != ProofSchema {
		return Evidence{}, fmt.Errorf("its schema is %q, not %s", cut(p.Schema, 80), ProofSchema)
	}
	c, err := openCheckpoint(p.Checkpoint, known)
	if unknown, ok := errors.AsType[*note.UnverifiedNoteError](err); ok {
		err = unknownSigner(unknown)
	}
	if err != nil {
		return Evidence{}, fmt.Errorf("its checkpoint: %w", err)
	}
	if len(p.Entries) == 0 {
		return Evidence{}, errors.New("it has no entries")
	}
	evidence := c.evidence()
	last := int64(-1)
	for _, e := range p.Entries {
		if e.Seq <= last {
			return Evidence{}, fmt.Errorf("entry %d comes after entry %d", e.Seq, last)
		}
		last = e.Seq
		if tlog.CheckRecord(e.Path, c.Size, c.Root, e.Seq, tlog.RecordHash([]byte(e.Body))) != nil {
			return Evidence{}, fmt.Errorf("entry %d is not in the log that was signed", e.Seq)
		}
		entry, err := decode([]byte(e.Body))
		if err == nil && entry.Seq != e.Seq {
			err = fmt.Errorf("its number is %d", entry.Seq)
		}
		if err != nil {
			return Evidence{}, fmt.Errorf("entry %d: %w", e.Seq, err)
		}
		evidence.Entries = append(evidence.Entries, entry)
	}
	return evidence, nil
}

// trust reads verifier keys that a person gave.
func trust(op string, keys []string) (keyring, error) {
	known := keyring{}
	for _, k := range keys {
		if err := known.add(k); err != nil {
			return nil, fault.New(fault.Usage, op, err).Hint("give the verifier key as dbops audit verify prints it")
		}
	}
	if len(known) == 0 {
		return nil, fault.Newf(fault.Usage, op, "no key is trusted").Hint("give the verifier keys of those who may sign; take them from the signers, not from who brings the proof")
	}
	return known, nil
}
