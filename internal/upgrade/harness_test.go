package upgrade

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/cloud"
	"dbops/internal/op"
	"dbops/internal/pg"
	"dbops/internal/sandbox/pgtest"
	theatre "dbops/internal/sandbox/stage"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/secret"
	"dbops/internal/state"
	"dbops/internal/upgrade/follow"
)

func TestMain(m *testing.M) {
	if child() {
		return
	}
	if err := theatre.Alone(); err != nil {
		panic(err)
	}
	os.Exit(pgtest.Main(m))
}

var (
	tester = op.Actor{Name: "robot@example.com", Via: op.ViaGoogle}
	target = op.Target{Environment: "prod", Instance: "old"}
	pace   = op.Pace{First: 20 * time.Millisecond, Most: 100 * time.Millisecond, Patience: time.Minute}
)

// plain are two servers, by their names in dbops.yaml. It is all that another process needs to reach them.
type plain struct {
	Servers map[string]login
	Dir     string
}

// login is a superuser of a server.
type login struct {
	Host, CAFile, User, Password string
	Port                         uint16
}

// between starts an old server and a new one.
func between(t *testing.T, from, to int) plain {
	t.Helper()
	p := plain{Servers: map[string]login{}, Dir: pgtest.Dir(t)}
	for name, major := range map[string]int{"old": from, "new": to} {
		s := pgtest.StartOwn(t, major)
		l := login{Host: s.Host, Port: s.Port, CAFile: s.CAFile, User: "boss", Password: "correct horse " + name}
		verifier, err := pg.Verifier(secret.New(l.Password))
		if err != nil {
			t.Fatal(err)
		}
		s.Exec(t, "postgres", "create role boss superuser login replication password "+literal(verifier))
		p.Servers[name] = l
	}
	return p
}

func (p plain) connect(ctx context.Context, _ op.Target, s Server, database string, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
	l, ok := p.Servers[s.Name]
	if !ok {
		return nil, fmt.Errorf("there is no server %s", s.Name)
	}
	cfg, err := pg.Config(pg.Params{
		Host: l.Host, Port: l.Port, User: l.User, Password: secret.New(l.Password), Database: database, SSLMode: "verify-full", CAFile: l.CAFile,
	})
	if err != nil {
		return nil, err
	}
	full, err := pgx.ParseConfig("")
	if err != nil {
		return nil, err
	}
	full.Config = *cfg
	full.RuntimeParams["application_name"] = "dbops"
	if tune != nil {
		tune(full)
	}
	return pgx.ConnectConfig(ctx, full)
}

func (p plain) deps() Deps {
	return Deps{
		Cloud:   func(context.Context, op.Target) (Cloud, string, error) { return nil, "", cloud.ErrUnsupported },
		Plain:   func(op.Target) (Server, error) { return Server{Name: "old", Declared: true}, nil },
		Connect: p.connect,
		Address: func(_ context.Context, _ op.Target, s Server, database string) (follow.Address, error) {
			l := p.Servers[s.Name]
			return follow.Address{Host: l.Host, Port: int(l.Port), Database: database, SSLMode: "require"}, nil
		},
		Clients: &clients{}, Dir: p.Dir, Pace: pace, Reach: 20 * time.Second,
	}
}

// clients are what a test switches.
type clients struct {
	now      string
	switched []string
	fail     error
	seen     func() // when they are switched
}

func (c *clients) Look(context.Context, op.Target) (Switched, error) {
	return Switched{Clients: []string{"container shop"}}, nil
}

func (c *clients) Passwords(context.Context, op.Target) (map[string]secret.Value, error) {
	return map[string]secret.Value{}, nil
}

func (c *clients) Switch(_ context.Context, _ *op.Session, from, to Server) (op.Result, error) {
	if c.fail != nil {
		return op.Result{}, c.fail
	}
	if c.seen != nil {
		c.seen()
	}
	c.now = to.Name
	c.switched = append(c.switched, from.Name+" to "+to.Name)
	return op.Result{Output: map[string]string{"to": to.Name}}, nil
}

// exec runs statements as the superuser.
func (p plain) exec(t testing.TB, server, database, sql string) (text string) {
	t.Helper()
	text, err := p.try(t.Context(), server, database, sql)
	if err != nil {
		t.Fatalf("%.80s: %v", sql, err)
	}
	return text
}

func (p plain) try(ctx context.Context, server, database, sql string) (text string, err error) {
	conn, err := p.connect(ctx, target, Server{Name: server}, database, nil)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	answers, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		return "", err
	}
	if last := answers[len(answers)-1]; len(last.Rows) > 0 && last.Rows[0][0] != nil {
		text = string(last.Rows[0][0])
	}
	return text, nil
}

// bench is an engine over a store and a place.
type bench struct {
	*op.Engine
	place statetest.Place
	store *state.Store
	deps  Deps
}

func newBench(t *testing.T, kind string, d Deps) *bench {
	t.Helper()
	b := &bench{place: statetest.New(t, kind)}
	b.store = b.place.Store(t)
	b.with(t, d)
	return b
}

// with changes what the operations stand on.
func (b *bench) with(t testing.TB, d Deps) {
	t.Helper()
	d.Journal = b.journal
	var err error
	if b.Engine, err = engine(b.store, d); err != nil {
		t.Fatal(err)
	}
	b.deps = d
}

func engine(s *state.Store, d Deps) (*op.Engine, error) {
	kinds, err := op.NewRegistry(New(d).Kinds()...)
	if err != nil {
		return nil, err
	}
	return op.New(s, kinds, op.Options{Version: "test", Poll: 50 * time.Millisecond, TTL: 20 * time.Second, Host: "here"}), nil
}

func (b *bench) journal(ctx context.Context, id string) (p *op.Plan, r state.Run, steps []state.Step, after After, err error) {
	if r, err = b.Run(ctx, id); err == nil {
		if p, err = b.PlanOf(ctx, r.PlanHash); err == nil {
			steps, err = b.Journal(ctx, id)
		}
	}
	if err != nil {
		return nil, r, nil, after, err
	}
	all, err := b.Runs(ctx, state.RunFilter{Environment: r.Environment, Instance: r.Instance})
	for _, other := range all {
		if other.Kind == RollbackKind || other.Kind == CleanupKind {
			journal, err := b.Journal(ctx, other.ID)
			if err != nil {
				return nil, r, nil, after, err
			}
			after.Came(other, journal)
		}
	}
	return p, r, steps, after, err
}

func (b *bench) plan(t testing.TB, kind string, request any) *op.Plan {
	t.Helper()
	p, err := b.Plan(t.Context(), op.PlanRequest{Kind: kind, Target: target, Request: request, Requester: tester})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (b *bench) submit(t testing.TB, p *op.Plan) string {
	t.Helper()
	r, _, err := b.Submit(t.Context(), p, op.SubmitOptions{Actor: tester})
	if err != nil {
		t.Fatal(err)
	}
	return r.ID
}

func (b *bench) attach(t testing.TB, id string) state.Run {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	r, err := b.Attach(ctx, id, 0, func(e state.Event) {
		if e.Kind != op.EventProgress {
			t.Logf("%s %s: %s", e.Kind, e.Step, e.Text)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (b *bench) run(t testing.TB, kind string, request any) state.Run {
	t.Helper()
	return b.attach(t, b.submit(t, b.plan(t, kind, request)))
}

func (b *bench) tell(t testing.TB, id string, v state.Verb) {
	t.Helper()
	if err := b.Tell(t.Context(), id, v, op.Actor{Name: "alice", Via: op.ViaGoogle}, "a test"); err != nil {
		t.Fatal(err)
	}
}

// done demands that a run ended well, and that the audit log is whole.
func (b *bench) done(t testing.TB, r state.Run) {
	t.Helper()
	if r.State != state.Done {
		t.Fatalf("the run is %s at %s: %s (%s)", r.State, r.Step, r.Problem, r.Hint)
	}
	if report, err := b.store.Log.Verify(t.Context(), 0); err != nil || !report.OK() {
		t.Errorf("the audit log does not verify: %v, %+v", err, report)
	}
}

func (b *bench) report(t testing.TB, run string) *Report {
	t.Helper()
	p, r, steps, _, err := b.journal(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	report, err := ReportOf(p, r, steps)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// alike demands that two databases hold the same, as this test sees it: it asks for every row of every table as text, and for definitions.
func alike(t testing.TB, from, to func(database string) (*pgx.Conn, error), database string) {
	t.Helper()
	read := func(open func(string) (*pgx.Conn, error)) map[string]string {
		conn, err := open(database)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
		out := map[string]string{}
		rows, err := conn.Query(t.Context(), `set row_security = off; set search_path = ''; set extra_float_digits = 1; set timezone = 'UTC';
 select 'rows of ' || c.oid::regclass, c.oid::regclass::text from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.relkind = 'r' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'`, pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			t.Fatal(err)
		}
		var what, value string
		if _, err := pgx.ForEachRow(rows, []any{&what, &value}, func() error { out[what] = value; return nil }); err != nil || rows.Err() != nil {
			t.Fatal(err, rows.Err())
		}
		var batch pgx.Batch
		var names []string
		for what, table := range out {
			names = append(names, what)
			batch.Queue("select count(*) || ' ' || coalesce(md5(string_agg(t::text, E'\\n' order by t::text collate \"C\")), '') from " + table + " t")
		}
		answers := conn.SendBatch(t.Context(), &batch)
		for _, what := range names {
			if err := answers.QueryRow().Scan(&value); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			out[what] = value
		}
		if err := answers.Close(); err != nil {
			t.Fatal(err)
		}
		rows, err = conn.Query(t.Context(), `select 'index ' || indexname, indexdef from pg_catalog.pg_indexes where schemaname !~ '^pg_'
 union all select 'constraint ' || conname || ' of ' || conrelid::regclass, pg_catalog.pg_get_constraintdef(oid) || convalidated from pg_catalog.pg_constraint where conrelid <> 0 and conparentid = 0 and contype <> 'n' and connamespace::regnamespace::text !~ '^pg_'
 union all select 'sequence ' || schemaname || '.' || sequencename, coalesce(last_value::text, '') from pg_catalog.pg_sequences
 union all select 'trigger ' || tgname || ' of ' || tgrelid::regclass, tgenabled::text || ' '::text || pg_catalog.pg_get_triggerdef(oid) from pg_catalog.pg_trigger where not tgisinternal
 union all select 'policy ' || polname || ' of ' || polrelid::regclass, coalesce(pg_catalog.pg_get_expr(polqual, polrelid), '') from pg_catalog.pg_policy
 union all select 'large object ' || oid, md5(pg_catalog.lo_get(oid)) from pg_catalog.pg_largeobject_metadata
 union all select 'owner of ' || oid::regclass, relowner::regrole::text from pg_catalog.pg_class where relnamespace::regnamespace::text !~ '^pg_' and relnamespace::regnamespace::text <> 'information_schema'
 union all select 'publication ' || pubname, puballtables::text || pubinsert || pubupdate || pubdelete from pg_catalog.pg_publication where pubname !~ '^dbops_'
 union all select 'comment ' || classoid::regclass || ' ' || description, '' from pg_catalog.pg_description where classoid not in ('pg_catalog.pg_publication'::regclass, 'pg_catalog.pg_subscription'::regclass) and objoid >= 16384
 union all select 'event trigger ' || evtname, evtenabled::text from pg_catalog.pg_event_trigger
 union all select 'default privileges ' || defaclrole::regrole || ' ' || defaclobjtype::text, defaclacl::text from pg_catalog.pg_default_acl`, pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pgx.ForEachRow(rows, []any{&what, &value}, func() error { out[what] = value; return nil }); err != nil || rows.Err() != nil {
			t.Fatal(err, rows.Err())
		}
		return out
	}
	a, b := read(from), read(to)
	if len(a) < 3 {
		t.Fatalf("there is next to nothing in %s: %v", database, a)
	}
	bad := 0
	for what, value := range a {
		if other, ok := b[what]; !ok || other != value {
			if bad++; bad < 8 {
				t.Errorf("%s: %q on the source, %q on the target", what, value, other)
			}
		}
	}
	for what := range b {
		if _, ok := a[what]; !ok {
			if bad++; bad < 8 {
				t.Errorf("%s is only on the target", what)
			}
		}
	}
	t.Logf("%s: %d things compared", database, len(a))
}

func (p plain) same(t testing.TB, database string) {
	t.Helper()
	at := func(name string) func(string) (*pgx.Conn, error) {
		return func(db string) (*pgx.Conn, error) { return p.connect(t.Context(), target, Server{Name: name}, db, nil) }
	}
	alike(t, at("old"), at("new"), database)
}

func file(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// zoo fills the old server with one of everything.
func (p plain) zoo(t testing.TB, database string) {
	t.Helper()
	p.exec(t, "old", "postgres", file(t, "stream/testdata/roles.sql"))
	p.exec(t, "old", "postgres", "create database "+ident(database)+" owner app_owner")
	p.exec(t, "old", database, file(t, "stream/testdata/zoo.sql"))
}

// refused is the message of a server that let somebody not in, or not write.
func refused(err error) string {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return ""
	}
	return pe.Code
}

func has(findings []op.Finding, severity op.Severity, check string) bool {
	for _, f := range findings {
		if f.Severity == severity && f.Check == check {
			return true
		}
	}
	return false
}

func words2(v any) string {
	b, _ := json.MarshalIndent(v, "", " ")
	return strings.TrimSpace(string(b))
}
