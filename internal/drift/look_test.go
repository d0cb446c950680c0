package drift

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"dbops/internal/cloud"
	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/state"
)

// fake is a cloud of which only Get is asked.
type fake struct {
	Cloud
	get func(ctx context.Context, name string) (*cloud.Instance, error)
}

func (f fake) Get(ctx context.Context, name string) (*cloud.Instance, error) { return f.get(ctx, name) }

// fleet are four instances of two environments; what was last applied is kept in memory.
func fleet(get func(ctx context.Context, name string) (*cloud.Instance, error)) (Deps, map[string]string) {
	rds := func(id string) *config.Instance {
		return &config.Instance{RDS: &config.RDS{Region: "eu-west-1", Identifier: id}}
	}
	cfg := &config.Config{Environments: map[string]*config.Environment{
		"prod": {Name: "prod", Protected: true, Instances: map[string]*config.Instance{"a": rds("a"), "b": rds("b")}},
		"dev":  {Name: "dev", Instances: map[string]*config.Instance{"c": rds("c"), "d": {Postgres: &config.Postgres{URL: "postgres://localhost"}}}},
	}}
	var mu sync.Mutex
	kept := map[string]string{}
	return Deps{
		Config: cfg,
		Open: func(_ context.Context, _, instance string) (Cloud, string, error) {
			return fake{get: get}, instance, nil
		},
		Baselines: func(_ context.Context, _, instance string) ([]state.Baseline, error) {
			mu.Lock()
			defer mu.Unlock()
			var all []state.Baseline
			for k, v := range kept {
				if i, setting, _ := strings.Cut(k, " "); i == instance {
					all = append(all, state.Baseline{Setting: setting, Value: v})
				}
			}
			return all, nil
		},
		Record: func(_ context.Context, all []state.Baseline) error {
			mu.Lock()
			defer mu.Unlock()
			for _, b := range all {
				kept[b.Instance+" "+b.Setting] = b.Value
			}
			return nil
		},
	}, kept
}

func TestAnInstanceThatDoesNotAnswerHidesNoOther(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	d, kept := fleet(func(_ context.Context, name string) (*cloud.Instance, error) {
		switch name {
		case "a":
			return nil, fault.Newf(fault.Unavailable, "describe a", "nobody answers").Hint("try later")
		case "b":
			live := healthy(cloud.RDS)
			live.DeletionProtection = false
			return live, nil
		}
		t.Errorf("%s is asked for, and declares nothing", name)
		return healthy(cloud.RDS), nil
	})
	r, err := New(d).Look(t.Context(), "", "", false)
	must(t, err)
	if len(r.Instances) != 4 || r.Count(Unknown) != 6 || r.Count(Drifted) != 1 || r.Count(InSync) != 5 {
		t.Errorf("%+v", r)
	}
	for _, i := range r.Instances {
		if (i.Problem != "") != (i.Instance == "a") {
			t.Errorf("%+v", i)
		}
	}
	for _, row := range r.Rows {
		if row.Status == Unknown && (row.Instance != "a" || row.Cause != Unreachable || row.Detail != "describe a: nobody answers" || row.Remedy != "try later") {
			t.Errorf("%+v", row)
		}
	}
	if len(kept) != 5 || kept["b availability"] != "regional" || kept["b deletion_protection"] != "" {
		t.Errorf("kept %v", kept)
	}
	text, err := json.Marshal(r)
	must(t, err)
	if !strings.Contains(string(text), `"schema":"dbops/drift/v1"`) || !strings.Contains(string(text), `{"environment":"prod","instance":"b","setting":"deletion_protection","status":"drifted","declared":"true","live":"false","cause":"never_applied",`) {
		t.Errorf("JSON: %s", text)
	}
}

func TestTheInstancesToLookAtAreChosen(t *testing.T) {
	t.Parallel()
	d, _ := fleet(func(context.Context, string) (*cloud.Instance, error) { return healthy(cloud.RDS), nil })
	x := New(d)
	for _, c := range []struct {
		env, instance string
		all           bool
		instances     int
		unmanaged     int
	}{
		{"", "", false, 4, 0}, {"prod", "", false, 2, 0}, {"prod", "a", true, 1, 3}, {"", "c", false, 1, 0}, {"dev", "", true, 2, 9},
	} {
		r, err := x.Look(t.Context(), c.env, c.instance, c.all)
		must(t, err)
		if len(r.Instances) != c.instances || r.Count(Unmanaged) != c.unmanaged || r.Err() != nil {
			t.Errorf("%+v: %d instances, %d unmanaged, %v", c, len(r.Instances), r.Count(Unmanaged), r.Err())
		}
	}
	for _, wrong := range [][2]string{{"prdo", ""}, {"prod", "x"}, {"", "x"}} {
		if _, err := x.Look(t.Context(), wrong[0], wrong[1], false); fault.KindOf(err) != fault.Usage || fault.HintOf(err) == "" {
			t.Errorf("%v: %v", wrong, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := x.Look(ctx, "", "", false); fault.KindOf(err) != fault.Interrupted {
		t.Errorf("cancelled: %v", err)
	}
}

func TestDriftIsFoundWithoutWhatWasLastApplied(t *testing.T) {
	t.Parallel()
	d, kept := fleet(func(context.Context, string) (*cloud.Instance, error) {
		live := healthy(cloud.RDS)
		live.Availability = cloud.Zonal
		return live, nil
	})
	d.Baselines = func(context.Context, string, string) ([]state.Baseline, error) {
		return nil, errors.New("the store is away")
	}
	r, err := New(d).Look(t.Context(), "prod", "a", false)
	must(t, err)
	if r.Count(Drifted) != 1 || r.Count(InSync) != 5 || r.Instances[0].Problem != "the store is away" || len(kept) != 0 {
		t.Errorf("%+v, kept %v", r, kept)
	}
	for _, row := range r.Rows {
		if row.Status == Drifted && row.Cause != NoBaseline {
			t.Errorf("%+v", row)
		}
	}
	if fault.ExitStatus(r.Err()) != 5 {
		t.Errorf("got %v", r.Err())
	}
}
