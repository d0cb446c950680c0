package world

import (
	"context"
	"crypto/tls"
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

	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	"dbops/internal/fault"
	"dbops/internal/pg"
	"dbops/internal/sandbox/pki"
	"dbops/internal/secret"
)

// majors that every test of a login runs on. Tests that stop, restore or crash servers run on two of them.
var majors = []int{14, 15, 16, 17, 18}

const (
	master   = "boss"
	password = "the-word-of-the-boss"
	group    = "rds_iam"
)

// child is the environment variable that makes this binary a supervisor to be killed, see crash_test.go.
const child = "WORLD_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(child); dir != "" {
		supervise(dir)
		return
	}
	if dir := os.Getenv(templateChild); dir != "" {
		makeTemplate(dir)
		return
	}
	code := m.Run()
	if err := closeShared(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// folder makes one that the servers' user reaches, with a name that every quoting has to stand.
func folder() (string, error) {
	dir, err := os.MkdirTemp("", "dbops-world")
	if err != nil {
		return "", err
	}
	odd := filepath.Join(dir, `100% of "it's" \ mine`)
	return odd, errors.Join(os.Chmod(dir, 0o755), os.Mkdir(odd, 0o755), os.Chmod(odd, 0o755))
}

// newFolder is [folder] for one test.
func newFolder(t *testing.T) string {
	t.Helper()
	dir, err := folder()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(filepath.Dir(dir)); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// openWorld opens a world in dir for one test.
func openWorld(t *testing.T, dir string) *World {
	t.Helper()
	w, err := Open(t.Context(), Options{Dir: dir, Log: logTo(t)})
	if err != nil {
		t.Fatal(err, fault.HintOf(err))
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func logTo(t *testing.T) *slog.Logger {
	t.Helper()
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// authority signs the servers' certificates.
var authority = sync.OnceValue(func() *pki.CA {
	ca, err := pki.NewCA(pkix.Name{CommonName: "test"}, 24*time.Hour)
	if err != nil {
		panic(err)
	}
	return ca
})

func certificate() tls.Certificate {
	leaf, err := authority().Issue(time.Hour, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} })
	if err != nil {
		panic(err)
	}
	return leaf.TLS
}

func spec(id string, major int) Spec {
	return Spec{
		ID: id, Major: major, Master: master, MasterPassword: secret.New(password), SuperGroup: "rds_superuser", IAMGroup: group,
		Listen: "127.0.0.1:0",
	}
}

// create makes a server, which ends with its world.
func create(t *testing.T, w *World, s Spec) *Server {
	t.Helper()
	got, err := w.Create(t.Context(), s, certificate())
	if err != nil {
		t.Fatal(err, fault.HintOf(err))
	}
	return got
}

var shared struct {
	mu      sync.Mutex
	dir     string
	world   *World
	servers map[int]*Server
}

// sharedServer is one that tests may log in to, but not stop.
func sharedServer(t *testing.T, major int) *Server {
	t.Helper()
	w := sharedWorld(t)
	s, err := w.Create(t.Context(), spec("shared-"+strconv.Itoa(major), major), certificate())
	if err != nil {
		t.Fatal(err, fault.HintOf(err))
	}
	return s
}

func sharedWorld(t *testing.T) *World {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.world == nil {
		var err error
		if shared.dir, err = folder(); err != nil {
			t.Fatal(err)
		}
		if shared.world, err = Open(context.Background(), Options{Dir: shared.dir}); err != nil {
			t.Fatal(err, fault.HintOf(err))
		}
	}
	return shared.world
}

func closeShared() error {
	if shared.world == nil {
		return nil
	}
	return errors.Join(shared.world.Close(), os.RemoveAll(filepath.Dir(shared.dir)))
}

// config is how to log in, with TLS verified in full.
func config(t *testing.T, s *Server, user, word, database string) *pgconn.Config {
	t.Helper()
	host, port, err := net.SplitHostPort(s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := pg.Config(pg.Params{
		Host: host, Port: uint16(n), Database: database, User: user, Password: secret.New(word), SSLMode: "verify-full",
		ConnectTimeout: 20 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg.TLSConfig.RootCAs = authority().Pool()
	return cfg
}

// login connects as the master.
func login(t *testing.T, s *Server, database string) *pgconn.PgConn {
	t.Helper()
	return loginWith(t, config(t, s, master, password, database))
}

func loginWith(t *testing.T, cfg *pgconn.Config) *pgconn.PgConn {
	t.Helper()
	c, err := pgconn.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// run runs statements and returns the last one's first value.
func run(t *testing.T, c *pgconn.PgConn, statements ...string) string {
	t.Helper()
	last := ""
	for _, q := range statements {
		got, err := value(t.Context(), c, q)
		if err != nil {
			t.Fatalf("%s: %v", q, err)
		}
		last = got
	}
	return last
}

func value(ctx context.Context, c *pgconn.PgConn, q string) (string, error) {
	results, err := c.Exec(ctx, q).ReadAll()
	if err != nil {
		return "", err
	}
	last := results[len(results)-1]
	if len(last.Rows) == 0 {
		return "", nil
	}
	return string(last.Rows[0][0]), nil
}

// super runs statements as the internal superuser.
func super(t *testing.T, s *Server, database string, statements ...string) string {
	t.Helper()
	c, err := s.DB(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	return run(t, c.PgConn(), statements...)
}

// clock is the time on the server.
func clock(t *testing.T, s *Server) time.Time {
	t.Helper()
	c, err := s.DB(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	var now time.Time
	if err := c.QueryRow(t.Context(), "SELECT clock_timestamp()").Scan(&now); err != nil {
		t.Fatal(err)
	}
	return now
}

// refused checks the SQLSTATE of an error, and words of its message.
func refused(t *testing.T, err error, code, words string) {
	t.Helper()
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pgErr.Code != code || !strings.Contains(pgErr.Message, words) || pgErr.Severity != "FATAL" {
		t.Errorf("want FATAL %s %q, got: %v", code, words, err)
	}
}

// eventually polls until ok, or fails the test.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not so after 30 s: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// on names the test of a major.
func on(major int) string { return "PostgreSQL " + strconv.Itoa(major) }
