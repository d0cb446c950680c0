package rehearse

import (
	"cmp"
	"context"
	"slices"

	"github.com/jackc/pgx/v5"
)

// relation is a table, index or view of the copy.
type relation struct {
	name  string // as SQL, with its schema
	kind  byte   // of pg_class.relkind
	file  uint32 // where its rows are; 0: it has none
	table uint32 // of an index
}

// mark is what a transaction has done with a relation so far.
type mark struct {
	rank   int // of its strongest lock
	scans  int64
	writes int64
	dml    bool // it has the lock of changing rows
}

// modes are the locks on tables, weakest first.
var modes = []string{"", "ACCESS SHARE", "ROW SHARE", "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE"}

const (
	rowExclusive         = 3
	shareUpdateExclusive = 4
	share                = 5
	exclusive            = 7
	accessExclusive      = 8
)

func (l Lock) rank() int { return slices.Index(modes, l.Mode) }

// querier is a session or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// each reads the rows of a query.
func each(ctx context.Context, q querier, sql string, into []any, do func()) error {
	rows, err := q.Query(ctx, sql, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		do()
	}
	return rows.Err()
}

const relationsSQL = `select c.oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.relkind::text, coalesce(pg_catalog.pg_relation_filenode(c.oid), 0)::oid, coalesce(i.indrelid, 0)::oid
 from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace left join pg_catalog.pg_index i on i.indexrelid = c.oid
 where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and c.relkind in ('r', 'p', 'm', 'v', 'f', 'i', 'I')`

// relations are those of the copy.
func relations(ctx context.Context, conn *pgx.Conn) (map[uint32]relation, error) {
	all := map[uint32]relation{}
	var oid uint32
	var r relation
	var kind string
	err := each(ctx, conn, relationsSQL, []any{&oid, &r.name, &kind, &r.file, &r.table}, func() {
		r.kind = kind[0]
		all[oid] = r
	})
	return all, err
}

// lockedSQL is what this transaction has locked: all that it has rewritten, built and read is among that.
const lockedSQL = `select l.relation, max(array_position(array['AccessShareLock', 'RowShareLock', 'RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock',
  'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'], l.mode)), coalesce(max(c.relkind::text), ''), coalesce(max(quote_ident(n.nspname) || '.' || quote_ident(c.relname)), ''),
 coalesce(pg_relation_filenode(l.relation), 0)::oid, coalesce(max(i.indrelid::int8), 0)::oid, coalesce(pg_stat_get_xact_numscans(l.relation), 0),
 coalesce(pg_stat_get_xact_tuples_inserted(l.relation) + pg_stat_get_xact_tuples_updated(l.relation) + pg_stat_get_xact_tuples_deleted(l.relation), 0), bool_or(l.mode = 'RowExclusiveLock')
 from pg_catalog.pg_locks l left join pg_catalog.pg_class c on c.oid = l.relation left join pg_catalog.pg_namespace n on n.oid = c.relnamespace left join pg_catalog.pg_index i on i.indexrelid = l.relation
 where l.pid = pg_backend_pid() and l.locktype = 'relation' and l.granted and l.relation >= 16384
 group by l.relation`

// locked is one row of it.
type locked struct {
	oid  uint32
	gone bool
	rel  relation
	mark mark
}

func (p *player) locked(ctx context.Context) ([]locked, error) {
	var all []locked
	var l locked
	var kind string
	err := each(ctx, p.conn, lockedSQL, []any{&l.oid, &l.mark.rank, &kind, &l.rel.name, &l.rel.file, &l.rel.table, &l.mark.scans, &l.mark.writes, &l.mark.dml}, func() {
		if l.gone = kind == ""; !l.gone {
			l.rel.kind = kind[0]
		}
		all = append(all, l)
	})
	return all, err
}

const countsSQL = `select c.oid, coalesce(pg_stat_get_xact_numscans(c.oid), 0), coalesce(pg_stat_get_xact_tuples_inserted(c.oid) + pg_stat_get_xact_tuples_updated(c.oid) + pg_stat_get_xact_tuples_deleted(c.oid), 0)
 from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and c.relkind in ('r', 'p', 'm')`

// restart begins to count: what the session counted before, and has not handed over yet, is no part of the transaction that has begun.
func (p *player) restart(ctx context.Context) error {
	clear(p.marks)
	if p.idle {
		return nil
	}
	var oid uint32
	var m mark
	return each(ctx, p.conn, countsSQL, []any{&oid, &m.scans, &m.writes}, func() { p.marks[oid] = m })
}

// isTable tells that it has rows that somebody reads or writes.
func isTable(kind byte) bool { return kind == 'r' || kind == 'p' || kind == 'm' || kind == 'f' }

// note adds to a statement what it did: now is what the transaction has locked after it. Only what existed before the first file counts.
func (p *player) note(now []locked, st *Statement, truncates bool) {
	files, rewritten := map[uint32]bool{}, map[uint32]bool{}
	for _, r := range p.known {
		files[r.file] = true
	}
	for _, l := range now {
		before, known := p.known[l.oid]
		old, was := p.base[l.oid]
		if !was || !known || l.gone || !isTable(l.rel.kind) || before.file == l.rel.file || l.rel.file == 0 {
			continue
		}
		rewritten[l.oid] = true
		if truncates {
			st.Empties = append(st.Empties, old.name)
		} else {
			st.Rewrites = append(st.Rewrites, old.name)
		}
	}
	for _, l := range now {
		p.noteTable(l, st)
		p.noteIndex(l, st, files, rewritten)
	}
	for _, l := range now {
		if l.gone {
			delete(p.known, l.oid)
		} else {
			p.known[l.oid] = l.rel
		}
		p.marks[l.oid] = l.mark
	}
	for _, list := range []*[]string{&st.Empties, &st.Rewrites, &st.Builds, &st.BuildsOn, &st.Scans, &st.Writes} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	slices.SortFunc(st.Locks, func(a, b Lock) int {
		return cmp.Or(cmp.Compare(b.rank(), a.rank()), cmp.Compare(a.Relation, b.Relation))
	})
}

// noteTable notes a lock that is stronger than before, and what was read and written.
func (p *player) noteTable(l locked, st *Statement) {
	old, was := p.base[l.oid]
	if !was || !isTable(old.kind) && (old.kind != 'v' || l.mark.rank < accessExclusive) {
		return
	}
	before := p.marks[l.oid]
	if l.mark.rank > before.rank && l.mark.rank >= rowExclusive {
		st.Locks = append(st.Locks, Lock{old.name, modes[l.mark.rank]})
	}
	if l.mark.scans > before.scans && isTable(old.kind) {
		st.Scans = append(st.Scans, old.name)
	}
	if l.mark.writes > before.writes || st.changesRows && l.mark.dml && !before.dml {
		st.Writes = append(st.Writes, old.name)
	}
}

// noteIndex notes an index that was built: it is new, or has new files. One that was made anew over the files of another was not.
func (p *player) noteIndex(l locked, st *Statement, files, rewritten map[uint32]bool) {
	table, was := p.base[l.rel.table]
	before, known := p.known[l.oid]
	if l.gone || l.rel.kind != 'i' || !was || rewritten[l.rel.table] || l.rel.file == 0 {
		return
	}
	if (known && before.file != l.rel.file) || (!known && !files[l.rel.file]) {
		st.Builds = append(st.Builds, l.rel.name)
		st.BuildsOn = append(st.BuildsOn, table.name)
	}
}
