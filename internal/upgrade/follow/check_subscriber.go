package follow

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"dbops/internal/op"
	"dbops/internal/secret"
)

// subscriber looks at the server that subscribes.
func (l *looking) subscriber(ctx context.Context, from, to *pgx.Conn) error {
	var workers, origins bool
	what := l.w.to.what
	// Until PostgreSQL 17, the setting for slots limits what a server follows, too.
	err := to.QueryRow(ctx, `select (select count(*) from pg_stat_subscription where pid is not null and subname <> $1) + 1 < least(current_setting('max_logical_replication_workers')::int, current_setting('max_worker_processes')::int),
 (select count(*) from pg_subscription where subname <> $1) < coalesce(current_setting('max_active_replication_origins', true), current_setting('max_replication_slots'))::int`, l.w.name).
		Scan(&workers, &origins)
	if err != nil {
		return err
	}
	if !workers {
		l.add(op.Block, "replication-workers", "raise max_logical_replication_workers and max_worker_processes, and restart", "", "the %s has no worker left for a subscription", what)
	}
	if !origins {
		l.add(op.Block, "replication-origins", "raise max_active_replication_origins, before PostgreSQL 18 max_replication_slots, and restart", "", "the %s cannot follow one server more", what)
	}
	if err := l.owners(ctx, from, to); err != nil {
		return err
	}
	return l.reach(ctx, to)
}

// owners are whom rows are written as, from PostgreSQL 16 on.
func (l *looking) owners(ctx context.Context, from, to *pgx.Conn) error {
	major, err := majorOf(ctx, to)
	if err != nil || major < 16 {
		return err
	}
	all, err := tables(ctx, from)
	if err != nil {
		return err
	}
	var names []string
	for _, t := range all {
		names = append(names, t.Owner)
	}
	slices.Sort(names)
	others, err := column[string](ctx, to, "select rolname::text from pg_roles where rolname = any ($1) and not pg_has_role(oid, 'SET') order by 1", slices.Compact(names))
	if err == nil && len(others) > 0 {
		l.add(op.Block, "table-owners", "GRANT them to the login WITH SET TRUE", few(others), "the login on the %s may not act for the owners of tables, as whom rows are written", l.w.to.what)
	}
	return err
}

// reach tries to subscribe, first without a connection, then with a login that there is not. How that is refused tells how far it came: only the
// other server names the login.
func (l *looking) reach(ctx context.Context, to *pgx.Conn) error {
	what, other, at := l.w.to.what, l.w.from.what, l.w.address
	if at.Host == "" {
		l.add(op.Block, "address", "say where it is", "", "where the %s reaches the %s is not known", what, other)
		return nil
	}
	name := ident(l.w.name + "_check")
	const options = "create_slot = false, copy_data = false, enabled = false"
	said, err := l.tried(ctx, to, "create subscription "+name+" connection 'password=none' publication "+name+" with ("+options+", slot_name = none, connect = false)")
	if err != nil {
		return err
	}
	if said != "" {
		l.add(op.Block, "subscription-right", "use a login that may subscribe: a superuser, from PostgreSQL 16 on one with pg_create_subscription and CREATE on the database, or as the cloud gives its customers", said, "the login on the %s may not make a subscription", what)
		return nil
	}
	nobody := "dbops_nobody_" + strings.ToLower(rand.Text()[:8])
	err = withConninfo(ctx, to, at.conninfo(nobody, secret.New(rand.Text())), "'create subscription "+name+" connection %L publication "+name+" with ("+options+")'",
		"do $$ begin raise 'taken back' using errcode = '"+takenBack+"'; end $$")
	pe, ok := serverError(err)
	if !ok {
		return fmt.Errorf("try to subscribe on the %s: %w", what, err)
	}
	if pe.Code == takenBack || strings.Contains(pe.Message, nobody) && !strings.Contains(pe.Message, "pg_hba.conf") {
		return nil // it got as far as the login
	}
	said = strings.Join(strings.Fields(strings.ReplaceAll(pe.Message, nobody, l.w.name)), " ")
	l.add(op.Block, "reachability", "open the network between the servers, and see that address, certificate and pg_hba.conf allow it", said, "the server of the %s cannot reach the %s at %s:%d", what, other, at.Host, at.Port)
	return nil
}

// takenBack is what we raise ourselves.
const takenBack = "ZZ999"
