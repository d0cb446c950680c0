package backup

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/rds"   //nolint:depguard // the played cloud is made with it
	"github.com/aws/aws-sdk-go-v2/service/rds/types" //nolint:depguard // as above
	"github.com/jackc/pgx/v5"

	"dbops/internal/cloud"
	"dbops/internal/cloud/cloudsql"
	"dbops/internal/cloud/rds"
	"dbops/internal/op"
	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/gcpapi"
	"dbops/internal/sandbox/pgtest"
	played "dbops/internal/sandbox/play"
	"dbops/internal/sandbox/rdsapi"
	"dbops/internal/sandbox/world"
	"dbops/internal/secret"
)

// TestMain takes the environment of the person who runs the tests away.
func TestMain(m *testing.M) {
	if child() {
		return
	}
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "AWS_") || strings.HasSuffix(strings.ToLower(name), "_proxy") {
			_ = os.Unsetenv(name)
		}
	}
	_ = os.Setenv("AWS_CONFIG_FILE", os.DevNull)
	_ = os.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	os.Exit(pgtest.Main(m))
}

// stage is a played cloud with real servers, and its source instance with data.
type stage struct {
	place  // where its clients reach it
	kind   cloud.Kind
	faults *played.Faults
	server func(instance string) *world.Server
	spare  func(t *testing.T, name string) // makes one more instance

	cloud Cloud
}

// place is all that another process needs to reach a stage.
type place struct {
	Kind  cloud.Kind
	URL   string
	Keys  string // the file with the credentials
	Relay string // where its servers are reached
}

const source = "main"

var clouds = []cloud.Kind{cloud.RDS, cloud.CloudSQL}

func newStage(t *testing.T, kind cloud.Kind) *stage {
	t.Helper()
	dir := pgtest.Dir(t)
	w, err := world.Open(t.Context(), world.Options{Dir: filepath.Join(dir, "world"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	g := &stage{kind: kind, faults: &played.Faults{}, place: place{Kind: kind, Keys: filepath.Join(t.TempDir(), "keys")}}
	if kind == cloud.RDS {
		g.playAWS(t, dir, w)
	} else {
		g.playGoogle(t, dir, w)
	}
	g.relay(t)
	// Not t.Setenv: stages stand side by side. One of each kind sets its own variable.
	if err := os.Setenv(g.keysVariable(), g.Keys); err != nil { //nolint:usetesting // as above
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	if g.cloud, err = g.open(t.Context(), transport); err != nil {
		t.Fatal(err)
	}
	g.spare(t, source)
	g.query(t, source, `create table item (id int primary key, name text not null); insert into item select i, 'item ' || i from generate_series(1, 200) i;
		create table note (id int references item, at timestamptz default now()); create unlogged table cache (id int); insert into cache values (1);
		create view named as select name from item; create function one() returns int language sql as 'select 1'; analyze`)
	return g
}

func (g *stage) playAWS(t *testing.T, dir string, w *world.World) {
	t.Helper()
	keys, err := awsid.Open(awsid.Config{Account: "123456789012", Region: "eu-west-1", Principals: []awsid.Principal{
		{Name: "user/dbops", Allow: awsid.Actions("rds:*", "rds-db:connect")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	api, err := rdsapi.New(t.Context(), rdsapi.Config{World: w, Keys: keys, Dir: dir, Pace: 0.0001, Faults: g.faults})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	g.serve(t, awsid.Front(map[string]http.Handler{"rds": api, "sts": keys.STS(g.faults)}))
	id, key, _ := keys.Credentials("user/dbops")
	if err := os.WriteFile(g.Keys, []byte("[played]\naws_access_key_id = "+id+"\naws_secret_access_key = "+key.Reveal()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.server = func(name string) *world.Server { return api.Server(name) }
	g.spare = func(t *testing.T, name string) {
		t.Helper()
		_, err := api.Adopt(t.Context(), rdsapi.Seed{
			Create: sdk.CreateDBInstanceInput{
				DBInstanceIdentifier: &name, EngineVersion: new("16"), MasterUsername: new("boss"), BackupRetentionPeriod: new(int32(7)),
				DeletionProtection: new(true), EnableIAMDatabaseAuthentication: new(true), PubliclyAccessible: new(true),
				Tags: []types.Tag{{Key: new("environment"), Value: new("prod")}},
			},
			Password: secret.New("correct-horse-battery"),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

const robot = "robot@shop-prod.iam.gserviceaccount.com"

func (g *stage) playGoogle(t *testing.T, dir string, w *world.World) {
	t.Helper()
	api, err := gcpapi.New(t.Context(), gcpapi.Config{
		World: w, Dir: filepath.Join(dir, "google"), Projects: []string{"shop-prod"}, Pace: 0.0001, Faults: g.faults,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := api.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := api.Identity().Grant(robot, "roles/cloudsql.admin"); err != nil {
		t.Fatal(err)
	}
	g.serve(t, api)
	if err := api.Identity().WriteKey(robot, g.Keys, g.URL+"/token"); err != nil {
		t.Fatal(err)
	}
	g.server = func(name string) *world.Server { return api.Server("shop-prod", name) }
	g.spare = func(t *testing.T, name string) {
		t.Helper()
		_, err := api.Adopt(t.Context(), gcpapi.Attributes{
			Project: "shop-prod", Name: name, Major: 16, Availability: "ZONAL", Labels: map[string]string{"environment": "prod"},
			Flags: map[string]string{"cloudsql.iam_authentication": "on"}, Password: secret.New("postgres-pw"), DeletionProtection: true,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (g *stage) serve(t *testing.T, h http.Handler) {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		server.CloseClientConnections()
		server.Close()
	})
	g.URL = server.URL
}

// open is a client of the played cloud, by the files and variables a person would have.
func (p place) open(ctx context.Context, transport *http.Transport) (Cloud, error) {
	if p.Kind == cloud.RDS {
		return rds.New(ctx, rds.Options{Region: "eu-west-1", Profile: "played", Endpoint: p.URL, HTTPClient: &http.Client{Transport: transport}})
	}
	return cloudsql.New(ctx, cloudsql.Options{Project: "shop-prod", Endpoint: p.URL, TokenInfo: p.URL + "/tokeninfo", UserAgent: "dbops-test"})
}

// keysVariable names the file with the credentials.
func (p place) keysVariable() string {
	if p.Kind == cloud.RDS {
		return "AWS_SHARED_CREDENTIALS_FILE"
	}
	return "GOOGLE_APPLICATION_CREDENTIALS"
}

// relay lets clients reach the servers of the world, whose own clients prove themselves with a certificate: a line with the instance's
// name, then PostgreSQL in the clear.
func (g *stage) relay(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.Relay = l.Addr().String()
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
				_ = g.pass(ctx, conn)
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		wg.Wait()
	})
}

func (g *stage) pass(ctx context.Context, conn net.Conn) error {
	defer conn.Close()
	in := bufio.NewReader(conn)
	name, err := in.ReadString('\n')
	if err != nil {
		return err
	}
	s := g.server(strings.TrimSpace(name))
	if s == nil {
		return errors.New("there is no such server")
	}
	known, err := s.DB(ctx, "postgres")
	if err != nil {
		return err
	}
	cfg := known.Config()
	_ = known.Close(ctx)
	raw, err := net.Dial("tcp", net.JoinHostPort(cfg.Host, itoa(int(cfg.Port))))
	if err != nil {
		return err
	}
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { _ = raw.Close() })()
	if _, err := raw.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}); err != nil { // SSLRequest
		return err
	}
	if _, err := io.ReadFull(raw, make([]byte, 1)); err != nil {
		return err
	}
	out := tls.Client(raw, cfg.TLSConfig)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(out, in)
		_ = raw.Close()
	}()
	_, err = io.Copy(conn, out)
	_ = conn.Close()
	<-done
	return err
}

// connect logs in to a database of an instance.
func (p place) connect(ctx context.Context, _ op.Target, instance, database string) (*pgx.Conn, error) {
	host, port, err := net.SplitHostPort(p.Relay)
	if err != nil {
		return nil, err
	}
	cfg, err := pgx.ParseConfig("host=" + host + " port=" + port + " user=sandbox_super password='' sslmode=disable dbname=" + database)
	if err != nil {
		return nil, err
	}
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err == nil {
			_, err = conn.Write([]byte(instance + "\n"))
		}
		return conn, err
	}
	return pgx.ConnectConfig(ctx, cfg)
}

// query asks a server and returns the first text of its last answer.
func (g *stage) query(t testing.TB, instance, sql string) (text string) {
	t.Helper()
	conn, err := g.connect(t.Context(), op.Target{}, instance, "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	answers, err := conn.PgConn().Exec(t.Context(), sql).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if last := answers[len(answers)-1]; len(last.Rows) > 0 {
		text = string(last.Rows[0][0])
	}
	return text
}

// busy is the cloud of a source that is used: who asks again soon how far it can be restored sees that move, as it would within minutes.
type busy struct {
	Cloud
	p    place
	mu   sync.Mutex
	last time.Time
}

func (b *busy) Get(ctx context.Context, name string) (*cloud.Instance, error) {
	live, err := b.Cloud.Get(ctx, name)
	if err != nil || name != source {
		return live, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.last) < time.Second && live.Backups.LatestRestorable.Before(b.last) {
		if conn, err := b.p.connect(ctx, op.Target{}, name, "postgres"); err == nil {
			_, _ = conn.Exec(ctx, `insert into note values (1); select pg_switch_wal()`, pgx.QueryExecModeSimpleProtocol)
			_ = conn.Close(ctx)
		}
		b.last = time.Time{}
	} else {
		b.last = time.Now()
	}
	return live, nil
}
