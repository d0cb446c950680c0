// Package pgtest gives tests real PostgreSQL servers.
//
// A package that uses it runs its tests through [Main]. [Start] brings a server of a major up once for the whole test binary;
// [Server.Database] makes each test a database of its own, so tests share a server without meeting each other.
package pgtest

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofrs/flock"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/pg"
	"dbops/internal/sandbox/pki"
	"dbops/internal/sandbox/world"
	"dbops/internal/secret"
)

// User may do what a cloud's customer may: create roles and databases, no more.
const User = "postgres"

// prefix of the folders.
const prefix = "dbops-test-"

// Majors are the versions that the project supports, oldest first.
var Majors = []int{14, 15, 16, 17, 18}

// cluster is what a test binary shares.
type cluster struct {
	mu      sync.Mutex
	running bool // within Main
	dir     string
	ca      *pki.CA
	world   *world.World
	servers map[int]*Server
}

var shared cluster

// Server is one running PostgreSQL server, reached through TLS on the loopback address.
type Server struct {
	Host     string
	Port     uint16
	Major    int
	Password secret.Value // of [User]
	CAFile   string       // PEM of the CA that signed the server's certificate, which names 127.0.0.1 and localhost
	// World is the server itself, for tests that stop it, cut it off, or change its certificate.
	World *world.Server

	next int
	mu   sync.Mutex
}

// Main runs the tests of a package and stops its servers: func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }.
func Main(m *testing.M) int {
	shared.mu.Lock()
	shared.running = true
	shared.mu.Unlock()
	code := m.Run()
	if err := shared.close(); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		return max(code, 1)
	}
	return code
}

// Start returns the test binary's server of a major, started by the first test that asks. One that cannot be had fails the test.
func Start(t testing.TB, major int) *Server {
	t.Helper()
	s, err := shared.start(context.Background(), major)
	if err != nil {
		t.Fatalf("PostgreSQL %d for the test: %v", major, err)
	}
	return s
}

// StartOwn returns a server that no other test uses, to be stopped, killed or changed. It ends with the test.
func StartOwn(t testing.TB, major int) *Server {
	t.Helper()
	s, err := shared.make(context.Background(), major, "own-"+strconv.FormatInt(time.Now().UnixNano(), 36))
	if err != nil {
		t.Fatalf("PostgreSQL %d for the test: %v", major, err)
	}
	t.Cleanup(func() {
		if err := shared.world.Remove(context.WithoutCancel(t.Context()), s.World.Spec().ID); err != nil {
			t.Errorf("stop PostgreSQL %d: %v", major, err)
		}
	})
	return s
}

// Dir makes a folder that the server's user can reach, which t.TempDir is not when the tests run as root. It ends with the test.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := openDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func openDir() (string, error) {
	dir, err := os.MkdirTemp("", prefix)
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755) //nolint:gosec // the servers' user passes through
}

// Config is how to log in to a database as [User], with TLS verified in full.
func (s *Server) Config(t testing.TB, database string) *pgconn.Config {
	t.Helper()
	return s.ConfigFor(t, User, s.Password, database)
}

// ConfigFor is [Server.Config] for another role.
func (s *Server) ConfigFor(t testing.TB, user string, password secret.Value, database string) *pgconn.Config {
	t.Helper()
	cfg, err := pg.Config(pg.Params{
		Host: s.Host, Port: s.Port, User: user, Password: password, Database: database, SSLMode: "verify-full", CAFile: s.CAFile,
	})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// URL is a libpq connection string without the password, which belongs into PGPASSWORD.
func (s *Server) URL(database string) string {
	return fmt.Sprintf("postgresql://%s@%s/%s?sslmode=verify-full&sslrootcert=%s",
		User, net.JoinHostPort(s.Host, strconv.Itoa(int(s.Port))), database, s.CAFile)
}

// Database makes a database that belongs to [User] and is dropped when the test ends. It returns its name.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	s.mu.Lock()
	s.next++
	name := "t" + strconv.Itoa(s.next)
	s.mu.Unlock()
	s.Exec(t, "postgres", "CREATE DATABASE "+name+" OWNER "+User)
	t.Cleanup(func() {
		s.Exec(t, "postgres", "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
	})
	return name
}

// Exec runs statements in a database as a superuser.
func (s *Server) Exec(t testing.TB, database string, statements ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	c := s.connect(ctx, t, database)
	defer func() { _ = c.Close(ctx) }()
	for _, q := range statements {
		if _, err := c.Exec(ctx, q); err != nil {
			t.Fatalf("%s: %v", strings.SplitN(q, "\n", 2)[0], err)
		}
	}
}

// Superuser connects to a database as a superuser, past the network edge. The connection ends with the test.
func (s *Server) Superuser(t testing.TB, database string) *pgx.Conn {
	t.Helper()
	c := s.connect(t.Context(), t, database)
	t.Cleanup(func() { _ = c.Close(context.WithoutCancel(t.Context())) })
	return c
}

func (s *Server) connect(ctx context.Context, t testing.TB, database string) *pgx.Conn {
	t.Helper()
	c, err := s.World.DB(ctx, database)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *cluster) start(ctx context.Context, major int) (*Server, error) {
	c.mu.Lock()
	if s, ok := c.servers[major]; ok {
		c.mu.Unlock()
		return s, nil
	}
	c.mu.Unlock()
	s, err := c.make(ctx, major, "pg-"+strconv.Itoa(major)) // the world lets one of an id be made at a time
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if first, ok := c.servers[major]; ok {
		return first, nil
	}
	c.servers[major] = s
	return s, nil
}

func (c *cluster) make(ctx context.Context, major int, id string) (*Server, error) {
	if err := c.open(ctx); err != nil {
		return nil, err
	}
	leaf, err := c.ca.Issue(24*time.Hour, func(x *x509.Certificate) {
		x.Subject = pkix.Name{CommonName: id}
		x.IPAddresses, x.DNSNames = []net.IP{net.IPv4(127, 0, 0, 1)}, []string{"localhost"}
	})
	if err != nil {
		return nil, err
	}
	s := &Server{Host: "127.0.0.1", Major: major, Password: secret.New("test-" + id), CAFile: filepath.Join(c.dir, "ca.pem")}
	s.World, err = c.world.Create(ctx, world.Spec{
		ID: id, Major: major, Master: User, MasterPassword: s.Password, SuperGroup: "test_superuser", IAMGroup: "test_iam",
		Listen: "127.0.0.1:0",
	}, leaf.TLS)
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(s.World.Addr())
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	s.Port = uint16(n)
	return s, err
}

func (c *cluster) open(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.running {
		return fmt.Errorf("the package's TestMain does not call pgtest.Main")
	}
	if c.world != nil {
		return nil
	}
	sweep()
	dir, err := openDir()
	if err != nil {
		return err
	}
	if err := c.openIn(ctx, dir); err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	return nil
}

func (c *cluster) openIn(ctx context.Context, dir string) (err error) {
	c.dir = dir
	if c.ca, err = pki.NewCA(pkix.Name{CommonName: "pgtest"}, 48*time.Hour); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(c.dir, "ca.pem"), c.ca.CertPEM, 0o644); err != nil { //nolint:gosec // a certificate
		return err
	}
	c.servers = map[int]*Server{}
	c.world, err = world.Open(ctx, world.Options{Dir: filepath.Join(c.dir, "world"), Log: slog.New(slog.DiscardHandler)})
	return err
}

// sweep removes the folders of test binaries that were killed. Their servers have died with them.
func sweep() {
	worlds, err := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*", "world", "lock"))
	if err != nil {
		return
	}
	for _, path := range worlds {
		if info, err := os.Stat(path); err != nil || time.Since(info.ModTime()) < time.Minute {
			continue // perhaps one that is only beginning
		}
		lock := flock.New(path) // held as long as its test binary lives
		if ok, err := lock.TryLock(); err != nil || !ok {
			continue
		}
		_ = os.RemoveAll(filepath.Dir(filepath.Dir(path)))
		_ = lock.Unlock()
	}
}

func (c *cluster) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.world == nil {
		return nil
	}
	err := c.world.Close()
	c.world = nil
	if rmErr := os.RemoveAll(c.dir); err == nil {
		err = rmErr
	}
	return err
}
