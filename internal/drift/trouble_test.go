package drift

import (
	"slices"
	"strings"
	"testing"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/sandbox/play"
	"dbops/internal/state"
)

// fail asks the cloud for failures of an instance's changes.
func (b *bench) fail(effect play.Effect, count int) {
	action := map[cloud.Kind]string{cloud.RDS: "ModifyDBInstance", cloud.CloudSQL: "instances.patch"}[b.Kind]
	b.Faults.Add(play.Fault{Action: action, Target: b.name, Effect: effect, Count: count})
}

func (b *bench) tell(t *testing.T, id string, v state.Verb) {
	t.Helper()
	must(t, b.Tell(t.Context(), id, v, actor(), "a test"))
}

func TestAFixOutlivesTrouble(t *testing.T) {
	t.Parallel()
	for _, at := range eachCloud() {
		t.Run(at.String(), func(t *testing.T) {
			t.Parallel()
			b := newBench(t, at)
			defer b.Faults.Clear()
			effects := []play.Effect{play.Throttle, play.Unavailable, play.Drop}
			if at.kind == cloud.CloudSQL {
				effects = append(effects, play.Stale) // some other setting moved
			}
			for _, effect := range effects {
				b.elsewhere(t, cloud.Settings{DeletionProtection: new(false)})
				p := b.plan(t, FixRequest{Overwrite: []string{"deletion_protection"}})
				b.fail(effect, 2)
				if r := b.run(t, p); r.State != state.Done {
					t.Fatalf("%s: %+v", effect, r)
				}
				same(t, "after "+string(effect), b.statuses(t), "")
			}
			b.elsewhere(t, cloud.Settings{DeletionProtection: new(false)})
			b.fail(play.Deny, 1)
			r := b.run(t, b.plan(t, FixRequest{Overwrite: []string{"deletion_protection"}}))
			if r.State != state.Parked || r.Step != stepModify || r.Hint == "" {
				t.Fatalf("denied: %+v", r)
			}
			b.tell(t, r.ID, state.Retry)
			if r = b.attach(t, r.ID); r.State != state.Done {
				t.Fatalf("retried: %+v", r)
			}
			same(t, "in the end", b.statuses(t), "")
			b.verified(t)
		})
	}
}

// A run that waits for a person may go on days after its comparison: what somebody did since is neither overwritten nor applied along.
func TestWhatSomebodyDoesDuringTheRunIsLeftAlone(t *testing.T) {
	t.Parallel()
	for _, at := range eachCloud() {
		t.Run(at.String(), func(t *testing.T) {
			t.Parallel()
			b := newBench(t, at)
			defer b.Faults.Clear()
			days := func(n int) cloud.Settings {
				if at.kind == cloud.RDS {
					return cloud.Settings{RetentionDays: &n}
				}
				return cloud.Settings{Retained: &n}
			}
			b.elsewhere(t, days(3))
			b.fail(play.Deny, 1)
			r := b.run(t, b.plan(t, FixRequest{}))
			if r.State != state.Parked || r.Step != stepModify {
				t.Fatalf("denied: %+v", r)
			}
			retry := func(problem string) {
				t.Helper()
				b.tell(t, r.ID, state.Retry)
				if r = b.attach(t, r.ID); r.State != state.Parked || r.Step != stepModify || r.Hint == "" {
					t.Fatalf("%+v", r)
				}
				same(t, "problem", r.Problem, problem)
			}
			b.elsewhere(t, days(5))
			retry("change prod/main: somebody changed backups_kept_days to 5 in the meantime; it was 3")
			b.elsewhere(t, days(3))
			if at.kind == cloud.RDS {
				later := cloud.Modify{Settings: cloud.Settings{IAMLogin: new(true)}, When: cloud.InWindow}
				_, err := b.Client.Modify(t.Context(), b.name, later)
				must(t, err)
				retry("change prod/main: somebody asked for a change of iam_login to true in the meantime, which would be applied along")
				later.Settings.IAMLogin = new(false)
				_, err = b.Client.Modify(t.Context(), b.name, later)
				must(t, err)
			}
			b.tell(t, r.ID, state.Retry)
			if r = b.attach(t, r.ID); r.State != state.Done {
				t.Fatalf("%+v", r)
			}
			same(t, "in the end", b.statuses(t), "")
		})
	}
}

func TestAnInstanceThatIsBusyIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, at := range eachCloud() {
		t.Run(at.String(), func(t *testing.T) {
			t.Parallel()
			b := newBench(t, at)
			b.elsewhere(t, cloud.Settings{DeletionProtection: new(false)})
			p := b.plan(t, FixRequest{})
			if _, err := b.Client.CreateBackup(t.Context(), b.name, "b"+time.Now().Format("150405000")); err != nil {
				t.Fatal(err)
			}
			if r := b.run(t, p); r.State != state.Done {
				t.Fatalf("%+v", r)
			}
			same(t, "in the end", b.statuses(t), "")
		})
	}
}

func TestWhatTheProviderGivesUpIsUndone(t *testing.T) {
	t.Parallel()
	for _, at := range eachCloud() {
		t.Run(at.String(), func(t *testing.T) {
			t.Parallel()
			b := ownBench(t, at)
			defer b.Faults.Clear()
			same(t, "at first", b.statuses(t), "")
			b.elsewhere(t, cloud.Settings{DeletionProtection: new(false), Availability: new(cloud.Zonal)})
			b.fail(play.Fail, 1)
			r := b.run(t, b.plan(t, FixRequest{Overwrite: []string{"availability", "deletion_protection"}}))
			if r.State != state.Parked || r.Step != stepWait || r.Hint == "" {
				t.Fatalf("%+v", r)
			}
			b.tell(t, r.ID, state.UndoRun)
			r = b.attach(t, r.ID)
			if at.kind == cloud.RDS { // which has no way back from there
				if r.State != state.Parked || r.Problem != "change prod/main: it is incompatible-network" || r.Hint == "" {
					t.Fatalf("%+v", r)
				}
				p := b.plan(t, FixRequest{Overwrite: []string{"availability"}})
				if !slices.ContainsFunc(p.Blocked(), func(f op.Finding) bool { return f.Check == "not-available" }) {
					t.Errorf("%+v", p.Draft)
				}
				b.tell(t, r.ID, state.Abandon)
				b.attach(t, r.ID)
				return
			}
			if r.State != state.Undone {
				t.Fatalf("%+v", r)
			}
			same(t, "undone", b.statuses(t), "availability drifted console; deletion_protection drifted console")
			same(t, "baselines", b.baselines(t), b.applied(nil))
			b.verified(t)
		})
	}
}

func TestUndoSetsBackWhatWas(t *testing.T) {
	t.Parallel()
	for _, at := range eachCloud() {
		t.Run(at.String(), func(t *testing.T) {
			t.Parallel()
			b := newBench(t, at)
			b.elsewhere(t, cloud.Settings{DeletionProtection: new(false)})
			same(t, "at first", b.statuses(t), "deletion_protection drifted never_applied")
			b.elsewhere(t, cloud.Settings{Availability: new(cloud.Zonal)})
			b.deaf.Store(true)
			r := b.run(t, b.plan(t, FixRequest{Overwrite: []string{"availability"}}))
			if r.State != state.Parked || r.Step != stepRecord || r.Hint != "later" {
				t.Fatalf("%+v", r)
			}
			b.deaf.Store(false)
			b.tell(t, r.ID, state.UndoRun)
			if r = b.attach(t, r.ID); r.State != state.Undone {
				t.Fatalf("%+v", r)
			}
			// The one was known to be regional: it counts as changed elsewhere again. The other is as nobody knew it before.
			same(t, "undone", b.statuses(t), "availability drifted console; deletion_protection drifted declaration")
			same(t, "baselines", b.baselines(t), b.applied(map[string]string{"deletion_protection": "false"}))
			b.verified(t)
		})
	}
}

func TestWhatWaitsForTheWindow(t *testing.T) {
	t.Parallel()
	b := newBench(t, where{cloud.RDS, "sqlite"})
	later := func(s cloud.Settings) {
		t.Helper()
		_, err := b.Client.Modify(t.Context(), b.name, cloud.Modify{Settings: s, When: cloud.InWindow})
		must(t, err)
	}
	same(t, "at first", b.statuses(t), "")
	b.elsewhere(t, cloud.Settings{DeletionProtection: new(false)})
	later(cloud.Settings{Availability: new(cloud.Zonal)}) // somebody asks in the console
	same(t, "asked", b.statuses(t), "availability drifted pending_change; deletion_protection drifted console")
	if p := b.plan(t, FixRequest{}); len(p.Blocked()) != 2 || p.Blocked()[0].Check != changedElsewhere {
		t.Errorf("%+v", p.Draft)
	}
	// Whatever else is changed would apply it along.
	if p := b.plan(t, FixRequest{Overwrite: []string{"deletion_protection"}, Settings: []string{"deletion_protection"}}); len(p.Blocked()) != 1 || p.Blocked()[0].Check != "pending-modifications" {
		t.Errorf("%+v", p.Draft)
	}
	p := b.plan(t, FixRequest{Overwrite: []string{"availability", "deletion_protection"}})
	if r := b.run(t, p); r.State != state.Done {
		t.Fatalf("%+v", r)
	}
	same(t, "taken back", b.statuses(t), "")

	// What is not declared is applied along, and said so.
	b.elsewhere(t, cloud.Settings{DeletionProtection: new(false)})
	later(cloud.Settings{IAMLogin: new(true)})
	p = b.plan(t, FixRequest{Overwrite: []string{"deletion_protection"}})
	if len(p.Blocked()) != 0 || p.Downtime.Expected != "unknown" || !strings.Contains(texts(p), "iam_login from false to true waits for the maintenance window, and is applied along") {
		t.Errorf("%+v", p.Draft)
	}
	later(cloud.Settings{IAMLogin: new(false)})

	// The declared value is accepted: it is applied now if it is named.
	b.elsewhere(t, cloud.Settings{DeletionProtection: new(true), Availability: new(cloud.Zonal)})
	later(cloud.Settings{Availability: new(cloud.Regional)})
	same(t, "accepted", b.statuses(t), "availability pending")
	if p := b.plan(t, FixRequest{}); !p.Nothing() || len(p.Blocked()) > 0 {
		t.Errorf("%+v", p.Draft)
	}
	if r := b.run(t, b.plan(t, FixRequest{Overwrite: []string{"availability"}})); r.State != state.Done {
		t.Fatalf("%+v", r)
	}
	same(t, "applied", b.statuses(t), "")
}

func TestAPlainServerHasNothingToFix(t *testing.T) {
	t.Parallel()
	b := newBench(t, where{cloud.RDS, "sqlite"})
	inst := b.cfg.Environments["prod"].Instances["main"]
	inst.RDS, inst.Declare = nil, nil
	_, err := b.Plan(t.Context(), op.PlanRequest{Kind: FixKind, Target: target(), Request: FixRequest{}, Requester: actor()})
	if fault.KindOf(err) != fault.Usage {
		t.Errorf("got %v", err)
	}
}

func texts(p *op.Plan) string {
	var out []string
	for _, f := range p.Findings {
		out = append(out, string(f.Severity)+" "+f.Check+": "+f.Text)
	}
	return strings.Join(out, "\n")
}
