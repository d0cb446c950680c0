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
	"slices"
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
	"dbops/internal/state"
	"dbops/internal/state/statetest"
)

// TestMain takes the environment of the person who runs the tests away.
func TestMain(m *testing.M) {
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "AWS_") || strings.HasSuffix(strings.ToLower(name), "_proxy") {
			_ = os.Unsetenv(name)
		}
	}
	_ = os.Setenv("AWS_CONFIG_FILE", os.DevNull)
	_ = os.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	if child() {
		return
	}
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
	g.cloud = g.open(t.Context(), t)
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
func (p place) open(ctx context.Context, t testing.TB) Cloud {
	t.Helper()
	var c Cloud
	var err error
	if p.Kind == cloud.RDS {
		t.Setenv("AWS_SHARED_CREDENTIALS_FILE", p.Keys)
		transport := &http.Transport{}
		t.Cleanup(transport.CloseIdleConnections)
		c, err = rds.New(ctx, rds.Options{Region: "eu-west-1", Profile: "played", Endpoint: p.URL, HTTPClient: &http.Client{Transport: transport}})
	} else {
		t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", p.Keys)
		c, err = cloudsql.New(ctx, cloudsql.Options{Project: "shop-prod", Endpoint: p.URL, TokenInfo: p.URL + "/tokeninfo", UserAgent: "dbops-test"})
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
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

// busy is the cloud of a source that is used: what it does gets into the archive, as it would within minutes.
type busy struct {
	Cloud
	g    *stage
	mu   sync.Mutex
	last time.Time
}

func (b *busy) Get(ctx context.Context, name string) (*cloud.Instance, error) {
	b.mu.Lock()
	ship := name == source && time.Since(b.last) > time.Second
	if ship {
		b.last = time.Now()
	}
	b.mu.Unlock()
	if ship {
		if conn, err := b.g.connect(ctx, op.Target{}, name, "postgres"); err == nil {
			_, _ = conn.Exec(ctx, `insert into note values (1); select pg_switch_wal()`, pgx.QueryExecModeSimpleProtocol)
			_ = conn.Close(ctx)
		}
	}
	return b.Cloud.Get(ctx, name)
}

// bench is an engine over a store and a stage.
type bench struct {
	*op.Engine
	g     *stage
	store *state.Store
	name  string // what the target is called at the provider
	cloud Cloud
	deps  Deps
}

var pace = op.Pace{First: 5 * time.Millisecond, Most: 50 * time.Millisecond, Patience: time.Minute}

func newBench(t *testing.T, g *stage, s *state.Store) *bench {
	t.Helper()
	b := &bench{g: g, store: s, name: source, cloud: &busy{Cloud: g.cloud, g: g}}
	b.deps = Deps{
		Cloud:   func(context.Context, op.Target) (Cloud, string, error) { return b.cloud, b.name, nil },
		Connect: g.connect, Pace: pace, Reach: 20 * time.Second, Settle: 20 * time.Second,
	}
	b.Engine = engine(t, b.store, b.deps)
	return b
}

func engine(t testing.TB, s *state.Store, d Deps) *op.Engine {
	t.Helper()
	kinds, err := op.NewRegistry(New(d).Kinds()...)
	if err != nil {
		t.Fatal(err)
	}
	return op.New(s, kinds, op.Options{Version: "test", Poll: 20 * time.Millisecond, TTL: 20 * time.Second, Host: "here"})
}

// scenario is a test over a played cloud; b's store holds the runs of others, too.
type scenario struct {
	name   string
	stores []string
	test   func(t *testing.T, b *bench)
}

// play runs scenarios over both clouds, one stage each, and the stores that they name.
func play(t *testing.T, all ...scenario) {
	t.Helper()
	for _, kind := range clouds {
		t.Run(string(kind), func(t *testing.T) {
			g := newStage(t, kind)
			for _, store := range statetest.Kinds {
				t.Run(store, func(t *testing.T) {
					s := statetest.New(t, store).Store(t)
					for _, sc := range all {
						if slices.Contains(sc.stores, store) {
							t.Run(sc.name, func(t *testing.T) { sc.test(t, newBench(t, g, s)) })
						}
					}
				})
			}
		})
	}
}

var (
	tester = op.Actor{Name: robot, Via: op.ViaGoogle}
	target = op.Target{Environment: "prod", Instance: "shop"}
)

func (b *bench) plan(t testing.TB, kind string, request any) *op.Plan {
	t.Helper()
	p, err := b.Plan(t.Context(), op.PlanRequest{Kind: kind, Target: target, Request: request, Requester: tester})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// run plans, submits and attaches.
func (b *bench) run(t testing.TB, kind string, request any) state.Run {
	t.Helper()
	return b.attach(t, b.submit(t, b.plan(t, kind, request)))
}

func (b *bench) submit(t testing.TB, p *op.Plan) string {
	t.Helper()
	r, _, err := b.Submit(t.Context(), p, op.SubmitOptions{Actor: tester})
	if err != nil {
		t.Fatal(err)
	}
	return r.ID
}

func (b *bench) attach(t testing.TB, id string) state.Run {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	r, err := b.Attach(ctx, id, 0, func(e state.Event) { t.Logf("%s %s: %s", e.Kind, e.Step, e.Text) })
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (b *bench) tell(t testing.TB, id string, v state.Verb) {
	t.Helper()
	if err := b.Tell(t.Context(), id, v, op.Actor{Name: "alice", Via: op.ViaGoogle}, "a test"); err != nil {
		t.Fatal(err)
	}
}

// done demands that a run ended well, and that the audit log is whole.
func (b *bench) done(t testing.TB, r state.Run) {
	t.Helper()
	if r.State != state.Done {
		t.Fatalf("the run is %s: %s (%s)", r.State, r.Problem, r.Hint)
	}
	b.verified(t)
}

func (b *bench) verified(t testing.TB) {
	t.Helper()
	if report, err := b.store.Log.Verify(t.Context(), 0); err != nil || !report.OK() {
		t.Errorf("the audit log does not verify: %v, %+v", err, report)
	}
}

// output reads what a step of a run stored.
func output[T any](t testing.TB, e *op.Engine, run, step string) (v T) {
	t.Helper()
	journal, err := e.Journal(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	if !outputOf(journal, step, &v) {
		t.Fatalf("step %s stored nothing in %+v", step, journal)
	}
	return v
}

func (b *bench) report(t testing.TB, run string) DrillReport {
	t.Helper()
	journal, err := b.Journal(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	r, ok, err := ReportOf(journal)
	if err != nil || !ok {
		t.Fatalf("no report: %v", err)
	}
	t.Logf("%+v", r)
	return r
}

func (g *stage) get(t testing.TB, name string) *cloud.Instance {
	t.Helper()
	live, err := g.cloud.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return live
}

// gone demands that there is no instance of a name.
func (g *stage) gone(t testing.TB, name string) {
	t.Helper()
	if live, err := g.cloud.Get(t.Context(), name); err == nil {
		t.Errorf("%s is left: %s", name, live.RawState)
	}
}
