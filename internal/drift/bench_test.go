package drift

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	played "dbops/internal/sandbox/stage"

	"dbops/internal/cloud"
	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/state"
)

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
	name := fmt.Sprintf("own%d", serial.Add(1))
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
	deps := depsOf(b.cfg, b.Client, b.name, store)
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
		inst.CloudSQL = &config.CloudSQL{Project: played.Project, Region: "europe-west1", Instance: name}
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
	r, err := b.Client.Modify(t.Context(), b.name, cloud.Modify{Settings: s})
	must(t, err)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ; ; <-tick.C {
		p, err := b.Client.Progress(t.Context(), r)
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
		"public_access": map[cloud.Kind]string{cloud.RDS: "false", cloud.CloudSQL: "true"}[b.Kind],
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
