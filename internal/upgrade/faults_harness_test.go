package upgrade

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/pg"
	"dbops/internal/sandbox/pgtest"
	"dbops/internal/secret"
)

// ground is an old server and a new one, with the network between them and a run.
type ground struct {
	plain
	server map[string]*pgtest.Server

	mu     sync.Mutex
	open   map[*cable]bool
	writes int // that go through until everything is cut; less than none: all of them
	cut    func()
	down   string // the server that cannot be reached; "all" are both
	read   int    // bytes of the old server that went by
	at     []mark
}

// mark is what happens when so many bytes of the old server went by.
type mark struct {
	bytes int
	do    func()
}

// cable is a connection of the run.
type cable struct {
	net.Conn
	g      *ground
	server string
}

func newGround(t *testing.T, from, to int) *ground {
	t.Helper()
	g := &ground{plain: plain{Servers: map[string]login{}, Dir: pgtest.Dir(t)}, server: map[string]*pgtest.Server{}, open: map[*cable]bool{}, writes: -1}
	for name, major := range map[string]int{"old": from, "new": to} {
		s := pgtest.StartOwn(t, major)
		l := login{Host: s.Host, Port: s.Port, CAFile: s.CAFile, User: "boss", Password: "correct horse " + name}
		s.Exec(t, "postgres", "create role boss superuser login replication password "+literal(verifier(t, l.Password)))
		g.server[name], g.Servers[name] = s, l
	}
	return g
}

func verifier(t testing.TB, password string) string {
	t.Helper()
	v, err := pg.Verifier(secret.New(password))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (g *ground) deps() Deps {
	d := g.plain.deps()
	d.Connect = g.connect
	return d
}

// connect logs in through a cable, and says what a person would be told.
func (g *ground) connect(ctx context.Context, t op.Target, s Server, database string, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
	conn, err := g.plain.connect(ctx, t, s, database, func(c *pgx.ConnConfig) {
		if tune != nil {
			tune(c)
		}
		dial := c.DialFunc
		c.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
			return g.dial(ctx, s.Name, network, address, dial)
		}
	})
	if err == nil {
		return conn, nil
	}
	kind := fault.Unavailable
	if strings.HasPrefix(refused(err), "28") {
		kind = fault.Denied
	}
	return nil, fault.New(kind, "log in to "+s.Name, err).Hint("see whether it can be reached: dbops psql")
}

func (g *ground) dial(ctx context.Context, server, network, address string, dial pgconn.DialFunc) (net.Conn, error) {
	g.mu.Lock()
	down := g.down == "all" || g.down == server
	g.mu.Unlock()
	if down {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	conn, err := dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &cable{conn, g, server}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open[c] = true
	return c, nil
}

func (c *cable) Write(b []byte) (int, error) {
	c.g.mu.Lock()
	cut := c.g.writes == 0
	if c.g.writes >= 0 {
		c.g.writes--
	}
	c.g.mu.Unlock()
	if cut {
		c.g.sever("all")
		c.g.cut()
	}
	return c.Conn.Write(b)
}

func (c *cable) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.server != "old" {
		return n, err
	}
	var do func()
	c.g.mu.Lock()
	if c.g.read += n; len(c.g.at) > 0 && c.g.read > c.g.at[0].bytes {
		do, c.g.at = c.g.at[0].do, c.g.at[1:]
	}
	c.g.mu.Unlock()
	if do != nil {
		do()
	}
	return n, err
}

func (c *cable) Close() error {
	c.g.mu.Lock()
	delete(c.g.open, c)
	c.g.mu.Unlock()
	return c.Conn.Close()
}

// sever cuts every connection to a server, and lets none come again until mend.
func (g *ground) sever(server string) {
	g.mu.Lock()
	g.down = server
	var all []*cable
	for c := range g.open {
		if server == "all" || c.server == server {
			all = append(all, c)
		}
	}
	g.mu.Unlock()
	for _, c := range all {
		_ = c.Close()
	}
}

func (g *ground) mend() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.down, g.writes = "", -1
}

// cutAfter does something whose network is cut after so many writes; a moment later it is told to stop, as it may have the patience to wait.
func (g *ground) cutAfter(ctx context.Context, writes int, do func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g.mu.Lock()
	g.writes, g.cut = writes, func() { time.AfterFunc(300*time.Millisecond, cancel) }
	g.mu.Unlock()
	defer g.mend()
	return do(ctx)
}

// after lets things happen when so many bytes of the old server have gone by from now on.
func (g *ground) after(all ...mark) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.read, g.at = 0, all
}

// overcome is how many of those have not happened.
func (g *ground) overcome() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.at)
}

func (g *ground) restart(t testing.TB, server string) func() {
	t.Helper()
	return func() {
		if err := g.server[server].World.Restart(context.WithoutCancel(t.Context()), nil); err != nil {
			t.Errorf("restart %s: %v", server, err)
		}
	}
}

// fill gives the old server a small database: rights and settings of every kind, owners who are not there any more, and a table that takes a while.
func (g *ground) fill(t testing.TB) {
	t.Helper()
	g.exec(t, "old", "postgres", `create role app_owner login password 'app_owner'; create role writer login password 'writer'; create role reader login; create role team; create role orphan; create role gone; create role heir;
 grant team to writer; alter role reader set work_mem = '7MB'`)
	g.exec(t, "old", "postgres", "create database shop owner app_owner")
	g.exec(t, "old", "postgres", `revoke all on database shop from public; grant connect on database shop to writer with grant option; grant connect, temp on database shop to team, reader;
 alter database shop set lock_timeout = '3s'; alter role writer in database shop set default_transaction_read_only = off`)
	g.exec(t, "old", "shop", `create schema app authorization app_owner; create table app.orphaned (id int primary key); alter table app.orphaned owner to orphan; insert into app.orphaned values (1);
 create table app.inherited (id int primary key); alter table app.inherited owner to gone; insert into app.inherited values (1); reassign owned by gone to heir; drop role gone;
 grant usage on schema app to writer; set role app_owner; set search_path = app; create table item (id int primary key, name text not null, n bigserial); insert into item select i, 'item ' || i from generate_series(1, 300) i;
 grant select, insert, update, delete on item to writer; grant usage on sequence item_n_seq to writer; create table nokey (a int, b text); insert into nokey select i, 'x' from generate_series(1, 50) i;
 create table wide (id int primary key, v text); insert into wide select i, repeat(md5(i::text), 15) from generate_series(1, 6000) i; create index on wide (v)`)
}

const wholeServer = `select string_agg(x, e'\n' order by x) from (
 select 'role ' || (to_jsonb(a) - case when rolname = 'postgres' then '{oid,rolpassword}' else '{oid}' end::text[])::text x from pg_authid a
 union all select format('member %s of %s: %s', member::regrole, roleid::regrole, admin_option) from pg_auth_members
 union all select format('database %s of %s: %s %s %s', datname, datdba::regrole, coalesce(datacl, acldefault('d', datdba)), datallowconn, datconnlimit) from pg_database
 union all select format('setting of %s in %s: %s', setrole::regrole, (select datname from pg_database where oid = setdatabase), setconfig) from pg_db_role_setting
 union all select 'slot ' || slot_name from pg_replication_slots union all select 'origin ' || roname from pg_replication_origin union all select 'subscription ' || subname from pg_subscription
 union all select format('comment on %s: %s', objoid, description) from pg_shdescription
 union all select format('transaction of %s', application_name) from pg_stat_activity where application_name like 'dbops%' and state like 'idle in transaction%') x`

const wholeDatabase = `select string_agg(x, e'\n' order by x) from (
 select format('%s of %s: %s %s %s', oid::regclass, relowner::regrole, relkind, relacl, relreplident) x from pg_class where relnamespace::regnamespace::text not in ('pg_catalog', 'pg_toast', 'information_schema')
 union all select format('schema %s of %s: %s', nspname, nspowner::regrole, nspacl) from pg_namespace where nspname !~ '^pg_(temp|toast_temp)'
 union all select 'publication ' || pubname from pg_publication union all select 'event trigger ' || evtname from pg_event_trigger
 union all select 'default ' || defaclacl::text from pg_default_acl) x`

const contents = `select (select md5(string_agg(t::text, ',' order by id)) from app.item t) || (select md5(string_agg(t::text, ',' order by id)) from app.wide t) || (select count(*) from app.nokey)`

// state is all that an undone run leaves as it was. Of the role that both servers had before, the target keeps the source's password.
func (g *ground) state(t testing.TB) string {
	t.Helper()
	var parts []string
	for _, at := range []struct {
		server, database string
		ask              []string
	}{{"old", "postgres", []string{wholeServer, wholeDatabase}}, {"old", "shop", []string{wholeDatabase, contents}}, {"new", "postgres", []string{wholeServer, wholeDatabase}}} {
		conn, err := g.server[at.server].World.DB(t.Context(), at.database)
		if err != nil {
			t.Fatal(err)
		}
		for _, sql := range at.ask {
			var text string
			if err := conn.QueryRow(t.Context(), sql).Scan(&text); err != nil {
				t.Fatalf("%.80s: %v", sql, err)
			}
			parts = append(parts, at.server+" "+at.database+"\n"+text)
		}
		_ = conn.Close(t.Context())
	}
	return strings.Join(parts, "\n")
}

// undone demands that both servers are as they were, nothing of a run is left on this machine, and a client writes.
func (g *ground) undone(t testing.TB, what, before string) {
	t.Helper()
	now := g.state(t)
	for until := time.Now().Add(5 * time.Second); now != before && time.Now().Before(until); { // sessions of a cut network may still end
		if err := op.Sleep(t.Context(), 50*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		now = g.state(t)
	}
	if now != before {
		t.Errorf("%s: it is not as before:\n%s", what, differing(before, now))
	}
	if left, err := os.ReadDir(g.Dir); err != nil || len(left) > 0 {
		t.Errorf("%s: %v: %v is left", what, err, left)
	}
	if err := g.writesTo(t.Context(), "old"); err != nil {
		t.Errorf("%s: a client cannot write: %v", what, err)
	}
}

// writesTo is a client that comes in and writes.
func (g *ground) writesTo(ctx context.Context, server string) error {
	conn, err := g.connectAs(ctx, server, "shop", "writer")
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "begin; insert into app.item values (-1, 'mine', 0); rollback")
	return errors.Join(err, conn.Close(ctx))
}

func differing(a, b string) string {
	var out []string
	for _, side := range []struct{ sign, in, other string }{{"was ", a, "\n" + b + "\n"}, {"is  ", b, "\n" + a + "\n"}} {
		for line := range strings.SplitSeq(side.in, "\n") {
			if !strings.Contains(side.other, "\n"+line+"\n") {
				out = append(out, side.sign+line)
			}
		}
	}
	return strings.Join(out, "\n")
}

// direct changes what the steps of upgrades are from now on.
func (b *bench) direct(t testing.TB, change func([]op.Step) []op.Step) {
	t.Helper()
	r := New(b.deps)
	o := r.run()
	steps := o.Steps
	o.Steps = func(t op.Target, q Request, f facts) []op.Step { return change(steps(t, q, f)) }
	kinds, err := op.NewRegistry(o.AsKind(), r.rollback().AsKind(), r.cleanup().AsKind())
	if err != nil {
		t.Fatal(err)
	}
	b.Engine = op.New(b.store, kinds, op.Options{Version: "test", Poll: 50 * time.Millisecond, TTL: 20 * time.Second, Host: "here"})
}

// begins lets something happen each time that a step begins.
func begins(name string, do func(attempt int)) func([]op.Step) []op.Step {
	return func(steps []op.Step) []op.Step {
		for i, s := range steps {
			if s.Name == name {
				steps[i].Do = func(ctx context.Context, o *op.Session) (op.Result, error) {
					do(o.Attempt)
					return s.Do(ctx, o)
				}
			}
		}
		return steps
	}
}

func chain(all ...func([]op.Step) []op.Step) func([]op.Step) []op.Step {
	return func(steps []op.Step) []op.Step {
		for _, one := range all {
			steps = one(steps)
		}
		return steps
	}
}

// halves are how many writes to servers are in about the middle of steps.
var halves = map[string]int{"roles": 14, "databases": 25, "copy shop": 80, "settings": 25, "statistics": 40, "quiesce": 30, "attach": 30, "reverse": 30, "drain": 20}

// everyStep undoes a run from steps that are half done, for the network was cut in the middle, after all before them were done. Last it begins
// the run once more.
func (g *ground) everyStep(t testing.TB, before string, only []string) func([]op.Step) []op.Step {
	t.Helper()
	return func(steps []op.Step) (out []op.Step) {
		for pos, failing := range steps {
			if failing.Onward {
				break
			}
			if failing.Gate != "" || !slices.Contains(only, failing.Name) {
				continue
			}
			for _, s := range steps[:pos] {
				if s.Gate == "" && s.Name != "target" && s.Name != "statistics" {
					out = append(out, op.Step{Name: s.Name, Title: s.Title, Do: s.Do})
				}
			}
			out = append(out, op.Step{Name: "half " + failing.Name, Title: "do half", Do: func(ctx context.Context, s *op.Session) (op.Result, error) {
				err := g.cutAfter(ctx, cmp.Or(halves[failing.Name], 8), func(ctx context.Context) error { _, err := failing.Do(ctx, s); return err })
				return op.Result{Text: fmt.Sprint(err)}, ctx.Err()
			}})
			for i := pos; i >= 0; i-- {
				if steps[i].Undo != nil {
					out = append(out, op.Step{Name: "undo " + steps[i].Name, Title: steps[i].UndoTitle, Do: steps[i].Undo})
				}
			}
			out = append(out, op.Step{Name: "undone from " + failing.Name, Title: "compare", Do: func(context.Context, *op.Session) (op.Result, error) {
				g.undone(t, "undone from "+failing.Name, before)
				return op.Result{}, nil
			}})
		}
		return append(out, steps...)
	}
}
