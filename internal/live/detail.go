package live

import (
	"cmp"
	"context"
	"slices"

	"github.com/jackc/pgx/v5"
)

// Lock is a lock that a session holds or waits for.
type Lock struct {
	Object  string `json:"object"`
	Mode    string `json:"mode"`
	Granted bool   `json:"granted"`
	Count   int    `json:"count"`
}

// Detail is the whole of one session.
type Detail struct {
	Session *Session  `json:"session"` // nil if there is none
	Waiting []Session `json:"waiting,omitempty"`
	Locks   []Lock    `json:"locks,omitempty"`
	Missing []Missing `json:"missing,omitempty"`
}

const locksSQL = `
select l.locktype,
       coalesce(case when o.oid is null then l.relation::regclass::text end, '') as relation,
       coalesce(o.datname, '') as database, coalesce(case when o.oid is not null then l.relation end, 0)::bigint as oid,
       coalesce(case when l.relation is null then coalesce(l.transactionid::text, l.virtualxid) end, '') as xid, l.mode, l.granted, count(*)::int
from pg_locks l
join pg_database d on d.datname = current_database()
left join pg_database o on o.oid = l.database and o.oid <> d.oid
where l.pid = $1 and not (l.locktype = 'virtualxid' and l.granted)
group by 1, 2, 3, 4, 5, 6, 7 order by 7, 2, 3, 4, 5, 6 limit 200`

type lockRow struct {
	Kind, Relation, Database string
	OID                      int64
	XID, Mode                string
	Granted                  bool
	Count                    int
}

func (r lockRow) place() place { return place{r.Database, uint32(r.OID)} }

// ReadDetail reads one session, with its locks.
func ReadDetail(ctx context.Context, conn *pgx.Conn, names *Names, pid int) (*Detail, error) {
	a, err := ReadActivity(ctx, conn, names)
	if err != nil {
		return nil, err
	}
	d := &Detail{Missing: a.Missing}
	i := slices.IndexFunc(a.Sessions, func(s Session) bool { return s.PID == pid })
	if i < 0 {
		return d, nil
	}
	d.Session, d.Waiting = &a.Sessions[i], a.Behind(pid)
	rows, err := collect[lockRow](ctx, conn, locksSQL, pid)
	if err != nil {
		m, err := missing(ctx, conn, "locks", err)
		if err != nil {
			return nil, err
		}
		d.Missing = append(d.Missing, m)
		return d, nil
	}
	called := names.find(ctx, conn, placesOf(rows, lockRow.place))
	for _, r := range rows {
		name := cmp.Or(r.Relation, called[r.place()])
		what := object(r.Kind, name, r.XID)
		if r.Granted && name == "" && (r.Kind == "transactionid" || r.Kind == "virtualxid") {
			what = "its own transaction " + r.XID
		}
		d.Locks = append(d.Locks, Lock{Object: what, Mode: r.Mode, Granted: r.Granted, Count: r.Count})
	}
	return d, nil
}
