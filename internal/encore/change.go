package encore

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tailscale/hujson"

	"dbops/internal/fault"
)

// Set makes the entry of a database hold what c says, or changes nothing and says why. Doing it again changes nothing more.
func (c *Infra) Set(database string, change Change) (Report, error) {
	op := "change database " + database + " in the infra config"
	e, err := find(c.entries, database, op)
	if err != nil {
		return Report{}, err
	}
	if c.lang == "" {
		return Report{}, fault.Newf(fault.Usage, op, "Go and TypeScript read it differently").Hint("--lang go, or --lang ts")
	}
	ca, err := change.check(op, c.lang)
	if err != nil {
		return Report{}, err
	}
	report := Report{CommentsGone: c.doc.lenient}
	was := e.Username
	c.setUsername(e, change, &report)
	c.setPassword(e, change, &report)
	report.live(was, change)
	if change.Host != "" && c.doc.setText(e.server, "host", change.Host) {
		report.Changed = append(report.Changed, Host)
	}
	if ca != "" && c.setCA(e, ca) {
		report.Changed = append(report.Changed, CA)
	}
	c.entries, c.warnings = nil, nil
	if err := c.read(); err != nil {
		return Report{}, fault.New(fault.Internal, op, err)
	}
	if e, err = find(c.entries, database, op); err != nil {
		return Report{}, err
	}
	report.warn(c.warnings...)
	if len(e.Shares) > 0 && (slices.Contains(report.Changed, Host) || slices.Contains(report.Changed, CA)) {
		report.warn("host and ca are those of the whole server: they changed for " + joined(e.Shares) + " too")
	}
	c.sharedVariables(e, &report)
	return report, nil
}

func (c *Infra) setUsername(e *entry, change Change, report *Report) {
	switch {
	case change.Username == "":
	case e.Username.Variable != "" && !change.Inline && c.lang == Go:
		report.Variables = append(report.Variables, Variable{e.Username.Variable, Username})
	default: // TypeScript takes no variable here
		if c.doc.setText(e.object, Username, change.Username) {
			report.Changed, report.OldUsername = append(report.Changed, Username), e.Username.Text
			report.inlined(e.Username, Username)
		}
	}
}

func (c *Infra) setPassword(e *entry, change Change, report *Report) {
	switch {
	case change.Password.IsZero():
	case e.Password.Variable != "" && !change.Inline:
		report.Variables = append(report.Variables, Variable{e.Password.Variable, Password})
	default:
		if c.doc.setText(e.object, Password, change.Password.Reveal()) {
			report.Changed = append(report.Changed, Password)
			report.inlined(e.Password, Password)
		}
	}
}

func (c *Infra) setCA(e *entry, ca string) bool {
	for i := range e.server.Members {
		m := &e.server.Members[i]
		if literal(m.Name) != "tls_config" {
			continue
		}
		if config, ok := m.Value.Value.(*hujson.Object); ok {
			if old, err := textOf(config, "", "ca"); err == nil && strings.TrimSpace(old) == strings.TrimSpace(ca) {
				return false
			}
			return c.doc.setText(config, "ca", ca)
		}
		m.Value.Value = wrapped("ca", ca) // null
		c.doc.changed = true
		return true
	}
	c.doc.add(e.server, "tls_config", wrapped("ca", ca))
	return true
}

// wrapped is {"key": "text"}.
func wrapped(key, text string) *hujson.Object {
	return &hujson.Object{Members: []hujson.ObjectMember{{
		Name:  hujson.Value{Value: hujson.String(key)},
		Value: hujson.Value{Value: hujson.String(text), BeforeExtra: hujson.Extra(" ")},
	}}}
}

// sharedVariables warns of variables that other databases take their values from too.
func (c *Infra) sharedVariables(e *entry, report *Report) {
	for _, v := range report.Variables {
		for _, o := range c.entries {
			if o != e && (o.Username.Variable == v.Name || o.Password.Variable == v.Name) {
				report.warn(fmt.Sprintf("$%s is read for the database %s too: give this one a variable of its own, or both get the new value", v.Name, o.Encore))
			}
		}
	}
}

// live warns of a change for the user that the text names already, after user and password were set. Whom a variable names is not known: a user
// that is given is then taken for another.
func (r *Report) live(was Origin, change Change) {
	same := change.Username == "" || was.InText && was.Text == change.Username
	password := slices.Contains(r.Changed, Password) || slices.ContainsFunc(r.Variables, func(v Variable) bool { return v.Holds == Password })
	if same && (password || change.Username != "" && change.Password.IsZero()) {
		r.SameUser = true
		r.warn(liveUser)
	}
}

const liveUser = "the text names this user already. Never change the password of the user that is logged in: every new connection fails until the last " +
	"container is restarted. Make a second user, or give an idle one the password, and name it with --user"

func (r *Report) inlined(was Origin, holds string) {
	if was.Variable != "" {
		r.Inlined = append(r.Inlined, Variable{was.Variable, holds})
	}
}

// add joins what a second change did.
func (r *Report) add(o Report) {
	for _, c := range o.Changed {
		if !slices.Contains(r.Changed, c) {
			r.Changed = append(r.Changed, c)
		}
	}
	r.Variables = append(r.Variables, o.Variables...)
	r.Inlined = append(r.Inlined, o.Inlined...)
	r.OldUsername = cmp.Or(r.OldUsername, o.OldUsername)
	r.SameUser = r.SameUser || o.SameUser
	r.CommentsGone = r.CommentsGone || o.CommentsGone
	r.warn(o.Warnings...)
}

func joined(names []string) string { return strings.Join(names, ", ") }

func (r *Report) warn(texts ...string) {
	for _, t := range texts {
		if !slices.Contains(r.Warnings, t) {
			r.Warnings = append(r.Warnings, t)
		}
	}
}

// check refuses what the runtime could not use, and returns the CA as it is to be written.
func (c Change) check(op string, lang Language) (ca string, err error) {
	refuse := func(what string, why error) *fault.Error { return fault.Newf(fault.Invalid, op, "%s: %w", what, why) }
	if c.Username != "" {
		if err := usable(c.Username, lang); err != nil {
			return "", refuse("the user name", err)
		}
	}
	if !c.Password.IsZero() {
		if err := usable(c.Password.Reveal(), lang); err != nil {
			return "", refuse("the password", err).Hint("take a password of letters, digits and _.~- only")
		}
	}
	if c.Host != "" {
		if err := usableHost(c.Host); err != nil {
			return "", refuse("the host", err)
		}
	}
	if c.CA == "" {
		return "", nil
	}
	ca, err = checkCA(c.CA, lang)
	if err != nil {
		f := refuse("the CA", err)
		if lang == TypeScript {
			f = f.Hint("give exactly the CA that the server's certificate is from: two at once, for a change of CA, are not possible there")
		}
		return "", f
	}
	return ca, nil
}

// usable refuses user names and passwords that a runtime would not hand on as they are. The Go runtime puts them into a connection string
// without quotes.
func usable(s string, lang Language) error {
	switch {
	case !utf8.ValidString(s):
		return fmt.Errorf("it is not text in UTF-8")
	case strings.ContainsFunc(s, unicode.IsControl):
		return fmt.Errorf("it holds a control character")
	case lang != TypeScript && strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || r == '\'' || r == '"' || r == '\\' }):
		return fmt.Errorf("it holds a space, a quote or a backslash, which the Go runtime puts into a connection string without quoting")
	}
	return nil
}

func usableHost(host string) error {
	name, port := splitHost(host)
	if strings.ContainsFunc(host, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune(`'"\@?,`, r)
	}) ||
		name == "" || (!strings.HasPrefix(name, "/") && net.ParseIP(name) == nil && strings.ContainsAny(name, "/:")) {
		return fmt.Errorf("want NAME:PORT, NAME, or the path of a socket")
	}
	if n, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || n == 0) {
		return fmt.Errorf("the port must be a number from 1 to 65535")
	}
	return nil
}

// Holds tells how much of a change is there already. Passwords are compared, not shown.
func (c *Infra) Holds(database string, change Change) (Holding, error) {
	op := "look at database " + database + " in the infra config"
	e, err := find(c.entries, database, op)
	if err != nil {
		return Holding{}, err
	}
	var h Holding
	if change.Username != "" {
		h.Username = answer(e.Username, e.Username.Text == change.Username, change.Inline || c.lang == TypeScript)
	}
	if !change.Password.IsZero() {
		held, err := textOf(e.object, e.at, Password)
		h.Password = answer(e.Password, err == nil && change.Password.Equal(held), change.Inline)
	}
	if change.Host != "" {
		h.Host = answer(Origin{}, e.Host == change.Host, false)
	}
	if change.CA != "" {
		held := ""
		if v, err := member(e.server, e.serverAt, "tls_config"); err == nil && v != nil {
			if o, err := object(v, ""); err == nil {
				held, _ = textOf(o, "", "ca") // read before
			}
		}
		h.CA = answer(Origin{}, strings.TrimSpace(held) == strings.TrimSpace(change.CA), false)
	}
	return h, nil
}

func answer(o Origin, same, inline bool) Answer {
	switch {
	case o.Variable != "" && !inline:
		return InVariable
	case same:
		return Yes
	}
	return No
}
