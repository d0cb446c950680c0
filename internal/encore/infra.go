package encore

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/tailscale/hujson"

	"dbops/internal/fault"
)

// Infra is an infra.config.json.
type Infra struct {
	doc      *document
	lang     Language
	entries  []*entry
	warnings []string

	// Metadata as the file has it; empty where it says nothing.
	AppID, EnvName, EnvType string
	Services                []string // hosted_services
}

// entry is one database of the config, with where its values stand.
type entry struct {
	Database
	at       string         // its path, for errors
	object   *hujson.Object // of the database
	server   *hujson.Object
	serverAt string
}

// ParseInfra reads an infra config, with comments or without. In Go apps the key of a database is its name on the server and "name" the one
// in code, in TypeScript apps it is the other way round; lang may be empty for a config in which that makes no difference.
//
// A config that is malformed, or that the runtime of lang would refuse where databases are concerned, is a fault.Config; no error holds any
// part of a value.
func ParseInfra(text []byte, lang Language) (*Infra, error) {
	const what = "the infra config"
	doc, err := parseDocument(text)
	if err != nil {
		return nil, malformed(what, err)
	}
	c := &Infra{doc: doc, lang: lang}
	if err := c.read(); err != nil {
		f := malformed(what, err)
		if err == errWhichLanguage { //nolint:errorlint // it is returned as it is
			f = f.Hint("--lang go, or --lang ts")
		}
		return nil, f
	}
	return c, nil
}

var errWhichLanguage = fmt.Errorf("it names a database by key and by \"name\", which Go and TypeScript read the opposite way: " +
	"say which language the app is written in")

func (c *Infra) read() error {
	root, err := object(&c.doc.root, "the whole")
	if err != nil {
		return err
	}
	if err := c.metadata(root); err != nil {
		return err
	}
	servers, err := list(root, "sql_servers")
	if err != nil {
		return err
	}
	for i := range servers {
		if err := c.server(&servers[i], i); err != nil {
			return err
		}
	}
	return pairUp(c.entries)
}

func (c *Infra) metadata(root *hujson.Object) error {
	c.Services = nil
	services, err := list(root, "hosted_services")
	if err != nil {
		return err
	}
	for i := range services {
		if services[i].Value.Kind() == '"' {
			c.Services = append(c.Services, literal(services[i]))
		}
	}
	v, err := member(root, "", "metadata")
	if v == nil {
		return err
	}
	o, err := object(v, "metadata")
	if err != nil {
		return err
	}
	if c.AppID, err = textOf(o, "metadata", "app_id"); err != nil {
		return err
	}
	if c.EnvName, err = textOf(o, "metadata", "env_name"); err != nil {
		return err
	}
	c.EnvType, err = textOf(o, "metadata", "env_type")
	return err
}

func (c *Infra) server(v *hujson.Value, i int) error {
	at := item("sql_servers", i)
	server, err := object(v, at)
	if err != nil {
		return err
	}
	host, err := textOf(server, at, "host")
	if err != nil {
		return err
	}
	if host == "" {
		return fmt.Errorf("%s is missing", below(at, "host"))
	}
	tls, err := c.tls(server, at, host)
	if err != nil {
		return err
	}
	v, err = member(server, at, "databases")
	if v == nil {
		return err
	}
	at, serverAt := below(at, "databases"), at
	databases, err := object(v, at)
	if err != nil {
		return err
	}
	var here []*entry
	for j := range databases.Members {
		m := &databases.Members[j]
		e := &entry{at: below(at, literal(m.Name)), server: server, serverAt: serverAt}
		e.Host, e.Server, e.TLS, e.CAs = host, i, tls.does, tls.cas
		if slices.ContainsFunc(here, func(o *entry) bool { return o.at == e.at }) {
			return fmt.Errorf("%s is there twice", e.at)
		}
		if err := c.database(e, literal(m.Name), &m.Value); err != nil {
			return err
		}
		here = append(here, e)
	}
	c.entries = append(c.entries, here...)
	return nil
}

func (c *Infra) database(e *entry, key string, v *hujson.Value) (err error) {
	if e.object, err = object(v, e.at); err != nil {
		return err
	}
	name, err := textOf(e.object, e.at, "name")
	if err != nil {
		return err
	}
	name = cmp.Or(name, key)
	switch {
	case key == "":
		return fmt.Errorf("%s has no name", e.at)
	case c.lang == TypeScript:
		e.Encore, e.Name = key, name
	case c.lang == "" && name != key:
		return errWhichLanguage
	default:
		e.Encore, e.Name = name, key
	}
	if e.Username, err = origin(e.object, e.at, Username); err != nil {
		return err
	}
	if e.Password, err = origin(e.object, e.at, Password); err != nil {
		return err
	}
	e.Password.Text = ""
	for _, field := range []struct {
		name string
		is   Origin
	}{{Username, e.Username}, {Password, e.Password}} {
		if field.is == (Origin{}) {
			c.warn("%s is missing", below(e.at, field.name))
		}
	}
	if c.lang == TypeScript && e.Username.Variable != "" {
		c.warn("%s names a variable: the TypeScript runtime takes a string only, and does not start with this", below(e.at, Username))
	}
	if c.lang == Go {
		if cert, err := member(e.object, e.at, "client_cert"); err == nil && cert != nil {
			c.warn("%s is ignored by the Go runtime: it takes the one in tls_config", below(e.at, "client_cert"))
		}
	}
	return nil
}

// origin reads a string or {"$env": NAME}.
func origin(o *hujson.Object, at, key string) (Origin, error) {
	v, err := member(o, at, key)
	if v == nil {
		return Origin{}, err
	}
	at = below(at, key)
	switch x := v.Value.(type) {
	case hujson.Literal:
		if x.Kind() == '"' {
			return Origin{Text: x.String(), InText: true}, nil
		}
	case *hujson.Object:
		name, err := textOf(x, at, "$env")
		if err != nil {
			return Origin{}, err
		}
		if len(x.Members) == 1 && name != "" {
			return Origin{Variable: name}, nil
		}
	}
	return Origin{}, fmt.Errorf("%s is neither a string nor {\"$env\": NAME}", at)
}

// pairUp fills in who shares a server, and refuses two databases of one name.
func pairUp(entries []*entry) error {
	for i, e := range entries {
		for j, o := range entries {
			switch {
			case i == j:
			case e.Encore == o.Encore:
				return fmt.Errorf("%s and %s are the same database to the app: %q", entries[min(i, j)].at, entries[max(i, j)].at, e.Encore)
			case e.Server == o.Server:
				e.Shares = append(e.Shares, o.Encore)
			}
		}
	}
	return nil
}

// Databases lists what the config names, in its order.
func (c *Infra) Databases() []Database { return databases(c.entries) }

func databases(entries []*entry) []Database {
	out := make([]Database, 0, len(entries))
	for _, e := range entries {
		out = append(out, e.Database)
	}
	return out
}

// Warnings are what is not wrong enough to refuse: fields that the runtime ignores, and how far TLS can be relied on.
func (c *Infra) Warnings() []string { return slices.Clone(c.warnings) }

// Language is what it was read as.
func (c *Infra) Language() Language { return c.lang }

// Text is the config in strict JSON, as the runtimes want it. It is the very text that was read where nothing changed and nothing had to go.
// It holds whatever secrets the config holds.
func (c *Infra) Text() []byte { return c.doc.text() }

func (c *Infra) holdsPasswords() bool {
	return slices.ContainsFunc(c.entries, func(e *entry) bool { return e.Password.InText })
}

func (c *Infra) warn(format string, args ...any) {
	if w := fmt.Sprintf(format, args...); !slices.Contains(c.warnings, w) {
		c.warnings = append(c.warnings, w)
	}
}

// find is the entry of a database by the name that the app's code has for it.
func find(entries []*entry, name, op string) (*entry, error) {
	known := make([]string, 0, len(entries))
	for _, e := range entries {
		if e.Encore == name {
			return e, nil
		}
		known = append(known, e.Encore)
	}
	f := fault.Newf(fault.Usage, op, "there is no database %q", name)
	if len(known) == 0 {
		return nil, f.Hint("the text names no database at all")
	}
	return nil, f.Hint("by the names in the app's code there are: %s", strings.Join(known, ", "))
}
