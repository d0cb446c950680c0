package config

import (
	_ "embed"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"dbops/internal/cloud"
)

// Discovered is an instance that a provider listed, to be put into a new dbops.yaml.
type Discovered struct {
	Environment string // see [GuessEnvironment]; empty means default
	Name        string // wanted under instances; made to fit and unique
	Instance    Instance
	Databases   []string // on the server, if known
}

//go:embed starter.yaml
var starterHead string

//go:embed example.yaml
var starterExample string

// Starter returns the text of a new dbops.yaml: entries for what was discovered, else an example in comments. [Load] accepts it
// as it is.
func Starter(discovered []Discovered) []byte {
	w := &starter{}
	w.WriteString(starterHead + "\n")
	if len(discovered) == 0 {
		w.WriteString(starterExample)
		return []byte(w.String())
	}
	w.line(0, "environments:")
	for i, env := range group(discovered) {
		if i > 0 {
			w.WriteString("\n")
		}
		w.environment(env)
	}
	return []byte(w.String())
}

// GuessEnvironment tells the environment of an instance by its tags or labels, else by a word in its name, else "default".
func GuessEnvironment(labels map[string]string, name string) string {
	for _, key := range []string{"dbops-environment", "environment", "env"} {
		for k, v := range sorted(labels) {
			if strings.EqualFold(k, key) && strings.TrimSpace(v) != "" {
				return fit(strings.ToLower(strings.TrimSpace(v)))
			}
		}
	}
	known := map[string]string{
		"prod": "prod", "production": "prod", "prd": "prod", "live": "prod",
		"staging": "staging", "stage": "staging", "stg": "staging",
		"dev": "dev", "development": "dev", "test": "test", "qa": "qa",
	}
	for word := range strings.FieldsFuncSeq(strings.ToLower(name), func(r rune) bool { return r == '-' || r == '_' || r == '.' }) {
		if env, ok := known[word]; ok {
			return env
		}
	}
	return "default"
}

// found is one environment of the starter.
type found struct {
	name      string
	instances []Discovered
}

// group sorts what was discovered into environments, drops what is there twice, and makes the names fit.
func group(all []Discovered) []found {
	var out []found
	seen := map[string]bool{}
	for _, d := range all {
		if id := d.Instance.identity(); id != "" && seen[id] {
			continue
		} else if id != "" {
			seen[id] = true
		}
		if d.Environment == "" {
			d.Environment = "default"
		}
		env := fit(d.Environment)
		i := slices.IndexFunc(out, func(f found) bool { return f.name == env })
		if i < 0 {
			out = append(out, found{name: env})
			i = len(out) - 1
		}
		d.Name = unique(fit(d.Name), func(s string) bool {
			return slices.ContainsFunc(out[i].instances, func(o Discovered) bool { return o.Name == s })
		})
		out[i].instances = append(out[i].instances, d)
	}
	slices.SortStableFunc(out, func(a, b found) int { return strings.Compare(a.name, b.name) })
	return out
}

// fit makes s a valid name.
func fit(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x80 && nameSyntax.MatchString(string(r)) {
			return r
		}
		return '-'
	}, s)
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '-' }), "-")
	if s = strings.Trim(s[:min(len(s), 60)], "-."); s == "" {
		return "unnamed"
	}
	return s
}

// unique returns s, or s with the first number that makes it new.
func unique(s string, taken func(string) bool) string {
	for n := 2; ; n++ {
		if !taken(s) {
			return s
		}
		if candidate := fmt.Sprintf("%s-%d", s, n); !taken(candidate) {
			return candidate
		}
	}
}

// starter writes YAML.
type starter struct{ strings.Builder }

func (w *starter) line(depth int, format string, args ...any) {
	w.WriteString(strings.Repeat("  ", depth))
	fmt.Fprintf(w, format, args...)
	w.WriteString("\n")
}

// pair writes a key with a value, if there is one.
func (w *starter) pair(depth int, key, value string) {
	if value != "" {
		w.line(depth, "%s: %s", key, scalar(value))
	}
}

func (w *starter) environment(env found) {
	w.line(1, "%s:", scalar(env.name))
	if slices.Contains([]string{"prod", "production", "prd", "live"}, strings.ToLower(env.name)) {
		w.line(2, "protected: true # asks for the instance's name before anything changes")
	}
	w.line(2, "instances:")
	for _, d := range env.instances {
		w.line(3, "%s:", scalar(d.Name))
		w.instance(d.Instance)
	}
	w.databases(env.instances)
}

func (w *starter) instance(i Instance) {
	w.line(4, "%s:", i.Kind())
	switch i.Kind() {
	case cloud.RDS:
		w.pair(5, "region", i.RDS.Region)
		w.pair(5, "identifier", i.RDS.Identifier)
		w.pair(5, "profile", i.RDS.Profile)
		w.pair(5, "endpoint", i.RDS.Endpoint)
		if i.RDS.CAFile == "" {
			w.line(5, "# ca_file: rds.pem # CAs to trust in place of dbops's own copy of the region's")
		}
		w.pair(5, "ca_file", i.RDS.CAFile)
		w.line(4, "# logins: # without them: PGUSER, PGPASSWORD, ~/.pgpass")
		w.line(4, "#   read: {user: dbops_read, iam: true} # or secret: aws-sm:NAME")
	case cloud.CloudSQL:
		w.pair(5, "project", i.CloudSQL.Project)
		w.pair(5, "region", i.CloudSQL.Region)
		w.pair(5, "instance", i.CloudSQL.Instance)
		w.pair(5, "address", i.CloudSQL.Address)
		w.pair(5, "endpoint", i.CloudSQL.Endpoint)
		w.line(4, "# logins: # without them: PGUSER, PGPASSWORD, ~/.pgpass")
		w.line(4, "#   read: {iam: true} # or user: NAME and secret: gcp-sm:projects/PROJECT/secrets/NAME")
	case cloud.Postgres:
		if i.Postgres != nil {
			w.pair(5, "url", withoutPassword(i.Postgres.URL))
			w.pair(5, "ca_file", i.Postgres.CAFile)
		}
		w.line(4, "# logins: # without them: PGUSER, PGPASSWORD, ~/.pgpass")
		w.line(4, "#   read: {user: dbops_read, secret: file:read.password}")
	}
}

// withoutPassword is a URL that may be written to the file, "" if that cannot be known.
func withoutPassword(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	if name := u.User.Username(); name != "" {
		u.User = url.User(name)
	} else {
		u.User = nil
	}
	q := u.Query()
	q.Del("password")
	q.Del("sslpassword")
	u.RawQuery = q.Encode()
	return u.String()
}

// databases writes what was found on the servers, or how to write it.
func (w *starter) databases(all []Discovered) {
	taken := map[string]bool{}
	for _, d := range all {
		for _, name := range d.Databases {
			if identifierProblem(name) != "" || credential.MatchString(name) ||
				slices.Contains([]string{"postgres", "template0", "template1", "rdsadmin", "cloudsqladmin"}, name) {
				continue
			}
			if len(taken) == 0 {
				w.line(2, "databases: # by the names that clients ask for")
			}
			key := name
			if taken[key] { // the same name on another instance
				key = unique(fit(d.Name+"-"+name), func(s string) bool { return taken[s] })
			}
			taken[key] = true
			w.line(3, "%s:", scalar(key))
			w.pair(4, "instance", d.Name)
			if key != name {
				w.pair(4, "name", name)
			}
		}
	}
	if len(taken) == 0 {
		w.line(2, "# databases:")
		w.line(2, "#   NAME: # by which clients ask for it")
		w.line(2, "#     instance: %s", scalar(all[0].Name))
		w.line(2, "#     migrations: migrations/NAME")
	}
}

// plainScalar needs no quotes in YAML, unless it is one of its words.
var plainScalar = regexp.MustCompile(`^[A-Za-z_/][A-Za-z0-9._/?=&:-]*$`)

// scalar is s as YAML reads it back as text.
func scalar(s string) string {
	words := []string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
	if plainScalar.MatchString(s) && !strings.HasSuffix(s, ":") && !slices.Contains(words, strings.ToLower(s)) {
		return s
	}
	return strconv.Quote(s)
}
