package config

import (
	"net"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"dbops/internal/cloud"
	"dbops/internal/secret"
)

// checker reports what is decoded well and still wrong.
type checker struct {
	report  *report
	dir     string            // of the file, for relative paths
	secrets map[position]bool // where a secret was refused; nothing more is said about those values
}

// has tells whether the file gives key a value of kind k that can be checked; a required key that is missing is reported.
func (c *checker) has(s spot, key string, k kind, required bool) bool {
	v, ok := s.child(key)
	if !ok {
		if required && !misspelt(s.node, key) {
			c.report.atKey(s, "", "%s is missing", key)
		}
		return false
	}
	if v.node.kind == isNull && required && (k == isMapping || k == isList) { // of scalars the decoder says it
		c.report.atKey(v, "", "%s is empty", key)
	}
	if v.node.kind == isText && strings.TrimSpace(v.node.text) == "" && k == isText {
		c.report.atValue(v, "write one, or delete the key", "the value is empty")
		return false
	}
	return v.node.kind == k && !c.secrets[v.node.pos]
}

// misspelt tells whether key is there in a wrong spelling, which the decoder has reported.
func misspelt(n *node, key string) bool {
	return slices.ContainsFunc(n.pairs, func(p pair) bool { return Nearest(p.key, []string{key}) == key })
}

func (c *checker) config(cfg *Config, s spot) {
	if s.node.kind != isMapping {
		return
	}
	switch {
	case s.node.get("version") == nil:
		c.report.atKey(s, "write version: 1 at the top", "version is missing")
	case c.has(s, "version", isNumber, true) && cfg.Version != 1 && whole(s.down("version").node.text):
		c.report.atValue(s.down("version"), "write version: 1", "this dbops reads version 1 of the format only")
	}
	e := s.down("endpoints")
	c.endpoint(e, "aws_secrets_manager", cfg.Endpoints.AWSSecretsManager)
	c.endpoint(e, "gcp_secret_manager", cfg.Endpoints.GCPSecretManager)

	c.state(cfg, s)
	c.serve(cfg, s)
	c.notifications(cfg, s)
	if !c.has(s, "environments", isMapping, true) {
		return
	}
	all := s.down("environments")
	for _, p := range all.node.pairs {
		at := all.down(p.key)
		c.name(at, "environment", p.key)
		if env := cfg.Environments[p.key]; env != nil && (at.node.kind == isMapping || at.node.kind == isNull) {
			c.environment(env, at)
		}
	}
	c.unguarded(cfg, all)
	c.declarations(cfg, s)
}

func (c *checker) environment(env *Environment, s spot) {
	c.approvals(env, s)
	c.targets(env.Targets, s)
	c.age(env.CredentialMaxAge, s, "credential_max_age")
	if c.has(s, "listen", isText, false) {
		c.listen(env.Listen, s.down("listen"))
	}
	c.via(env.Via, s.down("via"))
	if c.has(s, "instances", isMapping, true) {
		all := s.down("instances")
		for _, p := range all.node.pairs {
			c.name(all.down(p.key), "instance", p.key)
			if inst := env.Instances[p.key]; inst != nil {
				c.instance(env, inst, all.down(p.key))
			}
		}
	}
	if c.has(s, "databases", isMapping, false) {
		all := s.down("databases")
		for _, p := range all.node.pairs {
			c.identifier(all.down(p.key), true, "database", p.key)
			if db := env.Databases[p.key]; db != nil {
				c.database(env, db, all.down(p.key))
			}
		}
		c.sameDatabase(env, all)
	}
	if c.has(s, "containers", isMapping, false) {
		all := s.down("containers")
		for _, p := range all.node.pairs {
			c.name(all.down(p.key), "container", p.key)
			if ctr := env.Containers[p.key]; ctr != nil {
				c.container(env, ctr, all.down(p.key))
			}
		}
	}
}

// listen checks the address of a proxy.
func (c *checker) listen(addr string, s spot) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		c.report.atValue(s, "write host:port, as in 127.0.0.1:6432", "this is no address to listen on")
		return
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		c.report.atValue(s, "", "the port must be a number from 0 (any free one) to 65535")
	} else if !loopback(host) {
		c.report.atValue(s, "write 127.0.0.1:"+strconv.FormatUint(n, 10), "a proxy serves this machine only: the host must be 127.0.0.1, ::1 or localhost")
	}
}

// database checks a database; s is where it stands.
func (c *checker) database(env *Environment, db *Database, s spot) {
	if s.node.kind != isMapping && s.node.kind != isNull {
		return
	}
	if c.has(s, "instance", isText, true) && env.Instances[db.Instance] == nil {
		c.dangling(s.down("instance"), "instance", db.Instance, keys(env.Instances))
	}
	if c.has(s, "name", isText, false) {
		c.identifier(s.down("name"), false, "name", db.Name)
	}
	if c.has(s, "owner", isText, false) {
		c.identifier(s.down("owner"), false, "owner", db.Owner)
	}
	if c.has(s, "migrations", isText, false) && strings.Contains(db.Migrations, "://") {
		c.report.atValue(s.down("migrations"), "", "migrations is a folder, not a URL")
	}
	if c.has(s, "migration_sets", isMapping, false) {
		c.migrationSets(db, s.down("migration_sets"))
	}
}

// migrationSets checks that each set has a folder and a table that no other has.
func (c *checker) migrationSets(db *Database, all spot) {
	tables := map[string]string{}
	if db.Migrations != "" {
		tables[MigrationSet{}.table()] = "migrations"
	}
	for _, p := range all.node.pairs {
		at, set := all.down(p.key), db.MigrationSets[p.key]
		c.name(at, "migration set", p.key)
		if set == nil {
			continue
		}
		if c.has(at, "folder", isText, true) && strings.Contains(set.Folder, "://") {
			c.report.atValue(at.down("folder"), "", "folder is a folder, not a URL")
		}
		if c.has(at, "schema", isText, false) {
			c.identifier(at.down("schema"), false, "schema", set.Schema)
		}
		if c.has(at, "table", isText, false) {
			c.identifier(at.down("table"), false, "table", set.Table)
		}
		if other, taken := tables[set.table()]; taken {
			c.report.atKey(at, "give it a schema or a table of its own", "its versions would be in the same table as those of %s", quote(other))
		}
		tables[set.table()] = p.key
	}
}

// table is where the versions are, as far as the file says it.
func (s MigrationSet) table() string {
	schema, table := s.Schema, s.Table
	if schema == "" {
		schema = "public"
	}
	if table == "" {
		table = "schema_migrations"
	}
	return schema + "." + table
}

// sameDatabase refuses two entries that are one database with different migrations or owners.
func (c *checker) sameDatabase(env *Environment, all spot) {
	type place struct{ instance, name string }
	first := map[place]string{}
	for _, p := range all.node.pairs {
		db := env.Databases[p.key]
		if db == nil || db.Instance == "" {
			continue
		}
		at := place{db.Instance, db.ServerName(p.key)}
		other, ok := first[at]
		if !ok {
			first[at] = p.key
			continue
		}
		if o := env.Databases[other]; o.Migrations != db.Migrations || o.Owner != db.Owner || !reflect.DeepEqual(o.MigrationSets, db.MigrationSets) {
			c.report.atKey(all.down(p.key), "make them agree, or correct instance or name",
				"this is the same database as %s, with other migrations or another owner", quote(other))
		}
	}
}

func (c *checker) container(env *Environment, ctr *Container, s spot) {
	if s.node.kind != isMapping && s.node.kind != isNull {
		return
	}
	if c.has(s, "databases", isList, true) {
		list := s.down("databases")
		if len(list.node.items) == 0 {
			c.report.atValue(list, "", "databases is empty")
		}
		for i, name := range ctr.Databases {
			switch at := list.item(i); {
			case at.node.kind != isText || c.secrets[at.node.pos]:
			case env.Databases[name] == nil:
				c.dangling(at, "database", name, keys(env.Databases))
			case slices.Contains(ctr.Databases[:i], name):
				c.report.atValue(at, "", "%s is here twice", quote(name))
			}
		}
	}
	if c.has(s, "access", isText, false) {
		c.oneOf(s.down("access"), "access", string(ctr.Access), accesses())
	}
	if c.has(s, "delivery", isList, false) {
		for i, place := range ctr.Delivery {
			c.delivery(s.down("delivery").item(i), place)
		}
		c.oneInstance(env, ctr, s)
	}
	if c.has(s, "rollout", isMapping, false) {
		c.rollout(ctr.Rollout, s.down("rollout"))
	}
}

// oneInstance refuses a delivery of one credential for two servers: a login role lives on one.
func (c *checker) oneInstance(env *Environment, ctr *Container, s spot) {
	first := ""
	for _, name := range ctr.Databases {
		db := env.Databases[name]
		switch {
		case db == nil || db.Instance == "":
		case first == "":
			first = db.Instance
		case db.Instance != first:
			c.report.atKey(s.down("databases"), "declare one container for each instance, each with a delivery of its own",
				"its databases are on the instances %s and %s, and a credential is of one", quote(first), quote(db.Instance))
			return
		}
	}
}

func (c *checker) rollout(r *Rollout, s spot) {
	if r == nil {
		return
	}
	kinds := 0
	if c.has(s, "ecs", isMapping, false) && r.ECS != nil {
		kinds++
		at := s.down("ecs")
		c.has(at, "region", isText, true)
		c.has(at, "cluster", isText, true)
		c.has(at, "service", isText, true)
		c.endpoint(at, "endpoint", r.ECS.Endpoint)
	}
	if c.has(s, "cloud_run", isMapping, false) && r.CloudRun != nil {
		kinds++
		at := s.down("cloud_run")
		c.has(at, "project", isText, true)
		c.has(at, "region", isText, true)
		c.has(at, "service", isText, true)
		c.endpoint(at, "endpoint", r.CloudRun.Endpoint)
	}
	if c.has(s, "command", isList, false) {
		kinds++
		if len(r.Command) == 0 || r.Command[0] == "" {
			c.report.atValue(s.down("command"), "write the program and its arguments as a list", "the command is empty")
		}
	}
	if kinds != 1 {
		c.report.atValue(s, "", "want exactly one of ecs, cloud_run and command")
	}
}

func (c *checker) delivery(at spot, place string) {
	if at.node.kind != isText || c.secrets[at.node.pos] {
		return
	}
	if strings.HasPrefix(place, encoreScheme) {
		if _, err := ParseEncorePlace(place); err != nil {
			c.report.atValue(at, "write encore:PATH#go or encore:PATH#typescript", "%s", err.Error())
		}
		return
	}
	ref, ok := c.place(at, place)
	switch {
	case !ok:
	case ref.Scheme == secret.SchemeEnv:
		c.report.atValue(at, "deliver to aws-sm:, gcp-sm: or file:", "a credential cannot be put into an environment variable")
	case ref.Scheme == secret.SchemeGCP && strings.Contains(ref.Name, "/versions/"):
		c.report.atValue(at, "name the secret alone: projects/PROJECT/secrets/NAME", "a delivery makes new versions, and cannot go to a given one")
	}
}

// place parses where a secret lives. The text is never repeated: it may be the secret itself.
func (c *checker) place(at spot, place string) (secret.Ref, bool) {
	ref, err := secret.ParseRef(place)
	if err != nil {
		c.report.atValue(at, "write aws-sm:NAME, gcp-sm:projects/PROJECT/secrets/NAME, file:PATH or env:NAME; if this was the secret itself, change it",
			"this does not name the place of a secret")
		return ref, false
	}
	return ref, true
}

// unguarded refuses a second, unprotected name for an instance of a protected environment.
func (c *checker) unguarded(cfg *Config, all spot) {
	guarded := map[string]string{}
	for name, env := range sorted(cfg.Environments) {
		for key, inst := range sorted(instancesOf(env)) {
			if env.Protected && inst != nil {
				guarded[inst.identity()+inst.ambiguous(env)] = name + "/" + key
			}
		}
	}
	for name, env := range sorted(cfg.Environments) {
		for key, inst := range sorted(instancesOf(env)) {
			if inst == nil || env.Protected {
				continue
			}
			if other, ok := guarded[inst.identity()+inst.ambiguous(env)]; ok && inst.identity() != "" {
				c.report.atKey(all.down(name, "instances", key), "correct it, or set protected: true here too",
					"this is the same instance as %s, which is protected", quote(other))
			}
		}
	}
}

func instancesOf(env *Environment) map[string]*Instance {
	if env == nil {
		return nil
	}
	return env.Instances
}

// identity is the same for two entries that are one server; "" if that cannot be known.
func (i *Instance) identity() string {
	switch coordinates := i.Coordinates(); {
	case coordinates == "":
		return ""
	case i.Kind() == cloud.RDS:
		return "rds " + coordinates + " " + i.RDS.Profile + " " + i.RDS.Endpoint
	case i.Kind() == cloud.CloudSQL:
		return "cloudsql " + coordinates + " " + i.CloudSQL.Endpoint
	default:
		return "postgres " + coordinates
	}
}

// endpoint checks the base URL of an API.
func (c *checker) endpoint(s spot, key, value string) {
	if s.node.kind != isMapping || !c.has(s, key, isText, false) {
		return
	}
	at := s.down(key)
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		c.report.atValue(at, "write it as in http://127.0.0.1:4566", "this is not the base URL of an API")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		c.report.atValue(at, "", "a base URL has no user, query or fragment")
	case u.Scheme == "http" && !loopback(u.Hostname()) && strings.Contains(u.Hostname(), "."):
		c.report.atValue(at, "write https://", "http would send cloud credentials in the clear; it is for emulators on this machine")
	}
}
