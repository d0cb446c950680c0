package app

import (
	"context"
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"dbops/internal/config"
	"dbops/internal/creds"
	"dbops/internal/op"
	"dbops/internal/secret"
	"dbops/internal/state"
)

// deliver makes a credential current at a place.
func deliver(t *testing.T, a *App, place, token string) {
	t.Helper()
	s, ref, err := a.place(t.Context(), place)
	must(t, err)
	must(t, s.Create(t.Context(), ref))
	v, err := s.Stage(t.Context(), ref, token, secret.New(`{"username":"u","password":"p"}`))
	must(t, err)
	must(t, s.Promote(t.Context(), ref, "", v.ID))
}

func TestTheAgesOfCredentialsAreAskedOfTheirPlacesOnly(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "")
	cfg := file("main", "", "")
	prod := cfg.Environments["prod"]
	prod.CredentialMaxAge = "30d"
	prod.Instances["other"] = &config.Instance{RDS: &config.RDS{Region: "eu-west-1", Identifier: "other"}}
	prod.Databases = map[string]*config.Database{"shop": {Name: "shop", Instance: "main"}}
	place := func(name string) string { return "file:" + filepath.Join(m.dir, name) }
	prod.Containers = map[string]*config.Container{}
	for _, name := range []string{"api", "gone", "new", "worker"} {
		prod.Containers[name] = &config.Container{Databases: []string{"shop"}, Delivery: []string{place(name)}}
	}
	a := m.app(t, cfg)
	for _, name := range []string{"api", "gone", "worker"} {
		deliver(t, a, place(name), name)
	}
	all, err := a.CredentialAges(t.Context())
	if err != nil || len(all) != 1 || all[0].Instance != "main" || all[0].Container != "api" || all[0].Err != nil || len(all[0].Over) != 0 {
		t.Fatalf("%+v %v", all, err)
	}
	if a.hasState() {
		t.Error("a look in passing began a state")
	}

	later := time.Now().Add(31 * 24 * time.Hour)
	aged := func() CredentialAge {
		c := CredentialAge{Environment: "prod", Instance: "main", Limit: prod.CredentialLimit()}
		a.credentialAge(t.Context(), &c, later)
		return c
	}
	if c := aged(); !slices.Equal(c.Over, []string{"api", "gone", "worker"}) || c.Err != nil {
		t.Errorf("after 31 days: %+v", c)
	}

	store, err := a.Store(t.Context())
	must(t, err)
	did := func(id, kind, container string, s state.RunState) {
		t.Helper()
		p := &op.Plan{
			Schema: op.PlanSchema, ID: id, Kind: kind, Target: op.Target{Environment: "prod", Instance: "main"},
			Request: json.RawMessage(`{"container":"` + container + `"}`), Draft: op.Draft{Title: id},
		}
		body, err := p.Encode()
		must(t, err)
		must(t, store.Tx(t.Context(), "put a run", func(ctx context.Context, tx *state.Tx) error {
			if err := tx.PutPlan(ctx, state.Plan{Hash: p.Hash(), Kind: kind, Environment: "prod", Instance: "main", Body: body}); err != nil {
				return err
			}
			if err := tx.PutRun(ctx, state.Run{ID: id, PlanHash: p.Hash(), Kind: kind, Environment: "prod", Instance: "main", Title: id}); err != nil {
				return err
			}
			return tx.SetRun(ctx, id, s, "", "", "")
		}))
	}
	did("r1", creds.RevokeKind, "gone", state.Done)
	did("r2", creds.RevokeKind, "api", state.Failed)
	if c := aged(); !slices.Equal(c.Over, []string{"api", "worker"}) {
		t.Errorf("what was revoked is not left out, or what was not is: %+v", c)
	}
	did("r3", creds.IssueKind, "gone", state.Done)
	if c := aged(); !slices.Equal(c.Over, []string{"api", "gone", "worker"}) {
		t.Errorf("what was issued again is left out: %+v", c)
	}
}

func TestAPlaceThatCannotBeAskedIsAnErrorOfItsInstance(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "")
	cfg := file("main", "", "")
	prod := cfg.Environments["prod"]
	prod.Databases = map[string]*config.Database{"shop": {Name: "shop", Instance: "main"}}
	good := "file:" + filepath.Join(m.dir, "good")
	prod.Containers = map[string]*config.Container{
		"bad": {Databases: []string{"shop"}, Delivery: []string{"env:NOWHERE"}}, "good": {Databases: []string{"shop"}, Delivery: []string{good}},
	}
	a := m.app(t, cfg)
	deliver(t, a, good, "good")
	all, err := a.CredentialAges(t.Context())
	if err != nil || len(all) != 1 || all[0].Err == nil || all[0].Container != "good" {
		t.Errorf("%+v %v", all, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.CredentialAges(ctx); err == nil {
		t.Error("what was given up is an answer")
	}
}
