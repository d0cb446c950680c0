package rehearse

import (
	"encoding/json"
	"time"

	"dbops/internal/pg/catalog"
)

// Schema names the report's form under -o json.
const Schema = "dbops/migrate-rehearsal/v1"

// Report is what a rehearsal found.
type Report struct {
	Facts Facts `json:"facts"`
	Times Times `json:"times"`
	// Sizes are those of the target's tables that the files lock, rewrite, scan or build indexes on.
	Sizes []Size `json:"sizes,omitempty"`
	// Data is what the probes found in the target's rows, if they were asked for.
	Data []ProbeResult `json:"data,omitempty"`
	// Cached tells that an earlier rehearsal of the same had found it.
	Cached bool `json:"cached,omitempty"`
}

// MarshalJSON names the form.
func (r Report) MarshalJSON() ([]byte, error) {
	type plain Report
	return json.Marshal(struct {
		Schema string `json:"schema"`
		plain
	}{Schema, plain(r)})
}

// How the copy of the schema was made.
const (
	Replayed    = "replayed"    // the applied files made it, and it equals the target's schema
	Dumped      = "dumped"      // the files alone do not make the target's schema: it was copied from the target
	Approximate = "approximate" // the applied files made it, and it differs from the target's schema
)

// Facts are the same for each rehearsal of the same files on the same schema, so that a plan can hold them.
type Facts struct {
	Base        string           `json:"base"`
	Major       int              `json:"major"`        // of the scratch server
	TargetMajor int              `json:"target_major"` // of the server that the files are for
	Drift       []catalog.Change `json:"drift,omitempty"`
	// Partial says what could not be rehearsed, and why; empty when all of it was.
	Partial []string         `json:"partial,omitempty"`
	Files   []File           `json:"files"`
	Changes []catalog.Change `json:"schema_changes,omitempty"`
	Probes  []Probe          `json:"probes,omitempty"`
}

// File is one file as it ran. After one that failed no other is run.
type File struct {
	Name       string      `json:"name"`
	Mode       string      `json:"mode"`
	Missing    bool        `json:"missing,omitempty"` // there is no file of that direction: nothing is done
	Statements []Statement `json:"statements,omitempty"`
	// Held are the locks that a transaction keeps while later statements of it run, the strongest of each table.
	Held    []Lock   `json:"held,omitempty"`
	Failure *Failure `json:"failure,omitempty"`
	// Down tells whether the file of the other direction brings back the schema, if that was asked.
	Down *Verified `json:"down,omitempty"`
}

// Statement is one statement as it ran. Only tables that existed before the first file count: nobody waits for a new one.
type Statement struct {
	Line     int      `json:"line"`
	Column   int      `json:"column"`
	Text     string   `json:"text"` // shortened, without literals
	Locks    []Lock   `json:"locks,omitempty"`
	Rewrites []string `json:"rewrites,omitempty"` // tables that are written anew, with their indexes
	Builds   []string `json:"builds,omitempty"`   // indexes
	BuildsOn []string `json:"builds_on,omitempty"`
	Scans    []string `json:"scans,omitempty"` // tables that are read in whole
	Writes   []string `json:"writes,omitempty"`
	Empties  []string `json:"empties,omitempty"`
	// Data tells that what it does, and how long, depends on rows, of which the copy has none.
	Data bool `json:"data,omitempty"`
	// Alone tells that it runs outside of a transaction.
	Alone bool `json:"alone,omitempty"`
	// Skipped tells that it could not be run here: see Partial.
	Skipped bool `json:"skipped,omitempty"`

	changesRows bool // it is INSERT, UPDATE, DELETE, MERGE, COPY
}

// quiet tells that there is nothing to say of it.
func (s Statement) quiet() bool {
	for _, l := range s.Locks {
		if l.rank() >= shareUpdateExclusive {
			return false
		}
	}
	return len(s.Rewrites)+len(s.Builds)+len(s.Scans)+len(s.Writes)+len(s.Empties) == 0 && !s.Skipped && !s.Alone
}

// Lock is one on a table.
type Lock struct {
	Relation string `json:"relation"`
	Mode     string `json:"mode"` // "ACCESS EXCLUSIVE"
}

// Failure is why a file failed.
type Failure struct {
	Statement int    `json:"statement,omitempty"` // from 1; 0: at the end of the transaction
	Line      int    `json:"line,omitempty"`
	Column    int    `json:"column,omitempty"`
	State     string `json:"state,omitempty"` // SQLSTATE
	Message   string `json:"message"`
	Detail    string `json:"detail,omitempty"`
	Hint      string `json:"hint,omitempty"`
	Context   string `json:"context,omitempty"`
	Excerpt   string `json:"excerpt,omitempty"`
	// Rights tells that the scratch server refused what the target's may allow: a cloud gives its customers more than PostgreSQL does.
	Rights bool `json:"rights,omitempty"`
}

// Verified is whether going down undoes going up.
type Verified struct {
	Missing  bool             `json:"missing,omitempty"` // there is no file
	Restores bool             `json:"restores"`          // the schema is as before
	Left     []catalog.Change `json:"left,omitempty"`    // how it differs from before
	Failure  *Failure         `json:"failure,omitempty"`
	// Again tells that going up once more led to the same schema; false if it was not tried, as the file does not restore.
	Again bool `json:"again"`
	// Unknown says why it was not tried.
	Unknown string `json:"unknown,omitempty"`
}

// Times are how long it took, on empty tables: they say nothing of the target's.
type Times struct {
	Total      time.Duration     `json:"total_ns"`
	Start      time.Duration     `json:"start_ns"` // of the scratch server
	Copy       time.Duration     `json:"copy_ns"`  // making the schema
	Statements [][]time.Duration `json:"statements_ns,omitempty"`
}

// Size is how large a table of the target is.
type Size struct {
	Relation string `json:"relation"`
	Bytes    int64  `json:"bytes"`         // with TOAST and of all partitions
	Indexes  int64  `json:"indexes_bytes"` // of its indexes
	Rows     int64  `json:"rows"`          // estimated by the server, -1 if it has no idea
}

// Failed returns the file that failed, nil if none did.
func (f Facts) Failed() *File {
	for i := range f.Files {
		if f.Files[i].Failure != nil {
			return &f.Files[i]
		}
	}
	return nil
}

// Exact tells that the rehearsal was of all files, on a schema that equals the target's, by the target's major.
func (f Facts) Exact() bool {
	return f.Base != Approximate && len(f.Partial) == 0 && f.Major == f.TargetMajor
}

// size finds a table's.
func (r *Report) size(relation string) (Size, bool) {
	for _, s := range r.Sizes {
		if s.Relation == relation {
			return s, true
		}
	}
	return Size{}, false
}
