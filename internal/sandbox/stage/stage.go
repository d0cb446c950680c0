// Package stage gives the tests of a room the clouds, played over real servers, as a person would reach them: with credentials in files that
// the environment names.
//
// [Clouds] are those that the tests of a package, or one test, have in common; a cloud is played when the first of them asks. Servers are dear:
// share them.
package stage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"dbops/internal/cloud"
	"dbops/internal/cloud/cloudsql"
	"dbops/internal/cloud/rds"
	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/gcpapi"
	"dbops/internal/sandbox/pgtest"
	"dbops/internal/sandbox/play"
	"dbops/internal/sandbox/rdsapi"
	"dbops/internal/sandbox/world"
)

// Project is the one of the played Cloud SQL.
const Project = "shop-prod"

const robot = "robot@" + Project + ".iam.gserviceaccount.com"

// Options are the choices of a package.
type Options struct {
	Pace play.Pace
	// Front stands before a cloud, to see or change what is asked of it. Nil: nothing does.
	Front func(kind cloud.Kind, played http.Handler) http.Handler
}

// Clouds are the played clouds, over one world of servers.
type Clouds struct {
	o Options

	mu     sync.Mutex
	dir    string // open to the servers' user, which t.TempDir is not
	world  *world.World
	stages map[cloud.Kind]*Stage
	ends   []func() error
}

// New returns clouds that are played when they are asked for. The caller ends them with [Clouds.Main] or [Clouds.Close].
func New(o Options) *Clouds { return &Clouds{o: o, stages: map[cloud.Kind]*Stage{}} }

// Main runs the tests of a package, and ends the clouds: func TestMain(m *testing.M) { os.Exit(clouds.Main(m)) }.
func (c *Clouds) Main(m *testing.M) int {
	if err := Alone(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := pgtest.Main(m)
	if err := c.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	return code
}

// Alone takes from this process what the environment of who runs the tests says about clouds.
func Alone() error {
	var errs []error
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "AWS_") || strings.HasSuffix(strings.ToLower(name), "_proxy") {
			errs = append(errs, os.Unsetenv(name))
		}
	}
	return errors.Join(append(errs, os.Setenv("AWS_CONFIG_FILE", os.DevNull), os.Setenv("AWS_EC2_METADATA_DISABLED", "true"))...)
}

// Close ends clouds and servers. Clouds that were never asked for need none of it.
func (c *Clouds) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for i := len(c.ends) - 1; i >= 0; i-- {
		errs = append(errs, c.ends[i]())
	}
	c.ends = nil
	return errors.Join(errs...)
}

// Stage is one played cloud.
type Stage struct {
	Kind   cloud.Kind
	URL    string
	Keys   string // the file with the credentials
	Faults *play.Faults
	Client cloud.Changer // one that knows nothing of dbops
	Server func(instance string) *world.Server

	RDS    *rdsapi.API    // of RDS
	Google *gcpapi.Server // of Cloud SQL
}

// Get plays a cloud, unless it is played already.
func (c *Clouds) Get(t testing.TB, kind cloud.Kind) *Stage {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.stages[kind]; s != nil {
		return s
	}
	s := &Stage{Kind: kind, Faults: &play.Faults{}}
	err := c.open()
	switch {
	case err != nil:
	case kind == cloud.RDS:
		err = c.playRDS(s)
	case kind == cloud.CloudSQL:
		err = c.playCloudSQL(s)
	default:
		err = fmt.Errorf("no such cloud: %s", kind)
	}
	if err == nil {
		err = os.Setenv(KeysVariable(kind), s.Keys) //nolint:usetesting // of whoever comes later, too
	}
	if err == nil {
		transport := &http.Transport{}
		c.ends = append(c.ends, func() error { transport.CloseIdleConnections(); return nil })
		s.Client, err = Client(context.Background(), kind, s.URL, transport)
	}
	if err != nil {
		t.Fatalf("play %s: %v", kind, err)
	}
	c.stages[kind] = s
	return s
}

// KeysVariable names the file with the credentials of a cloud.
func KeysVariable(kind cloud.Kind) string {
	if kind == cloud.RDS {
		return "AWS_SHARED_CREDENTIALS_FILE"
	}
	return "GOOGLE_APPLICATION_CREDENTIALS"
}

// Client is a client of a played cloud, by the files and variables that a person would have. Another process opens its own.
func Client(ctx context.Context, kind cloud.Kind, url string, transport *http.Transport) (cloud.Changer, error) {
	if kind == cloud.RDS {
		return rds.New(ctx, rds.Options{Region: "eu-west-1", Profile: "played", Endpoint: url, HTTPClient: &http.Client{Transport: transport}})
	}
	return cloudsql.New(ctx, cloudsql.Options{Project: Project, Endpoint: url, TokenInfo: url + "/tokeninfo", UserAgent: "dbops-test"})
}

func (c *Clouds) open() (err error) {
	if c.world != nil {
		return nil
	}
	if c.dir, err = os.MkdirTemp("", "dbops-stage-"); err != nil {
		return err
	}
	c.ends = append(c.ends, func() error { return os.RemoveAll(c.dir) })
	if err := os.Chmod(c.dir, 0o755); err != nil { //nolint:gosec // the servers' user passes through
		return err
	}
	if c.world, err = world.Open(context.Background(), world.Options{Dir: filepath.Join(c.dir, "world"), Log: slog.New(slog.DiscardHandler)}); err == nil {
		c.ends = append(c.ends, c.world.Close)
	}
	return err
}

func (c *Clouds) playRDS(s *Stage) error {
	keys, err := awsid.Open(awsid.Config{Account: "123456789012", Region: "eu-west-1", Principals: []awsid.Principal{
		{Name: "user/dbops", Allow: awsid.Actions("rds:*", "rds-db:connect")},
	}})
	if err != nil {
		return err
	}
	s.Keys = filepath.Join(c.dir, "aws")
	id, key, _ := keys.Credentials("user/dbops")
	file := "[played]\naws_access_key_id = " + id + "\naws_secret_access_key = " + key.Reveal() + "\n"
	if err := os.WriteFile(s.Keys, []byte(file), 0o600); err != nil {
		return err
	}
	s.RDS, err = rdsapi.New(context.Background(), rdsapi.Config{World: c.world, Keys: keys, Dir: c.dir, Pace: c.o.Pace, Faults: s.Faults})
	if err != nil {
		return err
	}
	c.ends = append(c.ends, func() error { s.RDS.Close(); return nil })
	s.Server = s.RDS.Server
	c.serve(s, awsid.Front(map[string]http.Handler{"rds": s.RDS, "sts": keys.STS(s.Faults)}))
	return nil
}

func (c *Clouds) playCloudSQL(s *Stage) (err error) {
	s.Google, err = gcpapi.New(context.Background(), gcpapi.Config{
		World: c.world, Dir: filepath.Join(c.dir, "google"), Projects: []string{Project}, Pace: c.o.Pace, Faults: s.Faults,
	})
	if err != nil {
		return err
	}
	c.ends = append(c.ends, s.Google.Close)
	s.Server = func(name string) *world.Server { return s.Google.Server(Project, name) }
	c.serve(s, s.Google)
	if err := s.Google.Identity().Grant(robot, "roles/cloudsql.admin"); err != nil {
		return err
	}
	s.Keys = filepath.Join(c.dir, "google.json")
	return s.Google.Identity().WriteKey(robot, s.Keys, s.URL+"/token")
}

func (c *Clouds) serve(s *Stage, played http.Handler) {
	if c.o.Front != nil {
		played = c.o.Front(s.Kind, played)
	}
	server := httptest.NewServer(played)
	s.URL = server.URL
	c.ends = append(c.ends, func() error {
		http.DefaultClient.CloseIdleConnections()
		server.CloseClientConnections()
		server.Close()
		return nil
	})
}
