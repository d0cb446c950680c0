package live

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// Session is one connection to the server, or a process that works in its name.
type Session struct {
	PID         int       `json:"pid"`
	Started     time.Time `json:"started,omitzero"` // when the process began; not known of a session that may not be seen
	Type        string    `json:"type,omitempty"`   // client backend, autovacuum worker, ...; empty where it may not be seen
	User        string    `json:"user,omitempty"`
	Application string    `json:"application,omitempty"`
	Client      string    `json:"client,omitempty"`
	Database    string    `json:"database,omitempty"`
	State       string    `json:"state,omitempty"`
	WaitType    string    `json:"wait_type,omitempty"`
	WaitEvent   string    `json:"wait_event,omitempty"`
	// InTransaction is how old the transaction is, if there is one; Statement how long the statement runs, or ran before it was done; InState how
	// long the state has been what it is.
	InTransaction *Span     `json:"transaction_age,omitempty"`
	Statement     *Span     `json:"statement_age,omitempty"`
	InState       *Span     `json:"state_age,omitempty"`
	Asked         time.Time `json:"statement_started,omitzero"`
	Wrote         bool      `json:"wrote"`            // its transaction has changed something
	Leader        int       `json:"leader,omitempty"` // of a parallel worker
	Query         string    `json:"query,omitempty"`  // the statement, or the last one; passwords masked
	BlockedBy     []int     `json:"blocked_by,omitempty"`
	Waits         *LockWait `json:"waits_for,omitempty"`
	Blocks        int       `json:"blocks,omitempty"` // how many wait for it, directly or behind another
}

// Hidden tells that the login may not see what the session does.
func (s Session) Hidden() bool { return s.Type == "" && s.State == "" }

// Active tells that it runs a statement.
func (s Session) Active() bool { return s.State == "active" || s.State == "fastpath function call" }

// LockWait is the lock that a session waits for.
type LockWait struct {
	Mode   string `json:"mode"`
	Object string `json:"object"`
	For    *Span  `json:"for,omitempty"`
}

// Activity is who is connected, and who waits for whom.
type Activity struct {
	At       time.Time `json:"at"`
	Sessions []Session `json:"sessions"` // those that block first, then those that wait, then by the age of their transaction
	Missing  []Missing `json:"missing,omitempty"`
}

const maxQuery = 4096

// pg_blocking_pids takes every lock of the lock table for a moment: it is asked for those that wait alone.
const sessionsSQL = `
select a.pid, coalesce(a.backend_start, 'epoch') as started, coalesce(a.backend_type, '') as type, coalesce(a.usename, '') as "user",
       coalesce(a.application_name, '') as application, coalesce(host(a.client_addr) || ':' || a.client_port, case when a.client_port = -1 then 'socket' end, '') as client,
       coalesce(a.datname, '') as database, coalesce(a.state, '') as state, coalesce(a.wait_event_type, '') as wait_type, coalesce(a.wait_event, '') as wait_event,
       extract(epoch from clock_timestamp() - a.xact_start)::float8 as in_transaction,
       extract(epoch from case when a.state = 'active' then clock_timestamp() else a.state_change end - a.query_start)::float8 as statement,
       extract(epoch from clock_timestamp() - a.state_change)::float8 as in_state, coalesce(a.query_start, 'epoch') as asked,
       a.backend_xid is not null as wrote, coalesce(a.leader_pid, 0) as leader,
       case when a.backend_type is null then '' else left(coalesce(a.query, ''), $1) end as query,
       case when a.wait_event_type = 'Lock' then pg_blocking_pids(a.pid) end as blocked_by
from pg_stat_activity a
where a.pid <> pg_backend_pid() and (a.datid is not null or a.usesysid is not null) and a.backend_type is distinct from 'logical replication launcher'`

// A name of a relation can be looked up in the database of this session alone: see [Names]. Who waits for a transaction holds the lock of the row meanwhile,
// which tells the table.
const waitsForSQL = `
select w.pid, w.mode, w.locktype, coalesce(w.transactionid::text, w.virtualxid, '') as xid,
       coalesce(case when o.oid is null then coalesce(w.relation, r.relation)::regclass::text end, '') as relation,
       coalesce(o.datname, '') as database, coalesce(case when o.oid is not null then coalesce(w.relation, r.relation) end, 0)::bigint as oid,
       extract(epoch from clock_timestamp() - w.waitstart)::float8 as waited
from pg_locks w
join pg_database d on d.datname = current_database()
left join lateral (select t.database, t.relation from pg_locks t where t.pid = w.pid and t.granted and t.locktype = 'tuple' limit 1) r on w.locktype = 'transactionid'
left join pg_database o on o.oid = coalesce(w.database, r.database) and o.oid <> d.oid
where not w.granted`

type lockWaitRow struct {
	PID      int
	Mode     string
	LockType string
	XID      string
	Relation string // of the database that is read
	Database string // of another one
	OID      int64
	Waited   *Span
}

func (r lockWaitRow) place() place { return place{r.Database, uint32(r.OID)} }

type sessionRow struct {
	PID                                                                   int
	Started                                                               time.Time
	Type, User, Application, Client, Database, State, WaitType, WaitEvent string
	InTransaction, Statement, InState                                     *Span
	Asked                                                                 time.Time
	Wrote                                                                 bool
	Leader                                                                int
	Query                                                                 string
	BlockedBy                                                             []int
}

// ReadActivity reads who is connected. Without names, relations of other databases are called by their numbers.
func ReadActivity(ctx context.Context, conn *pgx.Conn, names *Names) (*Activity, error) {
	a := &Activity{}
	rows, err := collect[sessionRow](ctx, conn, sessionsSQL, maxQuery)
	if err == nil {
		err = conn.QueryRow(ctx, "select clock_timestamp()").Scan(&a.At)
	}
	if err != nil {
		return a, a.lacks(ctx, conn, "sessions", err)
	}
	unseen := 0
	for _, r := range rows {
		s := r.session()
		if s.Hidden() {
			unseen++
		}
		a.Sessions = append(a.Sessions, s)
	}
	if unseen > 0 {
		a.Missing = append(a.Missing, hidden(unseen))
	}
	a.withPrepared()
	if err := a.readWaits(ctx, conn, names); err != nil {
		return a, err
	}
	a.count()
	slices.SortStableFunc(a.Sessions, trouble)
	return a, nil
}

func (a *Activity) lacks(ctx context.Context, conn *pgx.Conn, part string, err error) error {
	m, err := missing(ctx, conn, part, err)
	if err == nil {
		a.Missing = append(a.Missing, m)
	}
	return err
}

func (r sessionRow) session() Session {
	s := Session{
		PID: r.PID, Type: r.Type, User: r.User, Application: r.Application, Client: r.Client, Database: r.Database, State: r.State,
		WaitType: r.WaitType, WaitEvent: r.WaitEvent, InTransaction: r.InTransaction, Statement: r.Statement, InState: r.InState,
		Wrote: r.Wrote, Leader: r.Leader, Query: Masked(r.Query),
	}
	if s.Application == "" && s.Type != "client backend" {
		s.Application = s.Type
	}
	if r.Started.Unix() > 0 {
		s.Started = r.Started.UTC()
	}
	if r.Asked.Unix() > 0 {
		s.Asked = r.Asked.UTC()
	}
	slices.Sort(r.BlockedBy)
	for _, pid := range slices.Compact(r.BlockedBy) {
		if pid != r.PID {
			s.BlockedBy = append(s.BlockedBy, pid)
		}
	}
	return s
}

// Prepared is the number that PostgreSQL gives a prepared transaction that others wait for: no process has it.
const Prepared = 0

// withPrepared adds what holds locks without a process, if somebody waits for it.
func (a *Activity) withPrepared() {
	if slices.ContainsFunc(a.Sessions, func(s Session) bool { return slices.Contains(s.BlockedBy, Prepared) }) {
		a.Sessions = append(a.Sessions, Session{PID: Prepared, Type: "prepared transaction", Application: "prepared transaction", Query: "select * from pg_prepared_xacts", Wrote: true})
	}
}

func (a *Activity) readWaits(ctx context.Context, conn *pgx.Conn, names *Names) error {
	if !slices.ContainsFunc(a.Sessions, func(s Session) bool { return len(s.BlockedBy) > 0 }) {
		return nil
	}
	rows, err := collect[lockWaitRow](ctx, conn, waitsForSQL)
	if err != nil {
		return a.lacks(ctx, conn, "locks", err)
	}
	called := names.find(ctx, conn, placesOf(rows, lockWaitRow.place))
	for _, r := range rows {
		if i := slices.IndexFunc(a.Sessions, func(s Session) bool { return s.PID == r.PID }); i >= 0 {
			a.Sessions[i].Waits = &LockWait{Mode: r.Mode, Object: object(r.LockType, cmp.Or(r.Relation, called[r.place()]), r.XID), For: r.Waited}
		}
	}
	return nil
}

// object is what a lock is of, in words.
func object(kind, relation, xid string) string {
	switch {
	case kind == "relation":
		return cmp.Or(relation, "a relation")
	case (kind == "tuple" || kind == "transactionid") && relation != "":
		return "a row of " + relation
	case kind == "transactionid" || kind == "virtualxid":
		return "the end of transaction " + xid
	case relation != "":
		return fmt.Sprintf("%s of %s", kind, relation)
	default:
		return kind + " lock"
	}
}

// trouble orders by who stands in the way.
func trouble(x, y Session) int {
	age := func(s Session) Span {
		if s.InTransaction == nil {
			return -1
		}
		return *s.InTransaction
	}
	waits := func(s Session) int { return min(1, len(s.BlockedBy)) }
	return cmp.Or(cmp.Compare(y.Blocks, x.Blocks), cmp.Compare(waits(y), waits(x)), cmp.Compare(age(y), age(x)), cmp.Compare(x.PID, y.PID))
}
