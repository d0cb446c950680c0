package config

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestAWayIsTheInstancesElseTheEnvironments(t *testing.T) {
	t.Parallel()
	path := write(t, `
version: 1
environments:
  prod:
    via:
      ssh: {host: bastion, jump: ["ops@outer:2222"], key_file: keys/id, known_hosts: known, config_file: none}
    instances:
      a: {rds: {region: eu-west-1, identifier: a}}
      b:
        rds: {region: eu-west-2, identifier: b, profile: other}
        via: {ssm: {target: i-0123456789abcdef0}}
      c:
        postgres: {url: "postgres://db.example.com/?sslmode=verify-full"}
        via: {direct: true}
      d:
        cloudsql: {project: shop-prod, region: europe-west1, instance: d, address: private}
        via: {socks5: {address: "proxy.example.com:1080", user: me, secret: "env:P"}}
`)
	cfg, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	prod, dir := cfg.Environments["prod"].Instances, filepath.Dir(path)
	if s := prod["a"].Via.SSH; s == nil || s.Host != "bastion" || s.KeyFile != filepath.Join(dir, "keys/id") || s.KnownHosts != filepath.Join(dir, "known") || s.ConfigFile != "none" {
		t.Errorf("a goes %+v", s)
	}
	if j, wrong := ParseJump(prod["a"].Via.SSH.Jump[0]); wrong != "" || j != (Jump{"ops", "outer", 2222}) {
		t.Errorf("by %+v, %s", j, wrong)
	}
	if s := prod["b"].Via.SSM; s == nil || s.Region != "eu-west-2" || s.Profile != "other" {
		t.Errorf("b goes %+v", s)
	}
	if v := prod["c"].Via; v.Key() != "" {
		t.Errorf("c goes %q", v.Key())
	}
	if key := prod["d"].Via.Key(); key != "socks5 me@proxy.example.com:1080 env:P" {
		t.Errorf("d goes %q", key)
	}
	if s := cfg.Environments["prod"].Via.SSH; s.KeyFile != "keys/id" {
		t.Errorf("the environment's own way was changed: %+v", s)
	}
}

func TestAWayThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	const rds = "        rds: {region: eu-west-1, identifier: a}\n"
	const url = "        postgres: {url: \"postgres://db.example.com/?sslmode=verify-full\"}\n"
	for name, c := range map[string]struct{ text, want string }{
		"nothing":             {rds + "        via: {}\n", "nothing says which way it is"},
		"two ways":            {rds + "        via: {direct: true, ssh: {host: b}}\n", "more than one way"},
		"not direct":          {rds + "        via: {direct: false}\n", "direct: false says no way"},
		"no host":             {rds + "        via: {ssh: {user: me}}\n", "host is missing"},
		"a user in the host":  {rds + "        via: {ssh: {host: me@b}}\n", "no name of a host"},
		"an option as a host": {rds + "        via: {ssh: {host: -oProxyCommand=x}}\n", "no name of a host"},
		"a port too far":      {rds + "        via: {ssh: {host: b, port: 70000}}\n", "from 1 to 65535"},
		"a jump of nobody":    {rds + "        via: {ssh: {host: b, jump: [\"-oX=y\"]}}\n", "no name of a host"},
		"a jump's port":       {rds + "        via: {ssh: {host: b, jump: [\"c:x\"]}}\n", "from 1 to 65535"},
		"a target of nothing": {rds + "        via: {ssm: {target: bastion}}\n", "no managed node"},
		"a node nowhere":      {url + "        via: {ssm: {target: i-0123456789abcdef0}}\n", "in which region"},
		"a proxy's address":   {rds + "        via: {socks5: {address: proxy}}\n", "no address of a proxy"},
		"a user alone":        {rds + "        via: {socks5: {address: \"p:1\", user: me}}\n", "has no password"},
		"a secret alone":      {rds + "        via: {socks5: {address: \"p:1\", secret: \"env:P\"}}\n", "whose password"},
		"a password":          {rds + "        via: {socks5: {address: \"p:1\", user: me, password: open}}\n", "must hold no secrets"},
		"a socket elsewhere": {
			"        postgres: {url: \"postgres:///?host=/run/pg&sslmode=disable\"}\n        via: {ssh: {host: b}}\n", "a Unix socket is on this machine",
		},
		"in the clear through a proxy": {
			"        postgres: {url: \"postgres://127.0.0.1/?sslmode=disable\"}\n        via: {socks5: {address: \"p:1\"}}\n", "in the clear",
		},
		"in the clear behind a bastion": {
			"        postgres: {url: \"postgres://10.0.0.5/?sslmode=disable\"}\n        via: {ssh: {host: b}}\n", "in the clear",
		},
		"two ways to Cloud SQL": {
			"        cloudsql: {project: shop-prod, region: europe-west1, instance: d, address: sql_data}\n        via: {ssh: {host: b}}\n", "cannot go another way",
		},
		"a cloud identity through the data API": {
			"        cloudsql: {project: shop-prod, region: europe-west1, instance: d, address: sql_data}\n        logins: {read: {iam: true}}\n", "with sql_data nothing logs in",
		},
		"the data API in the clear": {
			"        cloudsql: {project: shop-prod, region: europe-west1, instance: d, address: sql_data, endpoint: \"http://127.0.0.1:1\"}\n", "over TLS alone",
		},
	} {
		got := problems(t, head+c.text)
		if !slices.ContainsFunc(got, func(p string) bool { return strings.Contains(p, c.want) }) {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := problems(t, head+"        postgres: {url: \"postgres://127.0.0.1/?sslmode=disable\"}\n        via: {ssh: {host: b}}\n"); got != nil {
		t.Errorf("a server on the bastion: %q", got)
	}
}

// A private address is another server in each network.
func TestTheSameAddressBehindAnotherBastionIsAnotherServer(t *testing.T) {
	t.Parallel()
	file := func(first, second, host string) string {
		instance := func(via string) string {
			return "    instances:\n      main:\n        postgres: {url: \"postgres://" + host + "/?sslmode=verify-full\"}\n        via: {ssh: {host: " + via + "}}\n"
		}
		return "version: 1\nenvironments:\n  prod:\n    protected: true\n" + instance(first) + "  dev:\n" + instance(second)
	}
	for _, c := range []struct {
		first, second, host string
		same                bool
	}{
		{"a", "b", "10.0.0.5", false}, {"a", "b", "127.0.0.1", false}, {"a", "a", "10.0.0.5", true}, {"a", "b", "db.example.com", true},
	} {
		if got := problems(t, file(c.first, c.second, c.host)); (got != nil) != c.same {
			t.Errorf("%+v: %q", c, got)
		}
	}
}
