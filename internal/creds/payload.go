package creds

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"dbops/internal/fault"
	"dbops/internal/secret"
)

// A payload is the text of a delivered credential, in the form that its container reads: a JSON object, a connection URL, or lines of
// variables. What dbops does not know in it stays as it is.
type payload struct {
	form   form
	fields map[string]json.RawMessage // of JSON
	order  []string
	url    *url.URL
	lines  []string // of variables
}

type form string

const (
	formJSON form = "JSON"
	formURL  form = "URL"
	formEnv  form = "variables"
)

var errPayload = errors.New("it is neither a JSON object with username and password, nor a postgres:// URL, nor lines with PGUSER and PGPASSWORD or DATABASE_URL")

// parsePayload reads the text of a credential. No error holds any part of it.
func parsePayload(v secret.Value) (*payload, error) {
	text := strings.TrimSpace(v.Reveal())
	switch {
	case strings.HasPrefix(text, "{"):
		p := &payload{form: formJSON}
		return p, p.parseJSON([]byte(text))
	case strings.HasPrefix(text, "postgres://"), strings.HasPrefix(text, "postgresql://"):
		u, err := url.Parse(text)
		if err != nil || u.User == nil {
			return nil, errors.New("it is a URL without user and password, or a broken one")
		}
		return &payload{form: formURL, url: u}, nil
	default:
		p := &payload{form: formEnv, lines: strings.Split(text, "\n")}
		if user, _ := p.login(); user == "" {
			return nil, errPayload
		}
		return p, nil
	}
}

func (p *payload) parseJSON(text []byte) error {
	broken := errors.New("it is a broken JSON object")
	if err := json.Unmarshal(text, &p.fields); err != nil {
		return broken
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if _, err := d.Token(); err != nil {
		return broken
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return broken
		}
		if k, ok := key.(string); ok && !slices.Contains(p.order, k) {
			p.order = append(p.order, k)
		}
		var skip json.RawMessage
		if err := d.Decode(&skip); err != nil {
			return broken
		}
	}
	if p.text("username") == "" {
		return errPayload
	}
	return nil
}

func (p *payload) text(key string) string {
	var s string
	if json.Unmarshal(p.fields[key], &s) != nil {
		return ""
	}
	return s
}

func (p *payload) set(key string, value any) {
	raw, err := json.Marshal(value)
	if err != nil {
		return // texts, numbers and maps of them: never
	}
	if _, ok := p.fields[key]; !ok {
		p.order = append(p.order, key)
	}
	p.fields[key] = raw
}

// Login is who the credential logs in as.
func (p *payload) Login() Login {
	user, password := p.login()
	return Login{user, secret.New(password)}
}

func (p *payload) login() (user, password string) {
	switch p.form {
	case formJSON:
		return p.text("username"), p.text("password")
	case formURL:
		password, _ = p.url.User.Password()
		return p.url.User.Username(), password
	default:
		if raw, ok := p.variable("DATABASE_URL"); ok {
			if u, err := url.Parse(raw); err == nil && u.User != nil {
				password, _ = u.User.Password()
				return u.User.Username(), password
			}
		}
		user, _ = p.variable("PGUSER")
		password, _ = p.variable("PGPASSWORD")
		return user, password
	}
}

// variable reads NAME=value, or NAME="value", without escapes: what dbops writes needs none.
func (p *payload) variable(name string) (string, bool) {
	for _, line := range p.lines {
		if v, ok := strings.CutPrefix(strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "export ")), name+"="); ok {
			return strings.Trim(v, `"'`), true
		}
	}
	return "", false
}

func (p *payload) setVariable(name, value string) {
	for i, line := range p.lines {
		head, old, ok := strings.Cut(line, "=")
		if ok && strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(head), "export ")) == name {
			quote := ""
			if len(old) > 1 && (old[0] == '"' || old[0] == '\'') {
				quote = old[:1]
			}
			p.lines[i] = head + "=" + quote + value + quote
			return
		}
	}
}

// addresses are where the credential says that its databases are.
func (p *payload) addresses() (all []address) {
	of := func(u *url.URL) {
		port, _ := strconv.Atoi(u.Port()) // 0: not said
		all = append(all, address{u.Hostname(), port, strings.TrimPrefix(u.Path, "/")})
	}
	switch p.form {
	case formJSON:
		type place struct {
			Host   string `json:"host"`
			Port   int    `json:"port"`
			DBName string `json:"dbname"`
		}
		var one place
		_ = json.Unmarshal(p.fields["port"], &one.Port) // 0: not said, here and below
		one.Host, one.DBName = p.text("host"), p.text("dbname")
		places := map[string]place{"": one}
		_ = json.Unmarshal(p.fields["databases"], &places)
		for _, key := range slices.Sorted(maps.Keys(places)) {
			all = append(all, address{places[key].Host, places[key].Port, places[key].DBName})
		}
	case formURL:
		of(p.url)
	default:
		if raw, ok := p.variable("DATABASE_URL"); ok {
			if u, err := url.Parse(raw); err == nil {
				of(u)
			}
		}
		host, _ := p.variable("PGHOST")
		port, _ := p.variable("PGPORT")
		server, _ := p.variable("PGDATABASE")
		n, _ := strconv.Atoi(port)
		all = append(all, address{host, n, server})
	}
	return slices.DeleteFunc(all, func(a address) bool { return a.Host == "" })
}

// Put changes who the credential logs in as, and says which slot that is.
func (p *payload) Put(l Login, slot string) {
	switch p.form {
	case formJSON:
		p.set("username", l.User)
		p.set("password", l.Password.Reveal())
		p.set("slot", slot)
	case formURL:
		p.url.User = url.UserPassword(l.User, l.Password.Reveal())
	default:
		if raw, ok := p.variable("DATABASE_URL"); ok {
			if u, err := url.Parse(raw); err == nil {
				u.User = url.UserPassword(l.User, l.Password.Reveal())
				p.setVariable("DATABASE_URL", u.String())
			}
		}
		p.setVariable("PGUSER", l.User)
		p.setVariable("PGPASSWORD", l.Password.Reveal())
	}
}

// Value is the text of the credential.
func (p *payload) Value() (secret.Value, error) {
	switch p.form {
	case formJSON:
		var b bytes.Buffer
		b.WriteByte('{')
		for i, key := range p.order {
			if i > 0 {
				b.WriteByte(',')
			}
			name, err := json.Marshal(key)
			if err != nil {
				return secret.Value{}, errors.New("a field's name is no text")
			}
			b.Write(name)
			b.WriteByte(':')
			b.Write(p.fields[key])
		}
		b.WriteByte('}')
		return secret.New(b.String()), nil
	case formURL:
		return secret.New(p.url.String()), nil
	default:
		return secret.New(strings.Join(p.lines, "\n") + "\n"), nil
	}
}

// newPayload is the first credential of a container: a JSON object.
func newPayload(c Container, at Address, l Login, slot string) *payload {
	p := &payload{form: formJSON, fields: map[string]json.RawMessage{}}
	p.set("engine", "postgres")
	p.set("username", l.User)
	p.set("password", l.Password.Reveal())
	p.set("host", at.Host)
	p.set("port", at.Port)
	p.set("dbname", c.Databases[0].Server)
	p.set("sslmode", at.SSLMode)
	p.set("slot", slot)
	type database struct {
		Host   string `json:"host"`
		Port   int    `json:"port"`
		DBName string `json:"dbname"`
	}
	all := map[string]database{}
	for _, d := range c.Databases {
		all[d.Name] = database{at.Host, at.Port, d.Server}
	}
	p.set("databases", all)
	return p
}

// readPayload reads a credential that a place holds.
func readPayload(what, place string, v secret.Value) (*payload, error) {
	p, err := parsePayload(v)
	if err != nil {
		return nil, fault.Newf(fault.Invalid, what, "the credential in %s: %w", place, err).Hint("dbops creds repair brings the one back that dbops delivered, if there is one")
	}
	return p, nil
}

// variables are a credential as the lines of an environment file: libpq's own names and a URL.
func (p *payload) variables() (names []string, values map[string]string) {
	l := p.Login()
	values = map[string]string{"PGUSER": l.User, "PGPASSWORD": l.Password.Reveal()}
	if p.form == formJSON {
		var port int
		_ = json.Unmarshal(p.fields["port"], &port) // 0: left out
		for name, v := range map[string]string{"PGHOST": p.text("host"), "PGDATABASE": p.text("dbname"), "PGSSLMODE": p.text("sslmode")} {
			if v != "" {
				values[name] = v
			}
		}
		if port > 0 {
			values["PGPORT"] = strconv.Itoa(port)
		}
	}
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, values
}
