package lint

import (
	"context"
	"fmt"
	"strings"
)

// Catalog knows the database that the files will be run on.
type Catalog interface {
	// Look answers what is known of the things that files name. What does not exist is absent from the answer.
	Look(ctx context.Context, q Question) (*Facts, error)

	// Syntax returns for each statement the server's own verdict on its grammar: nil if it has none or knows no better. It runs nothing.
	Syntax(ctx context.Context, statements []string) ([]*SyntaxError, error)
}

// Question is what the files name.
type Question struct {
	Relations []Name   // tables, views, indexes
	Functions []string // without schema
}

// SyntaxError is a server's refusal of a text.
type SyntaxError struct {
	Message string
	Offset  int // bytes into the statement, -1 if unknown
}

// Facts are what a [Catalog] knows.
type Facts struct {
	Connected bool
	Major     int    // 0: unknown
	Provider  string // rds, cloudsql, postgres; empty: unknown
	Relations map[Name]Relation
	// Volatile tells of a function by name whether it is; absent: unknown.
	Volatile map[string]bool
	// Extensions that the server has to offer; nil: unknown.
	Extensions map[string]bool
}

// Relation is a table, view or index of a database.
type Relation struct {
	Kind    string // of pg_class.relkind: r, p, i, m, v
	Table   Name   // of an index: its table
	Bytes   int64  // with TOAST, without indexes; of a partitioned table, of all partitions; -1: unknown
	Rows    int64  // estimated; -1: unknown
	Reads   int64  // scans, since Seconds
	Writes  int64  // rows inserted, updated, deleted
	Seconds float64
	Columns map[string]Column
	// Constraints by name.
	Constraints map[string]Constraint
}

// Column of a table.
type Column struct {
	Type    string // as format_type writes it
	NotNull bool
}

// Constraint of a table.
type Constraint struct {
	Kind  string // of pg_constraint.contype: c, f, p, u, x, n
	Valid bool
	Other Name // that a foreign key points to
	// Proves is the column of a CHECK (column IS NOT NULL).
	Proves string
}

// Quiet tells that nobody was seen to use the table.
func (r Relation) Quiet() bool { return r.Seconds >= 3600 && r.Reads == 0 && r.Writes == 0 }

// size classes: what takes milliseconds at any rate, and what takes seconds.
const (
	tiny  = 1 << 20
	small = 64 << 20
)

// String is the table for a person: "40 GB, about 120,000,000 rows, 1,200 reads and 30 rows written a second".
func (r Relation) String() string {
	parts := []string{bytesText(r.Bytes)}
	switch {
	case r.Bytes < 0:
		parts = []string{"of unknown size: somebody holds it"}
	case r.Bytes == 0:
		parts = []string{"empty"}
	case r.Rows >= 0:
		parts = append(parts, "about "+thousands(r.Rows)+" rows")
	}
	switch {
	case r.Reads == 0 && r.Writes == 0:
		parts = append(parts, "no reads or writes seen")
	case r.Seconds >= 1:
		parts = append(parts, rate(float64(r.Reads)/r.Seconds)+" scans and "+rate(float64(r.Writes)/r.Seconds)+" rows written a second")
	}
	return strings.Join(parts, ", ")
}

func rate(f float64) string {
	switch {
	case f == 0:
		return "no"
	case f < 0.1:
		return "under 0.1"
	case f < 10:
		return fmt.Sprintf("%.1f", f)
	}
	return thousands(int64(f))
}

func thousands(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func bytesText(n int64) string {
	const units = "kMGTP"
	if n < 1<<10 {
		return fmt.Sprintf("%d bytes", n)
	}
	f, i := float64(n)/1024, 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	if f < 10 {
		return fmt.Sprintf("%.1f %cB", f, units[i])
	}
	return fmt.Sprintf("%.0f %cB", f, units[i])
}

// Offline is a catalog without a connection.
type Offline struct {
	Major    int    // 0: unknown
	Provider string // empty: unknown
}

// Look knows the version at most.
func (o Offline) Look(context.Context, Question) (*Facts, error) {
	return &Facts{Major: o.Major, Provider: o.Provider}, nil
}

// Syntax knows nothing.
func (Offline) Syntax(_ context.Context, statements []string) ([]*SyntaxError, error) {
	return make([]*SyntaxError, len(statements)), nil
}
