package drift

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
	"time"

	"dbops/internal/cloud"
	"dbops/internal/cloud/cloudsql"
	"dbops/internal/cloud/rds"
	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/gcpapi"
	"dbops/internal/sandbox/pgtest"
	"dbops/internal/sandbox/play"
	"dbops/internal/sandbox/rdsapi"
	"dbops/internal/sandbox/world"
	"dbops/internal/secret"
)

const (
	project = "shop-prod"
	robot   = "robot@shop-prod.iam.gserviceaccount.com"
	speed   = play.Pace(0.0001)
)

func TestMain(m *testing.M) {
	if child() {
		return
	}
	os.Exit(run(m))
}

// run gives the tests the credentials that a person would have, in files that the environment names.
func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "dbops-drift-test-") // t.TempDir is closed to the servers' user
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	for name, value := range map[string]string{
		"AWS_SHARED_CREDENTIALS_FILE": filepath.Join(dir, "aws"), "AWS_CONFIG_FILE": filepath.Join(dir, "none"), "AWS_PROFILE": "", "AWS_CA_BUNDLE": "",
		"GOOGLE_APPLICATION_CREDENTIALS": filepath.Join(dir, "google.json"),
	} {
		err = errors.Join(err, os.Setenv(name, value))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	clouds = &played{dir: dir}
	code := pgtest.Main(m)
	err = errors.Join(clouds.close(), os.RemoveAll(dir))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	return code
}

// clouds are those of the test binary, made by the first test that wants them.
var clouds *played

type played struct {
	dir string

	mu     sync.Mutex
	world  *world.World
	stages map[cloud.Kind]*stage
	serial int
	ends   []func() error
}

func (p *played) close() error {
	var errs []error
	for i := len(p.ends) - 1; i >= 0; i-- {
		errs = append(errs, p.ends[i]())
	}
	return errors.Join(errs...)
}

// stage is one played cloud.
type stage struct {
	kind    cloud.Kind
	url     string
	foreign cloud.Changer // somebody's own client, which knows nothing of dbops
	faults  *play.Faults
	adopt   func(ctx context.Context, name string) error

	shared sync.Mutex // held by the test that uses the instance of that name
}

// shared is the instance that tests use one after the other: servers are too dear for one a test.
const shared = "shared"

func playedCloud(t testing.TB, kind cloud.Kind) *stage {
	t.Helper()
	p := clouds
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.stages[kind]; s != nil {
		return s
	}
	var err error
	if p.world == nil {
		p.stages = map[cloud.Kind]*stage{}
		p.world, err = world.Open(context.Background(), world.Options{Dir: filepath.Join(p.dir, "world"), Log: slog.New(slog.DiscardHandler)})
		must(t, err)
		p.ends = append(p.ends, p.world.Close)
	}
	s := &stage{kind: kind, faults: &play.Faults{}}
	if kind == cloud.RDS {
		err = p.rds(s)
	} else {
		err = p.cloudsql(s)
	}
	must(t, err)
	s.foreign, err = open(context.Background(), kind, s.url)
	must(t, err)
	p.stages[kind] = s
	return s
}

// rds plays RDS. An instance there has what the profile production says.
func (p *played) rds(s *stage) error {
	keys, err := awsid.Open(awsid.Config{Account: "123456789012", Region: "eu-west-1", Principals: []awsid.Principal{{Name: "user/dbops", Allow: awsid.Actions("rds:*")}}})
	if err != nil {
		return err
	}
	id, key, _ := keys.Credentials("user/dbops")
	file := "[played]\naws_access_key_id = " + id + "\naws_secret_access_key = " + key.Reveal() + "\n"
	if err := os.WriteFile(filepath.Join(p.dir, "aws"), []byte(file), 0o600); err != nil {
		return err
	}
	api, err := rdsapi.New(context.Background(), rdsapi.Config{World: p.world, Keys: keys, Dir: p.dir, Pace: speed, Faults: s.faults})
	if err != nil {
		return err
	}
	p.ends = append(p.ends, func() error { api.Close(); return nil })
	p.serve(s, awsid.Front(map[string]http.Handler{"rds": api, "sts": keys.STS(s.faults)}))
	s.adopt = func(ctx context.Context, name string) error {
		seed := rdsapi.Seed{Password: secret.New("correct-horse-battery")}
		c := &seed.Create
		c.DBInstanceIdentifier, c.EngineVersion, c.MasterUsername, c.BackupRetentionPeriod = &name, new("17"), new("orders_admin"), new(int32(7))
		c.MultiAZ, c.DeletionProtection, c.PubliclyAccessible = new(true), new(true), new(false)
		day := strings.ToLower(time.Now().UTC().Add(72 * time.Hour).Format("Mon")) // not today
		c.PreferredMaintenanceWindow = new(day + ":04:00-" + day + ":04:30")
		_, err := api.Adopt(ctx, seed)
		return err
	}
	return nil
}

// cloudsql plays Cloud SQL. An instance there has what the profile production says, but a public address: it is not played without.
func (p *played) cloudsql(s *stage) error {
	api, err := gcpapi.New(context.Background(), gcpapi.Config{World: p.world, Dir: filepath.Join(p.dir, "google"), Projects: []string{project}, Pace: speed, Faults: s.faults})
	if err != nil {
		return err
	}
	p.ends = append(p.ends, api.Close)
	p.serve(s, api)
	if err := api.Identity().Grant(robot, "roles/cloudsql.admin"); err != nil {
		return err
	}
	s.adopt = func(ctx context.Context, name string) error {
		_, err := api.Adopt(ctx, gcpapi.Attributes{
			Project: project, Name: name, Major: 17, Availability: "REGIONAL", DeletionProtection: true, Password: secret.New("correct-horse-battery"),
		})
		return err
	}
	return api.Identity().WriteKey(robot, filepath.Join(p.dir, "google.json"), s.url+"/token")
}

func (p *played) serve(s *stage, h http.Handler) {
	server := httptest.NewServer(h)
	s.url = server.URL
	p.ends = append(p.ends, func() error {
		http.DefaultClient.CloseIdleConnections()
		server.CloseClientConnections()
		server.Close()
		return nil
	})
}

// open is a client as a person's would be.
func open(ctx context.Context, kind cloud.Kind, url string) (cloud.Changer, error) {
	if kind == cloud.RDS {
		return rds.New(ctx, rds.Options{Region: "eu-west-1", Profile: "played", Endpoint: url, HTTPClient: &http.Client{Transport: &http.Transport{}}})
	}
	return cloudsql.New(ctx, cloudsql.Options{Project: project, Endpoint: url, TokenInfo: url + "/tokeninfo", UserAgent: "dbops-test"})
}
