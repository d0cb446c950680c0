package gcpapi

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/sandbox/world"
)

// sql runs f on a connection to the instance's own database, as the superuser that customers do not have.
func sql(ctx context.Context, srv *world.Server, f func(*pgx.Conn) error) (err error) {
	conn, err := srv.DB(ctx, "postgres")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	return f(conn)
}

// each calls f for every row of a query.
func each(ctx context.Context, conn *pgx.Conn, query string, f func(pgx.CollectableRow) error) error {
	rows, err := conn.Query(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// ask runs f on the server of the instance that the call names, without the lock. The instance must be running.
func (s *Server) ask(c *call, f func(*pgx.Conn) error) error {
	s.mu.Lock()
	inst, err := s.instance(c)
	if err == nil && !inst.running() {
		err = notRunning()
	}
	var srv *world.Server
	if err == nil {
		srv = inst.server
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if err := sql(c.Context(), srv, f); err != nil {
		return fmt.Errorf("ask the server of %s: %w", c.instance, err)
	}
	return nil
}

// act starts an operation that runs f on the instance's server.
func (s *Server) act(c *call, kind string, f func(context.Context, *pgx.Conn) error) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	inst, err := s.instance(c)
	if err != nil {
		return nil, err
	}
	if !inst.running() {
		return nil, notRunning()
	}
	return s.begin(c, inst, &operation{}, kind, []step{{takesSmall, func(ctx context.Context) error {
		return sql(ctx, inst.server, func(conn *pgx.Conn) error { return f(ctx, conn) })
	}}}, nil)
}

func (s *Server) databases(c *call) ([]*sqladmin.Database, error) {
	var out []*sqladmin.Database
	err := s.ask(c, func(conn *pgx.Conn) error {
		const q = "SELECT datname, pg_encoding_to_char(encoding), datcollate FROM pg_database WHERE NOT datistemplate ORDER BY datname"
		return each(c.Context(), conn, q, func(row pgx.CollectableRow) error {
			d := &sqladmin.Database{Kind: "sql#database", Project: c.project, Instance: c.instance}
			out = append(out, d)
			err := row.Scan(&d.Name, &d.Charset, &d.Collation)
			d.SelfLink = "https://sqladmin.googleapis.com/v1/projects/" + c.project + "/instances/" + c.instance + "/databases/" + d.Name
			return err
		})
	})
	return out, err
}

func (s *Server) listDatabases(c *call) (any, error) {
	all, err := s.databases(c)
	return &sqladmin.DatabasesListResponse{Kind: "sql#databasesList", Items: all}, err
}

func (s *Server) getDatabase(c *call) (any, error) {
	all, err := s.databases(c)
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(all, func(d *sqladmin.Database) bool { return d.Name == c.params["database"] }); i >= 0 {
		return all[i], nil
	}
	return nil, missing("databaseDoesNotExist", "database")
}

func (s *Server) insertDatabase(c *call) (any, error) {
	var in sqladmin.Database
	f := fields{in: []string{"name", "charset", "collation"}, out: []string{"kind", "project", "instance", "etag", "selfLink"}}
	if _, err := f.decode(c.body, &in); err != nil {
		return nil, err
	}
	switch {
	case in.Name == "" || len(in.Name) > 63:
		return nil, invalid("The name of a database must have 1 to 63 characters.")
	case in.Charset != "" && in.Charset != "UTF8":
		return nil, notEmulated("charset %s", in.Charset)
	}
	all, err := s.databases(c)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(all, func(d *sqladmin.Database) bool { return d.Name == in.Name }) {
		return nil, invalid("database %q already exists", in.Name)
	}
	q := "CREATE DATABASE " + pgx.Identifier{in.Name}.Sanitize() + " OWNER " + superGroup + " TEMPLATE template0 ENCODING 'UTF8'"
	if in.Collation != "" {
		q += " LC_COLLATE " + literal(in.Collation) + " LC_CTYPE " + literal(in.Collation)
	}
	return s.act(c, "CREATE_DATABASE", func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, q)
		return err
	})
}

func (s *Server) deleteDatabase(c *call) (any, error) {
	if _, err := s.getDatabase(c); err != nil {
		return nil, err
	}
	return s.act(c, "DELETE_DATABASE", func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+pgx.Identifier{c.params["database"]}.Sanitize())
		return err
	})
}
