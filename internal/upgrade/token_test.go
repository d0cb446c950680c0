package upgrade

import (
	"cmp"
	"context"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"dbops/internal/cloud"
	"dbops/internal/cloud/postgres"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/pg"
	theatre "dbops/internal/sandbox/stage"
	"dbops/internal/secret"
	"dbops/internal/state"
)

const (
	keeper = "dbops_admin" // the admin login of dbops.yaml, which is not the provider's own
	robot  = "robot@shop-prod.iam"
)

// guarded is a played Cloud SQL whose servers are logged in to by password, as they want it.
type guarded struct {
	played
	g *theatre.Stage
	// lenient: the source and its copies let the admin login in, whatever it is a member of.
	lenient bool
}

func (p guarded) connect(ctx context.Context, t op.Target, s Server, database string, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
	if p.lenient && !strings.HasSuffix(s.Name, "-pg17") && !strings.HasSuffix(s.Name, "-new") {
		return p.played.connect(ctx, t, s, database, tune)
	}
	user := cmp.Or(s.Login, keeper)
	what := "log in to " + s.Name + " as " + user
	server := p.g.Server(s.Name)
	if server == nil {
		return nil, fault.Newf(fault.Unavailable, what, "it is not there yet")
	}
	host, port, err := net.SplitHostPort(server.Addr())
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	low, err := pg.Config(pg.Params{
		Host: host, Port: uint16(n), User: user, Password: secret.New(adminPassword), Database: database, SSLMode: "require", RequireAuth: "scram-sha-256",
	})
	if err != nil {
		return nil, err
	}
	cfg, err := pgx.ParseConfig("")
	if err != nil {
		return nil, err
	}
	cfg.Config = *low
	cfg.RuntimeParams["application_name"] = "dbops"
	if tune != nil {
		tune(cfg)
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	return conn, postgres.Fault(ctx, what, err)
}

// keys are clients whose passwords dbops knows.
type keys struct{ *clients }

func (keys) Passwords(context.Context, op.Target) (map[string]secret.Value, error) {
	return map[string]secret.Value{keeper: secret.New(adminPassword)}, nil
}

// guard makes an instance with an admin login of its own, and an IAM user.
func (p played) guard(t *testing.T, g *theatre.Stage, name string, lenient bool) (guarded, *bench) {
	t.Helper()
	out := guarded{played: p.instance(t, g, name, 15), g: g, lenient: lenient}
	p = out.played
	verifier, err := pg.Verifier(secret.New(adminPassword))
	if err != nil {
		t.Fatal(err)
	}
	p.exec(t, name, "postgres", `create role shop_owner; create role plain login; create role late login; create role `+ident(robot)+` login in role cloudsqliamuser, pg_read_all_data;
 create role `+keeper+` login createrole in role shop_owner, pg_monitor, pg_signal_backend, pg_read_all_data password `+literal(verifier))
	p.exec(t, name, "postgres", "create database shop owner shop_owner")
	p.exec(t, name, "shop", "create table t (id int primary key); alter table t owner to shop_owner; insert into t select generate_series(1, 100)")
	d, err := p.deps(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d.Connect, d.Clients = out.connect, keys{&clients{}}
	d.Admin = func(context.Context, op.Target) (string, secret.Value, error) {
		return keeper, secret.New(adminPassword), nil
	}
	return out, newBench(t, "sqlite", d)
}

func finding(findings []op.Finding, check string) (f op.Finding) {
	if i := slices.IndexFunc(findings, func(f op.Finding) bool { return f.Check == check }); i >= 0 {
		f = findings[i]
	}
	return f
}

// administered are the roles that the admin login may alter, as members of which it could log in only with a token.
func (p guarded) administered(t *testing.T, server string) string {
	t.Helper()
	return p.exec(t, server, "postgres", `select string_agg(r.rolname, ' ' order by r.rolname) from pg_auth_members m join pg_roles r on r.oid = m.roleid
 where m.member = 'dbops_admin'::regrole and m.admin_option`)
}

func TestTheAdminLoginStaysOneByPassword(t *testing.T) {
	p, g := stage(t, cloud.CloudSQL)

	t.Run("IAM users are not given to it to administer", func(t *testing.T) {
		p, b := p.guard(t, g, "shop-main", false)
		plan := b.plan(t, RunKind, Request{To: 17, Observe: 1})
		if f := finding(plan.Findings, "admin-option"); f.Severity != op.Info || f.Evidence != robot || !strings.Contains(f.Remedy, "postgres") {
			t.Errorf("%s", words2(plan.Findings))
		}
		id := b.submit(t, plan)
		run := b.attach(t, id)
		if run.State != state.Gate {
			t.Fatalf("the run is %s at %s: %s (%s)", run.State, run.Step, run.Problem, run.Hint)
		}
		if got, want := p.administered(t, "shop-main-pg17"), "late plain shop_owner"; got != want {
			t.Errorf("it administers %s, and not %s", got, want)
		}
		// One becomes an IAM user while the run waits.
		p.exec(t, p.Source, "postgres", "grant cloudsqliamuser to late")
		b.tell(t, id, state.Continue)
		b.done(t, b.attach(t, id))
		if got, want := p.administered(t, "shop-main-pg17"), "plain shop_owner"; got != want {
			t.Errorf("it administers %s, and not %s", got, want)
		}
		conn, err := p.connect(t.Context(), target, Server{Name: "shop-main-pg17"}, "shop", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
		if _, err := conn.Exec(t.Context(), "alter role plain connection limit 7"); err != nil {
			t.Error(err)
		}
		if report := b.report(t, id); !slices.ContainsFunc(report.LeftOut, func(s string) bool { return strings.Contains(s, "ADMIN OPTION") && strings.Contains(s, robot) }) {
			t.Errorf("%q", report.LeftOut)
		}
	})

	t.Run("one that could log in only with a token is found before clients are shut out", func(t *testing.T) {
		p, b := p.guard(t, g, "shop-other", true)
		p.exec(t, p.Source, "postgres", "grant "+ident(robot)+" to "+keeper)
		plan := b.plan(t, RunKind, Request{To: 17})
		if f := finding(plan.Findings, "admin-token"); f.Severity != op.Warn || !strings.Contains(f.Text, keeper) {
			t.Errorf("%s", words2(plan.Findings))
		}
		rehearsal := b.run(t, RehearseKind, Request{To: 17})
		b.done(t, rehearsal)
		if failures := b.report(t, rehearsal.ID).Failures; len(failures) != 1 || failures[0].Step != adminStep || !strings.Contains(failures[0].Hint, keeper) {
			t.Errorf("%s", words2(failures))
		}
		id := b.submit(t, plan)
		run := b.attach(t, id)
		if run.State != state.Parked || run.Step != adminStep || !strings.Contains(run.Problem, keeper) || !strings.Contains(run.Hint, "dbops runs retry") {
			t.Fatalf("the run is %s at %s: %s (%s)", run.State, run.Step, run.Problem, run.Hint)
		}
		p.exec(t, "shop-other-pg17", "postgres", "revoke "+ident(robot)+" from "+keeper+" granted by postgres")
		b.tell(t, id, state.Retry)
		if run = b.attach(t, id); run.State != state.Gate {
			t.Fatalf("the run is %s at %s: %s (%s)", run.State, run.Step, run.Problem, run.Hint)
		}
		// What it becomes a member of while the run waits is found as well.
		p.exec(t, "shop-other-pg17", "postgres", "grant "+ident(robot)+" to "+keeper)
		b.tell(t, id, state.Continue)
		if run = b.attach(t, id); run.State != state.Parked || run.Step != noteStep {
			t.Fatalf("the run is %s at %s: %s", run.State, run.Step, run.Problem)
		}
		if p.exec(t, p.Source, "shop", "select has_database_privilege('plain', 'shop', 'connect')") != "t" {
			t.Error("clients are shut out of the source")
		}
	})
}
