package seed

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/sandbox/pki"
	"dbops/internal/sandbox/world"
	"dbops/internal/secret"
)

// majors are the versions these tests run on: the oldest and the newest that dbops supports.
func majors() []int { return []int{14, 18} }

// server is a running server of the sandbox.
type server struct {
	*world.Server
	ca  *pki.CA
	log string // its log file
}

// as logs in through the edge.
func (s server) as(ctx context.Context, user, password, database string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig("postgres://" + s.Addr() + "/?sslmode=require")
	if err != nil {
		return nil, err
	}
	cfg.User, cfg.Password, cfg.Database = user, password, database
	cfg.TLSConfig = &tls.Config{RootCAs: s.ca.Pool(), ServerName: "127.0.0.1"}
	return pgx.ConnectConfig(ctx, cfg)
}

// login is as for tests in which it must work.
func (s server) login(t *testing.T, user, password, database string) *pgx.Conn {
	t.Helper()
	conn, err := s.as(t.Context(), user, password, database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// super connects as the superuser.
func (s server) super(t *testing.T, database string) *pgx.Conn {
	t.Helper()
	conn, err := s.DB(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// start runs a server that logs every statement.
func start(t *testing.T, major int) server {
	t.Helper()
	dir, err := os.MkdirTemp("", "seed")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	w, err := world.Open(t.Context(), world.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	ca, err := pki.NewCA(pkix.Name{CommonName: "seed"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.Issue(time.Hour, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} })
	if err != nil {
		t.Fatal(err)
	}
	s, err := w.Create(t.Context(), world.Spec{
		ID: "seed" + strconv.Itoa(major), Major: major, Master: "master", MasterPassword: secret.New("master-password"),
		SuperGroup: "rds_superuser", IAMGroup: "rds_iam", Listen: "127.0.0.1:0", Settings: map[string]string{"log_statement": "all"},
	}, leaf.TLS)
	if err != nil {
		t.Fatal(err)
	}
	return server{s, ca, filepath.Join(dir, "servers", s.Spec().ID, "postgres.log")}
}
