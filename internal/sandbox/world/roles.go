package world

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"dbops/internal/pg"
)

// makeRoles makes the roles that a cloud gives its customers. Running it again changes nothing.
func (s *server) makeRoles(ctx context.Context) error {
	c, err := s.db(ctx, "postgres")
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	spec := s.spec
	role := func(name, options string) error {
		if name == "" {
			return nil
		}
		var known bool
		if err := c.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", name).Scan(&known); err != nil || known {
			return err
		}
		_, err := c.Exec(ctx, "CREATE ROLE "+quote(name)+" "+options)
		return err
	}
	for _, r := range [][2]string{
		{spec.SuperGroup, "NOLOGIN CREATEROLE CREATEDB"},
		{spec.IAMGroup, "NOLOGIN"},
		{spec.Master, "LOGIN CREATEROLE CREATEDB"},
	} {
		if err := role(r[0], r[1]); err != nil {
			return fmt.Errorf("make role %s: %w", r[0], err)
		}
	}
	var grants []string
	if spec.SuperGroup != "" {
		grants = append(grants, "GRANT pg_monitor, pg_signal_backend, pg_read_all_data, pg_write_all_data TO "+quote(spec.SuperGroup)+" WITH ADMIN OPTION")
		if spec.Master != "" {
			grants = append(grants, "GRANT "+quote(spec.SuperGroup)+" TO "+quote(spec.Master))
		}
	}
	if spec.Master != "" { // both clouds give their first user the first database
		grants = append(grants, "ALTER DATABASE postgres OWNER TO "+quote(spec.Master))
	}
	for _, q := range grants {
		if _, err := c.Exec(ctx, q); err != nil {
			return err
		}
	}
	if spec.Master == "" || spec.MasterPassword.IsZero() {
		return nil
	}
	verifier, err := pg.Verifier(spec.MasterPassword)
	if err != nil {
		return err
	}
	// A verifier holds only letters that need no quoting, and it is not the password.
	_, err = c.Exec(ctx, fmt.Sprintf("ALTER ROLE %s PASSWORD '%s'", quote(spec.Master), verifier))
	return err
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }
