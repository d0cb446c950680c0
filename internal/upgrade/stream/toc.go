package stream

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// pass is when an entry is made.
type pass int

const (
	passPre   pass = iota // before the data
	passIndex             // as soon as its table's data are in
	passRest              // what is quick, one by one
	passKeys              // foreign keys
	passAfter             // what stands on foreign keys, such as their comments
	passACL               // who may do what: it may take rights from the login that restores
	passFill              // materialised views are filled, as their owners
	passWake              // event triggers come to life, which may forbid anything
	passNone              // the session's settings, and data
)

// item is an entry with what has to be known to make it.
type item struct {
	entry
	key    string // the same in every dump of the same schema
	pass   pass
	weight int64 // pages of an index
}

// toc is an archive's contents.
type toc struct {
	items []*item
	byID  map[int]*item
}

func newTOC(entries []entry) *toc {
	t := &toc{byID: map[int]*item{}}
	seen := map[string]int{}
	for _, e := range entries {
		sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %q", e.desc, e.namespace, e.tag, e.owner, e.defn))
		it := &item{entry: e, key: hex.EncodeToString(sum[:12]), pass: e.pass()}
		if seen[it.key]++; seen[it.key] > 1 {
			it.key += fmt.Sprintf("-%d", seen[it.key])
		}
		if it.pass == passRest && slices.ContainsFunc(e.deps, func(d int) bool {
			return t.byID[d] != nil && (t.byID[d].pass == passKeys || t.byID[d].pass == passAfter)
		}) {
			it.pass = passAfter
		}
		t.items = append(t.items, it)
		t.byID[e.id] = it
	}
	return t
}

// of are the entries of some passes, in order.
func (t *toc) of(passes ...pass) (out []*item) {
	for _, it := range t.items {
		if slices.Contains(passes, it.pass) {
			out = append(out, it)
		}
	}
	return out
}

// sum is the same for dumps of the same schema.
func (t *toc) sum() string {
	keys := make([]string, 0, len(t.items))
	for _, it := range t.items {
		if it.pass != passNone {
			keys = append(keys, it.key)
		}
	}
	slices.Sort(keys) // pg_dump orders what does not depend on each other by OID in places
	sum := sha256.Sum256([]byte(strings.Join(keys, "\n")))
	return hex.EncodeToString(sum[:])
}

func (e *entry) pass() pass {
	switch e.desc {
	case "ENCODING", "STDSTRINGS", "SEARCHPATH", "DATABASE", "DATABASE PROPERTIES":
		return passNone
	}
	if strings.HasPrefix(e.tag, "DATABASE ") && (e.desc == "ACL" || e.desc == "COMMENT" || e.desc == "SECURITY LABEL") {
		return passNone // the database is not ours to make: its rights may be those of a source that is closed to writers
	}
	switch e.desc {
	case "ACL", "ACL LANGUAGE", "DEFAULT ACL":
		return passACL
	case "MATERIALIZED VIEW DATA":
		return passFill
	case "EVENT TRIGGER":
		return passWake
	case "COMMENT", "SECURITY LABEL":
		if strings.HasPrefix(e.tag, "EVENT TRIGGER ") {
			return passWake
		}
	}
	switch {
	case e.section == sectionPre:
		return passPre
	case e.section == sectionPost && e.desc == "FK CONSTRAINT":
		return passKeys
	case e.section == sectionPost && (e.desc == "INDEX" || e.desc == "CONSTRAINT"):
		return passIndex
	case e.section == sectionPost:
		return passRest
	}
	return passNone
}

// name is how a person knows it.
func (e *entry) name() string {
	what := strings.ToLower(e.desc)
	if e.desc == "FK CONSTRAINT" {
		what = "foreign key"
	}
	if e.namespace != "" {
		return what + " " + e.namespace + "." + e.tag
	}
	return what + " " + e.tag
}

// isPublic tells whether it gives the schema public to somebody, who is another one on each cloud.
func (e *entry) isPublic() bool {
	return e.desc == "SCHEMA" && e.tag == "public" || e.desc == "ACL" && e.tag == "SCHEMA public"
}

// sql makes the entry and gives it to its owner.
func (e *entry) sql() string {
	var b strings.Builder
	if e.tableam != "" && e.relkind != 'p' {
		b.WriteString("SET LOCAL default_table_access_method = " + ident(e.tableam) + ";\n")
	}
	b.WriteString(e.defn)
	if !strings.HasSuffix(strings.TrimSpace(e.defn), ";") {
		b.WriteString("\n;")
	}
	b.WriteString("\n")
	if what := e.owned(); what != "" {
		b.WriteString("ALTER " + what + " OWNER TO " + ident(e.owner) + ";\n")
	}
	if e.tableam != "" && e.relkind == 'p' {
		b.WriteString("ALTER TABLE " + ident(e.namespace, e.tag) + " SET ACCESS METHOD " + ident(e.tableam) + ";\n")
	}
	return b.String()
}

// owned names the thing for ALTER ... OWNER TO; "" if it has no owner of its own.
func (e *entry) owned() string {
	if e.owner == "" || e.drop == "" {
		return ""
	}
	switch e.desc {
	case "COLLATION", "CONVERSION", "DOMAIN", "FOREIGN TABLE", "MATERIALIZED VIEW", "SEQUENCE", "STATISTICS", "TABLE",
		"TEXT SEARCH DICTIONARY", "TEXT SEARCH CONFIGURATION", "TYPE", "VIEW",
		"DATABASE", "PROCEDURAL LANGUAGE", "SCHEMA", "EVENT TRIGGER", "FOREIGN DATA WRAPPER", "SERVER", "PUBLICATION", "SUBSCRIPTION":
		if e.namespace != "" {
			return e.desc + " " + ident(e.namespace, e.tag)
		}
		return e.desc + " " + ident(e.tag)
	case "AGGREGATE", "FUNCTION", "OPERATOR", "OPERATOR CLASS", "OPERATOR FAMILY", "PROCEDURE": // the arguments are part of the name
		return strings.TrimRight(strings.TrimPrefix(e.drop, "DROP "), ";\n")
	}
	return ""
}

var plainKey = regexp.MustCompile(`^ALTER TABLE ONLY (\S+)\n    ADD CONSTRAINT (\S+|"[^"]+") (PRIMARY KEY|UNIQUE) (\([^()]+\));\s*$`)

// asIndex splits a primary key or unique constraint of columns only into its index, which can be built beside others, and the constraint
// on top of it. ok is false where the constraint has to be made whole.
func (e *entry) asIndex() (index, constraint string, ok bool) {
	m := plainKey.FindStringSubmatch(e.defn)
	if e.desc != "CONSTRAINT" || m == nil || strings.Contains(m[4], "WITHOUT OVERLAPS") {
		return "", "", false
	}
	return fmt.Sprintf("CREATE UNIQUE INDEX %s ON %s %s", m[2], m[1], m[4]),
		fmt.Sprintf("ALTER TABLE ONLY %s ADD CONSTRAINT %s %s USING INDEX %s", m[1], m[2], m[3], m[2]), true
}

var plainReference = regexp.MustCompile(`^ALTER TABLE ONLY (\S+)\n    ADD CONSTRAINT (\S+|"[^"]+") FOREIGN KEY \([^;']+;\s*$`)

// asUnchecked splits a foreign key into one that is not valid yet and its validation, which lets others go on. Both tables must be plain.
func (e *entry) asUnchecked() (add, validate string, ok bool) {
	m := plainReference.FindStringSubmatch(e.defn)
	text := strings.TrimSuffix(strings.TrimSpace(e.defn), ";")
	if m == nil || strings.HasSuffix(text, "NOT VALID") || strings.HasSuffix(text, "NOT ENFORCED") {
		return "", "", false
	}
	return text + " NOT VALID", fmt.Sprintf("ALTER TABLE ONLY %s VALIDATE CONSTRAINT %s", m[1], m[2]), true
}

func ident(parts ...string) string { return pgx.Identifier(parts).Sanitize() }

func literal(s string) string {
	return "E'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(s) + "'"
}
