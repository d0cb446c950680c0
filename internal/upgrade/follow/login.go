package follow

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
	"dbops/internal/pg"
	"dbops/internal/secret"
)

// makeLogin makes the login that the other server comes with, or makes it anew, and returns its password. It may replicate and connect, and
// read no table: nothing but the log is asked of it. The server is sent a verifier, not the password.
func (w *way) makeLogin(ctx context.Context, conn *pgx.Conn) (secret.Value, error) {
	password := secret.New(rand.Text())
	verifier, err := pg.Verifier(password)
	if err != nil {
		return password, err
	}
	drop, err := w.dropLoginSQL(ctx, conn)
	if err != nil {
		return password, err
	}
	create, err := w.createLoginSQL(ctx, conn, verifier)
	if err != nil {
		return password, err
	}
	if err := transaction(ctx, conn, append(drop, create...)...); err != nil {
		return password, fmt.Errorf("make the login %s on the %s: %w", w.name, w.from.what, err)
	}
	may, err := one[bool](ctx, conn, "select has_database_privilege($1, current_database(), 'CONNECT')", w.name)
	if err == nil && !may {
		err = fault.Newf(fault.Denied, "let the login "+w.name+" connect to the "+w.from.what, "the grant had no effect").
			Hint("use a login that owns the database or may grant CONNECT on it")
	}
	return password, err
}

func (w *way) createLoginSQL(ctx context.Context, conn *pgx.Conn, verifier string) ([]string, error) {
	// Where a cloud has a role of its own for it, the attribute is nobody's to give.
	group, err := one[bool](ctx, conn, "select exists (select from pg_roles where rolname = 'rds_replication')")
	if err != nil {
		return nil, err
	}
	database, err := one[string](ctx, conn, "select current_database()::text")
	if err != nil {
		return nil, err
	}
	name := ident(w.name)
	sql := []string{"create role " + name + " login replication password " + literal(verifier)}
	if group {
		sql = []string{"create role " + name + " login password " + literal(verifier), "grant rds_replication to " + name}
	}
	// Its own grant: PUBLIC's may be revoked while writers are stopped.
	return append(sql, "grant connect on database "+ident(database)+" to "+name), nil
}

// dropLoginSQL is empty without a login.
func (w *way) dropLoginSQL(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	databases, err := column[string](ctx, conn, "select current_database()::text from pg_roles where rolname = $1", w.name)
	if err != nil || len(databases) == 0 {
		return nil, err
	}
	return []string{"revoke connect on database " + ident(databases[0]) + " from " + ident(w.name), "drop role " + ident(w.name)}, nil
}

func (w *way) dropLogin(ctx context.Context, conn *pgx.Conn) error {
	sql, err := w.dropLoginSQL(ctx, conn)
	if err != nil || sql == nil {
		return err
	}
	return transaction(ctx, conn, sql...)
}
