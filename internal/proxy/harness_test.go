package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"dbops/internal/pg"
	"dbops/internal/sandbox/pgbin"
	"dbops/internal/sandbox/pki"
	"dbops/internal/secret"
)

// ---- PostgreSQL servers ----

type pgServer struct {
	major   int
	bin     string
	port    uint16
	set     []string // settings of its own
	dir     string
	caFile  string
	ca      *pki.CA
	process *exec.Cmd
}

const superPassword = "super-word-in-tests"

var servers struct {
	sync.Mutex
	dir     string
	byMajor map[int]*pgServer
	count   int
}

func TestMain(m *testing.M) {
	if params := os.Getenv(soakVariable); params != "" {
		os.Exit(soakProxy(params))
	}
	zerolog.SetGlobalLevel(zerolog.Disabled) // toxiproxy's toxics log to the global one
	dir, err := os.MkdirTemp("", "dbops-proxy-test")
	if err != nil {
		panic(err)
	}
	_ = os.Chmod(dir, 0o755)
	servers.dir, servers.byMajor = dir, map[int]*pgServer{}
	code := m.Run()
	for _, s := range servers.byMajor {
		s.stop(syscall.SIGQUIT)
	}
	os.RemoveAll(dir)
	if code == 0 {
		if err := goleak.Find(networkLeftovers...); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// postgres returns the server of that major which the tests share.
func postgres(tb testing.TB, major int) *pgServer {
	tb.Helper()
	servers.Lock()
	defer servers.Unlock()
	if s := servers.byMajor[major]; s != nil {
		return s
	}
	s := newServer(tb, major)
	servers.byMajor[major] = s
	return s
}

// ownPostgres returns a server that the test may break, with settings of its own.
func ownPostgres(tb testing.TB, major int, set ...string) *pgServer {
	tb.Helper()
	servers.Lock()
	s := newServer(tb, major, set...)
	servers.Unlock()
	tb.Cleanup(func() { s.stop(syscall.SIGQUIT) })
	return s
}

// unprivileged is how PostgreSQL is run: never as root.
func unprivileged(tb testing.TB, owned ...string) *syscall.SysProcAttr {
	tb.Helper()
	attr := &syscall.SysProcAttr{Setpgid: true}
	u, err := pgbin.RunAs()
	must(tb, err)
	if u == nil {
		return attr
	}
	attr.Credential = u.Credential()
	for _, path := range owned {
		must(tb, u.Own(path))
	}
	return attr
}

// cluster is a data folder as initdb makes it, to be copied: that is much faster. servers is held.
func cluster(tb testing.TB, major int, bin string) (data string) {
	tb.Helper()
	dir := filepath.Join(servers.dir, fmt.Sprintf("%d-cluster", major))
	data = filepath.Join(dir, "data")
	if _, err := os.Stat(filepath.Join(dir, "made")); err == nil {
		return data
	}
	must(tb, os.MkdirAll(dir, 0o755))
	must(tb, os.MkdirAll(data, 0o700))
	pwfile := filepath.Join(dir, "pw")
	must(tb, os.WriteFile(pwfile, []byte(superPassword), 0o600))
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "super", "--auth=scram-sha-256", "--pwfile="+pwfile,
		"-N", "--no-locale", "-E", "UTF8")
	initdb.SysProcAttr, initdb.Dir, initdb.Env = unprivileged(tb, data, pwfile), dir, []string{"PATH=/usr/bin:/bin"}
	if out, err := initdb.CombinedOutput(); err != nil {
		tb.Fatalf("initdb: %v\n%s", err, out)
	}
	must(tb, os.WriteFile(filepath.Join(dir, "made"), nil, 0o600))
	return data
}

// newServer makes a server that is reached without the sandbox's edge: its own TLS, its own way to die.
func newServer(tb testing.TB, major int, set ...string) *pgServer {
	tb.Helper()
	bin, err := pgbin.Server(major)
	must(tb, err)
	servers.count++
	dir := filepath.Join(servers.dir, fmt.Sprintf("%d-%d", major, servers.count))
	must(tb, os.Mkdir(dir, 0o755))
	data := filepath.Join(dir, "data")
	if out, err := exec.Command("cp", "-a", cluster(tb, major, bin), data).CombinedOutput(); err != nil {
		tb.Fatalf("cp: %v\n%s", err, out)
	}
	s := &pgServer{major: major, bin: bin, set: set, dir: dir, caFile: filepath.Join(dir, "ca.pem")}
	s.ca, err = pki.NewCA(pkixName("test CA"), time.Hour)
	must(tb, err)
	leaf, err := s.ca.Issue(time.Hour, func(c *x509.Certificate) {
		c.Subject, c.DNSNames, c.IPAddresses = pkixName("localhost"), []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	})
	must(tb, err)
	must(tb, os.WriteFile(s.caFile, s.ca.CertPEM, 0o644))
	for name, content := range map[string][]byte{
		"server.crt": leaf.CertPEM, "server.key": leaf.KeyPEM,
		"pg_hba.conf": []byte("host all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256\n"),
	} {
		p := filepath.Join(data, name)
		must(tb, os.WriteFile(p, content, 0o600))
		unprivileged(tb, p)
	}
	s.port = freePort(tb)
	s.start(tb)
	c := s.connect(tb, "postgres")
	for _, sql := range []string{
		"create role app login replication password 'app-word-in-tests'",
		"create database shop owner app",
		"create role reader login password 'reader-word-in-tests'",
	} {
		_, err := c.Exec(tb.Context(), sql)
		must(tb, err)
	}
	must(tb, c.Close(tb.Context()))
	return s
}

func (s *pgServer) start(tb testing.TB) {
	tb.Helper()
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	must(tb, err)
	defer log.Close()
	args := []string{"-D", filepath.Join(s.dir, "data"), "-p", strconv.Itoa(int(s.port))}
	for _, set := range append([]string{
		"fsync=off", "shared_buffers=32MB", "max_connections=260", "wal_level=logical", "listen_addresses=127.0.0.1", "ssl=on",
		"unix_socket_directories=", "max_wal_senders=4",
	}, s.set...) { // the last one counts
		args = append(args, "-c", set)
	}
	// The shell ends the server when this process ends, however it does: the pipe to its input breaks.
	const watched = `exec 3<&0; "$@" & p=$!; (read _ <&3; kill -QUIT $p) & wait $p`
	s.process = exec.Command("/bin/sh", append([]string{"-c", watched, "sh", filepath.Join(s.bin, "postgres")}, args...)...)
	s.process.SysProcAttr, s.process.Dir, s.process.Env = unprivileged(tb), s.dir, []string{"PATH=/usr/bin:/bin"}
	s.process.Stdout, s.process.Stderr = log, log
	_, err = s.process.StdinPipe() // closed by Wait
	must(tb, err)
	must(tb, s.process.Start())
	eventually(tb, "the server is up", func() bool {
		c, err := pgx.ConnectConfig(tb.Context(), s.config(tb, pg.Params{User: "super", Password: secret.New(superPassword), Database: "postgres"}))
		if err == nil {
			_ = c.Close(tb.Context())
		}
		return err == nil
	})
}

func (s *pgServer) stop(sig syscall.Signal) {
	if s.process == nil {
		return
	}
	_ = s.signal(sig)
	_ = s.process.Wait()
	s.process = nil
}

// signal sends sig to the server's first process.
func (s *pgServer) signal(sig syscall.Signal) error {
	b, err := os.ReadFile(filepath.Join(s.dir, "data", "postmaster.pid"))
	if err != nil {
		return err
	}
	first, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		return err
	}
	return syscall.Kill(pid, sig)
}

// config describes a connection to the server itself, with TLS verified in full unless p says otherwise.
func (s *pgServer) config(tb testing.TB, p pg.Params) *pgx.ConnConfig {
	tb.Helper()
	c, err := pgx.ParseConfig("host=localhost")
	must(tb, err)
	c.Config = *s.pgconn(tb, p)
	return c
}

func (s *pgServer) pgconn(tb testing.TB, p pg.Params) *pgconn.Config {
	tb.Helper()
	cfg, err := pg.Config(s.params(p))
	must(tb, err)
	return cfg
}

func (s *pgServer) params(p pg.Params) pg.Params {
	if p.Host == "" {
		p.Host = "127.0.0.1"
	}
	p.Port = s.port
	if p.SSLMode == "" {
		p.SSLMode, p.CAFile = "verify-full", s.caFile
	}
	if p.User == "" {
		p.User, p.Password = "app", secret.New("app-word-in-tests")
	}
	if p.Database == "" {
		p.Database = "shop"
	}
	return p
}

// connect logs in to the server itself as its superuser.
func (s *pgServer) connect(tb testing.TB, database string) *pgx.Conn {
	tb.Helper()
	c, err := pgx.ConnectConfig(tb.Context(), s.config(tb, pg.Params{User: "super", Password: secret.New(superPassword), Database: database}))
	must(tb, err)
	tb.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// upstream is database name at the server, reached as p says.
func (s *pgServer) upstream(name string, p pg.Params) Upstream {
	p = s.params(p)
	return Upstream{
		Database: name, Instance: "main",
		Config: func(context.Context) (*pgconn.Config, error) { return pg.Config(p) },
	}
}

// ---- proxies ----

const proxyPassword = "word-of-this-run"

type testProxy struct {
	*Server
	addr     string
	ca       string // file
	log      *syncBuffer
	stop     context.CancelFunc
	stopWith context.CancelCauseFunc
	ended    chan error
}

// serve runs a proxy until the test ends, and then looks that it came to rest.
// nameless leaves sessions without an application_name, where serve else gives them one.
const nameless = "-"

func serve(tb testing.TB, cfg Config, tune ...func(*Server)) *testProxy {
	tb.Helper()
	ln, err := Listen(tb.Context(), "127.0.0.1:0")
	must(tb, err)
	return serveOn(tb, cfg, ln, tune...)
}

func serveOn(tb testing.TB, cfg Config, ln net.Listener, tune ...func(*Server)) *testProxy {
	tb.Helper()
	local, ca, err := LocalTLS()
	must(tb, err)
	p := &testProxy{addr: ln.Addr().String(), ca: filepath.Join(tb.TempDir(), "proxy-ca.pem"), log: &syncBuffer{}, ended: make(chan error, 1)}
	must(tb, os.WriteFile(p.ca, ca, 0o644))
	if cfg.Environment == "" {
		cfg.Environment = "prod"
	}
	if cfg.Password.IsZero() {
		cfg.Password = secret.New(proxyPassword)
	}
	switch cfg.Application {
	case "":
		cfg.Application = DefaultApplication()
	case nameless:
		cfg.Application = ""
	}
	switch cfg.TLS {
	case nil:
		cfg.TLS = local
	case noTLS:
		cfg.TLS = nil
	}
	if cfg.DrainTimeout == 0 {
		cfg.DrainTimeout = 2 * time.Second
	}
	cfg.Log = slog.New(slog.NewTextHandler(p.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	p.Server, err = New(cfg)
	must(tb, err)
	for _, f := range tune {
		f(p.Server)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	p.stopWith, p.stop = cancel, func() { cancel(nil) }
	go func() { p.ended <- p.Serve(ctx, ln) }()
	tb.Cleanup(func() {
		p.stop()
		p.wait(tb)
		if n := p.Totals().Open; n != 0 {
			tb.Errorf("%d sessions are open after the end", n)
		}
		if len(p.keys) != 0 {
			tb.Errorf("%d cancel keys are left", len(p.keys))
		}
		for _, word := range []string{proxyPassword, "app-word-in-tests", "reader-word-in-tests", superPassword} {
			if strings.Contains(p.log.String(), word) {
				tb.Errorf("a password is in the log:\n%s", p.log)
			}
		}
	})
	return p
}

// wait waits for Serve to return, and checks that it had nothing to complain of.
func (p *testProxy) wait(tb testing.TB) {
	tb.Helper()
	select {
	case err := <-p.ended:
		p.ended <- err
		if err != nil {
			tb.Errorf("Serve: %v", err)
		}
	case <-time.After(20 * time.Second):
		tb.Fatal("Serve does not return")
	}
}

// config is for a client of the proxy; mode is its sslmode.
func (p *testProxy) config(tb testing.TB, database, mode string) *pgx.ConnConfig {
	tb.Helper()
	host, port, _ := net.SplitHostPort(p.addr)
	c, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%s user=anybody password=%s dbname=%s sslmode=%s sslrootcert=%s",
		host, port, proxyPassword, database, mode, p.ca))
	must(tb, err)
	return c
}

func (p *testProxy) connect(tb testing.TB, database string) *pgx.Conn {
	tb.Helper()
	return p.connectWith(tb, p.config(tb, database, "disable"))
}

func (p *testProxy) connectWith(tb testing.TB, cfg *pgx.ConnConfig) *pgx.Conn {
	tb.Helper()
	c, err := pgx.ConnectConfig(tb.Context(), cfg)
	must(tb, err)
	tb.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// dial opens a bare connection to the proxy.
func (p *testProxy) dial(tb testing.TB) net.Conn {
	tb.Helper()
	c, err := net.Dial("tcp", p.addr)
	must(tb, err)
	tb.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// ---- small helpers ----

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// eventually polls for what must become true.
func eventually(tb testing.TB, what string, is func() bool) {
	tb.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if is() {
			return
		}
	}
	tb.Fatalf("it does not come about that %s", what)
}

func freePort(tb testing.TB) uint16 {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(tb, err)
	defer ln.Close()
	return uint16(ln.Addr().(*net.TCPAddr).Port)
}

// query returns the first column of the only row.
func query[T any](tb testing.TB, c *pgx.Conn, sql string, args ...any) T {
	tb.Helper()
	var v T
	if err := c.QueryRow(tb.Context(), sql, args...).Scan(&v); err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	return v
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// noTLS stands for a proxy without TLS.
var noTLS = &tls.Config{MinVersion: tls.VersionTLS13}

func pkixName(cn string) pkix.Name { return pkix.Name{CommonName: cn} }

func writeFile(tb testing.TB, name string, content []byte) {
	tb.Helper()
	must(tb, os.WriteFile(name, content, 0o644))
}
