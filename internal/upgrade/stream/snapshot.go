package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

var errSnapshotLost = errors.New("the session that keeps the snapshot was lost")

// snapshot is a state of the source that many sessions read, for as long as the session that exported it lives.
type snapshot struct {
	connect Connect
	conn    *pgx.Conn // only keeps it
	name    string
	seen    string // which transactions it shows: equal ones show equal rows
	id      string // of the source: cluster, database and timeline
	major   int
}

// openSnapshot exports one, or adopts one that somebody keeps.
func openSnapshot(ctx context.Context, connect Connect, name string) (*snapshot, error) {
	conn, err := open(ctx, connect, sourceSettings)
	if err != nil {
		return nil, fmt.Errorf("log in to the source: %w", err)
	}
	s := &snapshot{connect: connect, conn: conn, name: name}
	if err := s.begin(ctx); err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("take a snapshot of the source: %w", err)
	}
	return s, nil
}

func (s *snapshot) begin(ctx context.Context) (err error) {
	if err := beginRead(ctx, s.conn, s.name); err != nil {
		return err
	}
	if err := s.conn.QueryRow(ctx, "select pg_catalog.pg_export_snapshot()").Scan(&s.name); err != nil { // one that was adopted, too: it is ours to keep now
		return err
	}
	if s.major, err = majorOf(ctx, s.conn); err != nil {
		return err
	}
	// A promoted standby may have lost transactions, and give their numbers out again: hence the timeline.
	return s.conn.QueryRow(ctx, `select pg_catalog.pg_current_snapshot()::text,
 (select system_identifier::text from pg_catalog.pg_control_system()) || ' ' || (select oid::text from pg_catalog.pg_database where datname = current_database())
 || ' ' || (select timeline_id::text from pg_catalog.pg_control_checkpoint())`).Scan(&s.seen, &s.id)
}

// database is the source without its timeline.
func (s *snapshot) database() string { return databaseIn(s.id) }

func databaseIn(id string) string {
	if i := strings.LastIndexByte(id, ' '); i >= 0 {
		return id[:i]
	}
	return id
}

// beginRead begins a transaction that sees a snapshot, or a new one.
func beginRead(ctx context.Context, conn *pgx.Conn, name string) error {
	sql := "begin isolation level repeatable read read only"
	if name != "" {
		sql += "; set transaction snapshot " + literal(name)
	}
	return script(ctx, conn, sql)
}

// reader opens another session that sees the snapshot.
func (s *snapshot) reader(ctx context.Context) (*pgx.Conn, error) {
	conn, err := open(ctx, s.connect, sourceSettings)
	if err != nil {
		return nil, err
	}
	if err := beginRead(ctx, conn, s.name); err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return nil, err
	}
	return conn, nil
}

const heartbeat = 10 * time.Second

// watch cancels when the session is lost: what is read afterwards could not be of the same snapshot.
func (s *snapshot) watch(ctx context.Context, cancel context.CancelCauseFunc) (stop func()) {
	ctx, end := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		// A server that ends a session says so at once; one that is gone does not.
		for ctx.Err() == nil {
			wait, stopWait := context.WithTimeout(ctx, heartbeat)
			err := s.conn.PgConn().WaitForNotification(wait)
			stopWait()
			if ctx.Err() != nil {
				return
			}
			if err != nil && wait.Err() == nil || s.conn.IsClosed() {
				cancel(fmt.Errorf("%w: %w", errSnapshotLost, err))
				return
			}
			ping, stopPing := context.WithTimeout(ctx, heartbeat)
			_, err = s.conn.PgConn().Exec(ping, "select 1").ReadAll()
			stopPing()
			if err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("%w: %w", errSnapshotLost, err))
				return
			}
		}
	}()
	return func() { end(); <-done }
}

func (s *snapshot) close(ctx context.Context) { _ = s.conn.Close(context.WithoutCancel(ctx)) }
