// Package migrate changes the schema of databases by golang-migrate's folders: it says what a migration will do, does it so that traffic
// does not wait, and remembers who did it.
//
// The files, their order and the table of versions are golang-migrate's, so a database can be taken over and handed back. What golang-migrate
// does not have is a history, the rehearsal before, and the way out of a migration that ended half-way.
package migrate

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
	"dbops/internal/migrate/driver"
	"dbops/internal/migrate/rehearse"
	"dbops/internal/op"
)

// The kinds of operation.
const (
	UpKind       = "migrate.up"
	DownKind     = "migrate.down"
	RepairKind   = "migrate.repair"
	BaselineKind = "migrate.baseline"
)

// Set is a folder of migrations and the database that it is for.
type Set struct {
	Database string // as dbops.yaml calls it
	Name     string // "" for the database's own folder, else that of one of its migration_sets
	Server   string // the database's name on the server
	Folder   string
	Table    driver.Table
	Plain    bool   // no cloud has the instance
	Owner    string // the role that takes over; "" for the login's own
}

// String is how commands call it: shop, or shop/reports.
func (s Set) String() string {
	if s.Name == "" {
		return s.Database
	}
	return s.Database + "/" + s.Name
}

// Deps are what the operations stand on.
type Deps struct {
	// Sets are those that dbops.yaml declares on an instance, in order.
	Sets func(t op.Target) ([]Set, error)
	// Connect opens a session that acts as the owner of a set's database. tune is called on its configuration before.
	Connect func(ctx context.Context, t op.Target, s Set, tune func(*pgx.ConnConfig)) (*pgx.Conn, error)
	// Read opens the same session, in which nothing can be changed.
	Read func(ctx context.Context, t op.Target, s Set) (*pgx.Conn, error)
	// View opens a session for looking at the status, as who may read.
	View func(ctx context.Context, t op.Target, s Set) (*pgx.Conn, error)
	// Who is who works on this machine; actor is the engine's word.
	Who func(ctx context.Context, actor, folder string) driver.Who
	// Drops are what a file drops, by its text. Nil: it is not told.
	Drops func(ctx context.Context, sql string) ([]Dropped, error)
	// Compare tells how a database's schema differs from the folder's at versions, in their order. Nil: it is not told.
	Compare func(ctx context.Context, t op.Target, p Prepared, versions []int64) ([]rehearse.At, error)
	// Rehearse runs jobs on a scratch copy of the schema. Nil: nothing is rehearsed.
	Rehearse func(ctx context.Context, t op.Target, p Prepared) (*rehearse.Report, error)
}

// New returns the operations.
func New(d Deps) []op.Kind { return []op.Kind{up(d), down(d), repair(d), baseline(d)} }

// Span is a length of time, written as in 1m30s.
type Span time.Duration

// MarshalText writes it.
func (s Span) MarshalText() ([]byte, error) { return []byte(time.Duration(s).String()), nil }

// UnmarshalText reads it.
func (s *Span) UnmarshalText(b []byte) error {
	d, err := time.ParseDuration(string(b))
	*s = Span(d)
	return err
}

func (s Span) String() string { return time.Duration(s).String() }

// Manner is how files are run.
type Manner struct {
	LockTimeout      Span `json:"lock_timeout"`      // of each attempt to get a lock
	StatementTimeout Span `json:"statement_timeout"` // 0 for none
	Patience         Span `json:"patience"`          // how long locks are tried for
	EndBlockers      bool `json:"end_blockers,omitempty"`
}

// Usual is how files are run if nobody says otherwise.
func Usual() Manner {
	return Manner{LockTimeout: Span(2 * time.Second), StatementTimeout: Span(15 * time.Minute), Patience: Span(5 * time.Minute)}
}

// draft is a plan's draft that says how files are run.
type draft struct{ op.Draft }

// addManner says it, for who approves.
func (d *draft) addManner(m Manner) {
	if len(d.Changes) == 0 {
		return
	}
	statements := "without a time-out"
	if m.StatementTimeout > 0 {
		statements = "for " + m.StatementTimeout.String() + " at most"
	}
	d.Notes = append(d.Notes, fmt.Sprintf("locks are waited for %s at a time, and tried for %s; a statement runs %s", m.LockTimeout, m.Patience, statements))
	if m.EndBlockers {
		d.Findings = append(d.Findings, op.Finding{
			Severity: op.Warn, Check: "end-blockers", Text: "sessions that keep a lock from a file are ended, whoever they are, from the second attempt on",
			Remedy: "without --end-blockers they are only named",
		})
	}
}

// find returns one of the sets of an instance.
func (d Deps) find(t op.Target, name string) (Set, error) {
	all, err := d.Sets(t)
	if err != nil {
		return Set{}, err
	}
	for _, s := range all {
		if s.String() == name {
			return s, nil
		}
	}
	return Set{}, fault.Newf(fault.Config, "migrate "+t.String(), "dbops.yaml declares no migrations %s there", name).Hint("name their folder in dbops.yaml: databases.%s.migrations", name)
}

// pick returns the named sets of an instance, all without names.
func (d Deps) pick(t op.Target, names []string) ([]Set, error) {
	if len(names) == 0 {
		return d.Sets(t)
	}
	sets := make([]Set, 0, len(names))
	for _, n := range names {
		s, err := d.find(t, n)
		if err != nil {
			return nil, err
		}
		sets = append(sets, s)
	}
	return sets, nil
}

// open opens a driver over a set's database, for a run.
func (d Deps) open(ctx context.Context, t op.Target, s Set, m Manner, who driver.Who, tell func(string), applied func(driver.Job, time.Duration)) (*driver.Driver, error) {
	return driver.Open(ctx, driver.Options{
		Connect: func(ctx context.Context, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
			return d.Connect(ctx, t, s, tune)
		},
		What: t.String() + "/" + s.String(), Table: s.Table, Who: who,
		LockTimeout: time.Duration(m.LockTimeout), StatementTimeout: time.Duration(m.StatementTimeout), Patience: time.Duration(m.Patience),
		EndBlockers: m.EndBlockers, Tell: tell, Applied: applied,
	})
}
