// Package stats gives a copied database the planner's statistics.
//
// [Carry] takes them over from the source, which PostgreSQL 18 can, and analyses only what that leaves out; [Analyze] reads the tables, in two
// passes, so that queries are planned with something early. Both may be called again after they failed or were cancelled. The catalogue's own
// tables are left to autovacuum.
package stats

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/fault"
	"dbops/internal/pg"
)

// Connect opens a session on the source or the target. It is called many times, also at once.
type Connect func(ctx context.Context, tune func(*pgx.ConnConfig)) (*pgx.Conn, error)

// Job says whose statistics are wanted.
type Job struct {
	Source, Target Connect
	// Jobs is how many tables are analysed at once. Defaults to 2.
	Jobs int
	// Tool finds a client program for a major; pg.ToolFor without one.
	Tool func(ctx context.Context, name string, major int) (string, error)
	// Dir is for the private sockets that the client programs come in through; "" is the folder of temporary files.
	Dir string
	// Progress is told of each table that was analysed, by one caller at a time. A table that is analysed twice counts twice.
	Progress func(done, of int, table string)
}

// The ways to have statistics.
const (
	Carried  = "carried"
	Analyzed = "analyzed"
)

// Result is what was done.
type Result struct {
	Way string `json:"way"`
	// Why says why they were not carried.
	Why string `json:"why,omitempty"`
	// Tables are all that should have statistics, Analyzed those that were read for them.
	Tables   int `json:"tables"`
	Analyzed int `json:"analyzed"`
	// LeftOut are statistics that could not be carried or tables that could not be analysed.
	LeftOut []LeftOut     `json:"left_out,omitempty"`
	Took    time.Duration `json:"took_ns"`
}

// LeftOut is a table, and why.
type LeftOut struct {
	Table string `json:"table"`
	Why   string `json:"why"`
}

// carryFrom is the major whose client programs and servers can carry statistics.
const carryFrom = 18

// run is one call.
type run struct {
	Job
	res    Result
	target *pgx.Conn
	major  int // of the target
}

// Carry takes the statistics over where that can be done, and analyses what then has none, such as extended statistics. Otherwise it does what
// [Analyze] does, and says why.
func Carry(ctx context.Context, j Job) (Result, error) {
	return do(ctx, "carry the statistics over", j, func(ctx context.Context, r *run) error {
		why, err := r.carry(ctx)
		if err != nil {
			return err
		}
		if why != "" {
			r.res.Why = why
			return r.analyzeAll(ctx)
		}
		r.res.Way = Carried
		return r.analyzeMissing(ctx)
	})
}

// Analyze reads all tables, the largest first: a quick pass, that gives small tables all and large ones a few, and one with all for the large.
func Analyze(ctx context.Context, j Job) (Result, error) {
	return do(ctx, "analyse the tables", j, func(ctx context.Context, r *run) error { return r.analyzeAll(ctx) })
}

func do(ctx context.Context, op string, j Job, f func(context.Context, *run) error) (Result, error) {
	if j.Jobs <= 0 {
		j.Jobs = 2
	}
	if j.Tool == nil {
		j.Tool = pg.ToolFor
	}
	if j.Progress == nil {
		j.Progress = func(int, int, string) {}
	}
	r := &run{Job: j, res: Result{Way: Analyzed}}
	began := time.Now()
	err := r.with(ctx, f)
	r.res.Took = time.Since(began)
	return r.res, failed(ctx, op, err)
}

func (r *run) with(ctx context.Context, f func(context.Context, *run) error) (err error) {
	if r.target, err = open(ctx, r.Target, nil); err != nil {
		return err
	}
	defer r.target.Close(context.WithoutCancel(ctx))
	if err := r.target.QueryRow(ctx, "select current_setting('server_version_num')::int / 10000").Scan(&r.major); err != nil {
		return err
	}
	return f(ctx, r)
}

func failed(ctx context.Context, op string, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return fault.New(fault.Interrupted, op, cause).Hint("run it again")
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	pe, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case !ok || lost(err):
		return fault.New(fault.Unavailable, op, err).Hint("run it again")
	case pe.Code == "42501":
		return fault.New(fault.Denied, op, err).Hint("use the login that owns the target database")
	}
	return fault.New(fault.Failed, op, err).Hint("mend that on the target, and run it again")
}

// What no default of a role or a database may decide.
const settings = `select pg_catalog.set_config(s.name, v.value, false) from (values ('search_path', ''), ('client_encoding', 'UTF8'), ('default_transaction_read_only', 'off'), ('statement_timeout', '0'),
 ('lock_timeout', '60s'), ('transaction_timeout', '0'), ('idle_in_transaction_session_timeout', '0'), ('idle_session_timeout', '0'), ('synchronous_commit', 'off'), ('client_min_messages', 'warning'),
 ('quote_all_identifiers', 'off')) v(name, value) join pg_catalog.pg_settings s on s.name = v.name`

// ourName is how servers know our sessions.
const ourName = "dbops statistics"

// open logs in to the target. A statement that is cancelled ends on the server, too.
func open(ctx context.Context, connect Connect, notice pgconn.NoticeHandler) (*pgx.Conn, error) {
	conn, err := connect(ctx, func(c *pgx.ConnConfig) {
		c.RuntimeParams["application_name"] = ourName
		c.OnNotice = notice
		c.BuildContextWatcherHandler = cancelOnServer
	})
	if err != nil {
		return nil, fmt.Errorf("log in to the target: %w", err)
	}
	if _, err := conn.PgConn().Exec(ctx, settings).ReadAll(); err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("set a session up: %w", err)
	}
	return conn, nil
}

// lost tells whether a connection ended, rather than a statement.
func lost(err error) bool {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return err != nil
	}
	switch pe.Code {
	case "57P01", "57P02", "57P03", "53300":
		return true
	}
	return len(pe.Code) == 5 && pe.Code[:2] == "08"
}
