package audit

import (
	"bufio"
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

// Schemas of the lines of an export.
const (
	EntrySchema      = "dbops/audit-entry/v1"
	CheckpointSchema = "dbops/audit-checkpoint/v1"
)

// The line of an entry holds the exact text that is hashed between these two.
const (
	entryStart = `{"schema":"` + EntrySchema + `","entry":`
	entryEnd   = "}\n"
)

type checkpointLine struct {
	Schema     string `json:"schema"`
	Checkpoint string `json:"checkpoint"`
}

// Export writes all entries as JSON Lines and the signed checkpoint as the last line. If the entries are not those that were signed, it
// is a fault.Findings and the last line is missing.
func (l *Log) Export(ctx context.Context, w io.Writer) (Checkpoint, error) {
	op := "export the audit log of " + l.d.Name
	c, err := l.Check(ctx)
	if err != nil {
		return c, err
	}
	if c.Size == 0 {
		return c, fault.Newf(fault.NotFound, op, "it is empty")
	}
	b := bufio.NewWriterSize(w, 64<<10)
	if err := l.export(ctx, b, c); err != nil {
		return c, db.Fault(op, errors.Join(err, b.Flush()))
	}
	line, err := json.Marshal(checkpointLine{CheckpointSchema, c.Text})
	if err != nil {
		return c, fault.New(fault.Internal, op, err)
	}
	_, _ = b.Write(append(line, '\n')) // Flush tells
	if err := b.Flush(); err != nil {
		return c, fault.New(fault.Unavailable, op, err)
	}
	return c, nil
}

func (l *Log) export(ctx context.Context, w *bufio.Writer, c Checkpoint) error {
	t := &tree{}
	for lo := int64(0); lo < c.Size; lo += batch {
		err := db.Each(ctx, l.d.Read(), func(rows db.Rows) error {
			var seq int64
			var body []byte
			if err := rows.Scan(&seq, &body); err != nil {
				return err
			}
			if seq != t.size || !json.Valid(body) || bytes.IndexByte(body, '\n') >= 0 {
				return mismatch("entry %d is missing or damaged", t.size)
			}
			t.push(tlog.RecordHash(body), keep)
			_, _ = w.WriteString(entryStart)
			_, _ = w.Write(body)
			_, err := w.WriteString(entryEnd)
			return err
		}, "select seq, body from audit_entries where seq >= $1 and seq < $2 order by seq", lo, min(lo+batch, c.Size))
		if err != nil {
			return err
		}
	}
	if t.size != c.Size || t.root() != c.Root {
		return mismatch("the entries are not those that were signed: their root is %s, not %s", t.root(), c.Root)
	}
	return nil
}

func keep(_ int, h tlog.Hash) tlog.Hash { return h }

// VerifyExport checks an export without a store: trusted are the verifier keys that the reader has from elsewhere. One that does not
// hold is a fault.Findings.
func VerifyExport(r io.Reader, trusted []string) (Evidence, error) {
	const op = "verify the export of an audit log"
	known, err := trust(op, trusted)
	if err != nil {
		return Evidence{}, err
	}
	c, err := verifyExport(r, known)
	if err != nil {
		return Evidence{}, fault.New(fault.Findings, op, err).Hint("the export proves nothing: make it again, and compare it with the store")
	}
	return c.evidence(), nil
}

func verifyExport(r io.Reader, known keyring) (Checkpoint, error) {
	t := &tree{}
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxBody+len(entryStart)+len(entryEnd))
	for lines.Scan() {
		line := lines.Bytes()
		if body, ok := bytes.CutPrefix(line, []byte(entryStart)); ok && bytes.HasSuffix(body, []byte("}")) {
			t.push(tlog.RecordHash(body[:len(body)-1]), keep)
			continue
		}
		var last checkpointLine
		if err := json.Unmarshal(line, &last); err != nil || last.Schema != CheckpointSchema {
			return Checkpoint{}, fmt.Errorf("line %d is neither an entry nor a checkpoint", t.size+1)
		}
		if lines.Scan() {
			return Checkpoint{}, errors.New("something follows the checkpoint")
		}
		c, err := openCheckpoint(last.Checkpoint, known)
		if unknown, ok := errors.AsType[*note.UnverifiedNoteError](err); ok {
			err = unknownSigner(unknown)
		}
		if err != nil {
			return Checkpoint{}, fmt.Errorf("its checkpoint: %w", err)
		}
		if c.Size != t.size || c.Root != t.root() {
			return Checkpoint{}, fmt.Errorf("it has %d entries with root %s, and signed were %d with root %s", t.size, t.root(), c.Size, c.Root)
		}
		return c, lines.Err()
	}
	if err := lines.Err(); err != nil {
		return Checkpoint{}, err
	}
	return Checkpoint{}, errors.New("it has no checkpoint at its end")
}
