package certs

import (
	"context"
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

	"go.uber.org/goleak"

	"dbops/internal/certs/bundle"
	"dbops/internal/cloud"
	"dbops/internal/cloud/cloudsql"
	"dbops/internal/cloud/rds"
	"dbops/internal/op"
	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/gcpapi"
	"dbops/internal/sandbox/play"
	"dbops/internal/sandbox/rdsapi"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/sandbox/world"
	"dbops/internal/secret"
	"dbops/internal/state"
)

const (
	project  = "shop-prod"
	robot    = "robot@shop-prod.iam.gserviceaccount.com"
	password = "correct-horse-battery"
	// restarting is the major whose played RDS servers restart to change their certificate.
	restarting = 15
)

func TestMain(m *testing.M) {
	if where := os.Getenv(childEnv); where != "" {
		os.Exit(child(where))
	}
	os.Exit(run(m))
}

// run gives the tests the credentials that a person would have, in files that the environment names.
func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "dbops-certs-test-") // t.TempDir is closed to the servers' user
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	for name, file := range map[string]string{
		"AWS_SHARED_CREDENTIALS_FILE": "aws", "AWS_CONFIG_FILE": "none", "GOOGLE_APPLICATION_CREDENTIALS": "google.json", "AWS_PROFILE": "", "AWS_CA_BUNDLE": "",
	} {
		if file != "" {
			file = filepath.Join(dir, file)
		}
		err = errors.Join(err, os.Setenv(name, file))
	}
	if err != nil {
		println(err.Error())
		return 1
	}
	clouds = &shared{dir: dir}
	code := m.Run()
	if err := errors.Join(clouds.close(), os.RemoveAll(dir)); err != nil {
		println(err.Error())
		return max(code, 1)
	}
	if code == 0 {
		idle := []goleak.Option{ // of the cloud libraries, which keep them for a while
			goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
			goleak.IgnoreAnyFunction("database/sql.(*DB).connectionOpener"), // of the engine over SQLite
		}
		if err := goleak.Find(idle...); err != nil {
			println(err.Error())
			return 1
		}
	}
	return code
}

// shared are the played clouds of the test binary, made by the first test that wants them.
type shared struct {
	dir   string
	mu    sync.Mutex
	world *world.World
	aws   *stage
	gcp   *stage
	ends  []func() error
}

var clouds *shared

func (c *shared) close() error {
	var errs []error
	for i := len(c.ends) - 1; i >= 0; i-- {
		errs = append(errs, c.ends[i]())
	}
	return errors.Join(errs...)
}

// stage is one played cloud.
type stage struct {
	kind   cloud.Kind
	url    string
	cloud  cloud.Certifier
	faults *play.Faults
	adopt  func(ctx context.Context, name string, major int) error
	server func(name string) *world.Server
	roots  []*x509.Certificate // of RDS
}

func (c *shared) open() (err error) {
	if c.world == nil {
		c.world, err = world.Open(context.Background(), world.Options{Dir: filepath.Join(c.dir, "world"), Log: slog.New(slog.DiscardHandler)})
		if err == nil {
			c.ends = append(c.ends, c.world.Close)
		}
	}
	return err
}

func playedRDS(t testing.TB) *stage {
	t.Helper()
	clouds.mu.Lock()
	defer clouds.mu.Unlock()
	if clouds.aws == nil {
		must(t, clouds.open())
		must(t, clouds.playRDS())
	}
	return clouds.aws
}

func playedCloudSQL(t testing.TB) *stage {
	t.Helper()
	clouds.mu.Lock()
	defer clouds.mu.Unlock()
	if clouds.gcp == nil {
		must(t, clouds.open())
		must(t, clouds.playCloudSQL())
	}
	return clouds.gcp
}

func (c *shared) playRDS() error {
	s := &stage{kind: cloud.RDS, faults: &play.Faults{}}
	keys, err := awsid.Open(awsid.Config{Account: "123456789012", Region: "eu-west-1", Principals: []awsid.Principal{
		{Name: "user/dbops", Allow: awsid.Actions("rds:*")},
	}})
	if err != nil {
		return err
	}
	id, key, _ := keys.Credentials("user/dbops")
	err = os.WriteFile(filepath.Join(c.dir, "aws"), []byte("[played]\naws_access_key_id = "+id+"\naws_secret_access_key = "+key.Reveal()+"\n"), 0o600)
	if err != nil {
		return err
	}
	api, err := rdsapi.New(context.Background(), rdsapi.Config{
		World: c.world, Keys: keys, Dir: c.dir, Pace: 0.001, Faults: s.faults, RestartToRotate: []int{restarting},
	})
	if err != nil {
		return err
	}
	c.ends = append(c.ends, func() error { api.Close(); return nil })
	if s.roots, err = bundle.Parse(api.CABundle()); err != nil {
		return err
	}
	c.serve(s, awsid.Front(map[string]http.Handler{"rds": api, "sts": keys.STS(s.faults)}))
	s.server = api.Server
	s.adopt = func(ctx context.Context, name string, major int) error {
		seed := rdsapi.Seed{Password: secret.New(password)}
		in := &seed.Create
		in.DBInstanceIdentifier, in.EngineVersion, in.MasterUsername = &name, new(strconv.Itoa(major)), new("orders_admin")
		in.BackupRetentionPeriod, in.MultiAZ, in.DeletionProtection = new(int32(0)), new(false), new(false)
		_, err := api.Adopt(ctx, seed)
		return err
	}
	if s.cloud, err = openCloud(context.Background(), cloud.RDS, s.url); err != nil {
		return err
	}
	c.aws = s
	return nil
}

func (c *shared) playCloudSQL() error {
	s := &stage{kind: cloud.CloudSQL, faults: &play.Faults{}}
	api, err := gcpapi.New(context.Background(), gcpapi.Config{
		World: c.world, Dir: filepath.Join(c.dir, "google"), Projects: []string{project}, Pace: 0.001, Faults: s.faults,
	})
	if err != nil {
		return err
	}
	c.ends = append(c.ends, api.Close)
	c.serve(s, api)
	if err := api.Identity().Grant(robot, "roles/cloudsql.admin"); err != nil {
		return err
	}
	if err := api.Identity().WriteKey(robot, filepath.Join(c.dir, "google.json"), s.url+"/token"); err != nil {
		return err
	}
	s.server = func(name string) *world.Server { return api.Server(project, name) }
	s.adopt = func(ctx context.Context, name string, major int) error {
		_, err := api.Adopt(ctx, gcpapi.Attributes{Project: project, Name: name, Major: major, NoBackups: true, Password: secret.New(password)})
		return err
	}
	if s.cloud, err = openCloud(context.Background(), cloud.CloudSQL, s.url); err != nil {
		return err
	}
	c.gcp = s
	return nil
}

func (c *shared) serve(s *stage, h http.Handler) {
	server := httptest.NewServer(h)
	s.url = server.URL
	c.ends = append(c.ends, func() error {
		http.DefaultClient.CloseIdleConnections()
		server.CloseClientConnections()
		server.Close()
		return nil
	})
}

// openCloud is a provider as a person's would be; a child process opens its own.
func openCloud(ctx context.Context, kind cloud.Kind, url string) (cloud.Certifier, error) {
	if kind == cloud.RDS {
		return rds.New(ctx, rds.Options{Region: "eu-west-1", Profile: "played", Endpoint: url, HTTPClient: &http.Client{Transport: &http.Transport{}}})
	}
	return cloudsql.New(ctx, cloudsql.Options{Project: project, Endpoint: url, TokenInfo: url + "/tokeninfo", UserAgent: "dbops-test"})
}

var serial int

// instance makes an instance on a real server.
func (s *stage) instance(t testing.TB, major int) string {
	t.Helper()
	clouds.mu.Lock()
	serial++
	name := "i" + strconv.Itoa(serial)
	clouds.mu.Unlock()
	must(t, s.adopt(t.Context(), name, major))
	return name
}

// subject is an instance as app would make it.
func subjectOf(ctx context.Context, c Cloud, name string, roots []*x509.Certificate) (*Subject, error) {
	told, err := c.Certificates(ctx, name)
	if err != nil {
		return nil, err
	}
	live := told.Instance
	s := &Subject{Environment: "prod", Instance: name, Provider: live.Provider, Told: told, Names: told.Names, CommonName: told.CommonName, Roots: roots, RootsFrom: "the test's CAs"}
	if live.Provider == cloud.CloudSQL {
		if s.Roots, err = CAs(told); err != nil {
			return nil, err
		}
	}
	for _, e := range live.Endpoints {
		s.Addresses = append(s.Addresses, Address{HostPort: net.JoinHostPort(e.Host, strconv.Itoa(e.Port))})
		if live.Provider == cloud.CloudSQL {
			s.Addresses = append(s.Addresses, Address{HostPort: net.JoinHostPort(e.Host, "3307"), Connector: true})
		}
	}
	return s, nil
}

func (s *stage) subject(t testing.TB, name string) *Subject {
	t.Helper()
	subject, err := subjectOf(t.Context(), s.cloud, name, s.roots)
	must(t, err)
	return subject
}

func dialer() Dial { return (&net.Dialer{}).DialContext }

// quick are the times of a test.
func quick(c Cloud, name string, roots []*x509.Certificate) Deps {
	return Deps{
		Cloud:   func(context.Context, op.Target) (Cloud, string, error) { return c, name, nil },
		Subject: func(ctx context.Context, _ op.Target) (*Subject, error) { return subjectOf(ctx, c, name, roots) },
		Roots:   func(context.Context, op.Target) ([]*x509.Certificate, error) { return roots, nil },
		Dial:    func(op.Target) Dial { return dialer() }, Host: "here",
		Pace: op.Pace{First: 20 * time.Millisecond, Most: 60 * time.Millisecond, Patience: time.Minute}, Settle: 10 * time.Second,
	}
}

var actor = op.Actor{Name: "robot@example.com", Via: op.ViaGoogle}

// bench is an engine over a store, with the operations on one instance of a played cloud.
type bench struct {
	*op.Engine
	*stage
	name string
}

func (s *stage) bench(t testing.TB, major int, between ...func(Cloud) Cloud) *bench {
	t.Helper()
	return s.benchOn(t, s.instance(t, major), statetest.New(t, "sqlite"), between...)
}

func (s *stage) benchOn(t testing.TB, name string, place statetest.Place, between ...func(Cloud) Cloud) *bench {
	t.Helper()
	var c Cloud = s.cloud
	for _, f := range between {
		c = f(c)
	}
	kinds, err := op.NewRegistry(New(quick(c, name, s.roots))...)
	must(t, err)
	return &bench{op.New(place.Store(t), kinds, op.Options{Version: "test", Poll: 20 * time.Millisecond, TTL: 20 * time.Second, Host: "here"}), s, name}
}

func (b *bench) plan(t testing.TB, kind string, request any) *op.Plan {
	t.Helper()
	p, err := b.Plan(t.Context(), op.PlanRequest{Kind: kind, Target: op.Target{Environment: "prod", Instance: b.name}, Request: request, Requester: actor})
	must(t, err)
	return p
}

func (b *bench) submit(t testing.TB, p *op.Plan) string {
	t.Helper()
	r, _, err := b.Submit(t.Context(), p, op.SubmitOptions{Actor: actor})
	must(t, err)
	return r.ID
}

func (b *bench) attach(t testing.TB, id string) state.Run {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	r, err := b.Attach(ctx, id, 0, func(e state.Event) { t.Logf("%s %s: %s", e.Kind, e.Step, e.Text) })
	must(t, err)
	return r
}

// does plans a request and runs it until it ends or waits for somebody.
func (b *bench) does(t testing.TB, kind string, request any, want state.RunState) state.Run {
	t.Helper()
	run := b.attach(t, b.submit(t, b.plan(t, kind, request)))
	b.is(t, run, want)
	return run
}

func (b *bench) is(t testing.TB, run state.Run, want state.RunState) {
	t.Helper()
	if run.State != want {
		t.Fatalf("the run is %s at %s: %s (%s)", run.State, run.Step, run.Problem, run.Hint)
	}
	r, err := b.Store().Log.Verify(t.Context(), 0)
	if err != nil || !r.OK() {
		t.Errorf("the audit log does not verify: %v, %+v", err, r)
	}
}

func (b *bench) tell(t testing.TB, id string, v state.Verb) state.Run {
	t.Helper()
	must(t, b.Tell(t.Context(), id, v, op.Actor{Name: "alice", Via: op.ViaGoogle}, "a test"))
	return b.attach(t, id)
}

func (b *bench) told(t testing.TB) *cloud.Certificates {
	t.Helper()
	told, err := b.cloud.Certificates(t.Context(), b.name)
	must(t, err)
	return told
}

// text is what a step of a run said at its end.
func (b *bench) text(t testing.TB, run, step string) (text string) {
	t.Helper()
	events, err := b.Events(t.Context(), run, 0)
	must(t, err)
	for _, e := range events {
		if e.Kind == op.EventDone && e.Step == step {
			text = e.Text
		}
	}
	return text
}

// root is the CA, by its SHA-1, that a server proves itself by now.
func (s *stage) root(t testing.TB, name string) string {
	t.Helper()
	subject := s.subject(t, name)
	survey := Observe(t.Context(), subject, dialer())
	must(t, survey.Unseen)
	if bad := survey.Check(time.Now(), 0); Bad(bad) {
		t.Errorf("findings: %+v", bad)
	}
	root, err := survey.Seen.Root(subject.Expect(), time.Now())
	must(t, err)
	return SHA1(root)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
