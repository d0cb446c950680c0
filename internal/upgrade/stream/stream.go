// Package stream copies one database to a server of a newer major: its schema, rows, large objects and sequences.
//
// [Copy] reads pg_dump's sections before and after the data, streams all tables in parallel out of one exported snapshot, builds indexes as
// soon as a table is in, and leaves nothing on disk; [Folder] does it with pg_dump and pg_restore. Both keep what is done in a schema on the
// target, in the transactions that do it, so that a copy that was killed goes on or begins again and never mixes two snapshots.
package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
	"dbops/internal/pg"
)

// Connect opens a session on the database that is copied, or on the one that it is copied to. It is called many times, also at once.
type Connect func(ctx context.Context, tune func(*pgx.ConnConfig)) (*pgx.Conn, error)

// Job says what is copied, and how.
type Job struct {
	Source, Target Connect
	// Tool finds a client program for a major; pg.ToolFor without one.
	Tool func(ctx context.Context, name string, major int) (string, error)
	// Dir is for the private socket that the client programs come in through; "" is the folder of temporary files.
	Dir string
	// Jobs is how many tables are copied at once, and beside that how many indexes are built. Defaults to 2.
	Jobs int
	// SplitBytes is how large the ranges are that a table is copied in which would outlast all others. Defaults to 1 GiB.
	SplitBytes int64
	// Snapshot names one that somebody else exported and keeps, such as a replication slot's. Without one Copy exports its own.
	Snapshot string
	// Progress is told how it goes, a few times a second, by one caller at a time.
	Progress func(Progress)
}

// Engine is a way to copy. It may be called again after it failed or was killed, with the same job.
type Engine func(ctx context.Context, j Job) (Result, error)

// Result is what a copy did.
type Result struct {
	Engine   string        `json:"engine"`
	Snapshot string        `json:"snapshot,omitempty"` // what was visible to it, as pg_current_snapshot says
	Tables   int           `json:"tables"`
	Rows     int64         `json:"rows"`
	Bytes    int64         `json:"bytes"`
	Objects  int           `json:"large_objects"`
	Items    int           `json:"items"` // of the schema
	Took     time.Duration `json:"took_ns"`
	// Resumed tells that an earlier try's work was kept; Again why what it had copied was copied anew.
	Resumed bool   `json:"resumed,omitempty"`
	Again   string `json:"again,omitempty"`
	// Notes are things that were left out, each with its reason.
	Notes []string `json:"notes,omitempty"`
}

const (
	defaultSplit = 1 << 30
	defaultJobs  = 2
	tries        = 3 // of one table or item, when its connection is lost
)

func (j *Job) defaults() {
	if j.Jobs <= 0 {
		j.Jobs = defaultJobs
	}
	if j.SplitBytes <= 0 {
		j.SplitBytes = defaultSplit
	}
	if j.Tool == nil {
		j.Tool = pg.ToolFor
	}
}

// copier is one run of Copy.
type copier struct {
	Job
	tell   *teller
	book   *book
	source *snapshot
	major  int // of the target
	toc    *toc
	tables []*table
	owners map[string]string // of extensions
	res    Result
}

// Copy copies the database. The target must be empty or hold what an earlier Copy of the same source left; afterwards [Finish] drops the
// notes of what was done, and until then a second call returns at once.
//
// A lost connection is taken up again. A copy that was killed continues if the source shows the very same state, transaction for
// transaction; otherwise its snapshot is gone, and all rows are copied anew from one new snapshot.
func Copy(ctx context.Context, j Job) (Result, error) {
	j.defaults()
	c := &copier{Job: j, res: Result{Engine: "stream"}}
	began := time.Now()
	c.tell = newTeller(j.Progress)
	err := c.run(ctx)
	c.res.Took = time.Since(began)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return c.res, fault.New(fault.Interrupted, "copy the database", cause).Hint("run it again: it goes on")
	}
	return c.res, err
}

func (c *copier) run(ctx context.Context) (err error) {
	if c.book, err = openBook(ctx, c.Target, c.res.Engine); err != nil {
		return err
	}
	defer c.book.close(ctx)
	if c.book.phase == phaseDone {
		c.res.Resumed = true
		return c.totals(ctx)
	}
	c.tell.phase("snapshot", 0, 0)
	if c.source, err = openSnapshot(ctx, c.Source, c.Snapshot); err != nil {
		return err
	}
	defer c.source.close(ctx)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := c.source.watch(ctx, cancel)
	defer stop()
	err = c.steps(ctx)
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errSnapshotLost) {
		return fault.New(fault.Unavailable, "copy the database", cause).
			Hint("run it again: it takes a new snapshot, and copies all rows anew unless the source has not changed")
	}
	return err
}

func (c *copier) steps(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		c.readSchema, c.reconcile, c.makePre, c.copyData, c.copyObjects, c.copySequences, c.compareSource, c.makePost, c.totals,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return c.book.finish(ctx)
}

// readSchema dumps the schema as the snapshot shows it.
func (c *copier) readSchema(ctx context.Context) error {
	c.tell.phase("schema", 0, 0)
	var err error
	if c.major, err = majorOf(ctx, c.book.conn); err != nil {
		return err
	}
	if c.major < c.source.major {
		return fault.Newf(fault.Blocked, "copy the database", "the target is PostgreSQL %d, older than the source, which is %d", c.major, c.source.major).
			Hint("copy to a target of PostgreSQL %d or newer", c.source.major)
	}
	c.res.Snapshot = c.source.seen
	if c.toc, err = c.dumpSchema(ctx, c.source.name); err != nil {
		return err
	}
	if c.tables, err = c.source.tables(ctx, c.toc); err != nil {
		return fmt.Errorf("read what tables there are: %w", err)
	}
	if err := c.readOwners(ctx); err != nil {
		return fmt.Errorf("read whose extensions are: %w", err)
	}
	c.res.Tables = len(c.tables)
	return c.checkTarget(ctx)
}

// reconcile decides what of an earlier try is kept.
func (c *copier) reconcile(ctx context.Context) error {
	sum := c.toc.sum()
	b := c.book
	c.res.Resumed = b.phase != ""
	switch {
	case b.phase == "": // nothing is done yet
		return b.begin(ctx, c.source.id, c.source.seen, sum)
	case b.source != c.source.id && b.database() != c.source.database():
		return fault.Newf(fault.Blocked, "go on with the copy", "what is on the target was copied from another database").
			Hint("copy into another database, or drop this one and create it again")
	case b.sum != sum:
		return fault.Newf(fault.Stale, "go on with the copy", "the schema of the source was altered since it began").
			Hint("drop the target database, create it again, and begin again; let nobody alter the schema meanwhile")
	case b.source == c.source.id && b.snapshot == c.source.seen:
		return nil
	}
	c.res.Again = "the snapshot of the earlier try is gone, and the source has changed since"
	return c.undo(ctx)
}

// totals adds up what the book says.
func (c *copier) totals(ctx context.Context) error {
	return c.book.totals(ctx, &c.res)
}

// Done tells whether a copy into the target came to its end, and its notes are still there.
func Done(ctx context.Context, target Connect) (bool, error) {
	conn, err := open(ctx, target, targetSettings)
	if err != nil {
		return false, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var there, done bool
	if err = conn.QueryRow(ctx, "select pg_catalog.to_regclass('"+bookSchema+".copy') is not null").Scan(&there); err == nil && there {
		err = conn.QueryRow(ctx, "select exists (select from "+bookSchema+".copy where phase = '"+phaseDone+"')").Scan(&done)
	}
	if err != nil {
		return false, fmt.Errorf("read how far the copy is: %w", err)
	}
	return done, nil
}

// Finish drops the notes of what was done. It may be called twice.
func Finish(ctx context.Context, target Connect) error {
	conn, err := open(ctx, target, targetSettings)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	// Nobody's event trigger need know. Not everybody may say so.
	for _, set := range []string{"set event_triggers = off", "set session_replication_role = replica"} {
		if err := script(ctx, conn, set); err == nil {
			break
		} else if _, ok := serverError(err); !ok {
			return fmt.Errorf("drop the notes of the copy: %w", err)
		}
	}
	if _, err := conn.Exec(ctx, "drop schema if exists "+bookSchema+" cascade"); err != nil {
		return fmt.Errorf("drop the notes of the copy: %w", err)
	}
	return nil
}

func majorOf(ctx context.Context, conn *pgx.Conn) (int, error) {
	var n int
	err := conn.QueryRow(ctx, "select current_setting('server_version_num')::int / 10000").Scan(&n)
	return n, err
}
