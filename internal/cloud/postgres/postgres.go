// Package postgres reads one PostgreSQL server by connecting to it: self-hosted, in a container, or with a provider that has no API
// here.
//
// What the server does not tell to the login role stays empty. A server that does not answer is an error that says what failed, from
// the name to the password; it is never an answer.
package postgres

import (
	"context"
	"errors"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/cloud"
	"dbops/internal/fault"
)

// defaultTimeout bounds one call, from the name to the last question.
const defaultTimeout = 15 * time.Second

// Options say which server, and how to log in to it.
type Options struct {
	// Name is the server's host:port, by which [Provider.Get] knows it.
	Name string
	// Config returns how to log in, made anew for each call: a password or a token is fresh in it. Its errors are returned as they are.
	Config func(ctx context.Context) (*pgconn.Config, error)
	// Timeout of one call, when the caller's own deadline is later. Defaults to 15 s.
	Timeout time.Duration
}

// Provider is one server.
type Provider struct{ opts Options }

var _ cloud.Provider = (*Provider)(nil)

// New returns a provider that has contacted nobody yet.
func New(o Options) *Provider {
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	return &Provider{opts: o}
}

// List describes the server.
func (p *Provider) List(ctx context.Context) ([]*cloud.Instance, error) {
	live, err := p.Get(ctx, p.opts.Name)
	if err != nil {
		return nil, err
	}
	return []*cloud.Instance{live}, nil
}

// Get connects to the server and describes it. Another name than the server's is a fault.NotFound.
func (p *Provider) Get(ctx context.Context, name string) (*cloud.Instance, error) {
	op := "describe server " + name
	if name == "" {
		return nil, fault.Newf(fault.Invalid, "describe a server", "its name is empty")
	}
	if name != p.opts.Name {
		return nil, fault.Newf(fault.NotFound, op, "this provider knows %s only", p.opts.Name)
	}
	ask, cancel := context.WithTimeout(ctx, p.opts.Timeout)
	defer cancel()
	cfg, err := p.opts.Config(ask)
	if err != nil {
		if _, ok := errors.AsType[*fault.Error](err); ok {
			return nil, err
		}
		return nil, Fault(ctx, op, err)
	}
	conn, err := pgconn.ConnectConfig(ask, cfg)
	if err != nil {
		return nil, Fault(ctx, op, err)
	}
	defer func() { _ = conn.Close(ask) }()
	d, err := describe(ask, conn)
	if err != nil {
		return nil, Fault(ctx, op, err)
	}
	return d.instance(name, cfg), nil
}

// describe asks a connection about its server.
func describe(ctx context.Context, conn *pgconn.PgConn) (description, error) {
	d := description{Version: conn.ParameterStatus("server_version"), Encryption: encryption(conn.Conn())}
	for _, q := range []struct {
		sql  string
		take func(string)
	}{
		{"SHOW server_version_num", func(s string) { d.VersionNum, _ = strconv.Atoi(s) }},
		{"SELECT pg_catalog.pg_is_in_recovery()", func(s string) { d.Role = role(s) }},
		{"SHOW data_checksums", func(s string) { d.DataChecksums = s }},
		{"SHOW wal_level", func(s string) { d.WALLevel = s }},
		{"SHOW archive_mode", func(s string) { d.ArchiveMode = s }},
		{"SHOW max_connections", func(s string) { d.MaxConnections, _ = strconv.Atoi(s) }},
		{"SELECT pg_catalog.sum(numbackends) FROM pg_catalog.pg_stat_database", func(s string) { d.Connections, _ = strconv.Atoi(s) }},
		{"SELECT pg_catalog.floor(EXTRACT(epoch FROM pg_catalog.pg_postmaster_start_time()))", func(s string) {
			if n, err := strconv.ParseInt(s, 10, 64); err == nil {
				d.Started = time.Unix(n, 0).UTC()
			}
		}},
	} {
		text, err := value(ctx, conn, q.sql)
		if _, refused := errors.AsType[*pgconn.PgError](err); refused && !conn.IsClosed() {
			continue // this role may not know, or this server does not
		}
		if err != nil {
			return d, err
		}
		q.take(text)
	}
	return d, nil
}

// value is the one value of a query's one row.
func value(ctx context.Context, conn *pgconn.PgConn, sql string) (string, error) {
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return "", err
	}
	if len(results) != 1 || len(results[0].Rows) != 1 || len(results[0].Rows[0]) != 1 {
		return "", nil
	}
	return string(results[0].Rows[0][0]), nil
}

func role(inRecovery string) string {
	if inRecovery == "t" {
		return "standby"
	}
	return "primary"
}

// endpoint is the host and port of the connection, which a tunnel may reach at another address.
func endpoint(cfg *pgconn.Config) cloud.Endpoint {
	e := cloud.Endpoint{Host: cfg.Host, Port: int(cfg.Port)}
	if ip := net.ParseIP(cfg.Host); ip != nil {
		e.Kind = cloud.EndpointPublic
		if ip.IsPrivate() || ip.IsLoopback() {
			e.Kind = cloud.EndpointPrivate
		}
	}
	return e
}
