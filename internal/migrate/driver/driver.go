// Package driver is golang-migrate's view of a PostgreSQL database: its database.Driver, and its table of versions.
//
// A file that can is run in one transaction together with the version and an entry of the history, so that it is applied or it is not.
// Other files are run statement by statement, and after each it is recorded how far they are. Locks are waited for in short attempts, so
// that a migration never makes traffic queue behind it.
package driver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/golang-migrate/migrate/v4"
	"github.com/golang-migrate/migrate/v4/database"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/fault"
	"dbops/internal/migrate/source"
	"dbops/internal/migrate/split"
)

// Table is where the version of a folder is kept in a database.
type Table struct {
	Schema string // "" for the first one of the session's search path, as golang-migrate does
	Name   string // "schema_migrations"
}

// Who runs something, for the history.
type Who struct {
	Actor  string // as the engine knows it
	OSUser string
	Host   string
	Tool   string // "dbops 1.2.3"
	Commit string // of the folder in git; "" if it is not known
	Run    string // the engine's
}

// Options are what a Driver needs.
type Options struct {
	// Connect opens a session that may change the schema. tune is called on its configuration before.
	Connect func(ctx context.Context, tune func(*pgx.ConnConfig)) (*pgx.Conn, error)
	What    string // for errors: "prod/main/shop"
	Table   Table
	Who     Who

	LockTimeout      time.Duration // of each attempt to get a lock on a table. Defaults to 2 s
	StatementTimeout time.Duration // 0 for none; indexes that are built concurrently have none
	Patience         time.Duration // how long locks are tried for, and the migration lock is waited for. Defaults to 5 min
	Grace            time.Duration // how long a statement may go on after ctx has ended. Defaults to 2 s
	// EndBlockers ends the sessions that keep a lock from us, from the second attempt on.
	EndBlockers bool
	// Tell is told what goes on, for a person.
	Tell func(text string)
	// Applied is told of each file that is run.
	Applied func(j Job, took time.Duration)

	// hook is called after each thing that outlives the process, for the tests that let it die there.
	hook func(at string)
	// now is the clock by which it is chosen how many files are sent at once.
	now func() time.Time
}

// Job is a file to be run.
type Job struct {
	Migration *source.Migration
	Direction source.Direction
	Target    int64 // the version of the database afterwards, database.NilVersion for none
}

func (j Job) file() *source.File { return j.Migration.File(j.Direction) }

func (j Job) String() string {
	if f := j.file(); f != nil {
		return f.Base()
	}
	return fmt.Sprintf("%s (no %s file)", j.Migration, j.Direction)
}

// Driver runs migrations in one database. It implements golang-migrate's database.Driver and serves one [Driver.Run] at a time.
type Driver struct {
	o    Options
	ctx  context.Context // golang-migrate's interface has none
	conn *pgx.Conn
	home home // where the tables are

	from   int64 // the version before
	jobs   []Job // what golang-migrate runs, in order
	next   int   // of jobs
	queue  []Job // taken from golang-migrate, and not sent yet
	size   int   // of the queue's text
	batch  int   // files that are sent at once
	locked []string
	steps  []split.Statement // of the file that is run stepwise
	ended  []string          // sessions, on request
	done   int               // of steps, and committed
	side   *pgx.Conn         // looks at what conn does
	seen   []Blocker         // by it, during the last message
}

var _ database.Driver = (*Driver)(nil)

// Open logs in. Nothing is changed or locked.
func Open(ctx context.Context, o Options) (*Driver, error) {
	o.LockTimeout = orDuration(o.LockTimeout, 2*time.Second)
	o.Patience = orDuration(o.Patience, 5*time.Minute)
	o.Grace = orDuration(o.Grace, 2*time.Second)
	if o.Table.Name == "" {
		o.Table.Name = DefaultTable
	}
	if o.Tell == nil {
		o.Tell = func(string) {}
	}
	if o.Applied == nil {
		o.Applied = func(Job, time.Duration) {}
	}
	if o.hook == nil {
		o.hook = func(string) {}
	}
	if o.now == nil {
		o.now = time.Now
	}
	d := &Driver{o: o, ctx: ctx, batch: 1}
	if err := d.connect(ctx); err != nil {
		return nil, err
	}
	return d, nil
}

// DefaultTable is golang-migrate's.
const DefaultTable = "schema_migrations"

func orDuration(d, fallback time.Duration) time.Duration {
	if d == 0 {
		return fallback
	}
	return d
}

// connect opens the session. Its settings are parameters of its start, so that RESET ALL after a file comes back to them.
func (d *Driver) connect(ctx context.Context) error {
	conn, err := d.o.Connect(ctx, func(c *pgx.ConnConfig) {
		c.RuntimeParams["lock_timeout"] = milliseconds(d.o.LockTimeout)
		c.RuntimeParams["statement_timeout"] = milliseconds(d.o.StatementTimeout)
		c.RuntimeParams["idle_in_transaction_session_timeout"] = "60000"
		c.RuntimeParams["client_connection_check_interval"] = "1000"
		if s := d.o.Table.Schema; s != "" {
			c.RuntimeParams["search_path"] = searchPath(s)
		}
		c.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
		c.BuildContextWatcherHandler = func(pc *pgconn.PgConn) ctxHandler {
			return &pgconn.CancelRequestContextWatcherHandler{Conn: pc, CancelRequestDelay: d.o.Grace, DeadlineDelay: d.o.Grace + 10*time.Second}
		}
	})
	if err != nil {
		return err
	}
	d.conn = conn
	return nil
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

func searchPath(schema string) string {
	if schema == "public" {
		return ident("public")
	}
	return ident(schema) + ", public" // where extensions are
}

// Close ends the session.
func (d *Driver) Close() error {
	ctx := context.WithoutCancel(d.ctx)
	if d.side != nil {
		_ = d.side.Close(ctx)
	}
	return d.conn.Close(ctx)
}

// Apply runs jobs in order, by golang-migrate's engine. When ctx ends it stops before the next file, or in the one that is run, which is
// taken back if it is in a transaction. A file that fails is a [*FileError]. from is the version that the database has before, -1 for none: if it
// has another one once it is locked, that is a fault.Stale.
func (d *Driver) Apply(ctx context.Context, from int64, jobs []Job) error {
	if len(jobs) == 0 {
		return nil
	}
	d.ctx, d.from, d.jobs, d.next, d.queue, d.size, d.batch = ctx, from, jobs, 0, nil, 0, 1
	m, err := migrate.NewWithInstance("dbops", nil, "dbops", d)
	if err != nil {
		return err
	}
	list := make([]*migrate.Migration, len(jobs))
	for i, j := range jobs {
		if list[i], err = j.migration(); err != nil {
			return err
		}
	}
	m.PrefetchMigrations = uint(len(jobs))   // else golang-migrate leaves goroutines behind when one of them fails
	m.LockTimeout = d.o.Patience + time.Hour // ours ends before; golang-migrate's would leave a goroutine that locks later
	stop := context.AfterFunc(ctx, func() { m.GracefulStop <- true })
	defer stop()
	err = m.Run(list...)
	for _, one := range list {
		if c, ok := one.BufferedBody.(io.Closer); ok {
			_ = c.Close()
		}
	}
	if err == nil && ctx.Err() != nil && d.next < len(jobs) {
		err = context.Cause(ctx)
	}
	return plainError(err)
}

func (j Job) migration() (*migrate.Migration, error) {
	var body io.ReadCloser
	size := 0
	if f := j.file(); f != nil {
		body, size = io.NopCloser(strings.NewReader(f.SQL)), len(f.SQL)
	}
	m, err := migrate.NewMigration(body, j.Migration.Name, uint(j.Migration.Version), int(j.Target))
	if err == nil {
		m.BufferSize = uint(min(size, 64<<10)) + 16
	}
	return m, err
}

// plainError is an error of golang-migrate's engine without its wrapping.
func plainError(err error) error {
	var file *FileError
	if errors.As(err, &file) {
		return file
	}
	var f *fault.Error
	if errors.As(err, &f) {
		return f
	}
	return err
}

// Open implements database.Driver, and is not used.
func (d *Driver) Open(string) (database.Driver, error) {
	return nil, errors.New("it is opened already")
}

// Drop implements database.Driver, and refuses: dbops drops no database.
func (d *Driver) Drop() error { return errors.New("dbops does not drop what migrations have not made") }

// SetVersion implements database.Driver. The version is recorded with its file, not here.
func (d *Driver) SetVersion(version int, dirty bool) error {
	if d.next >= len(d.jobs) || int64(version) != d.jobs[d.next].Target {
		return fmt.Errorf("golang-migrate goes to version %d, which was not planned", version)
	}
	if dirty {
		return nil
	}
	j := d.jobs[d.next]
	d.next++
	if j.file() != nil {
		return nil
	}
	d.queue = append(d.queue, j) // there is no file: Run was not called
	return nil
}

// Run implements database.Driver: it takes the next job's file, and sends it with others that are as fast.
func (d *Driver) Run(r io.Reader) error {
	if _, err := io.Copy(io.Discard, r); err != nil { // it is the text of the job
		return err
	}
	if err := d.ctx.Err(); err != nil {
		return context.Cause(d.ctx)
	}
	j := d.jobs[d.next]
	if j.file().Split().Mode == split.Stepwise {
		if err := d.flush(); err != nil {
			return err
		}
		return d.stepwise(j, nil)
	}
	d.queue = append(d.queue, j)
	d.size += len(j.file().SQL)
	if len(d.queue) < d.batch && d.size < maxBatch {
		return nil
	}
	return d.flush()
}
