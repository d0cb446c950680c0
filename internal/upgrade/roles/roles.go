// Package roles brings what belongs to a server and not to a database to the target of an upgrade: roles, memberships, settings of roles and
// databases, and the databases themselves, still empty.
//
// [Read] takes them from the source, [Model.Apply] and [Model.CreateDatabases] make them before the data is copied, [Model.ApplySettings]
// finishes when it is in, [Finish] forgets, and [Compare] tells what differs. It needs no superuser: what only one may do is left out, each
// thing with its reason. Every change is one transaction together with a note of it, so each may be called again after it was killed.
//
// The note is the comment of a role dbops_upgrade on the target, until [Finish] or [Model.Remove]. Passwords go over as the verifiers that
// the source keeps, bound as a parameter and never as text of a statement of ours: a server's log shows them only if it logs every
// statement with its parameters (log_statement = all, log_min_duration_statement), or what functions run (pgaudit.log = all,
// pg_stat_statements.track = all); a login that may turn that off for its session does.
package roles

import (
	"context"
	"strconv"

	"github.com/jackc/pgx/v5"

	"dbops/internal/secret"
)

// Connect opens a session on a database of a server.
type Connect func(ctx context.Context, database string) (*pgx.Conn, error)

// Model is what belongs to a server. It marshals without passwords: one that was unmarshalled has none to hand on.
type Model struct {
	Major     int    `json:"major"`
	Login     string `json:"login"`     // that read it
	Superuser bool   `json:"superuser"` // the login is one
	Bootstrap string `json:"bootstrap"` // the superuser that the server was made with
	Passwords bool   `json:"passwords"` // verifiers could be read

	Roles       []Role       `json:"roles"`
	Memberships []Membership `json:"memberships"`
	Settings    []Setting    `json:"settings"`
	Databases   []Database   `json:"databases"`

	verifiers map[string]secret.Value
}

// Role is a role with its attributes.
type Role struct {
	Name        string `json:"name"`
	Superuser   bool   `json:"superuser,omitempty"`
	Inherit     bool   `json:"inherit,omitempty"`
	CreateRole  bool   `json:"create_role,omitempty"`
	CreateDB    bool   `json:"create_db,omitempty"`
	Login       bool   `json:"login,omitempty"`
	Replication bool   `json:"replication,omitempty"`
	BypassRLS   bool   `json:"bypass_rls,omitempty"`
	Limit       int    `json:"limit"`                 // of connections; -1 is none
	ValidUntil  string `json:"valid_until,omitempty"` // of the password, in UTC
	Comment     string `json:"comment,omitempty"`
	Owns        bool   `json:"owns,omitempty"` // a database, or something in one of the model's
}

// Membership is one grant of a role to a member. Before PostgreSQL 16 its Inherit is the member's own, and its Set true.
type Membership struct {
	Role    string `json:"role"`
	Member  string `json:"member"`
	Grantor string `json:"grantor,omitempty"` // from 16 on; empty for the bootstrap superuser
	Admin   bool   `json:"admin,omitempty"`
	Inherit bool   `json:"inherit,omitempty"`
	Set     bool   `json:"set,omitempty"`
}

// Setting is a parameter's default for the sessions of a role, in a database; empty names are all roles, all databases.
type Setting struct {
	Role      string `json:"role,omitempty"`
	Database  string `json:"database,omitempty"`
	Parameter string `json:"parameter"`
	Value     string `json:"value"`
}

// Database is one without what is in it.
type Database struct {
	Name       string `json:"name"`
	Owner      string `json:"owner"`
	Encoding   string `json:"encoding"`
	Provider   string `json:"provider"` // of the locale: libc, icu, builtin
	Collate    string `json:"collate"`
	CType      string `json:"ctype"`
	Locale     string `json:"locale,omitempty"`    // of ICU or the built-in provider
	ICURules   string `json:"icu_rules,omitempty"` // since 16
	Tablespace string `json:"tablespace,omitempty"`
	Limit      int    `json:"limit"` // of connections; -1 is none
	Template   bool   `json:"template,omitempty"`
	Closed     bool   `json:"closed,omitempty"` // allows no connections
	Comment    string `json:"comment,omitempty"`
	ACL        []ACL  `json:"acl"` // with the defaults
}

// ACL is a privilege on a database; the grantee "" is everybody.
type ACL struct {
	Grantee   string `json:"grantee,omitempty"`
	Privilege string `json:"privilege"`
	Grantable bool   `json:"grantable,omitempty"`
}

// Options say how a model is applied.
type Options struct {
	// WithoutPasswords hands no verifiers on.
	WithoutPasswords bool
}

// Report is what was done. It holds no secrets.
type Report struct {
	Created []string  `json:"created"` // roles, also those of an earlier try
	Changed []Change  `json:"changed"`
	LeftOut []LeftOut `json:"left_out"`
	// Passwords is how many verifiers were handed on; NoPassword are logins that none was handed on for, nor is known to be there.
	Passwords  int      `json:"passwords"`
	NoPassword []string `json:"no_password"`
}

// Change is something that was there before, or belongs to what was. Undo is the statement that takes it back; empty if there is none.
type Change struct {
	What string `json:"what"`
	Undo string `json:"undo,omitempty"`
}

// LeftOut is something that the target does not have now, and why.
type LeftOut struct {
	What string `json:"what"`
	Why  string `json:"why"`

	code string // of the server's error
}

func (m *Model) role(name string) *Role {
	for i := range m.Roles {
		if m.Roles[i].Name == name {
			return &m.Roles[i]
		}
	}
	return nil
}

// index is the roles by name.
func (m *Model) index() map[string]*Role {
	out := make(map[string]*Role, len(m.Roles))
	for i := range m.Roles {
		out[m.Roles[i].Name] = &m.Roles[i]
	}
	return out
}

func (m *Model) database(name string) *Database {
	for i := range m.Databases {
		if m.Databases[i].Name == name {
			return &m.Databases[i]
		}
	}
	return nil
}

// String is a membership's name and options, for a person.
func (g Membership) String() string {
	return "membership of " + quoted(g.Member) + " in " + quoted(g.Role)
}

func (g Membership) options() string {
	return "ADMIN " + strconv.FormatBool(g.Admin) + ", INHERIT " + strconv.FormatBool(g.Inherit) + ", SET " + strconv.FormatBool(g.Set)
}

// String is whose default it is.
func (s Setting) String() string { return "setting " + s.Parameter + " of " + s.whose() }

func (s Setting) whose() string {
	switch {
	case s.Role == "" && s.Database == "":
		return "all roles"
	case s.Role == "":
		return "database " + quoted(s.Database)
	case s.Database == "":
		return "role " + quoted(s.Role)
	default:
		return "role " + quoted(s.Role) + " in database " + quoted(s.Database)
	}
}
