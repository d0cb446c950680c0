package secret

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	sidecarSchema = "dbops/secret-file/v1"
	maxSidecar    = 1 << 20 // five texts in base64, and used-up tokens
	maxUsedUp     = 64      // tokens that a sidecar remembers without their text

	byHand = "by-hand-" // begins the name of a version that a person wrote
)

// sidecar is what lies beside a file: its versions. Those in no role have no text any more; they are kept so that their tokens stay
// used up.
type sidecar struct {
	Schema   string `json:"schema"`
	Current  string `json:"current,omitempty"`
	Pending  string `json:"pending,omitempty"`
	Previous string `json:"previous,omitempty"`
	// Delivered is what dbops promoted last, and Before what was current until then: a text that a person writes ends neither.
	Delivered string `json:"delivered,omitempty"`
	Before    string `json:"before,omitempty"`

	Versions []fileVersion `json:"versions"`
}

type fileVersion struct {
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
	Text    keptText  `json:"text,omitempty"` // base64, because what a person wrote may be anything
}

// keptText is a secret that has to be written to a file, and so is no [Value].
type keptText []byte

// Format writes [Redacted] for every verb.
func (keptText) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(Redacted)) }

// fileState is a file with its sidecar, and what follows from the two.
type fileState struct {
	sidecar
	hasSidecar bool
	info       fs.FileInfo // of the file; nil: there is none
	text       []byte      // of the file
	concluded  bool        // the sidecar on the disk does not say yet what follows
}

// parseSidecar never repeats what it reads.
func parseSidecar(b []byte) (sidecar, error) {
	var s sidecar
	if len(b) > maxSidecar || json.Unmarshal(b, &s) != nil || s.Schema != sidecarSchema {
		return sidecar{}, errors.New("it is not what dbops wrote")
	}
	return s, nil
}

func (s *sidecar) marshal() ([]byte, error) {
	s.Schema = sidecarSchema
	s.forget()
	return json.MarshalIndent(s, "", " ")
}

// kept tells whether a version has a role, and so keeps its text.
func (s *sidecar) kept(id string) bool {
	return slices.Contains([]string{s.Current, s.Pending, s.Previous, s.Delivered, s.Before}, id)
}

// forget drops the texts of versions in no role, and the oldest of these.
func (s *sidecar) forget() {
	usedUp := 0
	for i := len(s.Versions) - 1; i >= 0; i-- {
		v := &s.Versions[i]
		if s.kept(v.ID) {
			continue
		}
		v.Text = nil
		if usedUp++; usedUp > maxUsedUp {
			s.Versions = slices.Delete(s.Versions, i, i+1)
		}
	}
}

func (s *sidecar) version(id string) *fileVersion {
	i := slices.IndexFunc(s.Versions, func(v fileVersion) bool { return v.ID == id })
	if i < 0 || id == "" {
		return nil
	}
	return &s.Versions[i]
}

// promote makes a version current.
func (s *sidecar) promote(to string) {
	if s.Pending == to {
		s.Pending = ""
	}
	s.Current, s.Previous = to, s.Current
}

// deliver is a promotion by dbops itself.
func (s *sidecar) deliver(to string) {
	s.Delivered, s.Before = to, s.Current
	s.promote(to)
}

// there tells whether the place exists.
func (s *fileState) there() bool { return s.hasSidecar || s.info != nil }

// now is the current version. A file that is gone is no new text: what was in it last is current still, and can be put back.
func (s *fileState) now() string {
	if v := s.version(s.Current); v == nil || v.Text == nil {
		return ""
	}
	return s.Current
}

// amiss says why who reads the file does not find the current version.
func (s *fileState) amiss() string {
	switch {
	case s.now() == "" || len(s.text) > 0:
		return ""
	case s.info == nil:
		return "the file is gone"
	default:
		return "the file is empty"
	}
}

// conclude finds which version the file is. Usually it is the one that the sidecar calls current. It is another one that the sidecar
// knows when a promotion was killed before it could tell the sidecar, or when a person put a text back; else a person wrote it, and
// it becomes a version.
func (s *fileState) conclude() {
	if len(s.text) == 0 {
		return
	}
	is := func(id string) bool {
		v := s.version(id)
		return v != nil && v.Text != nil && bytes.Equal(v.Text, s.text)
	}
	if is(s.Current) {
		return
	}
	s.concluded = true
	if is(s.Pending) {
		s.deliver(s.Pending)
		return
	}
	for _, id := range []string{s.Previous, s.Delivered, s.Before} {
		if is(id) {
			s.promote(id)
			return
		}
	}
	created := s.info.ModTime().UTC()
	id := byHand + strconv.FormatInt(created.UnixNano(), 36) + inode(s.info)
	if s.version(id) != nil { // it is older than what dbops knows, and cannot be told from it by its date
		id += "-" + strconv.Itoa(len(s.Versions))
	}
	s.Versions = append(s.Versions, fileVersion{ID: id, Created: created, Text: bytes.Clone(s.text)})
	was := s.Current
	if s.Delivered == "" && !strings.HasPrefix(was, byHand) { // an older dbops wrote it
		s.Delivered = was
	}
	s.Current = id
	if was != "" {
		s.Previous = was
	}
}

func (s *fileState) holding() Holding {
	version := func(id string) Version {
		v := s.version(id)
		if v == nil {
			return Version{}
		}
		return Version{ID: id, Created: v.Created}
	}
	return Holding{Current: version(s.now()), Pending: version(s.Pending), Previous: version(s.Previous), Amiss: s.amiss()}
}
