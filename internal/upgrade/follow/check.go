package follow

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"dbops/internal/op"
	"dbops/internal/pg"
	"dbops/internal/secret"
)

// Problem is one thing that forbids replication, or that somebody should know before it begins.
type Problem struct {
	Severity op.Severity
	Check    string // its name; of the way back it begins with "back-"
	Text     string
	Evidence string // objects, or the server's words
	Remedy   string
}

// looking collects problems.
type looking struct {
	w    *way
	back bool
	all  []Problem
}

func (l *looking) add(severity op.Severity, check, remedy, evidence, format string, args ...any) {
	if l.back { // without it, the way back is another one
		check, severity = "back-"+check, op.Warn
	}
	l.all = append(l.all, Problem{Severity: severity, Check: check, Text: fmt.Sprintf(format, args...), Evidence: evidence, Remedy: remedy})
}

// Check looks for what forbids the replication. What only forbids [Reverse] warns. It leaves nothing behind; to find out what the servers
// allow, it makes a role, and a subscription that does not follow, in transactions that it rolls back, and has the target's server try to
// log in to the source as somebody who does not exist. Without Job.Target, or where its database does not exist yet, only the source is looked at.
func Check(ctx context.Context, j Job) ([]Problem, error) {
	l := &looking{w: j.forward()}
	from, err := l.w.from.open(ctx)
	if err != nil {
		return nil, err
	}
	defer shut(ctx, from)
	for _, look := range []func(context.Context, *pgx.Conn) error{l.publisher, l.identities, l.contents} {
		if err := look(ctx, from); err != nil {
			return l.all, failed("check the replication", err)
		}
	}
	to, err := j.there(ctx)
	if err != nil || to == nil {
		return l.all, err
	}
	defer shut(ctx, to)
	if err := l.subscriber(ctx, from, to); err != nil {
		return l.all, failed("check the replication", err)
	}
	if j.Back.Host == "" {
		return l.all, nil
	}
	b := &looking{w: j.back(), back: true}
	if err := b.publisher(ctx, to); err != nil {
		return l.all, failed("check the replication back", err)
	}
	if err := b.subscriber(ctx, to, from); err != nil {
		return l.all, failed("check the replication back", err)
	}
	return append(l.all, b.all...), nil
}

// there opens the target if there is one.
func (j Job) there(ctx context.Context) (*pgx.Conn, error) {
	if j.Target == nil {
		return nil, nil //nolint:nilnil // not yet
	}
	missing := false
	watched := side{what: "target", connect: func(ctx context.Context, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
		conn, err := j.Target(ctx, tune)
		pe, ok := serverError(err)
		missing = ok && pe.Code == "3D000"
		return conn, err
	}}
	conn, err := watched.open(ctx)
	if missing {
		return nil, nil //nolint:nilnil // not yet
	}
	return conn, err
}

// publisher looks at the server that publishes.
func (l *looking) publisher(ctx context.Context, conn *pgx.Conn) error {
	var level, keep, idle string
	var standby, slots, senders, replicates bool
	what := l.w.from.what
	err := conn.QueryRow(ctx, `select current_setting('wal_level'), current_setting('max_slot_wal_keep_size'), coalesce(current_setting('idle_replication_slot_timeout', true), '0'), pg_is_in_recovery(),
 (select count(*) from pg_replication_slots where slot_name <> $1) < current_setting('max_replication_slots')::int,
 (select count(*) from pg_stat_replication) + 1 < current_setting('max_wal_senders')::int,
 (select rolsuper or rolreplication from pg_roles where rolname = current_user) or exists (select from pg_roles g where g.rolname = 'rds_replication' and pg_has_role(g.oid, 'MEMBER'))`, l.w.name).
		Scan(&level, &keep, &idle, &standby, &slots, &senders, &replicates)
	if err != nil {
		return err
	}
	if level != "logical" {
		l.add(op.Block, "wal-level", "set it and restart: rds.logical_replication = 1 on RDS, cloudsql.logical_decoding = on on Cloud SQL, else wal_level = logical", "", "wal_level of the %s is %s, and has to be logical", what, level)
	}
	if standby {
		l.add(op.Block, "standby", "name the primary", "", "the %s is a standby", what)
	}
	if !slots {
		l.add(op.Block, "replication-slots", "raise max_replication_slots and restart, or drop a slot that nobody needs", "", "all replication slots of the %s are taken", what)
	}
	if !senders {
		l.add(op.Block, "wal-senders", "raise max_wal_senders and restart", "", "the %s cannot serve two more walsenders: one for the slot's snapshot, one for the subscription", what)
	}
	if !replicates {
		l.add(op.Block, "replication-right", "ALTER ROLE ... REPLICATION, or on RDS GRANT rds_replication", "", "the login on the %s may not replicate", what)
	}
	if keep != "-1" {
		l.add(op.Warn, "slot-keep-size", "set max_slot_wal_keep_size to -1, or well above what is written during the copy", "max_slot_wal_keep_size = "+keep, "the %s throws away the log of a slot that is far behind, and then all begins again", what)
	}
	if idle != "0" {
		l.add(op.Warn, "slot-idle-timeout", "set idle_replication_slot_timeout to 0, or well above the time of the copy", "idle_replication_slot_timeout = "+idle, "the %s gives up slots that nobody reads, as during the copy", what)
	}
	if err := l.role(ctx, conn); err != nil {
		return err
	}
	return l.rights(ctx, conn)
}

// role tries to make the login of the replication.
func (l *looking) role(ctx context.Context, conn *pgx.Conn) error {
	verifier, err := pg.Verifier(secret.New(rand.Text()))
	if err != nil {
		return err
	}
	sql, err := l.w.createLoginSQL(ctx, conn, verifier)
	if err != nil {
		return err
	}
	drop, err := l.w.dropLoginSQL(ctx, conn)
	if err != nil {
		return err
	}
	pe, err := l.tried(ctx, conn, append(drop, sql...)...)
	if pe != "" {
		l.add(op.Block, "replication-login", "use a login that may create roles that replicate: a superuser, from PostgreSQL 16 on one with CREATEROLE and REPLICATION", pe, "no login for the replication can be made on the %s", l.w.from.what)
	}
	return err
}

// tried runs statements in a transaction that is rolled back, and returns the server's refusal.
func (l *looking) tried(ctx context.Context, conn *pgx.Conn, sql ...string) (string, error) {
	err := script(ctx, conn, "begin")
	for _, s := range sql {
		if err == nil {
			err = script(ctx, conn, s)
		}
	}
	rerr := script(ctx, conn, "rollback")
	if pe, ok := serverError(err); ok {
		return pe.Message, rerr
	}
	return "", errors.Join(err, rerr)
}

// rights are those that a publication takes.
func (l *looking) rights(ctx context.Context, conn *pgx.Conn) error {
	all, err := column[string](ctx, conn, `select 'CREATE on the database' where not has_database_privilege(current_database(), 'CREATE')
 union all select format('ownership of %I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relkind = 'r' and c.relpersistence = 'p' and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'dbops_upgrade') and not pg_has_role(c.relowner, 'USAGE')
 and not exists (select from pg_depend e where e.classid = 'pg_class'::regclass and e.objid = c.oid and e.deptype = 'e')`)
	if err == nil && len(all) > 0 {
		l.add(op.Block, "publication-rights", "use a login that owns the tables, or is a member of the roles that do", few(all), "the login cannot publish all tables of the %s", l.w.from.what)
	}
	return err
}

// identities are about how rows are told apart.
func (l *looking) identities(ctx context.Context, conn *pgx.Conn) error {
	all, err := tables(ctx, conn)
	if err != nil {
		return err
	}
	var bare []string
	for _, t := range all {
		if !t.Identified {
			bare = append(bare, t.String())
		}
	}
	switch {
	case len(bare) > 0 && l.w.full:
		l.add(op.Warn, "replica-identity", "give each a primary key, and it costs nothing", few(bare),
			"%d tables get REPLICA IDENTITY FULL for the time: the log holds their old rows whole, and each UPDATE and DELETE may read the whole table on the other side", len(bare))
	case len(bare) > 0:
		l.add(op.Block, "replica-identity", identityRemedy, few(bare), "no row of %d tables can be told from another", len(bare))
	}
	return l.found(ctx, conn, query{
		op.Block, "identity-columns", uncomparableSQL, "give the table a primary key, or change the column's type, such as json to jsonb",
		"columns that cannot be compared, in tables whose rows are told apart by all their columns",
	}, l.w.full)
}
