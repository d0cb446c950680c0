package audit

import (
	"fmt"
	"slices"

	"dbops/internal/fault"
)

// Report is what [Log.Verify] found.
type Report struct {
	Origin string `json:"origin"`
	Size   int64  `json:"size"`
	Root   string `json:"root"`  // base64
	Since  int64  `json:"since"` // the first entry that was read
	// Signers are the keys whose signatures under the head are valid.
	Signers []string `json:"signers"`
	// FirstBad is the first entry that is not what was signed; -1 if there is none, or none that can be told.
	FirstBad int64     `json:"first_bad"`
	Problems []Problem `json:"problems"` // the first hundred
	Found    int       `json:"found"`    // how many problems there are
	// OpenIntents are announced changes without a result: still running, or broken off. Look them up at the provider by time and target.
	OpenIntents []Entry `json:"open_intents"` // the first hundred
	Open        int     `json:"open"`         // how many there are
}

// Problem is one contradiction in the store.
type Problem struct {
	Seq  int64  `json:"seq"` // of the entry; -1 for the log as a whole
	Text string `json:"text"`
}

const maxListed = 100

func (r *Report) problem(seq int64, format string, args ...any) {
	if r.Found++; len(r.Problems) < maxListed {
		r.Problems = append(r.Problems, Problem{seq, fmt.Sprintf(format, args...)})
	}
	if seq >= 0 && (r.FirstBad < 0 || seq < r.FirstBad) {
		r.FirstBad = seq
	}
}

// OK tells whether the log is what was signed. Open intents are no contradiction.
func (r *Report) OK() bool { return r.Found == 0 }

// Err is nil if the log is what was signed, else a fault.Findings with the first problem.
func (r *Report) Err() error {
	if r.OK() {
		return nil
	}
	first := r.Problems[0]
	if i := slices.IndexFunc(r.Problems, func(p Problem) bool { return p.Seq >= 0 && p.Seq == r.FirstBad }); i > 0 {
		first = r.Problems[i]
	}
	more := ""
	if r.Found > 1 {
		more = fmt.Sprintf(" (and %d more)", r.Found-1)
	}
	return fault.Newf(fault.Findings, "verify the audit log", "%s%s", first.Text, more).
		Hint("keep a copy of the store before anything else; docs/audit.md says how to find out what happened")
}
