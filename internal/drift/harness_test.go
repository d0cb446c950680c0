package drift

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/cloud/cloudsql"
	"dbops/internal/cloud/rds"
	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/gcpapi"
	"dbops/internal/sandbox/pgtest"
	"dbops/internal/sandbox/play"
	"dbops/internal/sandbox/rdsapi"
	"dbops/internal/sandbox/world"
	"dbops/internal/secret"
	"dbops/internal/state"
	"dbops/internal/state/statetest"
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

// bench is an instance called prod/main, with an engine over a store.
type bench struct {
	*stage
	*op.Engine
	name  string // the provider's
	place statetest.Place
	cfg   *config.Config
	drift *Drift
	deaf  *atomic.Bool // nothing can be recorded
	plan  func(*testing.T, FixRequest) *op.Plan
}

// newBench gives a test the shared instance, as it was made.
func newBench(t *testing.T, at where) *bench {
	t.Helper()
	s := playedCloud(t, at.kind)
	s.shared.Lock()
	t.Cleanup(s.shared.Unlock)
	b := benchOf(t, at, s, shared)
	b.elsewhere(t, made(at.kind))
	return b
}

// ownBench gives a test an instance that it may break.
func ownBench(t *testing.T, at where) *bench {
	t.Helper()
	clouds.mu.Lock()
	clouds.serial++
	name := fmt.Sprintf("own%d", clouds.serial)
	clouds.mu.Unlock()
	return benchOf(t, at, playedCloud(t, at.kind), name)
}

// made is what an instance is made with.
func made(kind cloud.Kind) cloud.Settings {
	s := cloud.Settings{
		Availability: new(cloud.Regional), RetentionDays: new(7), DeletionProtection: new(true), PublicAccess: new(kind == cloud.CloudSQL),
		IAMLogin: new(false),
	}
	if kind == cloud.CloudSQL {
		s.BackupsEnabled, s.Retained, s.PITR, s.TLSRequired = new(true), new(7), new(true), new(true)
	}
	return s
}

// where is a place for a test.
type where struct {
	kind  cloud.Kind
	store string
}

func (w where) String() string { return string(w.kind) + " over " + w.store }

func everywhere() (all []where) {
	for _, kind := range []cloud.Kind{cloud.RDS, cloud.CloudSQL} {
		for _, store := range statetest.Kinds {
			all = append(all, where{kind, store})
		}
	}
	return all
}

// eachCloud are both clouds, over a store each.
func eachCloud() []where { return []where{{cloud.RDS, "sqlite"}, {cloud.CloudSQL, "sqlite"}} }

func benchOf(t *testing.T, at where, s *stage, name string) *bench {
	t.Helper()
	b := &bench{stage: s, name: name, place: statetest.New(t, at.store), deaf: &atomic.Bool{}}
	must(t, b.adopt(t.Context(), b.name))
	b.cfg = configOf(at.kind, b.name)
	store := b.place.Store(t)
	deps := depsOf(b.cfg, b.foreign, b.name, store)
	record := deps.Record
	deps.Record = func(ctx context.Context, all []state.Baseline) error {
		if b.deaf.Load() {
			return fault.Newf(fault.Denied, "store what was applied", "not now").Hint("later")
		}
		return record(ctx, all)
	}
	var err error
	b.drift, b.Engine, err = engineOf(deps, store, 20*time.Second)
	must(t, err)
	b.plan = func(t *testing.T, r FixRequest) *op.Plan {
		t.Helper()
		p, err := b.Plan(t.Context(), op.PlanRequest{Kind: FixKind, Target: target(), Request: r, Requester: actor()})
		must(t, err)
		return p
	}
	return b
}

func target() op.Target { return op.Target{Environment: "prod", Instance: "main", Protected: true} }

func actor() op.Actor { return op.Actor{Name: "robot@example.com", Via: op.ViaGoogle} }

// configOf is a dbops.yaml with the profile production for one instance.
func configOf(kind cloud.Kind, name string) *config.Config {
	inst := &config.Instance{Declare: &config.Settings{}}
	if kind == cloud.RDS {
		inst.RDS = &config.RDS{Region: "eu-west-1", Identifier: name}
	} else {
		inst.CloudSQL = &config.CloudSQL{Project: project, Region: "europe-west1", Instance: name}
		inst.Declare.PublicAccess = new(true)
	}
	return &config.Config{Environments: map[string]*config.Environment{"prod": {Name: "prod", Protected: true, Instances: map[string]*config.Instance{"main": inst}}}}
}

func depsOf(cfg *config.Config, c Cloud, name string, store *state.Store) Deps {
	d := Deps{Config: cfg, Pace: op.Pace{First: 5 * time.Millisecond, Most: 50 * time.Millisecond, Patience: time.Minute}}
	d.Open = func(context.Context, string, string) (Cloud, string, error) { return c, name, nil }
	d.Baselines, d.Record = Stored(store)
	return d
}

func engineOf(d Deps, store *state.Store, ttl time.Duration) (*Drift, *op.Engine, error) {
	x := New(d)
	kinds, err := op.NewRegistry(x.Fix())
	if err != nil {
		return nil, nil, err
	}
	return x, op.New(store, kinds, op.Options{Version: "test", Poll: 20 * time.Millisecond, TTL: ttl, Host: "here"}), nil
}

// elsewhere changes settings behind dbops's back.
func (b *bench) elsewhere(t *testing.T, s cloud.Settings) {
	t.Helper()
	r, err := b.foreign.Modify(t.Context(), b.name, cloud.Modify{Settings: s})
	must(t, err)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ; ; <-tick.C {
		p, err := b.foreign.Progress(t.Context(), r)
		must(t, err)
		if p.Done {
			return
		}
	}
}

// statuses are the rows as "setting status cause", but those in sync.
func (b *bench) statuses(t *testing.T) string {
	t.Helper()
	r, err := b.drift.Look(t.Context(), "prod", "", false)
	must(t, err)
	var out []string
	for _, row := range r.Rows {
		if row.Status != InSync {
			out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s", row.Setting, row.Status, row.Cause)))
		}
	}
	for _, i := range r.Instances {
		if i.Problem != "" {
			out = append(out, i.Problem)
		}
	}
	return strings.Join(out, "; ")
}

func (b *bench) run(t *testing.T, p *op.Plan) state.Run {
	t.Helper()
	r, _, err := b.Submit(t.Context(), p, op.SubmitOptions{Actor: actor(), Confirm: "main"})
	must(t, err)
	return b.attach(t, r.ID)
}

func (b *bench) attach(t *testing.T, id string) state.Run {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	r, err := b.Attach(ctx, id, 0, func(e state.Event) { t.Logf("%s %s: %s", e.Kind, e.Step, e.Text) })
	must(t, err)
	return r
}

func (b *bench) baselines(t *testing.T) string {
	t.Helper()
	read, _ := Stored(b.Store())
	all, err := read(t.Context(), "prod", "main")
	must(t, err)
	out := map[string]string{}
	for _, l := range all {
		out[l.Setting] = l.Value
	}
	text, err := json.Marshal(out)
	must(t, err)
	return string(text)
}

// applied is what was last applied if all was, but for some.
func (b *bench) applied(but map[string]string) string {
	all := map[string]string{
		"availability": "regional", "backups_kept_days": "7", "deletion_protection": "true", "pitr": "true", "tls_required": "true",
		"public_access": map[cloud.Kind]string{cloud.RDS: "false", cloud.CloudSQL: "true"}[b.kind],
	}
	maps.Copy(all, but)
	text, _ := json.Marshal(all)
	return string(text)
}

func (b *bench) verified(t *testing.T) {
	t.Helper()
	report, err := b.Store().Log.Verify(t.Context(), 0)
	if err != nil || !report.OK() {
		t.Errorf("the audit log does not verify: %v, %+v", err, report)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v (hint: %s)", err, fault.HintOf(err))
	}
}

func same(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got\n\t%s\nwant\n\t%s", what, got, want)
	}
}
