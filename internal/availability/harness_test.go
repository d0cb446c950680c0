package availability

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	"dbops/internal/cloud"
	"dbops/internal/pg"
	"dbops/internal/sandbox/gcpapi"
	"dbops/internal/sandbox/play"
	"dbops/internal/sandbox/rdsapi"
	played "dbops/internal/sandbox/stage"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/secret"
)

const password = "correct-horse-battery"

func TestMain(m *testing.M) {
	if where := os.Getenv(childEnv); where != "" {
		os.Exit(child(where))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if code := clouds.Main(m); code != 0 {
		return code
	}
	idle := []goleak.Option{ // of the cloud libraries, which keep them for a while
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
		goleak.IgnoreAnyFunction("database/sql.(*DB).connectionOpener"), // of the engine over SQLite
	}
	if err := goleak.Find(idle...); err != nil {
		println(err.Error())
		return 1
	}
	return 0
}

// The clouds of the test binary, and what was asked of each.
var (
	fronts = map[cloud.Kind]*counter{cloud.RDS: newCounter(), cloud.CloudSQL: newCounter()}
	clouds = played.New(played.Options{Pace: 0.001, Front: func(kind cloud.Kind, next http.Handler) http.Handler {
		fronts[kind].next = next
		return fronts[kind]
	}})
)

// stage is one played cloud.
type stage struct {
	*played.Stage
	front *counter
	user  string
}

// place is a played cloud, and the kind of store that the engine has.
type place struct {
	*stage
	store string
}

func (p place) String() string { return string(p.Kind) + " " + p.store }

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

func playedRDS(t testing.TB) *stage {
	t.Helper()
	return &stage{clouds.Get(t, cloud.RDS), fronts[cloud.RDS], "orders_admin"}
}

func playedCloudSQL(t testing.TB) *stage {
	t.Helper()
	return &stage{clouds.Get(t, cloud.CloudSQL), fronts[cloud.CloudSQL], "postgres"}
}

// adopt makes an instance on a real server.
func (s *stage) adopt(ctx context.Context, name string, a cloud.Availability) (err error) {
	if s.Kind == cloud.CloudSQL {
		_, err = s.Google.Adopt(ctx, gcpapi.Attributes{
			Project: played.Project, Name: name, Major: 17, Availability: strings.ToUpper(string(a)), Password: secret.New(password),
		})
		return err
	}
	seed := rdsapi.Seed{Password: secret.New(password)}
	c := &seed.Create
	c.DBInstanceIdentifier, c.EngineVersion, c.MasterUsername = &name, new("17"), &s.user
	c.BackupRetentionPeriod, c.MultiAZ, c.DeletionProtection = new(int32(7)), new(a == cloud.Regional), new(false)
	_, err = s.RDS.Adopt(ctx, seed)
	return err
}

// counter counts the requests that the cloud accepted and that change something, by instance.
type counter struct {
	next http.Handler
	mu   sync.Mutex
	seen map[string]int
}

func newCounter() *counter { return &counter{seen: map[string]int{}} }

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
	name := "i" + strconv.FormatInt(serial.Add(1), 10)
	must(t, s.adopt(t.Context(), name, a))
	return name
}

var serial atomic.Int64

func (s *stage) get(t testing.TB, name string) *cloud.Instance {
	t.Helper()
	live, err := s.Client.Get(t.Context(), name)
	must(t, err)
	return live
}

// fault asks the cloud for failures of one instance's changes.
func (s *stage) fault(name string, effect play.Effect, count int, failover bool) {
	action := map[cloud.Kind]map[bool]string{
		cloud.RDS:      {false: "ModifyDBInstance", true: "RebootDBInstance"},
		cloud.CloudSQL: {false: "instances.patch", true: "instances.failover"},
	}[s.Kind][failover]
	s.Faults.Add(play.Fault{Action: action, Target: name, Effect: effect, Count: count})
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
	return pg.Answers(func(context.Context) (*pgconn.Config, error) { return login(s.Server(name).Addr(), s.user) })
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
