package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/tlog"
)

// Version is the version of [Entry].
const Version = 1

// Phase says whether something is about to be done, was done, or is only told.
type Phase string

// The phases.
const (
	Intent Phase = "intent" // written and committed before the change
	Result Phase = "result" // written with the outcome, in the transaction that stores the step's output
	Note   Phase = "note"
)

// How an actor was identified.
const (
	ViaAWS        = "aws"
	ViaGoogle     = "google"
	ViaSSH        = "ssh"
	ViaSession    = "ssh-session"
	ViaUnverified = "unverified" // the name of a local user, which anybody can take
)

// Outcomes of a [Result]. Others may be used.
const (
	Done   = "done"
	Failed = "failed"
)

// Entry is one line of the log. The order of its fields is that of its canonical JSON, which is what is hashed: fields are only ever
// added at the end, with a new [Version].
//
// No secret may be in any field: callers name the place and the version that hold it. What is too long is cut.
type Entry struct {
	V         int       `json:"v"`
	Seq       int64     `json:"seq"` // 0 for the first; set by Append
	At        time.Time `json:"at"`  // UTC, by the clock of the writer; set by Append if it is zero
	Actor     string    `json:"actor"`
	Via       string    `json:"via"`  // how the actor was identified
	Host      string    `json:"host"` // where the writer ran
	Run       string    `json:"run"`
	Kind      string    `json:"kind"` // of the operation: "upgrade", "creds.rotate"
	Step      string    `json:"step"`
	Attempt   int       `json:"attempt"`
	Phase     Phase     `json:"phase"`
	Target    string    `json:"target"`  // "prod/main"
	Plan      string    `json:"plan"`    // the plan's hash
	Outcome   string    `json:"outcome"` // of a result
	Changes   []Change  `json:"changes"`
	RequestID string    `json:"request_id"` // the provider's, to be found again in CloudTrail or Cloud Audit Logs
	Text      string    `json:"text"`
}

// Change is one setting with its value before and after.
type Change struct {
	Setting string `json:"setting"`
	From    string `json:"from"`
	To      string `json:"to"`
}

// Bounds of an entry, in bytes and in changes.
const (
	maxField   = 512
	maxText    = 4 << 10
	maxChanges = 256
	maxBody    = 1 << 20 // more than the longest entry, all of it escaped
)

// cutMark ends a text that was cut.
const cutMark = "…"

// cut shortens s to n bytes at most, at the edge of a character.
func cut(s string, n int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= n {
		return s
	}
	n -= len(cutMark)
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + cutMark
}

// encode bounds e and returns its canonical JSON.
func (e *Entry) encode() ([]byte, error) {
	switch e.Phase {
	case Intent, Result, Note:
	default:
		return nil, fmt.Errorf("an audit entry of phase %q", e.Phase)
	}
	if e.Kind == "" {
		return nil, errors.New("an audit entry without a kind")
	}
	e.V = Version
	e.At = e.At.UTC().Round(0)
	if e.Via == "" {
		e.Via = ViaUnverified
	}
	for _, s := range []*string{&e.Actor, &e.Via, &e.Host, &e.Run, &e.Kind, &e.Step, &e.Target, &e.Plan, &e.Outcome, &e.RequestID} {
		*s = cut(*s, maxField)
	}
	e.Text = cut(e.Text, maxText)
	changes := make([]Change, 0, min(len(e.Changes), maxChanges))
	for i, c := range e.Changes {
		if i == maxChanges-1 && len(e.Changes) > maxChanges {
			c = Change{Setting: fmt.Sprintf("%s and %d more", cutMark, len(e.Changes)-i)}
		} else {
			c = Change{cut(c.Setting, maxField), cut(c.From, maxField), cut(c.To, maxField)}
		}
		if changes = append(changes, c); len(changes) == maxChanges {
			break
		}
	}
	e.Changes = changes
	return canonical(*e)
}

func canonical(e Entry) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// decode reads what encode wrote. Entries of a later version keep the fields that this version knows.
func decode(body []byte) (Entry, error) {
	var e Entry
	if len(body) > maxBody {
		return e, fmt.Errorf("the entry has %d bytes", len(body))
	}
	if err := json.Unmarshal(body, &e); err != nil {
		return Entry{}, fmt.Errorf("the entry is not what dbops writes: %w", err)
	}
	return e, nil
}

// Leaf is the entry's hash in the tree, in base64; empty for one of another version, whose text is not known to the letter.
func (e Entry) Leaf() string {
	if e.V != Version {
		return ""
	}
	body, err := canonical(e)
	if err != nil {
		return ""
	}
	return tlog.RecordHash(body).String()
}
