package roles

import (
	"context"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"
)

// ApplySettings gives roles and databases their settings, and databases their privileges, comments and limits. It comes when the data is in,
// as some of these would be in a copy's way. It may be called again.
func (m *Model) ApplySettings(ctx context.Context, target Connect) (*Report, error) {
	var out *Report
	err := change(ctx, target, "apply the settings to the target", func(ctx context.Context, tx pgx.Tx) (err error) {
		out, err = m.applySettings(ctx, tx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// setter is one run of ApplySettings.
type setter struct {
	*Model
	target *Model // before
	there  map[string]*Role
	note   *note
	r      *Report
	batch
}

func (m *Model) applySettings(ctx context.Context, tx pgx.Tx) (*Report, error) {
	s := &setter{Model: m, r: &Report{Created: []string{}, Changed: []Change{}, LeftOut: []LeftOut{}, NoPassword: []string{}}}
	names := []string{""} // of no name: none, not all
	names = append(names, m.names()...)
	var err error
	if s.target, err = read(ctx, tx.Conn(), names); err != nil {
		return nil, err
	}
	if s.note, err = readNote(ctx, tx); err != nil {
		return nil, err
	}
	s.there = s.target.index()
	s.settings()
	for i := range m.Databases {
		d := &m.Databases[i]
		if is := s.target.database(d.Name); is != nil {
			s.database(d, is)
		} else {
			s.leave("settings of database "+quoted(d.Name), "the target has no such database")
		}
	}
	refused, err := s.run(ctx, tx)
	if err != nil {
		return nil, err
	}
	s.r.LeftOut = append(s.r.LeftOut, refused...)
	if err := s.keepAccess(ctx, tx); err != nil {
		return nil, err
	}
	for _, c := range s.r.Changed {
		if c.Undo != "" {
			s.note.Undo = append(s.note.Undo, c)
		}
	}
	return s.r, s.note.write(ctx, tx)
}

func (s *setter) leave(what, why string) {
	s.r.LeftOut = append(s.r.LeftOut, LeftOut{What: what, Why: why})
}

type whose struct{ role, database, parameter string }

// values are the settings by whose they are.
func (m *Model) values() map[whose]string {
	out := map[whose]string{}
	for _, x := range m.Settings {
		out[whose{x.Role, x.Database, x.Parameter}] = x.Value
	}
	return out
}

// forTarget is a setting as the target has it; why not, if it has no place there; neither for a cloud's own.
func (m *Model) forTarget(x Setting, t *Model, there map[string]*Role) (_ Setting, ok bool, why string) {
	if x.Parameter == "force_parallel_mode" && t.Major >= 16 { // its new name
		x.Parameter = "debug_parallel_query"
	}
	switch {
	case x.Role == "":
		return x, true, ""
	case providers.MatchString(x.Role):
		return x, false, ""
	case there[x.Role] != nil:
		return x, true, ""
	case x.Role == m.Bootstrap && t.Superuser:
		x.Role = t.Bootstrap
		return x, true, ""
	}
	return x, false, missingRole(x.Role, t.Major)
}

// settings are those of roles; those of databases come with them.
func (s *setter) settings() {
	has := s.target.values()
	for _, x := range s.Settings {
		if x.Role == "" && x.Database != "" {
			continue
		}
		x, ok, why := s.forTarget(x, s.target, s.there)
		if why != "" {
			s.leave(x.String(), why)
		}
		old, there := has[whose{x.Role, x.Database, x.Parameter}]
		if !ok || there && old == x.Value || x.Database != "" && s.target.database(x.Database) == nil {
			continue
		}
		alter := "alter role all"
		if x.Role != "" {
			alter = "alter role " + quoted(x.Role)
		}
		if x.Database != "" {
			alter += " in database " + quoted(x.Database)
		}
		undo := alter + " reset " + quoted(x.Parameter)
		if there {
			undo = alter + " set " + quoted(x.Parameter) + " to " + valueSQL(x.Parameter, old)
		}
		if slices.Contains(s.note.Roles, x.Role) || slices.Contains(s.note.Databases, x.Database) { // it goes with them
			undo = ""
		}
		s.apart(alter+" set "+quoted(x.Parameter)+" to "+valueSQL(x.Parameter, x.Value), x.String(), func() {
			s.r.Changed = append(s.r.Changed, Change{x.String(), undo})
		})
	}
}

// database finishes one. What shuts others out comes last.
func (s *setter) database(d, is *Database) {
	name := quoted(d.Name)
	back := s.target.borrow(&s.batch, is.Owner, "settings of database "+name)
	do := func(sql, what string) {
		s.then(sql, what, func() { s.r.Changed = append(s.r.Changed, Change{What: what}) })
	}
	has := s.target.values()
	for _, x := range s.Settings {
		if x.Role != "" || x.Database != d.Name {
			continue
		}
		if old, there := has[whose{"", x.Database, x.Parameter}]; !there || old != x.Value {
			do("alter database "+name+" set "+quoted(x.Parameter)+" to "+valueSQL(x.Parameter, x.Value), x.String())
		}
	}
	grants, revokes := s.privileges(d, is)
	for _, a := range grants {
		sql := "grant " + a.Privilege + " on database " + name + " to " + a.grantee()
		if a.Grantable {
			sql += " with grant option"
		}
		do(sql, a.on(name))
	}
	for _, a := range revokes {
		do("revoke "+a.Privilege+" on database "+name+" from "+a.grantee(), a.on(name))
	}
	if d.Comment != is.Comment {
		do("comment on database "+name+" is "+orNull(d.Comment), "comment of database "+name)
	}
	if d.Limit != is.Limit {
		do("alter database "+name+" connection limit "+strconv.Itoa(d.Limit), "CONNECTION LIMIT of database "+name)
	}
	if d.Template != is.Template {
		do("alter database "+name+" is_template "+strconv.FormatBool(d.Template), "IS_TEMPLATE of database "+name)
	}
	if d.Closed != is.Closed {
		do("alter database "+name+" allow_connections "+strconv.FormatBool(!d.Closed), "ALLOW_CONNECTIONS of database "+name)
	}
	if d.Tablespace != is.Tablespace {
		s.leave("tablespace of database "+name, "tablespaces belong to the machine: it is in "+orDefault(is.Tablespace)+" and on the source in "+orDefault(d.Tablespace))
	}
	back()
}

func orDefault(tablespace string) string {
	if tablespace == "" {
		return "pg_default"
	}
	return tablespace
}

func (a ACL) grantee() string {
	if a.Grantee == "" {
		return "public"
	}
	return quoted(a.Grantee)
}

func (a ACL) on(database string) string {
	return a.Privilege + " of " + a.grantee() + " on database " + database
}

// acl is the privileges on a database as the target should have them.
func (m *Model) acl(t *Model, there map[string]*Role, d, is *Database) (want []ACL, missing []ACL) {
	for _, a := range d.ACL {
		switch {
		case a.Grantee == "":
		case a.Grantee == d.Owner:
			a.Grantee, a.Grantable = is.Owner, false
		case a.Grantee == m.Bootstrap && there[a.Grantee] == nil, a.Grantee == t.Bootstrap: // needs none
			continue
		case there[a.Grantee] == nil:
			missing = append(missing, a)
			continue
		}
		want = append(want, a)
	}
	return want, missing
}

// privileges are what to grant and to revoke.
func (s *setter) privileges(d, is *Database) (grants, revokes []ACL) {
	want, missing := s.acl(s.target, s.there, d, is)
	for _, a := range missing {
		s.leave(a.on(quoted(d.Name)), missingRole(a.Grantee, s.target.Major))
	}
	for _, a := range want {
		if !slices.Contains(is.ACL, a) {
			grants = append(grants, a)
		}
	}
	for _, a := range is.ACL {
		kept := slices.ContainsFunc(want, func(w ACL) bool { return w.Grantee == a.Grantee && w.Privilege == a.Privilege })
		if !kept && !s.target.provided(a.Grantee) {
			revokes = append(revokes, a)
		}
	}
	return grants, revokes
}

// keepAccess lets the login into the databases that their privileges would shut it out of.
func (s *setter) keepAccess(ctx context.Context, tx pgx.Tx) error {
	shut, err := collect(ctx, tx.Conn(), "select datname::text from pg_catalog.pg_database where datname = any ($1) and not pg_catalog.has_database_privilege(oid, 'connect')",
		pgx.RowTo[string], s.target.names())
	if err != nil || len(shut) == 0 {
		return err
	}
	b := &batch{}
	for _, name := range shut {
		a := ACL{Grantee: s.target.Login, Privilege: "CONNECT"}
		back := s.target.borrow(b, s.target.database(name).Owner, a.on(quoted(name)))
		b.then("grant connect on database "+quoted(name)+" to "+a.grantee(), a.on(quoted(name)), func() {
			s.r.Changed = append(s.r.Changed, Change{What: a.on(quoted(name)) + ", which it has not on the source, so that the upgrade can go on"})
		})
		back()
	}
	refused, err := b.run(ctx, tx)
	s.r.LeftOut = append(s.r.LeftOut, refused...)
	return err
}
