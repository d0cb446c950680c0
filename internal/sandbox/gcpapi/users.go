package gcpapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/pg"
	"dbops/internal/sandbox/gcpapi/googleid"
	"dbops/internal/secret"
)

// The types of users.
const (
	builtIn     = "BUILT_IN"
	iamUser     = "CLOUD_IAM_USER"
	iamService  = "CLOUD_IAM_SERVICE_ACCOUNT"
	maxRoleName = 63
)

// users reads the login roles of the instance's server: those that the API made and those that somebody made in SQL.
func (s *Server) users(c *call) ([]*sqladmin.User, error) {
	var out []*sqladmin.User
	err := s.ask(c, func(conn *pgx.Conn) error {
		const q = `
			SELECT r.rolname,
			       coalesce(array_agg(g.rolname ORDER BY g.rolname) FILTER (WHERE g.rolname IS NOT NULL), '{}')
			  FROM pg_roles r
			  LEFT JOIN pg_auth_members m ON m.member = r.oid
			  LEFT JOIN pg_roles g ON g.oid = m.roleid
			 WHERE r.rolcanlogin AND NOT r.rolsuper AND NOT r.rolreplication
			 GROUP BY r.rolname ORDER BY r.rolname`
		return each(c.Context(), conn, q, func(row pgx.CollectableRow) error {
			var name string
			var groups []string
			if err := row.Scan(&name, &groups); err != nil {
				return err
			}
			u := &sqladmin.User{Kind: "sql#user", Project: c.project, Instance: c.instance, Name: name, Type: builtIn}
			if slices.Contains(groups, iamGroup) {
				u.Type, u.IamEmail = iamUser, name
				if strings.HasSuffix(name, ".iam") {
					u.Type, u.IamEmail = iamService, name+".gserviceaccount.com"
				}
			}
			u.DatabaseRoles = slices.DeleteFunc(slices.Clone(groups), func(g string) bool { return g == iamGroup })
			out = append(out, u)
			return nil
		})
	})
	return out, err
}

func (s *Server) listUsers(c *call) (any, error) {
	all, err := s.users(c)
	return &sqladmin.UsersListResponse{Kind: "sql#usersList", Items: all}, err
}

func (s *Server) getUser(c *call) (any, error) { return s.user(c, c.params["name"]) }

func (s *Server) user(c *call, name string) (*sqladmin.User, error) {
	all, err := s.users(c)
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(all, func(u *sqladmin.User) bool { return u.Name == name }); i >= 0 {
		return all[i], nil
	}
	return nil, missing("userDoesNotExist", "user")
}

func userFields() fields {
	return fields{
		in:  []string{"name", "password", "type", "databaseRoles", "databaseRoles[]", "host"},
		out: []string{"kind", "project", "instance", "etag", "iamEmail", "iamStatus"},
	}
}

func (s *Server) insertUser(c *call) (any, error) {
	var in sqladmin.User
	if _, err := userFields().decode(c.body, &in); err != nil {
		return nil, err
	}
	password := secret.New(in.Password)
	if in.Type == "" {
		in.Type = builtIn
	}
	if err := s.validUser(c, &in, password); err != nil {
		return nil, err
	}
	switch _, err := s.user(c, in.Name); {
	case err == nil:
		return nil, exists("userAlreadyExists", "Invalid request: User %s already exists.", in.Name)
	case asError(err).reason != "userDoesNotExist":
		return nil, err
	}
	role := pgx.Identifier{in.Name}.Sanitize()
	queries := []string{"CREATE ROLE " + role + " LOGIN CREATEROLE CREATEDB"}
	groups := in.DatabaseRoles
	switch {
	case in.Type != builtIn:
		queries[0] = "CREATE ROLE " + role + " LOGIN"
		groups = append(slices.Clone(groups), iamGroup)
	case len(groups) == 0:
		groups = []string{superGroup}
	default:
		queries[0] = "CREATE ROLE " + role + " LOGIN"
	}
	if !password.IsZero() {
		v, err := pg.Verifier(password)
		if err != nil {
			return nil, err
		}
		queries[0] += " PASSWORD " + literal(v)
	}
	for _, g := range groups {
		queries = append(queries, "GRANT "+pgx.Identifier{g}.Sanitize()+" TO "+role)
	}
	return s.act(c, "CREATE_USER", func(ctx context.Context, conn *pgx.Conn) error { return inTransaction(ctx, conn, queries) })
}

func (s *Server) validUser(c *call, in *sqladmin.User, password secret.Value) error {
	if in.Name == "" || len(in.Name) > maxRoleName || strings.HasPrefix(in.Name, "pg_") || strings.HasPrefix(in.Name, "cloudsql") {
		return invalid("Invalid user name: %.80q.", in.Name)
	}
	switch in.Type {
	case builtIn:
		return nil
	case iamUser, iamService:
	default:
		return notEmulated("users of type %s", in.Type)
	}
	s.mu.Lock()
	inst, err := s.instance(c)
	on := err == nil && inst.flag(flagIAM) == "on"
	s.mu.Unlock()
	switch {
	case err != nil:
		return err
	case !password.IsZero():
		return invalid("A Cloud IAM user has no password.")
	case !on:
		return invalid("IAM authentication is not enabled on the instance: set the flag %s to on.", flagIAM)
	case in.Type == iamService && googleid.IsServiceAccount(in.Name):
		return invalid("Database username for Cloud IAM service account should be created without \".gserviceaccount.com\" suffix.")
	case in.Type == iamService && !strings.HasSuffix(in.Name, ".iam"), !strings.Contains(in.Name, "@"), in.Name != strings.ToLower(in.Name):
		return invalid("Invalid user name for type %s: %s.", in.Type, in.Name)
	}
	return nil
}

func (s *Server) updateUser(c *call) (any, error) {
	var in sqladmin.User
	if _, err := userFields().decode(c.body, &in); err != nil {
		return nil, err
	}
	password := secret.New(in.Password)
	q := c.URL.Query()
	user, err := s.user(c, q.Get("name"))
	if err != nil {
		return nil, err
	}
	if in.Name != "" && in.Name != user.Name || in.Type != "" && in.Type != user.Type {
		return nil, notEmulated("change of a user's name or type")
	}
	if !password.IsZero() && user.Type != builtIn {
		return nil, invalid("A Cloud IAM user has no password.")
	}
	role := pgx.Identifier{user.Name}.Sanitize()
	groups := append(in.DatabaseRoles, q["databaseRoles"]...)
	var queries []string
	if q.Get("revokeExistingRoles") == "true" {
		for _, g := range user.DatabaseRoles {
			if !slices.Contains(groups, g) {
				queries = append(queries, "REVOKE "+pgx.Identifier{g}.Sanitize()+" FROM "+role)
			}
		}
	}
	for _, g := range groups {
		if !slices.Contains(user.DatabaseRoles, g) {
			queries = append(queries, "GRANT "+pgx.Identifier{g}.Sanitize()+" TO "+role)
		}
	}
	if !password.IsZero() {
		v, err := pg.Verifier(password)
		if err != nil {
			return nil, err
		}
		queries = append(queries, "ALTER ROLE "+role+" PASSWORD "+literal(v))
	}
	if len(queries) == 0 {
		return nil, invalid("Nothing to update: neither a password nor database roles are given.")
	}
	return s.act(c, "UPDATE_USER", func(ctx context.Context, conn *pgx.Conn) error { return inTransaction(ctx, conn, queries) })
}

func (s *Server) deleteUser(c *call) (any, error) {
	user, err := s.user(c, c.URL.Query().Get("name"))
	if err != nil {
		return nil, err
	}
	return s.act(c, "DELETE_USER", func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "DROP ROLE IF EXISTS "+pgx.Identifier{user.Name}.Sanitize())
		if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
			return &opError{"ERROR_RDBMS", fmt.Sprintf("Invalid request: failed to delete user %s: %s. %s", user.Name, pe.Message, pe.Detail)}
		}
		return err
	})
}

// inTransaction runs all of queries or none.
func inTransaction(ctx context.Context, conn *pgx.Conn, queries []string) error {
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		for _, q := range queries {
			if _, err := tx.Exec(ctx, q); err != nil {
				return err
			}
		}
		return nil
	})
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		return &opError{"ERROR_RDBMS", "Invalid request: " + pe.Message + "."}
	}
	return err
}

// literal quotes a text for SQL.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
