package config

import (
	"encoding/pem"
	"os"
	"slices"
	"strings"

	"dbops/internal/cloud"
)

// providers are the keys of an instance of which exactly one is wanted.
func providers() []string {
	return []string{string(cloud.RDS), string(cloud.CloudSQL), string(cloud.Postgres)}
}

func (c *checker) instance(env *Environment, inst *Instance, s spot) {
	if s.node.kind != isMapping && s.node.kind != isNull {
		return
	}
	var said []string
	for _, p := range s.node.pairs {
		if slices.Contains(providers(), p.key) {
			said = append(said, p.key)
		}
	}
	switch len(said) {
	case 0:
		c.report.atKey(s, "write rds:, cloudsql: or postgres: below it", "nothing says which server it is")
		return
	case 1:
	default:
		c.report.atKey(s, "keep one; a second server is a second instance", "it is one server, and cannot be %s", strings.Join(said, " and "))
		return
	}
	at := s.down(said[0])
	if at.node.kind != isMapping && at.node.kind != isNull {
		return
	}
	switch inst.Kind() {
	case cloud.RDS:
		c.rds(inst.RDS, at)
	case cloud.CloudSQL:
		c.cloudsql(inst.CloudSQL, at)
		c.data(inst, s, at)
	case cloud.Postgres:
		c.postgres(inst.Postgres, wayOf(env, inst), at)
	}
	c.via(inst.Via, s.down("via"))
	c.viaFits(env, inst, s)
	c.targets(inst.Targets, s)
	if c.has(s, "logins", isMapping, false) {
		all := s.down("logins")
		for _, p := range all.node.pairs {
			c.access(all.down(p.key), p.key)
			if login := inst.Logins[Access(p.key)]; login != nil {
				c.login(inst, login, all.down(p.key))
			}
		}
	}
}

func (c *checker) access(at spot, name string) {
	if slices.Contains(accesses(), name) {
		return
	}
	suggestion := didYouMean(name, accesses())
	if suggestion == "" {
		suggestion = "want one of " + strings.Join(accesses(), ", ")
	}
	c.report.atKey(at, suggestion, "unknown access %s", quote(name))
}

func (c *checker) rds(r *RDS, s spot) {
	if c.has(s, "region", isText, true) && !rdsRegion.MatchString(r.Region) {
		c.report.atValue(s.down("region"), "write it as in eu-west-1", "this is no region of AWS")
	}
	if c.has(s, "identifier", isText, true) {
		at := s.down("identifier")
		switch id := r.Identifier; {
		case strings.ToLower(id) != id:
			c.report.atValue(at, "write it in lower case, as RDS keeps it", "this is no identifier of RDS")
		case strings.HasPrefix(id, "arn:") || strings.Contains(id, ".rds.amazonaws.com"):
			c.report.atValue(at, "write the DB instance identifier alone", "this is no identifier of RDS")
		case len(id) > 63 || !rdsIdentifier.MatchString(id):
			c.report.atValue(at, "", "an identifier of RDS is 1 to 63 letters, digits and single dashes, and begins with a letter")
		}
	}
	c.has(s, "profile", isText, false)
	c.caFile(s)
	c.endpoint(s, "endpoint", r.Endpoint)
}

func (c *checker) cloudsql(g *CloudSQL, s spot) {
	if c.has(s, "project", isText, true) && !googleProject.MatchString(g.Project) {
		c.report.atValue(s.down("project"), "use the project's ID, as in my-project-123", "this is no project ID of Google Cloud")
	}
	if c.has(s, "region", isText, true) && !googleRegion.MatchString(g.Region) {
		c.report.atValue(s.down("region"), "write it as in europe-west1, without the zone", "this is no region of Google Cloud")
	}
	if c.has(s, "instance", isText, true) {
		at := s.down("instance")
		switch parts := strings.Split(g.Instance, ":"); {
		case len(parts) >= 3:
			c.report.atValue(at, "write its last part alone", "this is a connection name, not the name of an instance")
		case !cloudsqlInstance.MatchString(g.Instance):
			c.report.atValue(at, "", "an instance of Cloud SQL is named by up to 98 lower-case letters, digits and dashes, and begins with a letter")
		}
	}
	if c.has(s, "address", isText, false) {
		c.oneOf(s.down("address"), "address", g.Address, addresses())
	}
	c.endpoint(s, "endpoint", g.Endpoint)
}

// data checks what goes with the address sql_data.
func (c *checker) data(inst *Instance, s, at spot) {
	if inst.CloudSQL.Address != addressData {
		return
	}
	if strings.HasPrefix(inst.CloudSQL.Endpoint, "http://") {
		c.report.atValue(at.down("endpoint"), "write https://", "sql_data is spoken over TLS alone")
	}
	for _, access := range keys(inst.Logins) {
		if l := inst.Logins[Access(access)]; l != nil && l.IAM {
			c.report.atKey(s.down("logins", access, "iam"), "use secret:, or another address", "with sql_data nothing logs in with a cloud identity")
		}
	}
}

// wayOf is the via that holds for an instance.
func wayOf(env *Environment, inst *Instance) *Via {
	if inst.Via != nil {
		return inst.Via
	}
	return env.Via
}

// caFile checks that the file of certificates is one.
func (c *checker) caFile(s spot) bool { return c.caFileAt(s, "ca_file") }

func (c *checker) caFileAt(s spot, key string) bool {
	if !c.has(s, key, isText, false) {
		return false
	}
	at := s.down(key)
	path := within(c.dir, at.node.text)
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		c.report.atValue(at, "", "%s is not a file", printable(path))
		return false
	}
	text, err := read(path)
	if err != nil {
		c.report.atValue(at, "", "cannot read %s: %v", printable(path), err)
		return false
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			return true
		}
	}
	c.report.atValue(at, "", "%s holds no certificate in PEM format", printable(path))
	return false
}

// login checks how dbops logs in to an instance; s is where it stands.
func (c *checker) login(inst *Instance, l *Login, s spot) {
	if s.node.kind != isMapping {
		return
	}
	hasUser := c.has(s, "user", isText, false)
	if hasUser {
		c.identifier(s.down("user"), false, "user", l.User)
	}
	if c.has(s, "role", isText, false) {
		c.identifier(s.down("role"), false, "role", l.Role)
	}
	hasSecret := c.has(s, "secret", isText, false)
	if hasSecret {
		_, hasSecret = c.place(s.down("secret"), l.Secret)
	}
	if l.IAM && hasSecret {
		c.report.atKey(s.down("secret"), "keep one of them", "a login with iam needs no password")
	}
	if s.node.get("user") == nil && hasSecret && !l.IAM && (inst.Postgres == nil || serverURL(inst.Postgres.URL).User == "") {
		c.report.atKey(s, "write user: with the login role", "whose password the secret is, is not said")
	}
	if l.IAM {
		c.iam(inst, l, s, hasUser)
	}
}

func (c *checker) iam(inst *Instance, l *Login, s spot, hasUser bool) {
	switch inst.Kind() {
	case cloud.Postgres:
		c.report.atKey(s.down("iam"), "use secret:, or leave both out for PGUSER and PGPASSWORD",
			"only RDS and Cloud SQL log in with a cloud identity")
	case cloud.RDS:
		if s.node.get("user") == nil {
			c.report.atKey(s, "write user: with a role that is a member of rds_iam", "with iam on RDS user is missing")
		}
	case cloud.CloudSQL:
		if hasUser && strings.HasSuffix(l.User, ".gserviceaccount.com") {
			c.report.atValue(s.down("user"), "leave .gserviceaccount.com out", "Cloud SQL shortens the names of service accounts")
		}
	}
}
