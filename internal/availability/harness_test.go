package availability

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	"dbops/internal/cloud"
	"dbops/internal/cloud/cloudsql"
	"dbops/internal/cloud/rds"
	"dbops/internal/pg"
	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/gcpapi"
	"dbops/internal/sandbox/pgtest"
	"dbops/internal/sandbox/play"
	"dbops/internal/sandbox/rdsapi"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/sandbox/world"
	"dbops/internal/secret"
)

const (
	project  = "shop-prod"
	robot    = "robot@shop-prod.iam.gserviceaccount.com"
	password = "correct-horse-battery"
	pace     = play.Pace(0.001)
)

func TestMain(m *testing.M) {
	if where := os.Getenv(childEnv); where != "" {
		os.Exit(child(where))
	}
	os.Exit(run(m))
}

// run gives the tests the credentials that a person would have, in files that the environment names.
func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "dbops-availability-test-") // t.TempDir is closed to the servers' user
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
	code := pgtest.Main(m)
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
	cloud  cloud.Changer
	faults *play.Faults
	front  *counter
	adopt  func(ctx context.Context, name string, a cloud.Availability) error
	server func(name string) *world.Server
	user   string
	aws    *rdsapi.API
	google *gcpapi.Server
}

// place is a played cloud, and the kind of store that the engine has.
type place struct {
	*stage
	store string
}

func (p place) String() string { return string(p.kind) + " " + p.store }

// both are the played clouds.
func both(t testing.TB) []*stage {
	t.Helper()
	return []*stage{playedRDS(t), playedCloudSQL(t)}
}

// everywhere is both clouds with both stores.
func everywhere(t testing.TB) (all []place) {
	t.Helper()
	for _, s := range both(t) {
		for _, store := range statetest.Kinds {
			all = append(all, place{s, store})
		}
	}
	return all
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
	s := &stage{kind: cloud.RDS, faults: &play.Faults{}, user: "orders_admin"}
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
	s.aws, err = rdsapi.New(context.Background(), rdsapi.Config{World: c.world, Keys: keys, Dir: filepath.Join(c.dir), Pace: pace, Faults: s.faults})
	if err != nil {
		return err
	}
	c.ends = append(c.ends, func() error { s.aws.Close(); return nil })
	c.serve(s, awsid.Front(map[string]http.Handler{"rds": s.aws, "sts": keys.STS(s.faults)}))
	s.server = s.aws.Server
	s.adopt = func(ctx context.Context, name string, a cloud.Availability) error {
		seed := rdsapi.Seed{Password: secret.New(password)}
		c := &seed.Create
		c.DBInstanceIdentifier, c.EngineVersion, c.MasterUsername = &name, new("17"), &s.user
		c.BackupRetentionPeriod, c.MultiAZ, c.DeletionProtection = new(int32(7)), new(a == cloud.Regional), new(false)
		_, err := s.aws.Adopt(ctx, seed)
		return err
	}
	if s.cloud, err = openCloud(context.Background(), cloud.RDS, s.url); err != nil {
		return err
	}
	c.aws = s
	return nil
}

func (c *shared) playCloudSQL() error {
	s := &stage{kind: cloud.CloudSQL, faults: &play.Faults{}, user: "postgres"}
	var err error
	s.google, err = gcpapi.New(context.Background(), gcpapi.Config{
		World: c.world, Dir: filepath.Join(c.dir, "google"), Projects: []string{project}, Pace: pace, Faults: s.faults,
	})
	if err != nil {
		return err
	}
	c.ends = append(c.ends, s.google.Close)
	c.serve(s, s.google)
	if err := s.google.Identity().Grant(robot, "roles/cloudsql.admin"); err != nil {
		return err
	}
	if err := s.google.Identity().WriteKey(robot, filepath.Join(c.dir, "google.json"), s.url+"/token"); err != nil {
		return err
	}
	s.server = func(name string) *world.Server { return s.google.Server(project, name) }
	s.adopt = func(ctx context.Context, name string, a cloud.Availability) error {
		_, err := s.google.Adopt(ctx, gcpapi.Attributes{
			Project: project, Name: name, Major: 17, Availability: strings.ToUpper(string(a)), Password: secret.New(password),
		})
		return err
	}
	if s.cloud, err = openCloud(context.Background(), cloud.CloudSQL, s.url); err != nil {
		return err
	}
	c.gcp = s
	return nil
}

func (c *shared) serve(s *stage, h http.Handler) {
	s.front = &counter{next: h, seen: map[string]int{}}
	server := httptest.NewServer(s.front)
	s.url = server.URL
	c.ends = append(c.ends, func() error {
		http.DefaultClient.CloseIdleConnections()
		server.CloseClientConnections()
		server.Close()
		return nil
	})
}

// openCloud is a provider as a person's would be; a child process opens its own.
func openCloud(ctx context.Context, kind cloud.Kind, url string) (cloud.Changer, error) {
	if kind == cloud.RDS {
		return rds.New(ctx, rds.Options{Region: "eu-west-1", Profile: "played", Endpoint: url, HTTPClient: &http.Client{Transport: &http.Transport{}}})
	}
	return cloudsql.New(ctx, cloudsql.Options{Project: project, Endpoint: url, TokenInfo: url + "/tokeninfo", UserAgent: "dbops-test"})
}

// counter counts the requests that the cloud accepted and that change something, by instance.
type counter struct {
	next http.Handler
	mu   sync.Mutex
	seen map[string]int
}

func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	what := mutation(r, body)
	rec := &recorder{ResponseWriter: w, code: http.StatusOK}
	if what != "" { // counted before the answer, so that who has it finds the count
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	c.next.ServeHTTP(rec, r)
	if what != "" && rec.code < 300 {
		c.mu.Lock()
		c.seen[what]++
		c.mu.Unlock()
	}
}

type recorder struct {
	http.ResponseWriter
	code int
}

func (r *recorder) WriteHeader(code int) { r.code = code; r.ResponseWriter.WriteHeader(code) }

func mutation(r *http.Request, body []byte) string {
	if form, err := url.ParseQuery(string(body)); err == nil {
		switch form.Get("Action") {
		case "ModifyDBInstance":
			return "modify " + form.Get("DBInstanceIdentifier")
		case "RebootDBInstance":
			return "failover " + form.Get("DBInstanceIdentifier")
		}
	}
	_, name, ok := strings.Cut(r.URL.Path, "/instances/")
	switch {
	case ok && r.Method == http.MethodPatch:
		return "modify " + name
	case ok && r.Method == http.MethodPost && strings.HasSuffix(name, "/failover"):
		return "failover " + strings.TrimSuffix(name, "/failover")
	}
	return ""
}

// count is how often something was changed.
func (s *stage) count(what, name string) int {
	s.front.mu.Lock()
	defer s.front.mu.Unlock()
	return s.front.seen[what+" "+name]
}

// instance makes an instance on a real server, called after the test.
func (s *stage) instance(t testing.TB, a cloud.Availability) string {
	t.Helper()
	clouds.mu.Lock()
	serial++
	name := "i" + strconv.Itoa(serial)
	clouds.mu.Unlock()
	must(t, s.adopt(t.Context(), name, a))
	return name
}

var serial int

func (s *stage) get(t testing.TB, name string) *cloud.Instance {
	t.Helper()
	live, err := s.cloud.Get(t.Context(), name)
	must(t, err)
	return live
}

// fault asks the cloud for failures of one instance's changes.
func (s *stage) fault(name string, effect play.Effect, count int, failover bool) {
	action := map[cloud.Kind]map[bool]string{
		cloud.RDS:      {false: "ModifyDBInstance", true: "RebootDBInstance"},
		cloud.CloudSQL: {false: "instances.patch", true: "instances.failover"},
	}[s.kind][failover]
	s.faults.Add(play.Fault{Action: action, Target: name, Effect: effect, Count: count})
}

// login is how to log in at an address.
func login(addr, user string) (*pgconn.Config, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	return pg.Config(pg.Params{
		Host: host, Port: uint16(n), User: user, Password: secret.New(password), Database: "postgres", SSLMode: "require", ConnectTimeout: 2 * time.Second,
	})
}

func (s *stage) answers(name string) func(context.Context) error {
	return pg.Answers(func(context.Context) (*pgconn.Config, error) { return login(s.server(name).Addr(), s.user) })
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
