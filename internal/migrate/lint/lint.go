// Package lint says of each statement of a migration which lock it takes, whom that blocks, what else can go wrong, and the safe way to
// write it.
//
// A [Linter] reads files with PostgreSQL's grammar, follows through them what they make (a table that is new blocks nobody), and asks a
// [Catalog] for the rest: with a connection, the real tables' sizes and use decide how bad a finding is. A [Rule] is a small value in a
// table; which lock a statement takes is told once, for all rules, and shown to be so on real servers by the tests.
package lint

import (
	"dbops/internal/migrate/source"
)

// Severity of a finding.
type Severity string

// The severities.
const (
	Error Severity = "error" // an outage, a loss or a failure
	Warn  Severity = "warn"  // it blocks for a moment, or surprises
	Info  Severity = "info"  // good to know
)

// AtLeast tells whether s is as bad as other or worse.
func (s Severity) AtLeast(other Severity) bool { return s.rank() >= other.rank() }

func (s Severity) rank() int {
	switch s {
	case Error:
		return 2
	case Warn:
		return 1
	default:
		return 0
	}
}

// Finding is what a rule found in a statement, or in a file.
type Finding struct {
	Rule      string   `json:"rule"`
	Severity  Severity `json:"severity"`
	File      string   `json:"file"`
	Line      int      `json:"line"`   // from 1; 0 for the whole file
	Column    int      `json:"column"` // from 1, in characters
	Statement string   `json:"statement,omitempty"`
	// Lock is the strongest that the statement takes on Object: "ACCESS EXCLUSIVE". Empty: none that matters.
	Lock    string `json:"lock,omitempty"`
	Object  string `json:"object,omitempty"` // schema.table, as the file writes it
	Blocks  string `json:"blocks,omitempty"` // whom, and for how long
	Seen    string `json:"seen,omitempty"`   // what the database says about Object
	Title   string `json:"title"`
	Why     string `json:"why"`
	Rewrite string `json:"rewrite,omitempty"` // the safe form, ready to paste
	Since   string `json:"since,omitempty"`   // what depends on the server's version
	// Allowed is the reason why a comment in the file accepts it; such a finding is Info.
	Allowed string `json:"allowed,omitempty"`

	harm  Harm
	table Name
	start int // of the statement
}

// Input is a file to look at.
type Input struct {
	Path      string
	SQL       string
	Direction source.Direction
	// Migration is what the file belongs to; nil for a file of no folder.
	Migration *source.Migration
	// Old tells that the database has it already: it is read for what it made, and not judged.
	Old bool
}

// Inputs are the files of a folder in the order in which they run, each down file after its up file.
func Inputs(f *source.Folder) []Input {
	var out []Input
	for _, m := range f.Migrations {
		for _, file := range []*source.File{m.Up, m.Down} {
			if file != nil {
				out = append(out, Input{Path: file.Path, SQL: file.SQL, Direction: file.Direction, Migration: m})
			}
		}
	}
	return out
}

// Linter checks files.
type Linter struct {
	// Apart says that the files are not run together: what one makes is not new to the next.
	Apart bool
}

// New returns a linter of files that run together on a database: tables that one makes are new for those after it.
func New() *Linter { return &Linter{} }
