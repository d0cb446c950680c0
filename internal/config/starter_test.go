package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/charmbracelet/x/exp/golden"
	"pgregory.net/rapid"
)

// uncommented is the starter's example as a person uncomments it.
func uncommented(t *testing.T) string {
	t.Helper()
	before, after, ok := strings.Cut(string(Starter(nil)), "environments: {}\n")
	if !ok {
		t.Fatal("the starter has no line to delete")
	}
	_, after, ok = strings.Cut(after, "#\n")
	if !ok {
		t.Fatal("the starter has no example")
	}
	var b strings.Builder
	b.WriteString(before)
	for line := range strings.Lines(after) {
		b.WriteString(strings.TrimPrefix(strings.TrimPrefix(line, "#"), " "))
	}
	return b.String()
}

func discoveries() []Discovered {
	return []Discovered{
		{Environment: "prod", Name: "shop-main", Databases: []string{"postgres", "shop", "audit log"}, Instance: Instance{
			CloudSQL: &CloudSQL{Project: "shop-prod", Region: "europe-west1", Instance: "shop-main"},
		}},
		{Environment: "prod", Name: "billing", Databases: []string{"rdsadmin", "billing", "shop"}, Instance: Instance{
			RDS: &RDS{Region: "eu-west-1", Identifier: "billing-prod", Profile: "prod"},
		}},
		{Environment: "Staging / EU", Name: "42", Instance: Instance{
			CloudSQL: &CloudSQL{Project: "shop-staging", Region: "europe-west1", Instance: "main", Endpoint: "http://127.0.0.1:9090"},
		}},
		{Environment: "prod", Name: "billing", Instance: Instance{RDS: &RDS{Region: "eu-west-1", Identifier: "billing-copy", Profile: "prod"}}},
		{Environment: "dev", Name: "again", Instance: Instance{RDS: &RDS{Region: "eu-west-1", Identifier: "billing-copy", Profile: "prod"}}},
		{Name: "", Instance: Instance{Postgres: &Postgres{URL: "postgres://app:x" + "@db.example.com/?sslmode=verify-full"}}},
	}
}

func TestTheStarterLoads(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"as it is":       string(Starter(nil)),
		"with instances": string(Starter(discoveries())),
	} {
		if got := problems(t, text); got != nil {
			t.Errorf("%s: %q\n%s", name, got, text)
		}
		if !strings.HasPrefix(text, "# yaml-language-server: $schema=") {
			t.Errorf("%s: it begins with %.60q", name, text)
		}
	}
	path := write(t, uncommented(t))
	if err := os.Link(filepath.Join(filepath.Dir(path), "ca.pem"), filepath.Join(filepath.Dir(path), "rds-eu-west-1.pem")); err != nil {
		t.Fatal(err)
	}
	cfg, err := Load(path)
	if err != nil {
		t.Fatalf("the example: %v", err)
	}
	if len(cfg.Environments) != 2 || !cfg.Environments["prod"].Protected || len(cfg.Environments["prod"].Containers) != 1 {
		t.Errorf("the example holds %+v", cfg)
	}
}

func TestTheStarterOfDiscoveredInstances(t *testing.T) {
	t.Parallel()
	golden.RequireEqual(t, Starter(discoveries()))
}

func TestTheStarterLoadsWhateverThingsAreCalled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := rapid.OneOf(rapid.StringN(0, 80, 200), rapid.StringMatching(`[a-z0-9._-]{0,70}`), rapid.SampledFrom([]string{
		"true", "null", "~", "1", "1e3", "0x1", ".", "-", "- a", "a: b", "a #b", "'", "\"", "*a", "&a", "!a", "<<", "yes", "2024-01-01", "a:",
	}))
	rapid.Check(t, func(t *rapid.T) {
		var all []Discovered
		for i := range rapid.IntRange(1, 6).Draw(t, "n") {
			d := Discovered{Environment: name.Draw(t, "environment"), Name: name.Draw(t, "name"), Databases: rapid.SliceOfN(name, 0, 4).Draw(t, "databases")}
			switch rapid.IntRange(0, 2).Draw(t, "provider") {
			case 0:
				d.Instance.RDS = &RDS{Region: "eu-west-1", Identifier: fmt.Sprintf("i%d", i/2)}
			case 1:
				d.Instance.CloudSQL = &CloudSQL{Project: "shop-prod", Region: "europe-west1", Instance: fmt.Sprintf("i%d", i/2)}
			default:
				d.Instance.Postgres = &Postgres{URL: fmt.Sprintf("postgres://db%d.example.com/?sslmode=verify-full", i/2)}
			}
			all = append(all, d)
		}
		if _, err := parse("dbops.yaml", filepath.Join(dir, FileName), Starter(all)); err != nil {
			t.Fatalf("%v\n%s", err, Starter(all))
		}
	})
}

func TestGuessEnvironment(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		labels map[string]string
		name   string
		want   string
	}{
		{map[string]string{"env": "staging", "dbops-environment": "prod"}, "x", "prod"},
		{map[string]string{"env": "staging", "Environment": "Production"}, "x", "production"},
		{map[string]string{"env": "QA 2"}, "x", "qa-2"},
		{map[string]string{"env": " "}, "orders-prod", "prod"},
		{nil, "production_main", "prod"},
		{nil, "shop.stage.eu", "staging"},
		{nil, "products", "default"},
	} {
		if got := GuessEnvironment(c.labels, c.name); got != c.want {
			t.Errorf("%v %s: got %s, want %s", c.labels, c.name, got, c.want)
		}
	}
}
