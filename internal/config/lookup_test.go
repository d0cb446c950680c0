package config

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"dbops/internal/fault"
)

func TestNearest(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		word string
		in   []string
		want string
	}{
		"one letter too many":        {"identiffier", []string{"region", "identifier"}, "identifier"},
		"two letters swapped":        {"pord", []string{"dev", "prod"}, "prod"},
		"capitals":                   {"PROD", []string{"dev", "prod"}, "prod"},
		"the nearer of two":          {"stagin", []string{"stating", "staging"}, "staging"},
		"the beginning of one":       {"sta", []string{"dev", "staging"}, "staging"},
		"the beginning of two":       {"or", []string{"orders", "orders-replica"}, ""},
		"nothing near":               {"production", []string{"dev", "test"}, ""},
		"a short word, all replaced": {"ab", []string{"cd"}, ""},
		"no word":                    {"", []string{"a"}, ""},
		"no candidates":              {"a", nil, ""},
		"letters beyond ASCII":       {"kase", []string{"käse"}, "käse"},
	} {
		if got := Nearest(c.word, c.in); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestDistanceIsAMetricOfSmallEdits(t *testing.T) {
	t.Parallel()
	word := rapid.StringMatching(`[abä]{0,8}`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := word.Draw(t, "a"), word.Draw(t, "b")
		d := distance(a, b)
		if d != distance(b, a) || (d == 0) != (a == b) || d > max(len([]rune(a)), len([]rune(b))) {
			t.Fatalf("distance %d", d)
		}
		if got := distance(a, a+"x"); got != 1 {
			t.Fatalf("one letter more: %d", got)
		}
	})
}

func shop(t *testing.T) *Config {
	t.Helper()
	cfg, err := Load(write(t, `version: 1
environments:
  prod:
    instances:
      main:
        cloudsql: {project: shop-prod, region: europe-west1, instance: shop-main}
        logins: {read: {iam: true}, write: {user: w, iam: true}}
      orders:
        rds: {region: eu-west-1, identifier: orders-prod}
      local:
        postgres: {url: "postgres://[::1]/?sslmode=disable"}
      socket:
        postgres: {url: "postgres:///?host=/run/postgresql&sslmode=disable"}
    databases:
      shop: {instance: main}
      billing: {instance: orders}
      archive: {instance: main, name: shop_archive}
    containers:
      api: {databases: [shop]}
  dev:
    instances: {}
`))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestLookUps(t *testing.T) {
	t.Parallel()
	cfg := shop(t)
	if got := cfg.EnvironmentNames(); !slices.Equal(got, []string{"dev", "prod"}) {
		t.Errorf("environments %v", got)
	}
	env, err := cfg.Environment("prod")
	if err != nil {
		t.Fatal(err)
	}
	if got := env.InstanceNames(); !slices.Equal(got, []string{"local", "main", "orders", "socket"}) {
		t.Errorf("instances %v", got)
	}
	if got := env.DatabasesOf("main"); !slices.Equal(got, []string{"archive", "shop"}) {
		t.Errorf("databases %v", got)
	}
	if got := env.ContainerNames(); !slices.Equal(got, []string{"api"}) {
		t.Errorf("containers %v", got)
	}
	for name, want := range map[string]string{
		"main": "shop-prod:europe-west1:shop-main", "orders": "eu-west-1/orders-prod", "local": "[::1]:5432", "socket": "/run/postgresql:5432",
	} {
		i, err := env.Instance(name)
		if err != nil || i.Coordinates() != want {
			t.Errorf("%s: got %s, %v", name, i.Coordinates(), err)
		}
	}
	if s := env.Instances["socket"].Postgres.Server(); !s.Socket() || !s.Local() || s.Host != "/run/postgresql" {
		t.Errorf("socket: %+v", s)
	}
	main := env.Instances["main"]
	if main.Login("") != main.Logins[Read] || main.Login(Write).User != "w" || main.Login(Admin) != nil {
		t.Error("logins")
	}
	if d, err := env.Database("archive"); err != nil || d.ServerName("archive") != "shop_archive" {
		t.Errorf("database %v, %v", d, err)
	}
	if c, err := env.Container("api"); err != nil || c.Access != Read {
		t.Errorf("container %v, %v", c, err)
	}
}

func TestUnknownNamesAreExplained(t *testing.T) {
	t.Parallel()
	cfg := shop(t)
	env := cfg.Environments["prod"]
	second := func(_ any, err error) error { return err }
	for name, c := range map[string]struct {
		err        error
		want, hint string
	}{
		"an environment":             {second(cfg.Environment("pord")), `there is no environment "pord" in dbops.yaml`, `did you mean "prod"? There are: dev, prod`},
		"no environment":             {second(cfg.Environment("")), `the environment is not named`, `there are: dev, prod`},
		"an instance, far from all":  {second(env.Instance("zzzz")), `there is no instance "zzzz" in environment prod`, `there are: local, main, orders, socket`},
		"a database":                 {second(env.Database("shp")), `there is no database "shp" in environment prod`, `did you mean "shop"? There are: archive, billing, shop`},
		"a container of none":        {second(cfg.Environments["dev"].Container("api")), `there is no container "api" in environment dev`, `environment dev has no containers`},
		"of no configuration at all": {second((*Config)(nil).Environment("x")), `there is no environment "x" in dbops.yaml`, `dbops.yaml has no environments`},
		"of no environment at all":   {second((*Environment)(nil).Instance("x")), `there is no instance "x" in dbops.yaml`, `dbops.yaml has no instances`},
	} {
		if fault.KindOf(c.err) != fault.Usage || c.err.Error() != c.want || fault.HintOf(c.err) != c.hint {
			t.Errorf("%s: got %v (%s)", name, c.err, fault.HintOf(c.err))
		}
	}
	var none *Environment
	var inst *Instance
	if none.InstanceNames() != nil || none.DatabasesOf("x") != nil || none.ContainerNames() != nil || inst.Login(Read) != nil || inst.Coordinates() != "" {
		t.Error("nil is not safe")
	}
}
