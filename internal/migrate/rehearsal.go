package migrate

import "dbops/internal/op"

// Rehearsal is what a scratch copy of the schema showed: the part of it that is the same each time.
type Rehearsal struct {
	Exact   bool     `json:"exact"`             // the copy is as the database's schema
	Partial []string `json:"partial,omitempty"` // what could not be rehearsed, and why
	Failure string   `json:"failure,omitempty"` // of the first file that failed
	Effects []string `json:"effects,omitempty"` // locks, rewrites, built indexes, in order
	Schema  []string `json:"schema,omitempty"`  // what is different afterwards
}

// rehearsed tells what a rehearsal found, or that there was none.
func (f SetFacts) rehearsed(asked bool) (out []op.Finding) {
	r := f.Rehearsal
	if r == nil {
		if asked && len(f.Files) > 0 {
			out = append(out, op.Finding{Severity: op.Warn, Check: "not-rehearsed", Text: f.Name + ": not rehearsed"})
		}
		return out
	}
	if r.Failure != "" {
		out = append(out, op.Finding{Severity: op.Block, Check: "rehearsal", Text: f.Name + ": it fails in the rehearsal: " + r.Failure, Remedy: "mend the file"})
	}
	for _, p := range r.Partial {
		out = append(out, op.Finding{Severity: op.Warn, Check: "rehearsal-partial", Text: f.Name + ": " + p})
	}
	for _, e := range r.Effects {
		out = append(out, op.Finding{Severity: op.Info, Check: "effect", Text: f.Name + ": " + e})
	}
	return out
}
