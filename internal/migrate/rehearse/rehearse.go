// Package rehearse runs migrations on a scratch copy of a database's schema, and says what they do there.
//
// The copy has the target's schema and no rows. It is made by the files that the target has had; if that does not lead to the target's
// catalogue, it is dumped from the target. After each statement its own locks, the files of the tables and what it read are looked at, so that
// also what a function or a DO block does is seen. What depends on rows is not: [Probe] lists questions to ask the target about them.
package rehearse

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
	"dbops/internal/migrate/driver"
	"dbops/internal/migrate/source"
	"dbops/internal/pg"
	"dbops/internal/pg/catalog"
)

// Request says what is to be rehearsed.
type Request struct {
	What   string // the database, for errors: "prod/main/shop"
	Folder *source.Folder
	State  driver.State
	Table  driver.Table // as it is configured
	Jobs   []driver.Job // in order
	// Applied are the migrations that the target has had. Nil: those that State tells of.
	Applied []*source.Migration
	// Beside are the other folders of the same database, in the order in which they are applied to a new one.
	Beside []Beside
	// Target is a session on the database; it is only read. Role is who runs the files there, "" for the session's own.
	Target *pgx.Conn
	Role   string
	// Connect opens another session, for pg_dump if there is drift: it has to be allowed to read every table. Nil: nothing is dumped.
	Connect func(ctx context.Context, tune func(*pgx.ConnConfig)) (*pgx.Conn, error)

	ScratchURL string        // names a scratch server; "": one is started here
	CacheDir   string        // of reports; "": none are kept
	Version    string        // of dbops, as a report depends on it
	Verify     bool          // also go down after going up, and compare
	Probe      time.Duration // ask the target the probes, each for that long at most; 0: do not
	Tell       func(text string)
}

// Beside is a folder of migrations that the database has, too. Nothing of it is rehearsed, but the schema is made by all folders.
type Beside struct {
	Folder  *source.Folder
	State   driver.State
	Table   driver.Table        // as it is configured
	Applied []*source.Migration // nil: those that State tells of
}

func (q *Request) tell(format string, args ...any) {
	if q.Tell != nil {
		q.Tell(fmt.Sprintf(format, args...))
	}
}

// Run rehearses. An error says why that could not be done; a file that fails is in the report. It may be called again.
func Run(ctx context.Context, q Request) (*Report, error) {
	t, err := lookAt(ctx, q)
	if err != nil {
		return nil, fail(ctx, q, err)
	}
	key := cacheKey(q, t)
	r := load(q.CacheDir, key)
	if r == nil {
		if r, err = rehearse(ctx, q, t); err != nil {
			return nil, fail(ctx, q, err)
		}
		if err := save(q.CacheDir, key, r); err != nil {
			q.tell("the rehearsal could not be kept: %s", err)
		}
	}
	if r.Sizes, err = readSizes(ctx, q.Target, r.Facts.touched()); err != nil {
		return nil, fail(ctx, q, err)
	}
	if q.Probe > 0 {
		if r.Data, err = RunProbes(ctx, q.Target, r.Facts.Probes, q.Probe); err != nil {
			return nil, fail(ctx, q, err)
		}
	}
	return r, nil
}

// fail is an error that a person can act on.
func fail(ctx context.Context, q Request, err error) error {
	var f *fault.Error
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &f):
		return err
	}
	return fault.New(fault.Unavailable, "rehearse the migrations of "+q.What, err)
}

func rehearse(ctx context.Context, q Request, t *target) (r *Report, err error) {
	begun := time.Now()
	b, err := open(ctx, q, t)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	r = &Report{}
	r.Times.Start = time.Since(begun)
	if err := b.copySchema(ctx); err != nil {
		return nil, err
	}
	if err := b.makeRoles(ctx, "postgres"); err != nil {
		return nil, err
	}
	if err := (&replayer{b: b, table: q.Table}).replay(ctx, nil, true); err != nil { // the runner makes what it needs before the first file
		return nil, err
	}
	r.Times.Copy = time.Since(begun) - r.Times.Start
	r.Facts = Facts{Base: b.base, Major: b.scratch.Major, TargetMajor: t.major, Drift: b.drift}
	verify := ""
	if q.Verify {
		if verify, err = b.scratch.CreateDatabase(ctx, b.db, b.db); err != nil {
			return nil, err
		}
	}
	if err := b.runAll(ctx, r); err != nil {
		return nil, err
	}
	if verify != "" {
		if err := b.verifyAll(ctx, verify, r); err != nil {
			return nil, err
		}
	}
	r.Facts.Partial = b.partial
	r.Times.Total = time.Since(begun)
	return r, nil
}

// runAll runs the jobs, and looks at the schema before and after.
func (b *bench) runAll(ctx context.Context, r *Report) (err error) {
	p, err := b.player(ctx, b.db)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	before, err := b.catalog(ctx, p.conn)
	if err != nil {
		return err
	}
	old, err := readShape(ctx, p.conn)
	if err != nil {
		return err
	}
	for _, j := range b.q.Jobs {
		b.q.tell("running %s", j)
		f, times, err := p.play(ctx, j)
		if err != nil {
			return err
		}
		r.Facts.Files = append(r.Facts.Files, f)
		r.Times.Statements = append(r.Times.Statements, times)
		if f.Failure != nil {
			if f.Failure.Rights {
				b.part("%s: %s; only a superuser may, or the customer of a cloud", f.Place(), f.Failure.Message)
			}
			if n := len(b.q.Jobs) - len(r.Facts.Files); n > 0 {
				b.part("the files after %s: %d", f.Name, n)
			}
			break
		}
	}
	after, err := b.catalog(ctx, p.conn)
	if err != nil {
		return err
	}
	r.Facts.Changes = catalog.Diff(before, after)
	now, err := readShape(ctx, p.conn)
	if err != nil {
		return err
	}
	r.Facts.Probes = probes(old, now, r.Facts.Files)
	return nil
}

// bench is a scratch server with the copy.
type bench struct {
	q       Request
	t       *target
	scratch *pg.Scratch
	db      string
	base    string
	drift   []catalog.Change
	partial []string
}

func open(ctx context.Context, q Request, t *target) (*bench, error) {
	q.tell("starting a scratch server")
	s, err := pg.StartScratch(ctx, pg.ScratchOptions{Major: t.major, User: t.role, URL: q.ScratchURL})
	if err != nil {
		return nil, err
	}
	b := &bench{q: q, t: t, scratch: s}
	if !s.Own {
		if err := b.notTheTarget(ctx); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	if s.Major != t.major {
		b.part("rehearsed on PostgreSQL %d, the server has %d", s.Major, t.major)
	}
	if b.db, err = s.CreateDatabase(ctx, t.database, ""); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return b, nil
}

func (b *bench) close() error { return b.scratch.Close() }

// part notes what is not rehearsed, once.
func (b *bench) part(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	for _, known := range b.partial {
		if known == s {
			return
		}
	}
	b.partial = append(b.partial, s)
}

// notTheTarget refuses a scratch server that is the target's: a copy is made and dropped there, and that is work for a server.
func (b *bench) notTheTarget(ctx context.Context) error {
	c, err := b.scratch.Connect(ctx, "postgres", func(*pgx.ConnConfig) {})
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	same, err := pg.SameServer(ctx, c, b.q.Target)
	if err == nil && same {
		err = fault.Newf(fault.Blocked, "rehearse the migrations of "+b.q.What, "the scratch server is the server that they are for").Hint("name another one, that nobody misses")
	}
	return err
}

// connect opens a session of the copy with the target's settings.
func (b *bench) connect(ctx context.Context, db string, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
	return b.scratch.Connect(ctx, db, func(c *pgx.ConnConfig) { b.tune(c); tune(c) })
}

func (b *bench) tune(c *pgx.ConnConfig) {
	c.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	for k, v := range b.t.settings {
		c.RuntimeParams[k] = v
	}
	c.RuntimeParams["client_min_messages"] = "error"
}

// catalog reads that of the copy.
func (b *bench) catalog(ctx context.Context, conn *pgx.Conn) (*catalog.Catalog, error) {
	return catalog.Read(ctx, conn, b.t.without...)
}
