package audit

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Checkpoint is a signed statement about the log: so many entries, with this root. Its text is a C2SP checkpoint
// (https://c2sp.org/tlog-checkpoint), the format of the Go checksum database, which other tools can read and witness.
type Checkpoint struct {
	Origin  string // of which store
	Size    int64
	Root    tlog.Hash
	Signers []string // names of the known keys whose signatures are valid
	Text    string   // as signed
}

const (
	// maxSize keeps sums of sizes that a stranger wrote from overflowing.
	maxSize       = 1 << 40
	maxCheckpoint = 64 << 10
)

var errCheckpoint = errors.New("it is not a checkpoint of an audit log")

// sign makes a checkpoint.
func sign(origin string, size int64, root tlog.Hash, by note.Signer) (Checkpoint, error) {
	text, err := note.Sign(&note.Note{Text: fmt.Sprintf("%s\n%d\n%s\n", origin, size, root)}, by)
	if err != nil {
		return Checkpoint{}, err
	}
	return Checkpoint{Origin: origin, Size: size, Root: root, Signers: []string{by.Name()}, Text: string(text)}, nil
}

// openCheckpoint checks a checkpoint's signatures; one valid signature of a known key is enough, an invalid one of a known key is an
// error. A *note.UnverifiedNoteError means that no key is known.
func openCheckpoint(text string, known note.Verifiers) (Checkpoint, error) {
	if len(text) > maxCheckpoint {
		return Checkpoint{}, errCheckpoint
	}
	n, err := note.Open([]byte(text), known)
	if err != nil {
		return Checkpoint{}, err
	}
	c, err := parseCheckpoint(n.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	c.Text = text
	for _, s := range n.Sigs {
		c.Signers = append(c.Signers, s.Name)
	}
	return c, nil
}

// parseCheckpoint reads the three lines; further ones are allowed by the format and ignored.
func parseCheckpoint(text string) (Checkpoint, error) {
	lines := strings.SplitN(text, "\n", 4)
	if len(lines) != 4 || lines[0] == "" {
		return Checkpoint{}, errCheckpoint
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || size > maxSize || strconv.FormatInt(size, 10) != lines[1] {
		return Checkpoint{}, errCheckpoint
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return Checkpoint{}, errCheckpoint
	}
	return Checkpoint{Origin: lines[0], Size: size, Root: root}, nil
}

// parseNote reads a checkpoint whose signature was checked before.
func parseNote(text string) (Checkpoint, error) {
	body, _, ok := strings.Cut(text, "\n\n")
	if !ok || len(text) > maxCheckpoint {
		return Checkpoint{}, errCheckpoint
	}
	c, err := parseCheckpoint(body + "\n")
	c.Text = text
	return c, err
}

// keyring is a set of known keys.
type keyring map[string]note.Verifier // by verifier key

// add reads a verifier key such as "alice@laptop+0f2a…+AQ…".
func (k keyring) add(key string) error {
	v, err := note.NewVerifier(key)
	if err != nil {
		return fmt.Errorf("verifier key %q: %w", cut(key, 80), err)
	}
	k[key] = v
	return nil
}

// Verifier implements note.Verifiers.
func (k keyring) Verifier(name string, hash uint32) (note.Verifier, error) {
	var found note.Verifier
	for _, v := range k {
		if v.Name() != name || v.KeyHash() != hash {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("two keys are called %s+%08x", name, hash)
		}
		found = v
	}
	if found == nil {
		return nil, &note.UnknownVerifierError{Name: name, KeyHash: hash}
	}
	return found, nil
}
