package quiesce

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// backend is a process of the server that is in one of the databases.
type backend struct {
	Session
	super  bool
	system bool   // it belongs to no role: autovacuum and its like, which write nothing of their own
	sender bool   // a walsender
	vxid   string // of its open transaction; whoever may not see a session's state sees that
	start  string // when it began, if that may be seen
}

// backends are all but the asking one.
func (s *session) backends(ctx context.Context, databases []string) ([]backend, error) {
	rows, err := s.conn.Query(ctx, `select a.pid, coalesce(r.rolname::text, a.usename::text, ''), coalesce(a.application_name, ''), a.datname::text, coalesce(a.backend_type, ''), coalesce(a.state, ''),
 coalesce(extract(epoch from clock_timestamp() - coalesce(a.xact_start, a.backend_start)), 0)::float8, coalesce(r.rolsuper, false), a.usesysid is null, w.pid is not null, coalesce(l.vxid, ''), coalesce(a.backend_start::text, '')
 from pg_catalog.pg_stat_activity a left join pg_catalog.pg_roles r on r.oid = a.usesysid left join pg_catalog.pg_stat_get_wal_senders() w on w.pid = a.pid
 left join (select pid, max(virtualtransaction) as vxid from pg_catalog.pg_locks where locktype = 'virtualxid' and granted and virtualxid = virtualtransaction group by pid) l on l.pid = a.pid
 where a.datname = any($1) and a.pid <> pg_catalog.pg_backend_pid() order by a.pid`, databases)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (b backend, err error) {
		var age float64
		err = row.Scan(&b.PID, &b.Role, &b.Application, &b.Database, &b.Kind, &b.State, &age, &b.super, &b.system, &b.sender, &b.vxid, &b.start)
		b.Age = time.Duration(max(age, 0) * float64(time.Second)).Round(time.Millisecond)
		return b, err
	})
}

// coming are the processes that are just logging in. Each locks its database before it looks whether it has the right to, and until
// everybody can see it: whoever is neither among these nor among the backends, in this order, has not passed that look yet.
func (s *session) coming(ctx context.Context, databases []string) (n int, err error) {
	err = s.conn.QueryRow(ctx, `select count(distinct l.pid) from pg_catalog.pg_locks l join pg_catalog.pg_database d on d.oid = l.objid where l.locktype = 'object' and l.classid = 'pg_catalog.pg_database'::pg_catalog.regclass
 and l.mode = 'RowExclusiveLock' and l.pid <> pg_catalog.pg_backend_pid() and d.datname = any($1)`, databases).Scan(&n)
	return n, err
}

// still is who is there, what is left of those who were, and who could come.
func (s *session) still(ctx context.Context, databases []string) ([]Session, error) {
	out := []Session{}
	all, err := s.backends(ctx, databases)
	if err != nil {
		return nil, err
	}
	for _, b := range all {
		if b.system {
			continue
		}
		switch {
		case strings.HasPrefix(b.Kind, "logical replication"):
			b.Why = "it writes what a subscription brings"
		case b.Kind != "" && b.Kind != clientBackend && !b.sender:
			b.Why = "a background worker"
		case b.sender:
			b.Why = "it sends changes to a replica or a subscriber"
		case b.super:
			b.Why = "superusers are not held back by rights"
		case b.Role == s.login:
			b.Why = "it has the login of dbops"
		default:
			b.Why = "it was there, or has the right to connect"
		}
		out = append(out, b.Session)
	}
	for _, more := range []string{leftPrepared, leftSubscriptions, leftRoles} {
		rows, err := s.conn.Query(ctx, more, databases, s.oid)
		if err != nil {
			return nil, err
		}
		some, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (x Session, err error) {
			var age float64
			err = row.Scan(&x.Role, &x.Application, &x.Database, &x.State, &age, &x.Why)
			x.Age = time.Duration(max(age, 0) * float64(time.Second)).Round(time.Millisecond)
			return x, err
		})
		if err != nil {
			return nil, err
		}
		out = append(out, some...)
	}
	return out, nil
}

// States of what is no session.
const (
	StatePrepared     = "prepared transaction"
	StateSubscription = "subscription"
	StateMayLogIn     = "may log in"
)

const (
	leftPrepared = `select owner::text, gid, database::text, '` + StatePrepared + `', extract(epoch from clock_timestamp() - prepared)::float8, 'it can be committed by its role, if that has the right to connect, or by a superuser'
 from pg_catalog.pg_prepared_xacts where database = any($1) and $2::oid is not null order by 2`
	leftSubscriptions = `select pg_catalog.pg_get_userbyid(subowner)::text, subname::text, d.datname::text, '` + StateSubscription + `', 0::float8, 'it is enabled, and writes what it brings'
 from pg_catalog.pg_subscription join pg_catalog.pg_database d on d.oid = subdbid where subenabled and d.datname = any($1) and $2::oid is not null order by 2`
	leftRoles = `select r.rolname::text, '', d.datname::text, '` + StateMayLogIn + `', 0::float8, case when r.oid = $2 then 'dbops logs in with it' when r.rolsuper then 'superusers are not held back by rights' else 'it has the right to connect' end
 from pg_catalog.pg_roles r, pg_catalog.pg_database d where r.rolcanlogin and d.datname = any($1) and pg_catalog.has_database_privilege(r.oid, d.oid, 'CONNECT') order by 3, 1`
)

const (
	clientBackend  = "client backend"
	parallelWorker = "parallel worker"
)

func (x Session) String() string {
	who := x.Role
	if x.PID != 0 { // what is no session has none
		who = fmt.Sprintf("process %d of %s", x.PID, who)
	}
	if x.Application != "" {
		who += " (" + x.Application + ")"
	}
	return fmt.Sprintf("%s in database %s, %s", who, x.Database, x.State)
}
