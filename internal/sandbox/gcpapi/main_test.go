package gcpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/cloudsqlconn"
	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
	"golang.org/x/oauth2"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"
	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/sandbox/play"
	"dbops/internal/sandbox/world"
	"dbops/internal/secret"
)

const (
	project = "shop-prod"
	admin   = "admin@example.com"
	robot   = "robot@shop-prod.iam.gserviceaccount.com"
	region  = "europe-west1"
)

// shared is the cloud of the tests that need none of their own. Each of them has an instance of its own in it.
//
//nolint:gochecknoglobals // servers are too dear for one cloud a test
var shared struct {
	once  sync.Once
	cloud *cloud
	err   error
}

func TestMain(m *testing.M) {
	remove, err := trustOurs()
	if err != nil {
		_, _ = io.WriteString(os.Stderr, err.Error())
		os.Exit(1)
	}
	code := m.Run()
	remove()
	if shared.cloud != nil {
		shared.cloud.close()
	}
	if code == 0 {
		if err := goleak.Find(leaks()...); err != nil {
			_, _ = io.WriteString(os.Stderr, err.Error())
			code = 1
		}
	}
	os.Exit(code)
}

// leaks are the goroutines that Google's libraries leave behind: a worker that starts with the program, and idle connections.
func leaks() []goleak.Option {
	return []goleak.Option{
		goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"),
		goleak.IgnoreTopFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"),
	}
}

// cloud is a played cloud with its world and its address.
type cloud struct {
	*Server
	dir    string
	world  *world.World
	http   *httptest.Server
	faults *play.Faults
}

// theCloud is the shared one.
func theCloud(t *testing.T) *cloud {
	t.Helper()
	shared.once.Do(func() {
		shared.cloud, shared.err = fresh(context.Background(), Config{})
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.cloud
}

// ownCloud is a cloud that a test may close.
func ownCloud(t *testing.T, cfg Config) *cloud {
	t.Helper()
	c, err := fresh(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}

// fresh opens a cloud in a folder of its own. PostgreSQL runs as another user than root: it must get in.
func fresh(ctx context.Context, cfg Config) (*cloud, error) {
	dir, err := os.MkdirTemp("", "gcpapi-")
	if err != nil {
		return nil, err
	}
	return open(ctx, dir, cfg)
}

func open(ctx context.Context, dir string, cfg Config) (*cloud, error) {
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	logger := slog.New(slog.DiscardHandler)
	if os.Getenv("DBOPS_TEST_LOG") != "" {
		logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	c := &cloud{dir: dir, faults: new(play.Faults)}
	var err error
	c.world, err = world.Open(ctx, world.Options{Dir: filepath.Join(dir, "world"), Log: logger})
	if err != nil {
		return nil, err
	}
	cfg.World, cfg.Dir, cfg.Projects, cfg.Faults, cfg.Log = c.world, filepath.Join(dir, "google"), []string{project}, c.faults, logger
	if cfg.Pace == 0 {
		cfg.Pace = 0.001
	}
	if c.Server, err = New(ctx, cfg); err != nil {
		return nil, errors.Join(err, c.world.Close())
	}
	for email, role := range map[string]string{admin: "roles/owner", robot: "roles/cloudsql.admin"} {
		if err := c.Identity().Grant(email, role); err != nil {
			return nil, err
		}
	}
	c.http = httptest.NewServer(c.Server)
	return c, nil
}

// stop closes the cloud and keeps its folder, as the end of the sandbox's process does.
func (c *cloud) stop() error {
	c.http.CloseClientConnections()
	c.http.Close()
	return errors.Join(c.Server.Close(), c.world.Close())
}

func (c *cloud) close() {
	_ = c.stop()
	_ = os.RemoveAll(c.dir)
}

// adopt makes an instance of the test's own.
func (c *cloud) adopt(t *testing.T, a Attributes) string {
	t.Helper()
	a.Project = project
	if a.Name == "" {
		a.Name = fmt.Sprintf("t%d", time.Now().UnixNano())
	}
	if a.Major == 0 {
		a.Major = 15
	}
	if a.Password.IsZero() {
		a.Password = secret.New("postgres-pw")
	}
	if _, err := c.Adopt(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.faults.Clear()
		_ = c.world.Remove(context.Background(), c.serverID(a.Name))
	})
	return a.Name
}

func (c *cloud) serverID(name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if inst := c.state.Instances[key(project, name)]; inst != nil {
		return inst.Server
	}
	return "none"
}

// api is the real client of the Cloud SQL Admin API, as somebody.
func (c *cloud) api(t *testing.T, email string) *sqladmin.Service {
	t.Helper()
	svc, err := sqladmin.NewService(t.Context(), option.WithEndpoint(c.http.URL+"/"), option.WithTokenSource(c.source(t, email)))
	if err != nil {
		t.Fatal(err)
	}
	return svc
}

func (c *cloud) source(t *testing.T, email string, scopes ...string) oauth2.TokenSource {
	t.Helper()
	tok, err := c.Identity().Token(email, time.Hour, scopes...)
	if err != nil {
		t.Fatal(err)
	}
	return oauth2.StaticTokenSource(&oauth2.Token{AccessToken: tok.Reveal(), Expiry: time.Now().Add(time.Hour)})
}

// wait waits for the end of an operation and returns it.
func wait(t *testing.T, svc *sqladmin.Service, op *sqladmin.Operation, err error) *sqladmin.Operation {
	t.Helper()
	for start := time.Now(); err == nil && op.Status != done; {
		if time.Since(start) > time.Minute {
			t.Fatalf("%s is %s for a minute", op.OperationType, op.Status)
		}
		pause(t, 10*time.Millisecond)
		op, err = svc.Operations.Get(project, op.Name).Context(t.Context()).Do()
	}
	if err != nil {
		t.Fatal(err)
	}
	return op
}

// must waits for the end of an operation that has to succeed.
func must(t *testing.T, svc *sqladmin.Service) func(*sqladmin.Operation, error) *sqladmin.Operation {
	t.Helper()
	return func(op *sqladmin.Operation, err error) *sqladmin.Operation {
		t.Helper()
		op = wait(t, svc, op, err)
		if op.Error != nil {
			t.Fatalf("%s: %s", op.OperationType, op.Error.Errors[0].Message)
		}
		return op
	}
}

// pause waits between two looks at something.
func pause(t *testing.T, d time.Duration) {
	t.Helper()
	if err := play.Pace(1).Sleep(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

// want fails unless err is the API's error with that code and reason.
func want(t *testing.T, what string, err error, code int, reason, text string) {
	t.Helper()
	e, ok := errors.AsType[*googleapi.Error](err)
	if !ok || e.Code != code || len(e.Errors) == 0 || e.Errors[0].Reason != reason || !strings.Contains(e.Message, text) {
		t.Errorf("%s: got %v, want %d %s with %q", what, err, code, reason, text)
	}
}

// connector is the real connector, as somebody.
func (c *cloud) connector(t *testing.T, email string, opts ...cloudsqlconn.Option) *cloudsqlconn.Dialer {
	t.Helper()
	opts = append([]cloudsqlconn.Option{
		cloudsqlconn.WithAdminAPIEndpoint(c.http.URL), cloudsqlconn.WithBuiltInMetrics(false), cloudsqlconn.WithLazyRefresh(),
	}, opts...)
	if email != "" {
		opts = append(opts, cloudsqlconn.WithTokenSource(c.source(t, email)))
	}
	d, err := cloudsqlconn.NewDialer(t.Context(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// login logs in through a connector and returns who it is then.
func login(ctx context.Context, d *cloudsqlconn.Dialer, instance, user, password string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig("host=127.0.0.1 sslmode=disable dbname=postgres user=" + user)
	if err != nil {
		return nil, err
	}
	cfg.Password = password
	cfg.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return d.Dial(ctx, project+":"+region+":"+instance)
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return pgx.ConnectConfig(ctx, cfg)
}

// in logs in and runs f, and fails if it cannot.
func in(t *testing.T, d *cloudsqlconn.Dialer, instance, user, password string, f func(*pgx.Conn)) {
	t.Helper()
	conn, err := login(t.Context(), d, instance, user, password)
	if err != nil {
		t.Fatalf("log in as %s: %v", user, err)
	}
	defer conn.Close(context.Background())
	f(conn)
}

// text is the one value that a query gives.
func text(t *testing.T, conn *pgx.Conn, q string) string {
	t.Helper()
	var s string
	if err := conn.QueryRow(t.Context(), q).Scan(&s); err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	return s
}

func run(t *testing.T, conn *pgx.Conn, q string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), q); err != nil {
		t.Fatalf("%s: %v", q, err)
	}
}
