package seed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"dbops/internal/config"
	"dbops/internal/pg"
	"dbops/internal/secret"
)

// roles writes the roles of one database within a transaction.
type roles struct {
	tx      pgx.Tx
	d       Database
	version int // server_version_num
}

// makeRoles makes every role and membership, in one transaction. Two runs on one server take turns: roles are shared between its
// databases.
func makeRoles(ctx context.Context, conn *pgx.Conn, d Database) error {
	return inTransaction(ctx, conn, func(tx pgx.Tx) error {
		r := roles{tx: tx, d: d}
		err := tx.QueryRow(ctx, `SELECT current_setting('server_version_num')::int FROM pg_advisory_xact_lock(hashtext('dbops seed'))`).Scan(&r.version)
		if err != nil {
			return err
		}
		if _, err := r.ensure(ctx, d.Owner, "NOLOGIN"); err != nil {
			return err
		}
		if d.IAMGroup != "" {
			if _, err := r.ensure(ctx, d.IAMGroup, "NOLOGIN"); err != nil {
				return err
			}
		}
		if d.Master != "" {
			if err := r.join(ctx, d.Owner, d.Master); err != nil {
				return err
			}
		}
		for _, role := range d.Roles {
			if err := r.login(ctx, role); err != nil {
				return fmt.Errorf("role %s: %w", role.Name, err)
			}
		}
		for _, c := range d.Containers {
			if err := r.container(ctx, c); err != nil {
				return fmt.Errorf("container %s: %w", c.Name, err)
			}
		}
		return nil
	})
}

// ensure makes a role if it is not there, and tells whether it did.
func (r roles) ensure(ctx context.Context, role, options string) (bool, error) {
	var there bool
	if err := r.tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)`, role).Scan(&there); err != nil || there {
		return false, err
	}
	return true, r.exec(ctx, "CREATE ROLE "+name(role)+" "+options)
}

func (r roles) exec(ctx context.Context, sql string) error {
	_, err := r.tx.Exec(ctx, sql)
	return err
}

// join makes member a member of each of the groups.
func (r roles) join(ctx context.Context, groups, member string) error {
	for group := range strings.FieldsSeq(groups) {
		if err := r.exec(ctx, "GRANT "+name(group)+" TO "+name(member)); err != nil {
			return err
		}
	}
	return nil
}

// setPassword gives a role the verifier of a password; the server never sees the password.
func (r roles) setPassword(ctx context.Context, role string, password secret.Value) error {
	text := "NULL"
	if !password.IsZero() {
		v, err := pg.Verifier(password)
		if err != nil {
			return err
		}
		text = "'" + v + "'" // of base64 and a few signs: nothing to quote
	}
	return r.exec(ctx, "ALTER ROLE "+name(role)+" PASSWORD "+text)
}

// login makes a role of people or of dbops.
func (r roles) login(ctx context.Context, role Role) error {
	if _, err := r.ensure(ctx, role.Name, "LOGIN"); err != nil {
		return err
	}
	groups := map[config.Access]string{
		config.Read:  "pg_read_all_data pg_monitor",
		config.Write: "pg_read_all_data pg_write_all_data",
		config.Admin: "pg_monitor pg_signal_backend",
	}[cmp.Or(role.Access, config.Read)]
	if groups == "" {
		return fmt.Errorf("unknown access %q", role.Access)
	}
	if err := r.join(ctx, groups, role.Name); err != nil {
		return err
	}
	if role.Access == config.Admin {
		if err := r.join(ctx, r.d.Owner, role.Name); err != nil {
			return err
		}
		if err := r.exec(ctx, "ALTER ROLE "+name(role.Name)+" CREATEROLE"); err != nil {
			return err
		}
		if r.version >= 160000 { // for an upgrade that catches up
			if err := r.exec(ctx, "ALTER ROLE "+name(role.Name)+" REPLICATION"); err != nil {
				return err
			}
			if err := r.join(ctx, "pg_create_subscription", role.Name); err != nil {
				return err
			}
		}
	}
	if role.IAM {
		if r.d.IAMGroup == "" {
			return errors.New("it logs in with a token, and the IAM group is not named")
		}
		if err := r.join(ctx, r.d.IAMGroup, role.Name); err != nil {
			return err
		}
	}
	return r.setPassword(ctx, role.Name, role.Password)
}

// container makes the group role and the slots of a container.
func (r roles) container(ctx context.Context, c Container) error {
	group := c.Group()
	if _, err := r.ensure(ctx, group, "NOLOGIN"); err != nil {
		return err
	}
	if c.Access == config.Admin {
		if err := r.join(ctx, r.d.Owner, group); err != nil {
			return err
		}
	}
	for slot, login := range map[string]string{"a": "LOGIN", "b": "NOLOGIN"} {
		role := c.Slot(slot)
		made, err := r.ensure(ctx, role, login)
		if err != nil {
			return err
		}
		if made {
			if slot == "a" {
				if err := r.setPassword(ctx, role, c.Password); err != nil {
					return err
				}
			}
			if err := r.join(ctx, group, role); err != nil {
				return err
			}
			if err := r.exec(ctx, "ALTER ROLE "+name(role)+" SET role = "+name(group)); err != nil {
				return err
			}
		}
		if err := r.administer(ctx, role); err != nil {
			return err
		}
	}
	return r.administer(ctx, group)
}

// administer lets the admin roles manage a role. Before PostgreSQL 16 CREATEROLE is enough for that.
func (r roles) administer(ctx context.Context, role string) error {
	if r.version < 160000 {
		return nil
	}
	for _, admin := range r.d.Roles {
		if admin.Access != config.Admin {
			continue
		}
		if err := r.exec(ctx, "GRANT "+name(role)+" TO "+name(admin.Name)+" WITH ADMIN TRUE, INHERIT FALSE, SET FALSE"); err != nil {
			return err
		}
	}
	return nil
}

// grant gives the containers their rights in the database, on what is there and on what its owner will make.
func grant(ctx context.Context, conn *pgx.Conn, d Database) error {
	return inTransaction(ctx, conn, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT nspname FROM pg_namespace WHERE nspowner = $1::regrole ORDER BY 1`, name(d.Owner))
		if err != nil {
			return err
		}
		schemas, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		for _, c := range d.Containers {
			tables := "SELECT"
			if c.Access == config.Write || c.Access == config.Admin {
				tables = "SELECT, INSERT, UPDATE, DELETE"
			}
			for _, schema := range schemas {
				in, to := " IN SCHEMA "+name(schema), " TO "+name(c.Group())
				later := "ALTER DEFAULT PRIVILEGES FOR ROLE " + name(d.Owner) + in
				for _, statement := range []string{
					"GRANT USAGE ON SCHEMA " + name(schema) + to,
					"GRANT " + tables + " ON ALL TABLES" + in + to,
					"GRANT USAGE, SELECT ON ALL SEQUENCES" + in + to,
					later + " GRANT " + tables + " ON TABLES" + to,
					later + " GRANT USAGE, SELECT ON SEQUENCES" + to,
				} {
					if _, err := tx.Exec(ctx, statement); err != nil {
						return err
					}
				}
			}
		}
		return nil
	})
}
