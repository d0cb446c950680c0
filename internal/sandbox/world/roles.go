package world

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"dbops/internal/pg"
	"dbops/internal/secret"
)

// granted are the predefined roles that the clouds give their administrators, as far as a major has them. Those that read or
// write files of the machine, or run programs on it, are none.
const granted = `SELECT rolname FROM pg_roles WHERE rolname IN ('pg_monitor', 'pg_signal_backend', 'pg_read_all_data', 'pg_write_all_data',
	'pg_checkpoint', 'pg_use_reserved_connections', 'pg_create_subscription', 'pg_maintain', 'pg_signal_autovacuum_worker')`

// makeRoles makes the roles that a cloud gives its customers in a fresh cluster.
func (s *server) makeRoles(ctx context.Context, password secret.Value) error {
	statements, err := s.roleStatements(password)
	if err != nil {
		return err
	}
	err = s.use(ctx, func(c *pgx.Conn) error {
		if s.record.SuperGroup != "" {
			q, err := s.grantPredefined(ctx, c)
			if err != nil {
				return err
			}
			statements = append(statements, q)
		}
		return pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
			for _, q := range statements {
				if _, err := tx.Exec(ctx, q); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("make the roles: %w", err)
	}
	return nil
}

// grantPredefined is the statement that gives the administrators what predefined roles there are for them.
func (s *server) grantPredefined(ctx context.Context, c *pgx.Conn) (string, error) {
	rows, err := c.Query(ctx, granted)
	if err != nil {
		return "", err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return "GRANT " + strings.Join(names, ", ") + " TO " + quote(s.record.SuperGroup) + " WITH ADMIN OPTION", err
}

func (s *server) roleStatements(password secret.Value) (statements []string, err error) {
	r := s.record
	if r.SuperGroup != "" {
		statements = append(statements, "CREATE ROLE "+quote(r.SuperGroup)+" NOLOGIN CREATEROLE CREATEDB")
	}
	if r.IAMGroup != "" {
		statements = append(statements, "CREATE ROLE "+quote(r.IAMGroup)+" NOLOGIN")
	}
	if r.Master == "" {
		return statements, nil
	}
	create := "CREATE ROLE " + quote(r.Master) + " LOGIN CREATEROLE CREATEDB"
	// A cloud's customer may let roles replicate. Before PostgreSQL 16 such a role could only be altered by a superuser.
	if r.Major >= 16 && (r.SuperGroup == "cloudsqlsuperuser" || r.SuperGroup == "rds_superuser") {
		create += " REPLICATION"
	}
	if !password.IsZero() {
		verifier, err := pg.Verifier(password)
		if err != nil {
			return nil, err
		}
		create += " PASSWORD '" + verifier + "'" // it holds no letter that would need quoting
	}
	statements = append(statements, create,
		"ALTER DATABASE postgres OWNER TO "+quote(r.Master)) // both clouds give their first user the first database
	if r.SuperGroup != "" {
		statements = append(statements, "GRANT "+quote(r.SuperGroup)+" TO "+quote(r.Master))
	}
	if r.IAMGroup != "" && r.Major >= 16 { // before, CREATEROLE was enough to grant it
		statements = append(statements, "GRANT "+quote(r.IAMGroup)+" TO "+quote(r.Master)+" WITH ADMIN TRUE, INHERIT FALSE, SET FALSE")
	}
	return statements, nil
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }
