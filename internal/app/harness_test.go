package app

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dbops/internal/cloud"
	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/sandbox/rdsapi"
	played "dbops/internal/sandbox/stage"
	"dbops/internal/secret"
	"dbops/internal/state"
)

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	if code := clouds.Main(m); code != 0 {
		return code
	}
	http.DefaultClient.CloseIdleConnections()
	idle := []goleak.Option{ // of the cloud libraries, which keep them for a while, or for good
		goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
	}
	if err := goleak.Find(idle...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// desks is the instance that the tests of desks share: played once, of RDS.
var desks struct {
	mu   sync.Mutex
	made bool
}

const deskName = "desk"

// deskStage is the played RDS with the instance and its database shop.
func deskStage(t testing.TB) *played.Stage {
	t.Helper()
	s := clouds.Get(t, cloud.RDS)
	desks.mu.Lock()
	defer desks.mu.Unlock()
	if desks.made {
		return s
	}
	name, major, admin := deskName, "17", "orders_admin"
	seed := rdsapi.Seed{Password: secret.New(adminPassword)}
	c := &seed.Create
	c.DBInstanceIdentifier, c.EngineVersion, c.MasterUsername = &name, &major, &admin
	c.BackupRetentionPeriod, c.MultiAZ, c.DeletionProtection = new(int32(7)), new(false), new(false)
	_, err := s.RDS.Adopt(t.Context(), seed)
	must(t, err)
	conn, err := s.Server(deskName).DB(t.Context(), "postgres")
	must(t, err)
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	_, err = conn.Exec(t.Context(), "CREATE DATABASE shop OWNER orders_admin")
	must(t, err)
	desks.made = true
	return s
}

// deskConfig is a dbops.yaml of that instance, whose provider is at an address, and of a plain server that nobody can reach.
func deskConfig(t testing.TB, s *played.Stage, endpoint string) *config.Config {
	t.Helper()
	dir := t.TempDir()
	password, ca := filepath.Join(dir, "admin"), filepath.Join(dir, "ca.pem")
	must(t, os.WriteFile(password, []byte(adminPassword), 0o600))
	must(t, os.WriteFile(ca, s.RDS.CABundle(), 0o600))
	inst := &config.Instance{
		RDS:    &config.RDS{Region: "eu-west-1", Identifier: deskName, Profile: "played", Endpoint: endpoint, CAFile: ca},
		Logins: map[config.Access]*config.Login{},
	}
	for _, access := range []config.Access{config.Read, config.Admin} {
		inst.Logins[access] = &config.Login{User: "orders_admin", Secret: "file:" + password}
	}
	return &config.Config{Path: filepath.Join(dir, "dbops.yaml"), Environments: map[string]*config.Environment{"prod": {
		Name: "prod", Instances: map[string]*config.Instance{"main": inst, "plain": {Postgres: &config.Postgres{URL: "postgres://127.0.0.1:1/?sslmode=disable"}}},
		Databases: map[string]*config.Database{"shop": {Instance: "main", Name: "shop"}},
	}}}
}

// deskApp is a person's dbops that knows the instance.
func deskApp(t testing.TB) *App {
	t.Helper()
	s := deskStage(t)
	return newMachine(t, "").app(t, deskConfig(t, s, s.URL))
}

// deadPlane is the address of a control plane that takes connections and never answers.
func deadPlane(t testing.TB) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { // until the other side gives up
				_, _ = conn.Read(make([]byte, 1<<20))
				_, _ = conn.Read(make([]byte, 1))
				_ = conn.Close()
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return "http://" + l.Addr().String()
}

// soon is a context that ends while a control plane that is dead has not answered.
func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// fails wants an error of a kind, with what to do.
func fails(t testing.TB, what string, err error, kind fault.Kind) {
	t.Helper()
	if fault.KindOf(err) != kind || fault.HintOf(err) == "" && fault.PermissionOf(err) == "" {
		t.Errorf("%s: %s: %v (next: %q), want %s", what, fault.KindOf(err), err, fault.HintOf(err), kind)
	}
}

// run runs a change at a desk to its end.
func (d *Desk) run(t testing.TB, kind string, request any) (p *op.Plan, r state.Run) {
	t.Helper()
	p, err := d.PlanChange(t.Context(), Change{Environment: "prod", Instance: "main", Kind: kind, Request: request})
	must(t, err)
	if blocked := p.Blocked(); len(blocked) > 0 {
		t.Fatalf("%s is blocked: %+v", p.Title, blocked)
	}
	b, err := d.Begin(t.Context(), p, "main")
	must(t, err)
	return p, d.ended(t, b.Run.ID)
}

// ended follows a run to its end.
func (d *Desk) ended(t testing.TB, run string) (r state.Run) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	news, err := d.Follow(ctx, run, 0)
	must(t, err)
	for n := range news {
		switch {
		case n.Err != nil:
			t.Fatal(n.Err)
		case n.View != nil:
			r = n.View.Run
		}
	}
	if !r.State.Ended() {
		t.Fatalf("run %s is %s at %s: %s", run, r.State, r.Step, r.Problem)
	}
	return r
}
