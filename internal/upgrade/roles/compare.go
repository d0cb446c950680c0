package roles

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Difference is something that is not the same on both sides; "" is not there. Expected says why it should not be; it is empty where it should.
type Difference struct {
	What     string `json:"what"` // role, attribute, password, membership, setting, database, privilege
	Name     string `json:"name"`
	Source   string `json:"source"`
	Target   string `json:"target"`
	Expected string `json:"expected,omitempty"`
}

// Compare tells what of roles, memberships, settings and the named databases differs, as far as both logins may see it. PostgreSQL's own roles
// and a cloud's are left out, and so is who granted a membership; passwords are compared where both sides show their verifiers.
func Compare(ctx context.Context, source, target Connect, databases []string) ([]Difference, error) {
	from, err := Read(ctx, source, databases)
	if err != nil {
		return nil, err
	}
	return from.compare(ctx, target, databases)
}

// Compare is [Compare] with settings and databases as the model has them, for a source that was closed to writers since: what closes it are
// settings and privileges.
func (m *Model) Compare(ctx context.Context, source, target Connect, databases []string) ([]Difference, error) {
	from, err := Read(ctx, source, databases)
	if err != nil {
		return nil, err
	}
	from.Settings, from.Databases = m.Settings, m.Databases
	return from.compare(ctx, target, databases)
}

func (m *Model) compare(ctx context.Context, target Connect, databases []string) ([]Difference, error) {
	const what = "compare the roles and databases"
	conn, err := open(ctx, target, maintenance)
	if err != nil {
		return nil, failed(what, err)
	}
	defer closing(ctx, conn)
	to, err := read(ctx, conn, databases)
	if err != nil {
		return nil, failed(what, err)
	}
	known, err := parameters(ctx, conn)
	if err != nil {
		return nil, failed(what, err)
	}
	c := &comparison{from: m, to: to, there: to.index(), here: m.index(), known: known, out: []Difference{}}
	c.roles()
	c.memberships()
	c.settings()
	c.databases()
	slices.SortStableFunc(c.out, func(a, b Difference) int {
		return cmp.Or(strings.Compare(a.What, b.What), strings.Compare(a.Name, b.Name), strings.Compare(a.Source, b.Source))
	})
	return c.out, nil
}

// parameters are those that the server shows, in small letters, with who may set them.
func parameters(ctx context.Context, conn *pgx.Conn) (map[string]string, error) {
	type row struct{ Name, Context string }
	all, err := collect(ctx, conn, "select pg_catalog.lower(name), context from pg_catalog.pg_settings", pgx.RowToStructByPos[row])
	out := make(map[string]string, len(all))
	for _, r := range all {
		out[r.Name] = r.Context
	}
	return out, err
}

type comparison struct {
	from, to    *Model
	here, there map[string]*Role
	known       map[string]string // parameters of the target
	out         []Difference
}

func (c *comparison) note(what, name, source, target, expected string) {
	c.out = append(c.out, Difference{what, name, source, target, expected})
}

const (
	ours        = "it is the login that upgrades"
	administers = "who makes a role administers it"
	superOnly   = "only a superuser may give it"
)

func (c *comparison) roles() {
	for _, r := range c.from.Roles {
		is, name := c.there[r.Name], quoted(r.Name)
		switch {
		case c.from.provided(r.Name):
			if is == nil && !providers.MatchString(r.Name) {
				c.note("role", name, "is there", "", "it is the superuser that the source was made with")
			}
		case is == nil:
			c.note("role", name, "is there", "", "")
		case !c.to.provided(r.Name):
			c.attributes(&r, is)
		}
	}
	for _, r := range c.to.Roles {
		if c.here[r.Name] != nil || c.to.provided(r.Name) {
			continue
		}
		why := ""
		if r.Name == c.to.Login {
			why = ours
		}
		c.note("role", quoted(r.Name), "", "is there", why)
	}
}

func (c *comparison) attributes(r, is *Role) {
	why := ""
	if r.Name == c.to.Login {
		why = ours
	}
	for _, d := range r.differences(is) {
		expected := why
		if expected == "" && !c.to.Superuser && slices.Contains([]string{"SUPERUSER", "REPLICATION", "BYPASSRLS"}, d.what) && d.to == "true" {
			expected = superOnly
		}
		c.note("attribute", d.what+" of "+quoted(r.Name), d.to, d.from, expected)
	}
	if !c.from.Passwords || !c.to.Passwords {
		return
	}
	a, b := c.from.verifiers[r.Name], c.to.verifiers[r.Name]
	if !a.Equal(b.Reveal()) {
		c.note("password", quoted(r.Name), one(!a.IsZero(), "one"), one(!b.IsZero(), "another"), why)
	}
}

func one(there bool, text string) string {
	if there {
		return text
	}
	return "none"
}

func (c *comparison) memberships() {
	want := merged(c.from.wanted(c.to, func(what, why string) { c.note("membership", what, "is there", "", why) }))
	has := merged(c.to.Memberships)
	show := func(g Membership, there bool) string {
		switch {
		case !there:
			return ""
		case c.to.Major >= 16:
			return g.options()
		default:
			return fmt.Sprintf("ADMIN %t", g.Admin)
		}
	}
	for p, w := range want {
		h, there := has[p]
		if show(w, true) != show(h, there) {
			why := ""
			if there && p.member == c.to.Login && covers(h, w, c.to.Major) {
				why = administers
			}
			c.note("membership", w.String(), show(w, true), show(h, there), why)
		}
	}
	for p, h := range has {
		if _, ok := want[p]; ok || c.to.provided(p.role) && c.to.provided(p.member) || p.member == c.to.Bootstrap {
			continue
		}
		why := ""
		switch {
		case p.member == c.to.Login:
			why = administers
			if c.to.provided(p.role) {
				why = ours
			}
		case strings.HasPrefix(p.role, "pg_") && c.here[p.role] == nil:
			why = missingSource(p.role, c.from.Major)
		}
		c.note("membership", h.String(), "", show(h, true), why)
	}
}

func missingSource(role string, major int) string {
	return fmt.Sprintf("PostgreSQL %d has no role %s", major, role)
}

func (c *comparison) settings() {
	has := c.to.values()
	seen := map[whose]bool{}
	for _, x := range c.from.Settings {
		x, ok, why := c.from.forTarget(x, c.to, c.there)
		if why != "" {
			c.note("setting", x.String(), x.Value, "", why)
		}
		key := whose{x.Role, x.Database, x.Parameter}
		seen[key] = true
		value, there := has[key]
		if !ok || there && value == x.Value || x.Database != "" && c.to.database(x.Database) == nil {
			continue
		}
		custom := strings.Contains(x.Parameter, ".")
		context, known := c.known[strings.ToLower(x.Parameter)]
		switch {
		case x.Role == "" && x.Database == "" && !c.to.Superuser:
			why = superOnly
		case !known && !custom:
			why = fmt.Sprintf("PostgreSQL %d does not know the parameter, or does not show it to %s", c.to.Major, quoted(c.to.Login))
		case !c.to.Superuser && (strings.HasPrefix(context, "superuser") || !known): // nobody else may set what the server does not know
			why = superOnly
		}
		c.note("setting", x.String(), x.Value, value, why)
	}
	for _, x := range c.to.Settings {
		if !seen[whose{x.Role, x.Database, x.Parameter}] && (x.Role == "" || !c.to.provided(x.Role)) {
			c.note("setting", x.String(), "", x.Value, "")
		}
	}
}

func (c *comparison) databases() {
	for _, d := range c.from.Databases {
		name, is := quoted(d.Name), c.to.database(d.Name)
		if is == nil {
			c.note("database", name, "is there", "", "")
			continue
		}
		differ := func(what, source, target, expected string) {
			if source != target {
				c.note("database", what+" of "+name, source, target, expected)
			}
		}
		if owner, err := c.from.owner(c.to, &d); err == nil && owner != d.Owner {
			differ("owner", d.Owner, is.Owner, "the source's owner is its server's own")
		} else {
			differ("owner", d.Owner, is.Owner, "")
		}
		if !d.alike(is) {
			why := ""
			if strings.Contains(d.Locale, "@") && c.from.Major < 16 && c.to.Major >= 16 {
				why = "PostgreSQL 16 and later write locales of ICU as language tags"
			}
			differ("locale", d.locale(), is.locale(), why)
		}
		differ("connection limit", fmt.Sprint(d.Limit), fmt.Sprint(is.Limit), "")
		differ("comment", d.Comment, is.Comment, "")
		differ("IS_TEMPLATE", fmt.Sprint(d.Template), fmt.Sprint(is.Template), "")
		differ("ALLOW_CONNECTIONS", fmt.Sprint(!d.Closed), fmt.Sprint(!is.Closed), "")
		differ("tablespace", orDefault(d.Tablespace), orDefault(is.Tablespace), "tablespaces belong to the machine")
		c.privileges(&d, is)
	}
}

func (c *comparison) privileges(d, is *Database) {
	want, missing := c.from.acl(c.to, c.there, d, is)
	name := quoted(d.Name)
	for _, a := range missing {
		c.note("privilege", a.on(name), "is there", "", missingRole(a.Grantee, c.to.Major))
	}
	for _, a := range want {
		if !slices.Contains(is.ACL, a) {
			c.note("privilege", a.on(name), a.shown(), "", "")
		}
	}
	for _, a := range is.ACL {
		why := ""
		switch {
		case slices.Contains(want, a), c.to.provided(a.Grantee):
			continue
		case a.Grantee == c.to.Login && a.Privilege == "CONNECT":
			why = ours
		}
		c.note("privilege", a.on(name), "", a.shown(), why)
	}
}

func (a ACL) shown() string {
	if a.Grantable {
		return "with grant option"
	}
	return "is there"
}
