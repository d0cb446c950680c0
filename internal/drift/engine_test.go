package drift

import (
	"testing"

	"dbops/internal/cloud"
	"dbops/internal/state"
)

func TestDriftIsFoundAndFixed(t *testing.T) {
	t.Parallel()
	for _, at := range everywhere() {
		t.Run(at.String(), func(t *testing.T) {
			t.Parallel()
			b := newBench(t, at)
			b.elsewhere(t, cloud.Settings{DeletionProtection: new(false), Availability: new(cloud.Zonal)})
			same(t, "at first", b.statuses(t), "availability drifted never_applied; deletion_protection drifted never_applied")
			p := b.plan(t, FixRequest{})
			if len(p.Blocked()) > 0 || len(p.Changes) != 2 {
				t.Fatalf("the plan: %+v", p.Draft)
			}
			if r := b.run(t, p); r.State != state.Done {
				t.Fatalf("the run: %+v", r)
			}
			same(t, "afterwards", b.statuses(t), "")
			same(t, "baselines", b.baselines(t), b.applied(nil))
			if p := b.plan(t, FixRequest{}); !p.Nothing() || len(p.Findings) > 0 {
				t.Errorf("a second plan: %+v", p.Draft)
			}
			b.verified(t)
		})
	}
}

func TestWhatSomebodyChangedElsewhereIsNotOverwrittenUnlessNamed(t *testing.T) {
	t.Parallel()
	for _, at := range eachCloud() {
		t.Run(at.String(), func(t *testing.T) {
			t.Parallel()
			b := newBench(t, at)
			same(t, "at first", b.statuses(t), "") // and so dbops knows it
			b.elsewhere(t, cloud.Settings{DeletionProtection: new(false)})
			same(t, "changed", b.statuses(t), "deletion_protection drifted console")
			for _, r := range []FixRequest{{}, {Settings: []string{"deletion_protection"}}} {
				p := b.plan(t, r)
				if len(p.Blocked()) != 1 || p.Blocked()[0].Check != changedElsewhere || !p.Nothing() {
					t.Fatalf("%+v: %+v", r, p.Draft)
				}
				same(t, "remedy", p.Blocked()[0].Remedy, "dbops drift -e prod main --fix --overwrite deletion_protection; or declare deletion_protection: false for prod/main in dbops.yaml")
			}
			p := b.plan(t, FixRequest{Overwrite: []string{"deletion_protection"}})
			if len(p.Blocked()) > 0 || len(p.Findings) != 1 || p.Findings[0].Check != "overwrites" {
				t.Fatalf("named: %+v", p.Draft)
			}
			if r := b.run(t, p); r.State != state.Done {
				t.Fatalf("the run: %+v", r)
			}
			same(t, "afterwards", b.statuses(t), "")

			// The other way out: the live value is declared, and is the one that dbops knows from then on.
			b.elsewhere(t, cloud.Settings{DeletionProtection: new(false)})
			b.cfg.Environments["prod"].Instances["main"].Declare.DeletionProtection = new(false)
			same(t, "adopted", b.statuses(t), "")
			same(t, "baselines", b.baselines(t), b.applied(map[string]string{"deletion_protection": "false"}))
			b.cfg.Environments["prod"].Instances["main"].Declare.DeletionProtection = nil
			same(t, "declared again", b.statuses(t), "deletion_protection drifted declaration")
			if p := b.plan(t, FixRequest{}); len(p.Blocked()) > 0 || len(p.Changes) != 1 {
				t.Errorf("the declaration is applied: %+v", p.Draft)
			}
		})
	}
}

func TestAChangeBetweenPlanAndRunStopsTheRun(t *testing.T) {
	t.Parallel()
	for _, at := range eachCloud() {
		t.Run(at.String(), func(t *testing.T) {
			t.Parallel()
			b := newBench(t, at)
			b.elsewhere(t, cloud.Settings{DeletionProtection: new(false), Availability: new(cloud.Zonal)})
			p := b.plan(t, FixRequest{})
			b.elsewhere(t, cloud.Settings{DeletionProtection: new(true)})
			r := b.run(t, p)
			if r.State != state.Failed {
				t.Fatalf("the run: %+v", r)
			}
			same(t, "problem", r.Problem, "compare prod/main with the plan: it changed since the plan was made: deletion_protection was false, is true")
			same(t, "afterwards", b.statuses(t), "availability drifted never_applied")

			p = b.plan(t, FixRequest{})
			b.elsewhere(t, cloud.Settings{IAMLogin: new(true)}) // nobody declares it
			if r := b.run(t, p); r.State != state.Done {
				t.Fatalf("the run: %+v", r)
			}
			same(t, "in the end", b.statuses(t), "")
		})
	}
}
