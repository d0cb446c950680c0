package world

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/sandbox/edge"
	"dbops/internal/secret"
)

// server is the state behind [Server].
type server struct {
	world   *world
	pm      *postmaster
	edge    *edge.Edge
	ln      net.Listener
	port    int // of PostgreSQL itself, behind the edge
	roleTLS func(role string) (*tls.Config, error)

	change    sync.Mutex // one start, stop, restart or failover at a time
	archiving sync.Mutex // one switch of the WAL at a time

	mu      sync.Mutex // guards what follows
	spec    Spec
	cert    tls.Certificate
	full    string // version
	closing bool
}

func (s *server) getSpec() Spec {
	s.mu.Lock()
	defer s.mu.Unlock()
	spec := s.spec
	spec.MasterPassword = secret.Value{}
	spec.Settings = maps.Clone(spec.Settings)
	return spec
}

func (s *server) addr() string { return s.getSpec().Listen }

func (s *server) version() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.full
}

func (s *server) setTokenCheck(check TokenCheck) {
	if check == nil {
		s.edge.SetTokenCheck(nil)
		return
	}
	s.edge.SetTokenCheck(check)
}

func (s *server) setRequireTLS(on bool) { s.edge.SetRequireTLS(on) }

func (s *server) handle(ctx context.Context, c net.Conn, principal string) error {
	return s.edge.Handle(ctx, c, principal)
}

func (s *server) setCertificate(cert tls.Certificate) error {
	s.mu.Lock()
	s.cert = cert
	s.mu.Unlock()
	if err := s.writeTLS(); err != nil {
		return err
	}
	s.edge.SetCertificate(cert)
	return s.pm.reload()
}

// db connects past the edge, as the internal superuser, by certificate.
func (s *server) db(ctx context.Context, database string) (*pgx.Conn, error) {
	conf, err := s.roleTLS(superuser)
	if err != nil {
		return nil, err
	}
	cfg, err := pgx.ParseConfig("host=127.0.0.1 user=" + superuser + " password='' passfile='' sslmode=disable target_session_attrs=any " +
		"sslcert='' sslkey='' sslrootcert='' require_auth='' channel_binding=prefer sslnegotiation=postgres min_protocol_version=3.0 max_protocol_version=3.0")
	if err != nil {
		return nil, err
	}
	cfg.Port, cfg.Database, cfg.TLSConfig, cfg.Fallbacks = uint16(s.port), database, conf, nil //nolint:gosec // a port
	cfg.RuntimeParams = map[string]string{"application_name": "sandbox"}
	return pgx.ConnectConfig(ctx, cfg)
}

// exec runs statements in one database as the internal superuser.
func (s *server) exec(ctx context.Context, database string, statements ...string) error {
	c, err := s.db(ctx, database)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	for _, q := range statements {
		if _, err := c.Exec(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

// settings of the server: the world's own, then the spec's.
func (s *server) settings(extra map[string]string) map[string]string {
	archive := s.world.archiveDir(s.spec.ID)
	all := map[string]string{
		"listen_addresses":        "127.0.0.1",
		"port":                    strconv.Itoa(s.port),
		"unix_socket_directories": "",
		"ssl":                     "on",
		"ssl_cert_file":           "server.crt",
		"ssl_key_file":            "server.key",
		"ssl_ca_file":             "roles.crt",
		"password_encryption":     "scram-sha-256",
		"logging_collector":       "off",
		"log_timezone":            "UTC",
		"timezone":                "UTC",
		"max_connections":         "200",
		"shared_buffers":          "32MB",
		"fsync":                   "off", // the machine's crash would lose a sandbox, a process's does not
		"wal_level":               "logical",
		"max_wal_senders":         "10",
		"max_replication_slots":   "10",
		"archive_mode":            "on",
		"archive_command":         archiveCommand(archive),
		"min_wal_size":            "64MB",
		"max_wal_size":            "256MB",
	}
	if s.pm.has("pg_stat_statements") {
		all["shared_preload_libraries"] = "pg_stat_statements"
	}
	maps.Copy(all, s.spec.Settings)
	maps.Copy(all, extra)
	return all
}

// archiveCommand copies under another name first: a file in the archive is a whole one.
func archiveCommand(archive string) string {
	file := func(name string) string { return `"` + strings.ReplaceAll(archive, "%", "%%") + "/" + name + `"` }
	whole, part := file("%f"), file("%f.part")
	return "test -f " + whole + ` || { cp "%p" ` + part + " && mv " + part + " " + whole + "; }"
}

// has tells whether the programs came with a library of that name.
func (p *postmaster) has(library string) bool {
	for _, pattern := range []string{"../lib/" + library + ".*", "../lib/postgresql/" + library + ".*", "../lib/postgresql*/" + library + ".*"} {
		if found, err := filepath.Glob(filepath.Join(p.bin, pattern)); err == nil && len(found) > 0 {
			return true
		}
	}
	return false
}

// writeTLS puts the certificates, and who may log in how, into the data folder.
func (s *server) writeTLS() error {
	s.mu.Lock()
	cert, group := s.cert, s.spec.IAMGroup
	s.mu.Unlock()
	crt, key, err := encodePair(cert)
	if err != nil {
		return err
	}
	hba := "hostssl all " + superuser + " 127.0.0.1/32 cert\nhostssl replication " + superuser + " 127.0.0.1/32 cert\n"
	if group != "" {
		hba += "hostssl all +" + group + " 127.0.0.1/32 cert\n"
	}
	hba += "hostssl all all 127.0.0.1/32 scram-sha-256\nhostssl replication all 127.0.0.1/32 scram-sha-256\n"
	return errors.Join(
		s.pm.write("server.crt", crt), s.pm.write("server.key", key),
		s.pm.write("roles.crt", s.world.ca.CertPEM), s.pm.write("pg_hba.conf", []byte(hba)),
	)
}

func encodePair(cert tls.Certificate) (crt, key []byte, err error) {
	for _, der := range cert.Certificate {
		crt = append(crt, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	if _, ok := cert.PrivateKey.(*ecdsa.PrivateKey); !ok {
		return nil, nil, fmt.Errorf("server certificate: its key is %T, not ECDSA", cert.PrivateKey)
	}
	b, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	return crt, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: b}), err
}

// startPostgres starts the server behind the edge.
func (s *server) startPostgres(ctx context.Context) error {
	if err := s.writeTLS(); err != nil {
		return err
	}
	if err := s.pm.start(ctx, s.settings(nil)); err != nil {
		return err
	}
	c, err := s.db(ctx, "postgres")
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	full, _, _ := strings.Cut(c.PgConn().ParameterStatus("server_version"), " ")
	s.mu.Lock()
	s.full = full
	s.mu.Unlock()
	return nil
}

func (s *server) start(ctx context.Context) error {
	s.change.Lock()
	defer s.change.Unlock()
	s.edge.Refuse("57P03", "the database system is starting up")
	if err := s.startPostgres(ctx); err != nil {
		return fmt.Errorf("start server %s: %w", s.spec.ID, err)
	}
	s.edge.Admit()
	return nil
}

func (s *server) stop(context.Context) error {
	s.change.Lock()
	defer s.change.Unlock()
	s.edge.Refuse("57P03", "the database system is shut down")
	s.pm.stop(syscall.SIGINT)
	s.edge.DropAll()
	return nil
}

func (s *server) restart(ctx context.Context, settings map[string]string) error {
	s.change.Lock()
	defer s.change.Unlock()
	if len(settings) > 0 {
		s.mu.Lock()
		merged := maps.Clone(s.spec.Settings)
		if merged == nil {
			merged = map[string]string{}
		}
		maps.Copy(merged, settings)
		s.spec.Settings = merged
		spec := s.spec
		s.mu.Unlock()
		if err := s.world.saveSpec(spec); err != nil {
			return err
		}
	}
	s.edge.Refuse("57P03", "the database system is shutting down")
	s.pm.stop(syscall.SIGINT)
	s.edge.DropAll()
	if err := s.startPostgres(ctx); err != nil {
		return fmt.Errorf("restart server %s: %w", s.spec.ID, err)
	}
	s.edge.Admit()
	return nil
}

func (s *server) failover(ctx context.Context, outage time.Duration) error {
	s.change.Lock()
	defer s.change.Unlock()
	s.edge.Refuse("", "") // the host is gone: connections are cut, not answered
	s.edge.DropAll()
	s.pm.stop(syscall.SIGQUIT)
	wait := time.NewTimer(outage)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
	}
	// A failover that was asked for ends with a server, whoever stopped waiting for it.
	if err := s.startPostgres(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("fail over server %s: %w", s.spec.ID, err)
	}
	s.edge.Admit()
	return ctx.Err()
}

// close ends edge and server for good.
func (s *server) close() error {
	s.change.Lock()
	defer s.change.Unlock()
	err := s.edge.Close()
	if s.ln != nil {
		if lnErr := s.ln.Close(); lnErr != nil && !errors.Is(lnErr, net.ErrClosed) {
			err = errors.Join(err, lnErr)
		}
	}
	s.pm.stop(syscall.SIGINT)
	return err
}
