package rehearse

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-migrate/migrate/v4/database"
	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
	"dbops/internal/migrate/driver"
	"dbops/internal/migrate/source"
	"dbops/internal/pg/catalog"
)

// applied are the migrations that the target has had.
func (q *Request) applied() []*source.Migration {
	late := map[int64]bool{}
	for _, j := range q.Jobs {
		late[j.Migration.Version] = j.Direction == source.Up
	}
	return Beside{q.Folder, q.State, q.Table, q.Applied}.applied(late)
}

// applied are those of a folder that the target has had. late ones are to be run yet.
func (o Beside) applied(late map[int64]bool) (out []*source.Migration) {
	if o.Applied != nil || !o.State.Any {
		return o.Applied
	}
	rows := map[int64]bool{}
	for _, r := range o.State.Rows {
		rows[r.Version] = !r.Dirty
	}
	for _, m := range o.Folder.Migrations {
		if (o.State.Many && rows[m.Version]) || (!o.State.Many && m.Version <= o.State.Version && !late[m.Version]) {
			out = append(out, m)
		}
	}
	return out
}

// copySchema makes the target's schema in the scratch database: by the applied files, or by a dump if those do not lead to it.
func (b *bench) copySchema(ctx context.Context) error {
	failed := b.replayBeside(ctx)
	if failed == nil {
		applied := b.q.applied()
		b.q.tell("replaying %d migrations", len(applied))
		failed = (&replayer{b: b, table: b.q.Table}).replay(ctx, applied, b.q.State.Exists)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var diff []catalog.Change
	if failed == nil {
		var err error
		if diff, err = b.compare(ctx); err != nil {
			return err
		}
		if len(diff) == 0 {
			b.base = Replayed
			return nil
		}
		b.drift = diff
	}
	replayed := b.partial
	b.partial = nil
	err := b.dump(ctx)
	if err == nil {
		b.base = Dumped
		if failed != nil {
			b.part("the applied files could not be replayed, so drift could not be looked for: %s", failed)
		}
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	b.partial = append(replayed, b.partial...)
	what := "copy the schema of " + b.q.What
	if failed != nil {
		return fault.Newf(fault.KindOf(errors.Join(failed)), what, "the applied files could not be replayed (%s), and it could not be dumped (%s)", failed, err).
			Hint("%s", orText(fault.HintOf(failed), "name a server that has what is missing with scratch: in dbops.yaml"))
	}
	b.base = Approximate
	b.part("the copy lacks what the database has beside its files: %s", err)
	return nil
}

func orText(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

// replayBeside replays the other folders of the database.
func (b *bench) replayBeside(ctx context.Context) error {
	for _, o := range b.q.Beside {
		if err := (&replayer{b: b, table: o.Table}).replay(ctx, o.applied(nil), o.State.Exists); err != nil {
			return fmt.Errorf("%s: %w", o.Folder.Path, err)
		}
	}
	return nil
}

// replayer runs the files of one folder, as the runner does.
type replayer struct {
	b     *bench
	table driver.Table
	at    *int64 // the version that it has reached; nil: none
}

// replay runs files that follow on what it has run. Without any, tables tells whether the runner's tables are there all the same.
func (r *replayer) replay(ctx context.Context, applied []*source.Migration, tables bool) error {
	if len(applied) == 0 && !tables {
		return nil
	}
	jobs := make([]driver.Job, 0, len(applied))
	for _, m := range applied {
		jobs = append(jobs, driver.Job{Migration: m, Direction: source.Up, Target: m.Version})
	}
	for mended := 0; ; mended++ {
		done := 0
		err := r.apply(ctx, jobs, &done)
		if done > 0 {
			r.at = &jobs[done-1].Target
		}
		jobs = jobs[done:]
		var f *driver.FileError
		if err == nil || !errors.As(err, &f) || len(jobs) == 0 || mended > 1000 {
			return err
		}
		job, ok := r.b.mend(ctx, jobs[0], f)
		if !ok {
			return err
		}
		jobs[0] = job
	}
}

func (r *replayer) apply(ctx context.Context, jobs []driver.Job, done *int) error {
	b, from := r.b, int64(database.NilVersion)
	if r.at != nil {
		from = *r.at
	}
	d, err := driver.Open(ctx, driver.Options{
		Connect: func(ctx context.Context, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
			return b.scratch.Connect(ctx, b.db, func(c *pgx.ConnConfig) { b.tune(c); tune(c) })
		},
		What: "the scratch copy", Table: r.table, Who: driver.Who{Tool: "dbops"}, Patience: 30 * time.Second,
		Applied: func(driver.Job, time.Duration) { *done++ },
	})
	if err != nil {
		return err
	}
	if len(jobs) == 0 { // the tables of the runner, with their schema
		err = errors.Join(d.Lock(), d.Unlock())
	} else {
		err = d.Apply(ctx, from, jobs)
	}
	return errors.Join(err, d.Close())
}

// mend makes what a file lacks of the server, and returns the file without what was done for it.
func (b *bench) mend(ctx context.Context, j driver.Job, f *driver.FileError) (driver.Job, bool) {
	file := j.Migration.File(j.Direction)
	if file == nil {
		return j, false
	}
	if role, ok := missingRole(f.State, f.Message); ok {
		return j, b.makeRole(ctx, role) == nil && !f.Stepwise
	}
	st := file.Split().Statements
	if f.Statement < 1 || f.Statement > len(st) || f.Stepwise || !extension(st[f.Statement-1]) {
		return j, false
	}
	s := st[f.Statement-1]
	if !b.mendExtension(ctx, b.db, s, f.State) {
		return j, false
	}
	without, migration := *file, *j.Migration
	without.SQL = file.SQL[:s.Start] + strings.Repeat(" ", s.End-s.Start) + file.SQL[s.End:]
	if j.Direction == source.Up {
		migration.Up = &without
	} else {
		migration.Down = &without
	}
	j.Migration = &migration
	return j, true
}

// compare returns how the target differs from the copy: what the copy has and the target has not is removed.
func (b *bench) compare(ctx context.Context) ([]catalog.Change, error) {
	conn, err := b.connect(ctx, b.db, func(*pgx.ConnConfig) {})
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	have, err := b.catalog(ctx, conn)
	if err != nil {
		return nil, err
	}
	return b.settle(ctx, conn, catalog.WithoutPrivileges(catalog.Diff(have, b.t.catalog)))
}

// settle drops the differences that are only in how two majors write the text of a view: the target's text is read by the scratch server, and
// what that makes of it compared.
func (b *bench) settle(ctx context.Context, conn *pgx.Conn, all []catalog.Change) (out []catalog.Change, err error) {
	for _, c := range all {
		same := false
		if b.scratch.Major != b.t.major && c.Action == catalog.Changed && (c.Kind == "view" || c.Kind == "materialized view") {
			if same, err = b.sameView(ctx, conn, c.Name); err != nil {
				return nil, err
			}
		}
		if !same {
			out = append(out, c)
		}
	}
	return out, nil
}

const viewSQL = `select pg_get_viewdef(to_regclass(%s))`

func (b *bench) sameView(ctx context.Context, conn *pgx.Conn, name string) (same bool, err error) {
	var theirs, ours, read string
	err = pgx.BeginTxFunc(ctx, b.q.Target, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "set local search_path = ''"); err != nil {
			return err
		}
		return tx.QueryRow(ctx, fmt.Sprintf(viewSQL, literal(name)), pgx.QueryExecModeSimpleProtocol).Scan(&theirs)
	})
	if err != nil {
		return false, err
	}
	tx, err := conn.Begin(ctx)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, tx.Rollback(context.WithoutCancel(ctx))) }()
	_, err = tx.Exec(ctx, "set local search_path = ''; create temp view dbops_read as "+theirs)
	if err != nil {
		return false, nil // what the scratch server does not understand is different
	}
	q := "select pg_get_viewdef(to_regclass(" + literal(name) + ")), pg_get_viewdef('pg_temp.dbops_read'::regclass)"
	err = tx.QueryRow(ctx, q).Scan(&ours, &read)
	return err == nil && ours == read, err
}
