package rdsapi_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/aws/smithy-go"
	"github.com/jackc/pgx/v5"

	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/play"
	"dbops/internal/sandbox/rdsapi"
	"dbops/internal/sandbox/secretsapi/awssm"
	"dbops/internal/sandbox/world"
	"dbops/internal/secret"
)

const (
	region  = "eu-west-1"
	account = "123456789012"
	// pace makes five minutes of the real cloud thirty milliseconds.
	pace   = 0.0001
	master = "orders_admin"
	hidden = "correct-horse-battery"
)

// played is a played AWS of its own over real servers.
type played struct {
	dir    string
	world  *world.World
	keys   *awsid.Keys
	faults *play.Faults
	api    *rdsapi.API
	server *httptest.Server
	close  func()
}

// config changes what a played AWS is made with.
type config func(*rdsapi.Config)

func at(p play.Pace) config { return func(c *rdsapi.Config) { c.Pace = p } }

// slowly leaves whoever looks in between the time to see it, on a busy machine, too.
var slowly = at(0.002)

// start opens the AWS that lives in dir; see newDir.
func start(t *testing.T, dir string, opts ...config) *played {
	t.Helper()
	p := &played{dir: dir, faults: &play.Faults{}}
	ctx := t.Context()
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	var err error
	if p.world, err = world.Open(ctx, world.Options{Dir: filepath.Join(dir, "world"), Log: log}); err != nil {
		t.Fatal(err)
	}
	closeWorld := sync.OnceFunc(func() {
		if err := p.world.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(closeWorld)
	p.keys, err = awsid.Open(awsid.Config{Account: account, Region: region, Dir: dir, Principals: []awsid.Principal{
		{Name: "user/dbops", Allow: awsid.Actions("rds:*", "rds-db:connect", "secretsmanager:*")},
		{Name: "user/viewer", Allow: awsid.Actions("rds:Describe*"), Deny: awsid.Actions("rds:DescribeEvents")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	cfg := rdsapi.Config{World: p.world, Keys: p.keys, Dir: dir, Pace: pace, Faults: p.faults, Log: log}
	for _, o := range opts {
		o(&cfg)
	}
	if p.api, err = rdsapi.New(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	secrets, err := awssm.New(awssm.Config{Keys: p.keys, Dir: dir, Faults: p.faults})
	if err != nil {
		t.Fatal(err)
	}
	p.server = httptest.NewServer(awsid.Front(map[string]http.Handler{"rds": p.api, "sts": p.keys.STS(p.faults), "secretsmanager": secrets}))
	p.close = sync.OnceFunc(func() {
		p.server.Close()
		p.api.Close()
		closeWorld()
	})
	t.Cleanup(p.close)
	return p
}

// newDir is a temporary folder that the unprivileged user of PostgreSQL can reach.
func newDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "dbops-rds-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func (p *played) credentials(t *testing.T, who string) aws.CredentialsProvider {
	t.Helper()
	id, sec, ok := p.keys.Credentials(who)
	if !ok {
		t.Fatalf("no principal %s", who)
	}
	return credentials.NewStaticCredentialsProvider(id, sec.Reveal(), "")
}

func (p *played) client(t *testing.T, who string, opts ...func(*rds.Options)) *rds.Client {
	t.Helper()
	return rds.New(rds.Options{Region: region, BaseEndpoint: &p.server.URL, Credentials: p.credentials(t, who), RetryMaxAttempts: 1}, opts...)
}

// adopt makes an instance that is available at once.
func (p *played) adopt(t *testing.T, id string, major int, change ...func(*rds.CreateDBInstanceInput)) *world.Server {
	t.Helper()
	in := rds.CreateDBInstanceInput{
		DBInstanceIdentifier: &id, EngineVersion: new(strconv.Itoa(major)), MasterUsername: new(master), BackupRetentionPeriod: new(int32(0)),
	}
	for _, c := range change {
		c(&in)
	}
	s, err := p.api.Adopt(t.Context(), rdsapi.Seed{Create: in, Password: secret.New(hidden)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func describe(t *testing.T, c *rds.Client, id string) types.DBInstance {
	t.Helper()
	out, err := c.DescribeDBInstances(t.Context(), &rds.DescribeDBInstancesInput{DBInstanceIdentifier: &id})
	if err != nil {
		t.Fatal(err)
	}
	return out.DBInstances[0]
}

// until polls an instance until ok, and returns it and every status that was seen.
func until(t *testing.T, c *rds.Client, id string, ok func(types.DBInstance) bool) (types.DBInstance, []string) {
	t.Helper()
	var seen []string
	deadline := time.Now().Add(30 * time.Second)
	for {
		db := describe(t, c, id)
		if s := *db.DBInstanceStatus; len(seen) == 0 || seen[len(seen)-1] != s {
			seen = append(seen, s)
		}
		if ok(db) {
			return db, seen
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not get there: statuses %v, events %q", id, seen, messages(t, c, types.SourceTypeDbInstance, id))
		}
		pause(t, 5*time.Millisecond)
	}
}

func settled(db types.DBInstance) bool {
	p := db.PendingModifiedValues
	return *db.DBInstanceStatus == "available" && p.MultiAZ == nil && p.BackupRetentionPeriod == nil && p.CACertificateIdentifier == nil &&
		p.MasterUserPassword == nil && p.DBInstanceClass == nil && p.AllocatedStorage == nil && p.IAMDatabaseAuthenticationEnabled == nil
}

func status(want string) func(types.DBInstance) bool {
	return func(db types.DBInstance) bool { return *db.DBInstanceStatus == want }
}

func pause(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

// login connects as a client of RDS does: to the endpoint of the description, checking its certificate and name.
func (p *played) login(ctx context.Context, db types.DBInstance, user, password, database string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig("")
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(p.api.CABundle()) {
		return nil, errors.New("no certificates in the bundle")
	}
	cfg.Host, cfg.Port, cfg.User, cfg.Password, cfg.Database = *db.Endpoint.Address, uint16(*db.Endpoint.Port), user, password, database
	cfg.TLSConfig = &tls.Config{RootCAs: pool, ServerName: cfg.Host, MinVersion: tls.VersionTLS12}
	cfg.Fallbacks = nil
	cfg.ConnectTimeout = 5 * time.Second
	return pgx.ConnectConfig(ctx, cfg)
}

// try logs in and asks one question.
func (p *played) try(ctx context.Context, db types.DBInstance, user, password string) error {
	conn, err := p.login(ctx, db, user, password, "postgres")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	var n int
	return conn.QueryRow(ctx, "select 1").Scan(&n)
}

// run executes statements on the real server, past the edge.
func run(t *testing.T, s *world.Server, database string, statements ...string) {
	t.Helper()
	conn, err := s.DB(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	for _, q := range statements {
		if _, err := conn.Exec(t.Context(), q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
}

// shown is the certificate that a TLS client sees at an endpoint.
func (p *played) shown(t *testing.T, db types.DBInstance) *x509.Certificate {
	t.Helper()
	conn, err := p.login(t.Context(), db, master, hidden, "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	c, ok := conn.PgConn().Conn().(*tls.Conn)
	if !ok {
		t.Fatalf("a session without TLS: %T", conn.PgConn().Conn())
	}
	return c.ConnectionState().PeerCertificates[0]
}

func code(err error) string {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode()
	}
	if err == nil {
		return ""
	}
	return err.Error()
}

// messages are the events of an instance or snapshot, in order.
func messages(t *testing.T, c *rds.Client, kind types.SourceType, id string) []string {
	t.Helper()
	var out []string
	pages := rds.NewDescribeEventsPaginator(c, &rds.DescribeEventsInput{SourceType: kind, SourceIdentifier: &id, MaxRecords: new(int32(20))})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Events {
			out = append(out, *e.Message)
		}
	}
	return out
}

func endpoint(db types.DBInstance) string {
	return net.JoinHostPort(*db.Endpoint.Address, strconv.Itoa(int(*db.Endpoint.Port)))
}
