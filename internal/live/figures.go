package live

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Figures are what a server does, at one moment.
type Figures struct {
	At      time.Time `json:"at"` // by the server's clock
	Version string    `json:"version"`
	// Replica tells that it follows another server; Behind how far, where that is known.
	Replica bool  `json:"replica"`
	Behind  *Span `json:"behind,omitempty"`

	Connections Connections `json:"connections"`
	Counters    Counters    `json:"counters"`
	Query       *Who        `json:"longest_query,omitempty"`
	Transaction *Who        `json:"longest_transaction,omitempty"`
	Waits       []Wait      `json:"waits,omitempty"` // of active sessions, most first
	Followers   []Follower  `json:"followers,omitempty"`
	Sizes       []Size      `json:"sizes,omitempty"`
	Missing     []Missing   `json:"missing,omitempty"`
}

// Connections are the clients, by what they do.
type Connections struct {
	Max    int `json:"max"`
	Total  int `json:"total"`
	Active int `json:"active"`
	Idle   int `json:"idle"`
	InTx   int `json:"idle_in_transaction"`
	Other  int `json:"other,omitempty"`
	Hidden int `json:"hidden,omitempty"` // whose state the login may not see
	Locked int `json:"waiting_for_locks"`
}

// Counters grow from when the statistics were reset.
type Counters struct {
	Reset      time.Time `json:"reset,omitzero"`
	Commits    int64     `json:"commits"`
	Rollbacks  int64     `json:"rollbacks"`
	BlocksHit  int64     `json:"blocks_hit"`
	BlocksRead int64     `json:"blocks_read"`
	Returned   int64     `json:"tuples_returned"`
	Fetched    int64     `json:"tuples_fetched"`
	Changed    int64     `json:"tuples_changed"`
	TempBytes  int64     `json:"temp_bytes"`
	Deadlocks  int64     `json:"deadlocks"`
	BlockSize  int64     `json:"block_size"`
}

// Wait is how many active sessions wait for something.
type Wait struct {
	Type  string `json:"type"`
	Event string `json:"event"`
	Count int    `json:"count"`
}

// Follower is a server or a client that receives what this one writes.
type Follower struct {
	Name   string `json:"name"`
	Client string `json:"client,omitempty"`
	State  string `json:"state,omitempty"`
	Sync   string `json:"sync,omitempty"`
	Lag    *Span  `json:"lag,omitempty"`   // until it is replayed; none where nothing was written of late
	Bytes  *int64 `json:"bytes,omitempty"` // not replayed yet
}

// Size is how much a database takes; negative where the login may not know.
type Size struct {
	Database string `json:"database"`
	Bytes    int64  `json:"bytes"`
}

const countersSQL = `
select clock_timestamp(), current_setting('server_version'), pg_is_in_recovery(), current_setting('max_connections')::int,
       current_setting('block_size')::bigint, coalesce(min(stats_reset) filter (where datname is not null), 'epoch'),
       coalesce(sum(xact_commit), 0)::bigint, coalesce(sum(xact_rollback), 0)::bigint, coalesce(sum(blks_hit), 0)::bigint,
       coalesce(sum(blks_read), 0)::bigint, coalesce(sum(tup_returned), 0)::bigint, coalesce(sum(tup_fetched), 0)::bigint,
       coalesce(sum(tup_inserted + tup_updated + tup_deleted), 0)::bigint, coalesce(sum(temp_bytes), 0)::bigint, coalesce(sum(deadlocks), 0)::bigint
from pg_stat_database`

// A session that may not be seen has no type: of those, who has a database is nearly always a client.
const clientSQL = `pid <> pg_backend_pid() and (backend_type = 'client backend' or backend_type is null and usesysid is not null and datid is not null)`

const connectionsSQL = `
select count(*), count(*) filter (where state = 'active'), count(*) filter (where state = 'idle'), count(*) filter (where state like 'idle in transaction%'),
       count(*) filter (where backend_type is null), count(*) filter (where state = 'active' and wait_event_type = 'Lock')
from pg_stat_activity where ` + clientSQL

const longestSQL = `
select pid, coalesce(usename, ''), coalesce(application_name, ''), greatest(0, extract(epoch from clock_timestamp() - began))::float8
from (select pid, usename, application_name, %s as began, state from pg_stat_activity where ` + clientSQL + `) a
where began is not null and %s order by began limit 1`

const waitsSQL = `
select wait_event_type, wait_event, count(*) from pg_stat_activity
where state = 'active' and wait_event is not null and ` + clientSQL + ` group by 1, 2 order by 3 desc, 1, 2 limit 10`

const followersSQL = `
select coalesce(application_name, ''), coalesce(client_addr::text, ''), coalesce(state, ''), coalesce(sync_state, ''),
       extract(epoch from replay_lag)::float8,
       case when not pg_is_in_recovery() then pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::bigint end
from pg_stat_replication order by 1, 2`

const behindSQL = `
select case when pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() then 0
            else extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp())::float8 end`

// A size is the sum of the sizes of all files, which takes long where they are many: the largest are asked for in the statement's time.
const sizesSQL = `
select datname, case when has_database_privilege(oid, 'connect') or pg_has_role('pg_read_all_stats', 'usage') then pg_database_size(oid) else -1 end
from pg_database where not datistemplate order by 2 desc, 1`

// Want says what a reading of figures is about besides what it always is.
type Want struct {
	Sizes bool // of the databases, which takes longer than the rest
}

// ReadFigures reads what a server does. It fails as a whole only where the session does.
func ReadFigures(ctx context.Context, conn *pgx.Conn, want Want) (*Figures, error) {
	f := &Figures{}
	c := &f.Counters
	parts := []struct {
		name string
		read func() error
	}{
		{"counters", func() error {
			return conn.QueryRow(ctx, countersSQL).Scan(&f.At, &f.Version, &f.Replica, &f.Connections.Max, &c.BlockSize, &c.Reset, &c.Commits, &c.Rollbacks,
				&c.BlocksHit, &c.BlocksRead, &c.Returned, &c.Fetched, &c.Changed, &c.TempBytes, &c.Deadlocks)
		}},
		{"connections", func() error { return f.readConnections(ctx, conn) }},
		{"waits", func() (err error) { f.Waits, err = collect[Wait](ctx, conn, waitsSQL); return err }},
		{"replication", func() error { return f.readReplication(ctx, conn) }},
		{"sizes", func() (err error) {
			if want.Sizes {
				f.Sizes, err = collect[Size](ctx, conn, sizesSQL)
			}
			return err
		}},
	}
	for _, p := range parts {
		if err := p.read(); err != nil {
			m, err := missing(ctx, conn, p.name, err)
			if err != nil {
				return nil, err
			}
			f.Missing = append(f.Missing, m)
		}
	}
	if c.Reset.Unix() <= 0 {
		c.Reset = time.Time{}
	}
	if n := f.Connections.Hidden; n > 0 {
		f.Missing = append(f.Missing, hidden(n))
	}
	return f, nil
}

// collect reads rows into structs, column by column.
func collect[T any](ctx context.Context, conn *pgx.Conn, query string, args ...any) ([]T, error) {
	rows, err := conn.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[T])
}
