package roles

import (
	"context"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
)

func quoted(name string) string { return pgx.Identifier{name}.Sanitize() }

func literal(s string) string {
	return "E'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(s) + "'"
}

var (
	providers = regexp.MustCompile(`^(pg_|rds|cloudsql|aws_|azure|google)`)
	tokens    = regexp.MustCompile(`^(rds_iam$|cloudsqliam)`)
)

// provided tells whether a role is PostgreSQL's own or a cloud's: it is never made, changed or dropped.
func (m *Model) provided(role string) bool { return providers.MatchString(role) || role == m.Bootstrap }

// ByToken are the roles of a server that log in with a cloud's token. A server looks for its cloud's group among all that a login is a member
// of, with whatever options, and then takes no password from it.
func ByToken(ctx context.Context, connect Connect) (map[string]bool, error) {
	const what = "look who logs in with a token"
	conn, err := open(ctx, connect, maintenance)
	if err != nil {
		return nil, failed(what, err)
	}
	defer closing(ctx, conn)
	m := &Model{}
	if err := conn.QueryRow(ctx, "select pg_catalog.current_setting('server_version_num')::int / 10000").Scan(&m.Major); err != nil {
		return nil, failed(what, err)
	}
	if m.Memberships, err = collect(ctx, conn, m.membershipsSQL(), pgx.RowToStructByPos[Membership]); err != nil {
		return nil, failed(what, err)
	}
	return m.byToken(), nil
}

// byToken are the roles that log in with a cloud's token: the members of its group, also through others.
func (m *Model) byToken() map[string]bool {
	members := map[string][]string{}
	var todo []string
	for _, g := range m.Memberships {
		if members[g.Role] == nil && tokens.MatchString(g.Role) {
			todo = append(todo, g.Role)
		}
		members[g.Role] = append(members[g.Role], g.Member)
	}
	out := map[string]bool{}
	for len(todo) > 0 {
		next := members[todo[0]]
		todo = todo[1:]
		for _, name := range next {
			if !out[name] {
				out[name] = true
				todo = append(todo, name)
			}
		}
	}
	return out
}

// sameLocale compares names of the operating system's locales, whose encoding is written in several ways.
func sameLocale(a, b string) bool { return plainLocale(a) == plainLocale(b) }

func plainLocale(s string) string {
	name, encoding, found := strings.Cut(s, ".")
	if !found {
		return s
	}
	return name + "." + strings.ReplaceAll(strings.ToLower(encoding), "-", "")
}

// lists are the parameters whose value is a list of names, kept as it was quoted: one text for it would be one name.
var lists = regexp.MustCompile(`^(search_path|temp_tablespaces|(local|session|shared)_preload_libraries|unix_socket_directories)$`)

// valueSQL is a parameter's value, as ALTER ROLE ... SET takes it.
func valueSQL(parameter, value string) string {
	if !lists.MatchString(strings.ToLower(parameter)) {
		return literal(value)
	}
	var all []string
	for _, name := range splitList(value) {
		all = append(all, literal(name))
	}
	if len(all) == 0 {
		return "''"
	}
	return strings.Join(all, ", ")
}

// splitList takes a list of names apart: they are quoted as identifiers where they need it.
func splitList(s string) (out []string) {
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimSpace(s) {
		var b strings.Builder
		if s[0] == '"' {
			s = s[1:]
			for s != "" {
				if strings.HasPrefix(s, `""`) {
					b.WriteByte('"')
					s = s[2:]
					continue
				}
				if s[0] == '"' {
					s = s[1:]
					break
				}
				b.WriteByte(s[0])
				s = s[1:]
			}
			_, s, _ = strings.Cut(s, ",")
		} else {
			var name string
			name, s, _ = strings.Cut(s, ",")
			b.WriteString(strings.TrimSpace(name))
		}
		out = append(out, b.String())
	}
	return out
}
