package driver_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	gomigrate "github.com/golang-migrate/migrate/v4"
	stock "github.com/golang-migrate/migrate/v4/database/pgx/v5"
	_ "github.com/golang-migrate/migrate/v4/source/file"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"golang.org/x/sync/errgroup"

	"dbops/internal/migrate"
	"dbops/internal/migrate/driver"
	"dbops/internal/migrate/source"
	"dbops/internal/op"
	"dbops/internal/sandbox/pgtest"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/state"
)

// What dbops costs beside golang-migrate with its own pgx driver, in turn, over the same relay and TLS, on the same server, whose fsync is off:
// that is to golang-migrate's advantage, which commits three times for a file. ratio/… is how many times as long golang-migrate takes, the
// median of the pairs.

const (
	benchFiles = 500
	benchMajor = 17
)

// distances are the round-trip times that are measured, and in how many pairs for each iteration: far away golang-migrate takes minutes, and
// what it takes is the same each time.
var distances = []struct {
	rtt   time.Duration
	pairs int
}{{0, 5}, {20 * time.Millisecond, 1}}

// bench is a server at a distance, and a folder.
type bench struct {
	b      *testing.B
	server *pgtest.Server
	relay  *driver.Relay
	folder string
}

func newBench(b *testing.B, roundTrip time.Duration, folder string) bench {
	b.Helper()
	s := pgtest.Start(b, benchMajor)
	var fsync string
	if err := s.Superuser(b, "postgres").QueryRow(b.Context(), "show fsync").Scan(&fsync); err != nil {
		b.Fatal(err)
	}
	b.Logf("PostgreSQL %d, fsync %s, TLS, %s of round-trip time", s.Major, fsync, roundTrip)
	return bench{b, s, driver.NewRelay(b, s, roundTrip), folder}
}

// smallFiles writes a folder of n files that make a table or add a column.
func smallFiles(b *testing.B, n int) string {
	b.Helper()
	dir := b.TempDir()
	for i := range n {
		text := fmt.Sprintf("alter table t%d add column c%d text;\n", i-i%5, i)
		if i%5 == 0 {
			text = fmt.Sprintf("create table t%d (id bigint primary key, name text not null);\n", i)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%06d_change.up.sql", i+1)), []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	return dir
}

func (x bench) config(db string) *pgx.ConnConfig {
	x.b.Helper()
	c, err := pgx.ParseConfig("")
	if err != nil {
		x.b.Fatal(err)
	}
	c.Config = *x.server.Config(x.b, db)
	x.relay.Reach(&c.Config)
	return c
}

func (x bench) connect(ctx context.Context, db string, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
	c := x.config(db)
	tune(c)
	return pgx.ConnectConfig(ctx, c)
}

// stock opens golang-migrate with its own driver.
func (x bench) stock(db string) (*gomigrate.Migrate, error) {
	pool := stdlib.OpenDB(*x.config(db))
	d, err := stock.WithInstance(pool, &stock.Config{})
	if err != nil {
		return nil, errors.Join(err, pool.Close())
	}
	return gomigrate.NewWithDatabaseInstance("file://"+x.folder, db, d)
}

func (x bench) byStock(db string) error {
	m, err := x.stock(db)
	if err != nil {
		return err
	}
	err = m.Up()
	_, cerr := m.Close()
	return errors.Join(err, cerr)
}

// byDriver applies the folder by the driver alone.
func (x bench) byDriver(db string) error {
	folder, err := source.Read(x.folder)
	if err != nil {
		return err
	}
	jobs := make([]driver.Job, 0, len(folder.Migrations))
	for _, m := range folder.Migrations {
		jobs = append(jobs, driver.Job{Migration: m, Direction: source.Up, Target: m.Version})
	}
	d, err := driver.Open(x.b.Context(), driver.Options{What: db, Connect: func(ctx context.Context, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
		return x.connect(ctx, db, tune)
	}})
	if err != nil {
		return err
	}
	return errors.Join(d.Apply(x.b.Context(), -1, jobs), d.Close())
}

// deps are those of the operations on databases; each is a set by its own name.
func (x bench) deps(dbs ...string) migrate.Deps {
	login := func(ctx context.Context, s migrate.Set, more func(*pgx.ConnConfig)) (*pgx.Conn, error) {
		return x.connect(ctx, s.Server, func(c *pgx.ConnConfig) {
			c.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
			more(c)
		})
	}
	look := func(ctx context.Context, _ op.Target, s migrate.Set) (*pgx.Conn, error) {
		return login(ctx, s, func(c *pgx.ConnConfig) { c.RuntimeParams["default_transaction_read_only"] = "on" })
	}
	return migrate.Deps{
		Sets: func(op.Target) (sets []migrate.Set, err error) {
			for _, db := range dbs {
				sets = append(sets, migrate.Set{Database: db, Server: db, Folder: x.folder})
			}
			return sets, nil
		},
		Connect: func(ctx context.Context, _ op.Target, s migrate.Set, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
			return login(ctx, s, tune)
		},
		Read: look, View: look,
		Who: func(_ context.Context, actor, _ string) driver.Who { return driver.Who{Actor: actor, Tool: "bench"} },
	}
}

// byEngine applies the folder as the command does: planned, with a lease and a journal in SQLite.
func (x bench) byEngine(store *state.Store, db string) error {
	kinds, err := op.NewRegistry(migrate.New(x.deps(db))...)
	if err != nil {
		return err
	}
	ctx, who := x.b.Context(), op.Actor{Name: "bench", Via: op.ViaUnverified}
	e := op.New(store, kinds, op.Options{})
	p, err := e.Plan(ctx, op.PlanRequest{
		Kind: migrate.UpKind, Target: op.Target{Environment: "bench", Instance: db}, Request: migrate.UpRequest{Sets: []string{db}, Manner: migrate.Usual()}, Requester: who,
	})
	if err != nil {
		return err
	}
	run, _, err := e.Submit(ctx, p, op.SubmitOptions{Actor: who})
	if err != nil {
		return err
	}
	if run, err = e.Attach(ctx, run.ID, 0, nil); err == nil && run.State != state.Done {
		err = fmt.Errorf("the run ended as %s", run.State)
	}
	return err
}

// side is one of those that are measured against each other; the first is golang-migrate.
type side struct {
	name string
	do   func(db string) error
	took []time.Duration
}

// turn measures each side n times, beginning with another one each time. What comes before and after is not measured.
func turn(b *testing.B, n int, sides []side, before func() string, after func(db string)) {
	b.Helper()
	for range n {
		first := len(sides[0].took)
		for i := range sides {
			s := &sides[(first+i)%len(sides)]
			db := before()
			begun := time.Now()
			if err := s.do(db); err != nil {
				b.Fatalf("%s: %v", s.name, err)
			}
			s.took = append(s.took, time.Since(begun))
			after(db)
		}
	}
}

func report(b *testing.B, sides []side) {
	b.Helper()
	b.ReportMetric(0, "ns/op")
	for _, s := range sides {
		b.ReportMetric(median(s.took).Seconds(), s.name+"-s")
		if s.name == sides[0].name {
			continue
		}
		ratios := make([]float64, len(s.took))
		for i := range s.took {
			ratios[i] = sides[0].took[i].Seconds() / s.took[i].Seconds()
		}
		b.ReportMetric(median(ratios), "ratio/"+s.name)
	}
	b.ReportMetric(float64(len(sides[0].took)), "pairs")
}

func median[T cmp.Ordered](all []T) T {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

// applied holds that a database has all of the folder.
func (x bench) applied(db string) {
	x.b.Helper()
	c := x.server.Superuser(x.b, db)
	defer c.Close(context.WithoutCancel(x.b.Context()))
	var columns int
	if err := c.QueryRow(x.b.Context(), "select count(*) from information_schema.columns where table_name ~ '^t[0-9]' and column_name ~ '^c[0-9]|^name'").Scan(&columns); err != nil || columns != benchFiles {
		x.b.Fatalf("%d of %d files are applied: %v", columns, benchFiles, err)
	}
}

func BenchmarkUp(b *testing.B) {
	folder := smallFiles(b, benchFiles)
	store := statetest.New(b, "sqlite").Store(b)
	for _, d := range distances {
		b.Run(fmt.Sprintf("rtt=%s", d.rtt), func(b *testing.B) {
			x := newBench(b, d.rtt, folder)
			sides := []side{
				{name: "golang-migrate", do: x.byStock},
				{name: "driver", do: x.byDriver},
				{name: "engine", do: func(db string) error { return x.byEngine(store, db) }},
			}
			for b.Loop() {
				turn(b, d.pairs, sides, func() string { return x.server.Database(b) }, x.applied)
			}
			report(b, sides)
		})
	}
}

const (
	benchDatabases = 100
	benchApplied   = 480
	benchWorkers   = 16 // as many as dbops uses
)

func BenchmarkStatus(b *testing.B) {
	folder := smallFiles(b, benchFiles)
	for _, d := range distances {
		b.Run(fmt.Sprintf("rtt=%s", d.rtt), func(b *testing.B) {
			x := newBench(b, d.rtt, folder)
			dbs := x.many()
			sides := []side{
				{name: "golang-migrate", do: func(string) error { return x.versions(dbs, 1) }},
				{name: "dbops", do: func(string) error { return x.status(dbs) }},
				{name: "golang-migrate-in-16-goroutines", do: func(string) error { return x.versions(dbs, benchWorkers) }},
			}
			for b.Loop() {
				turn(b, d.pairs, sides, func() string { return "" }, func(string) {})
			}
			report(b, sides)
		})
	}
}

// many returns databases that have most of the folder.
func (x bench) many() []string {
	x.b.Helper()
	first := x.server.Database(x.b)
	few := bench{x.b, x.server, x.relay, x.b.TempDir()}
	for i := range benchApplied {
		from := filepath.Join(x.folder, fmt.Sprintf("%06d_change.up.sql", i+1))
		if err := os.Link(from, filepath.Join(few.folder, filepath.Base(from))); err != nil {
			x.b.Fatal(err)
		}
	}
	if err := few.byDriver(first); err != nil {
		x.b.Fatal(err)
	}
	// What the files have made is no part of a status, and would be copied a hundred times.
	x.server.Exec(x.b, first, "do $$ declare r record; begin for r in select tablename n from pg_tables where tablename ~ '^t[0-9]' loop execute format('drop table %I', r.n); end loop; end $$")
	dbs := []string{first}
	for len(dbs) < benchDatabases {
		db := x.server.Database(x.b)
		x.server.Exec(x.b, "postgres", "drop database "+db, "create database "+db+" template "+first+" owner "+pgtest.User)
		dbs = append(dbs, db)
	}
	return dbs
}

// versions asks golang-migrate, which knows the version and no more.
func (x bench) versions(dbs []string, workers int) error {
	var g errgroup.Group
	g.SetLimit(workers)
	for _, db := range dbs {
		g.Go(func() error {
			m, err := x.stock(db)
			if err != nil {
				return err
			}
			v, _, err := m.Version()
			if err == nil && v != benchApplied {
				err = fmt.Errorf("%s is at %d", db, v)
			}
			_, cerr := m.Close()
			return errors.Join(err, cerr)
		})
	}
	return g.Wait()
}

func (x bench) status(dbs []string) error {
	deps := x.deps(dbs...)
	sets, err := deps.Sets(op.Target{})
	if err != nil {
		return err
	}
	asks := make([]migrate.Ask, 0, len(sets))
	for _, s := range sets {
		asks = append(asks, migrate.Ask{Target: op.Target{Environment: "bench", Instance: "main"}, Set: s})
	}
	for _, s := range deps.Status(x.b.Context(), asks, false) {
		if s.Err() != nil || s.Version == nil || *s.Version != benchApplied || len(s.Pending) != benchFiles-benchApplied || s.Last == nil {
			return fmt.Errorf("%s: %s, %w", s.Name, s.Word(), s.Err())
		}
	}
	return nil
}
