package roles_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"dbops/internal/pg"
	"dbops/internal/sandbox/pgtest"
	"dbops/internal/secret"
	"dbops/internal/upgrade/roles"
)

func TestMain(m *testing.M) {
	code := pgtest.Main(m)
	if code == 0 {
		if err := goleak.Find(); err != nil {
			println(err.Error())
			code = 1
		}
	}
	os.Exit(code)
}

// side is a server, as one login sees it. Roles belong to a server: tests with the same one come one after the other, each after a wipe.
type side struct {
	t      testing.TB
	server *pgtest.Server
	super  bool
	tracer pgx.QueryTracer
}

func newSide(t testing.TB, major int, super bool) *side {
	t.Helper()
	s := &side{t: t, server: pgtest.Start(t, major), super: super}
	t.Cleanup(s.wipe)
	return s
}

func (s *side) exec(sql ...string) {
	s.t.Helper()
	s.server.Exec(s.t, "postgres", sql...)
}

// names are a query's, as the superuser sees them.
func (s *side) names(sql string) []string {
	s.t.Helper()
	ctx := context.WithoutCancel(s.t.Context())
	conn, err := s.server.World.DB(ctx, "postgres")
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	rows, err := conn.Query(ctx, sql)
	if err != nil {
		s.t.Fatal(err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
	return out
}

// wipe takes the server back to what it was made with.
func (s *side) wipe() {
	s.t.Helper()
	var all []string
	for _, d := range s.names("select quote_ident(datname) from pg_database where datname not in ('postgres', 'template0', 'template1')") {
		all = append(all, "alter database "+d+" is_template false", "drop database "+d+" with (force)")
	}
	verifier, err := pg.Verifier(s.server.Password)
	if err != nil {
		s.t.Fatal(err)
	}
	all = append(all, "alter role all reset all", "alter role postgres reset all", "alter role postgres createrole createdb password '"+verifier+"'",
		"grant pg_read_all_data to test_superuser with admin option",
		"revoke all on database postgres from public", "grant connect, temp on database postgres to public")
	if some := s.names("select quote_ident(rolname) from pg_roles where oid >= 16384 and rolname not in ('postgres', 'test_superuser', 'test_iam')"); len(some) > 0 {
		all = append(all, "drop owned by "+strings.Join(some, ", "), "drop role "+strings.Join(some, ", "))
	}
	s.exec(all...)
}

func (s *side) connect(ctx context.Context, database string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig("")
	if err != nil {
		return nil, err
	}
	if s.super {
		conn, err := s.server.World.DB(ctx, database)
		if err != nil {
			return nil, err
		}
		cfg = conn.Config().Copy()
		if err := conn.Close(ctx); err != nil {
			return nil, err
		}
	} else {
		cfg.Config = *s.server.Config(s.t, database)
	}
	cfg.Tracer = s.tracer
	return pgx.ConnectConfig(ctx, cfg)
}

func (s *side) read(databases ...string) *roles.Model {
	s.t.Helper()
	m, err := roles.Read(s.t.Context(), s.connect, databases)
	if err != nil {
		s.t.Fatal(err)
	}
	return m
}

// login logs in with a password.
func (s *side) login(user, password, database string) error {
	s.t.Helper()
	cfg, err := pgx.ParseConfig("")
	if err != nil {
		return err
	}
	cfg.Config = *s.server.ConfigFor(s.t, user, secret.New(password), database)
	conn, err := pgx.ConnectConfig(s.t.Context(), cfg)
	if err != nil {
		return err
	}
	return conn.Close(s.t.Context())
}

// result is what all calls together report.
type result struct{ apply, settings *roles.Report }

func bring(ctx context.Context, m *roles.Model, to *side) (r result, err error) {
	if r.apply, err = m.Apply(ctx, to.connect, roles.Options{}); err != nil {
		return r, err
	}
	if err := m.CreateDatabases(ctx, to.connect); err != nil {
		return r, err
	}
	r.settings, err = m.ApplySettings(ctx, to.connect)
	return r, err
}

func mustBring(t testing.TB, m *roles.Model, to *side) result {
	t.Helper()
	r, err := bring(t.Context(), m, to)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// left is what was left out, a line each.
func (r result) left() string {
	var out []string
	for _, l := range append(slices.Clone(r.apply.LeftOut), r.settings.LeftOut...) {
		out = append(out, l.What+": "+l.Why)
	}
	return strings.Join(out, "\n")
}

// compare is what differs, and was not expected to.
func compare(t testing.TB, from, to *side, databases ...string) (unexpected, expected []string) {
	t.Helper()
	all, err := roles.Compare(t.Context(), from.connect, to.connect, databases)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		if strings.Contains(d.Name, `in "test_iam"`) || strings.Contains(d.Name, `of "test_superuser" in "pg_read_all_data"`) { // the servers' own
			continue
		}
		line := fmt.Sprintf("%s %s: %q, %q", d.What, d.Name, d.Source, d.Target)
		if d.Expected == "" {
			unexpected = append(unexpected, line)
		} else {
			expected = append(expected, line+": "+d.Expected)
		}
	}
	return unexpected, expected
}

func text(t testing.TB, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// differ shows the lines around the first that is not the same.
func differ(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	i := 0
	for i < min(len(x), len(y)) && x[i] == y[i] {
		i++
	}
	show := func(l []string) string { return strings.Join(l[max(0, i-4):min(len(l), i+6)], "\n") }
	return show(x) + "\n--- and now:\n" + show(y)
}
