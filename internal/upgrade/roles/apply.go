package roles

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
	"dbops/internal/secret"
)

// Apply makes the roles and memberships of the model on the target, and gives those that are there the model's attributes. Of its own login
// it changes no attribute and no password. It may be called again.
func (m *Model) Apply(ctx context.Context, target Connect, o Options) (*Report, error) {
	var out *Report
	err := change(ctx, target, "make the roles on the target", func(ctx context.Context, tx pgx.Tx) (err error) {
		out, err = m.apply(ctx, tx, o)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// applier is one run of Apply.
type applier struct {
	*Model
	o      Options
	target *Model // before
	there  map[string]*Role
	note   *note
	made   map[string]bool // roles that did not exist before the first try
	at     map[string]bool // roles that were made in one statement
	ready  map[string]bool // roles that have the model's verifier
	grants []Membership

	granted map[pair]bool // of the grants, those that were made with others
	r       *Report
	batch
}

func (m *Model) apply(ctx context.Context, tx pgx.Tx, o Options) (*Report, error) {
	a := &applier{Model: m, o: o, made: map[string]bool{}, at: map[string]bool{}, granted: map[pair]bool{}, ready: map[string]bool{}}
	a.r = &Report{Created: []string{}, Changed: []Change{}, LeftOut: []LeftOut{}, NoPassword: []string{}}
	var err error
	if a.target, err = read(ctx, tx.Conn(), nil); err != nil {
		return nil, err
	}
	if a.target.Major < m.Major {
		return nil, older(m.Major, a.target.Major)
	}
	if a.note, err = readNote(ctx, tx); err != nil {
		return nil, err
	}
	a.there = a.target.index()
	for _, name := range a.note.Roles {
		a.made[name] = a.there[name] != nil
	}
	if err := quiet(ctx, tx, a.target); err != nil {
		return nil, err
	}
	for _, part := range []func(){a.whole, a.roles, a.together, a.memberships} {
		a.batch = batch{}
		part()
		refused, err := a.run(ctx, tx)
		if err != nil {
			return nil, err
		}
		a.r.LeftOut = append(a.r.LeftOut, refused...)
	}
	return a.r, a.finish(ctx, tx)
}

// whole makes roles with all their attributes in one statement each: from 16 on every other one costs a login without superuser a look at all
// the roles that it administers. One that is refused is made bit by bit.
func (a *applier) whole() {
	for i := range a.Roles {
		r := &a.Roles[i]
		if a.there[r.Name] != nil || a.provided(r.Name) || a.target.provided(r.Name) {
			continue
		}
		sql := a.create(r)
		for _, f := range []struct {
			word string
			on   bool
		}{{"superuser", r.Superuser}, {"createdb", r.CreateDB}, {"createrole", r.CreateRole}, {"replication", r.Replication}, {"bypassrls", r.BypassRLS}} {
			if f.on {
				sql += " " + f.word
			}
		}
		if r.ValidUntil != "" {
			sql += " valid until " + literal(r.ValidUntil)
		}
		v := a.verifiers[r.Name]
		if a.o.WithoutPasswords {
			v = secret.Value{}
		}
		if !v.IsZero() {
			sql += " password " + literal(v.Reveal())
		}
		a.group++
		a.items = append(a.items, item{Group: a.group, SQL: sql, hide: true, done: func() {
			a.made[r.Name], a.at[r.Name], a.ready[r.Name] = true, true, !v.IsZero()
		}})
	}
}

func (a *applier) create(r *Role) string {
	return "create role " + quoted(r.Name) + " " + not("inherit", r.Inherit) + " " + not("login", r.Login) + " connection limit " + strconv.Itoa(r.Limit)
}

func (a *applier) roles() {
	for i := range a.Roles {
		a.role(&a.Roles[i])
	}
}

func older(source, target int) error {
	return fault.Newf(fault.Blocked, "make the roles on the target", "it is PostgreSQL %d, older than the source, which is %d", target, source).
		Hint("use a target of PostgreSQL %d or newer", source)
}

// finish completes the report, and writes the note.
func (a *applier) finish(ctx context.Context, tx pgx.Tx) error {
	a.note.Roles = nil
	for _, r := range a.Roles {
		if a.made[r.Name] {
			a.note.Roles = append(a.note.Roles, r.Name)
		}
	}
	a.r.Created = append(a.r.Created, a.note.Roles...)
	for _, c := range a.r.Changed {
		if c.Undo != "" {
			a.note.Undo = append(a.note.Undo, c)
		}
	}
	a.r.Changed = slices.Concat(a.note.Undo, slices.DeleteFunc(a.r.Changed, func(c Change) bool { return c.Undo != "" }))
	byToken := a.byToken()
	for _, r := range a.Roles {
		switch {
		case a.ready[r.Name]:
			a.r.Passwords++
		case !r.Login || a.provided(r.Name) || a.target.provided(r.Name) || r.Name == a.target.Login || byToken[r.Name]:
		case a.there[r.Name] == nil && !a.made[r.Name]: // it could not be made
		case a.Passwords && a.verifiers[r.Name].IsZero() && a.verifiers != nil: // it has none on the source
		case !a.target.verifiers[r.Name].IsZero():
		default:
			a.r.NoPassword = append(a.r.NoPassword, r.Name)
		}
	}
	return a.note.write(ctx, tx)
}

func (a *applier) leave(what, why string) {
	a.r.LeftOut = append(a.r.LeftOut, LeftOut{What: what, Why: why})
}

// role makes one, or changes it.
func (a *applier) role(r *Role) {
	name, was := "role "+quoted(r.Name), a.there[r.Name]
	if a.provided(r.Name) {
		if r.Name == a.Bootstrap && was == nil && !providers.MatchString(r.Name) {
			a.leave(name, "it is the superuser that the source was made with: give what it owns to another role, or make one of that name on the target")
		}
		return
	}
	if a.target.provided(r.Name) {
		return
	}
	if r.Name == a.target.Login {
		if d := r.differs(was); d != "" {
			a.leave(d+" of "+name, "it is the login that does this")
		}
		return
	}
	switch {
	case a.at[r.Name]:
		a.group++
		was = new(*r)
		was.Comment = ""
	case was == nil:
		a.begin(a.create(r), name, func() { a.made[r.Name] = true })
		was = &Role{Name: r.Name, Inherit: r.Inherit, Login: r.Login, Limit: r.Limit}
	default:
		a.group++
	}
	for _, d := range r.differences(was) {
		a.then(d.do, d.what+" of "+name, func() {
			if !a.made[r.Name] {
				a.r.Changed = append(a.r.Changed, Change{d.what + " of " + name, d.undo})
			}
		})
	}
	if !a.at[r.Name] {
		a.password(r.Name)
	}
}

func (a *applier) password(name string) {
	v := a.verifiers[name]
	if a.o.WithoutPasswords || v.IsZero() {
		return
	}
	if a.target.verifiers[name].Equal(v.Reveal()) {
		a.ready[name] = true
		return
	}
	existed := a.there[name] != nil && !a.made[name]
	a.then("alter role "+quoted(name)+" password "+literal(v.Reveal()), "password of role "+quoted(name), func() {
		a.ready[name] = true
		if existed {
			a.r.Changed = append(a.r.Changed, Change{What: "password of role " + quoted(name)})
		}
	})
}

// attribute is one that differs.
type attribute struct {
	what, do, undo string
	from, to       string
}

// differences are what turns was into r. The attribute that forbids others to change the role comes last.
func (r *Role) differences(was *Role) (out []attribute) {
	alter := "alter role " + quoted(r.Name) + " "
	flag := func(word, what string, want, has bool) {
		if want != has {
			out = append(out, attribute{what, alter + not(word, want), alter + not(word, has), strconv.FormatBool(has), strconv.FormatBool(want)})
		}
	}
	flag("inherit", "INHERIT", r.Inherit, was.Inherit)
	flag("login", "LOGIN", r.Login, was.Login)
	flag("createdb", "CREATEDB", r.CreateDB, was.CreateDB)
	flag("createrole", "CREATEROLE", r.CreateRole, was.CreateRole)
	if r.Limit != was.Limit {
		limit := func(n int) string { return alter + "connection limit " + strconv.Itoa(n) }
		out = append(out, attribute{"CONNECTION LIMIT", limit(r.Limit), limit(was.Limit), strconv.Itoa(was.Limit), strconv.Itoa(r.Limit)})
	}
	if want, has := orForever(r.ValidUntil), orForever(was.ValidUntil); want != has {
		until := func(at string) string { return alter + "valid until " + literal(at) }
		out = append(out, attribute{"VALID UNTIL", until(want), until(has), has, want})
	}
	if r.Comment != was.Comment {
		comment := func(text string) string { return "comment on role " + quoted(r.Name) + " is " + orNull(text) }
		out = append(out, attribute{"comment", comment(r.Comment), comment(was.Comment), was.Comment, r.Comment})
	}
	flag("bypassrls", "BYPASSRLS", r.BypassRLS, was.BypassRLS)
	flag("replication", "REPLICATION", r.Replication, was.Replication)
	flag("superuser", "SUPERUSER", r.Superuser, was.Superuser)
	return out
}

// differs names what differs; "" if nothing does.
func (r *Role) differs(was *Role) string {
	text := ""
	for _, d := range r.differences(was) {
		if text != "" {
			text += ", "
		}
		text += d.what
	}
	return text
}

func not(word string, want bool) string {
	if want {
		return word
	}
	return "no" + word
}

func orForever(at string) string {
	if at == "" {
		return "infinity"
	}
	return at
}

func orNull(text string) string {
	if text == "" {
		return "null"
	}
	return literal(text)
}

func missingRole(name string, major int) string {
	if len(name) > 3 && name[:3] == "pg_" {
		return fmt.Sprintf("PostgreSQL %d has no role %s", major, name)
	}
	return "the target has no role " + quoted(name)
}
