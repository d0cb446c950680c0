package backup

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// How the newest transaction that was restored is known.
const (
	byReplay = "replay"   // the server says which was the last one that it replayed (pg_last_xact_replay_timestamp)
	byCommit = "commits"  // the time of each commit is kept (track_commit_timestamp)
	byWord   = "provider" // the provider says which moment it restored; the server cannot tell
)

// commits are how the server dates its transactions.
type commits struct {
	Method string    `json:"method"`
	Newest time.Time `json:"newest,omitzero"`
}

// newestCommit is the newest transaction up to a moment that a server can tell. Nothing is written to find out. restored tells that the
// server's last recovery is the one in question, and not one of long ago.
func newestCommit(ctx context.Context, to dial, database string, upTo time.Time, restored bool) (commits, error) {
	c, err := to(ctx, database)
	if err != nil {
		return commits{}, err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	var replayed *time.Time
	var tracked bool
	err = c.QueryRow(ctx, `select pg_last_xact_replay_timestamp(), current_setting('track_commit_timestamp') = 'on'`).Scan(&replayed, &tracked)
	if err != nil {
		return commits{}, err
	}
	if restored && replayed != nil {
		return commits{byReplay, replayed.UTC()}, nil
	}
	if !tracked {
		return commits{Method: byWord}, nil
	}
	newest, err := tracedCommit(ctx, c, upTo)
	if err != nil || newest == nil {
		return commits{Method: byWord}, err
	}
	return commits{byCommit, newest.UTC()}, nil
}

// tracedCommit looks at the last thousands of transactions: those that the provider made after a restore are younger than the moment.
func tracedCommit(ctx context.Context, c *pgx.Conn, upTo time.Time) (newest *time.Time, err error) {
	err = c.QueryRow(ctx, `with n as (select pg_snapshot_xmax(pg_current_snapshot())::text::bigint as next)
		select max(at) from n, generate_series(greatest(next - 5000, 3), next - 1) as x,
			lateral (select pg_xact_commit_timestamp((x % 4294967296)::text::xid) as at) as t where at <= $1`, upTo).Scan(&newest)
	return newest, err
}

// freshness compares what was restored to the moment that was asked for. source is the newest transaction of the source that is known to
// be older than the moment.
func freshness(point time.Time, source, restored commits) Check {
	out := Check{Check: "freshness", Result: OK}
	at := point.UTC().Format(time.RFC3339Nano)
	switch {
	case restored.Method == byWord:
		out.Result, out.Text = Unknown, "the provider says it is the state of "+at+"; the server cannot tell (no replay since its start, track_commit_timestamp off)"
	case restored.Newest.After(point.Add(time.Second)):
		out.Result, out.Text = Mismatch, "it holds a transaction of "+restored.Newest.Format(time.RFC3339Nano)+", after the moment asked for, "+at
	case source.Method == byCommit && !source.Newest.After(point) && restored.Newest.Before(source.Newest):
		out.Result, out.Text = Mismatch, "its newest transaction is of "+restored.Newest.Format(time.RFC3339Nano)+
			", and the source had one of "+source.Newest.Format(time.RFC3339Nano)
	default:
		out.Text = "its newest transaction is of " + restored.Newest.Format(time.RFC3339Nano) + " (" + restored.Method + "), for the state of " + at
	}
	return out
}
