package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite" // registers the driver "sqlite"

	"dbops/internal/fault"
)

// busyTimeout is how long a statement waits for another process's transaction in SQLite.
const busyTimeout = 5 * time.Second

// sqliteFixed is the first SQLite without the race that can corrupt a WAL file written by several processes.
const sqliteFixed = "3.51.3"

// OpenSQLite opens the file at path, which is made if it is not there, in a folder that is this user's alone.
func OpenSQLite(ctx context.Context, path string) (*DB, error) {
	op := "open the state " + path
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fault.New(fault.Config, op, err)
	}
	if err := refuseNetwork(filepath.Dir(path)); err != nil {
		return nil, fault.New(fault.Config, op, err).Hint("keep it on a local disk, or share state in PostgreSQL: state: postgres://...")
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600) // only a new file: closing an open one would drop SQLite's locks
	switch {
	case err == nil:
		err = f.Close()
	case errors.Is(err, os.ErrExist):
		err = nil
	}
	if err != nil {
		return nil, fault.New(fault.Config, op, err)
	}
	v := url.Values{}
	v.Set("_txlock", "immediate")
	for _, p := range []string{
		"busy_timeout(" + strconv.FormatInt(busyTimeout.Milliseconds(), 10) + ")",
		"foreign_keys(ON)", "journal_mode(WAL)", "synchronous(FULL)",
	} {
		v.Add("_pragma", p)
	}
	h, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+v.Encode())
	if err != nil {
		return nil, fault.New(fault.Config, op, err)
	}
	h.SetMaxOpenConns(4)
	d := &DB{SQL: h, Path: path, Name: path, again: func(ctx context.Context) (*DB, error) { return OpenSQLite(ctx, path) }}
	// Two processes that open a new file at once: the switch to WAL does not wait for the other one by itself.
	for deadline := time.Now().Add(busyTimeout); ; {
		err := checkSQLite(ctx, d)
		if err == nil {
			return d, nil
		}
		if !conflicts(err) || time.Now().After(deadline) || waitBusy(ctx) != nil {
			return nil, errors.Join(Fault(op, err), h.Close())
		}
	}
}

func waitBusy(ctx context.Context) error {
	t := time.NewTimer(20 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func checkSQLite(ctx context.Context, d *DB) error {
	var version string
	if _, err := One(ctx, d.Read(), []any{&version}, "select sqlite_version()"); err != nil {
		return err
	}
	if older(version, sqliteFixed) {
		return fmt.Errorf("SQLite %s can corrupt a file that several processes write; this needs %s", version, sqliteFixed)
	}
	return nil
}

// older compares versions such as 3.51.3 part by part.
func older(a, b string) bool {
	var x, y [3]int
	_, _ = fmt.Sscanf(a, "%d.%d.%d", &x[0], &x[1], &x[2])
	_, _ = fmt.Sscanf(b, "%d.%d.%d", &y[0], &y[1], &y[2])
	for i := range x {
		if x[i] != y[i] {
			return x[i] < y[i]
		}
	}
	return false
}

// OpenPostgres opens a PostgreSQL database. connect is asked for the login of each new connection, so that tokens are fresh.
func OpenPostgres(ctx context.Context, connect func(context.Context) (*pgconn.Config, error)) (*DB, error) {
	first, err := connect(ctx)
	if err != nil {
		return nil, err
	}
	name := "postgres://" + net.JoinHostPort(first.Host, strconv.Itoa(int(first.Port))) + "/" + first.Database
	op := "open the state " + name
	cfg, err := pgxpool.ParseConfig("")
	if err != nil {
		return nil, fault.New(fault.Internal, op, err)
	}
	prepare := func(c *pgconn.Config) {
		c.RuntimeParams["search_path"] = Schema
		c.RuntimeParams["application_name"] = "dbops"
		c.RuntimeParams["default_transaction_read_only"] = "off"
		c.RuntimeParams["tcp_keepalives_idle"] = "30"
	}
	prepare(first)
	cfg.ConnConfig.Config = *first
	cfg.BeforeConnect = func(ctx context.Context, c *pgxConnConfig) error {
		fresh, err := connect(ctx)
		if err != nil {
			return err
		}
		prepare(fresh)
		c.Config = *fresh
		return nil
	}
	cfg.MaxConns = 10
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), cfg)
	if err != nil {
		return nil, Fault(op, err)
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, Fault(op, err)
	}
	return &DB{
		SQL: stdlib.OpenDBFromPool(pool), Pool: pool, Name: name,
		again: func(ctx context.Context) (*DB, error) { return OpenPostgres(ctx, connect) },
	}, nil
}
