package quiesce

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"dbops/internal/sandbox/pgtest"
	"dbops/internal/secret"
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

// word is every role's password.
const word = "quiesce-word"

// place is a database of an application's owner on a server, and the roles of it: dbops, which is no superuser, and three writers. Roles
// belong to the server, so they carry the database's name.
type place struct {
	t      testing.TB
	server *pgtest.Server
	db     string
	super  *pgx.Conn
}

func newPlace(t testing.TB, major int) *place {
	t.Helper()
	p := &place{t: t, server: pgtest.Start(t, major)}
	p.db = p.server.Database(t)
	p.super = p.server.Superuser(t, p.db)
	p.exec(`create role %[1]s_owner; create role %[1]s_dbops login createrole password '` + word + `' in role %[1]s_owner, pg_signal_backend, pg_monitor`)
	p.exec("alter database %[1]s owner to %[1]s_owner; create table t (i bigint generated always as identity, who text)")
	for _, r := range []string{"plain", "stubborn", "Über"} {
		p.exec(`create role "%[1]s_` + r + `" login password '` + word + `'; grant insert, select on t to "%[1]s_` + r + `"`)
		if major >= 16 {
			p.exec(`grant "%[1]s_` + r + `" to %[1]s_dbops with admin true, inherit false, set false`)
		}
	}
	p.exec("alter role %[1]s_stubborn set default_transaction_read_only = off")
	t.Cleanup(func() { // before the database goes, and with it what it grants
		p.server.Exec(t, "postgres", "drop database if exists "+p.db+" with (force)")
		p.server.Exec(t, "postgres", fmt.Sprintf(`do $$ declare r name; begin for r in select rolname from pg_roles where rolname like '%s\_%%' loop execute format('drop role %%I', r); end loop; end $$`, p.db))
	})
	return p
}

// exec runs statements as a superuser; %[1]s is the database.
func (p *place) exec(sql string) {
	p.t.Helper()
	if strings.Contains(sql, "%[1]s") {
		sql = fmt.Sprintf(sql, p.db)
	}
	if _, err := p.super.PgConn().Exec(context.WithoutCancel(p.t.Context()), sql).ReadAll(); err != nil {
		p.t.Fatalf("%.80s: %v", sql, err)
	}
}

func (p *place) text(sql string) string {
	p.t.Helper()
	var v string
	if err := p.super.QueryRow(p.t.Context(), sql).Scan(&v); err != nil {
		p.t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// as is how a role of the place logs in.
func (p *place) as(role string, tune func(*pgx.ConnConfig)) Connect {
	p.t.Helper()
	base := p.server.ConfigFor(p.t, p.db+"_"+role, secret.New(word), p.db)
	return func(ctx context.Context, database string) (*pgx.Conn, error) {
		cfg, err := pgx.ParseConfig("")
		if err != nil {
			return nil, err
		}
		cfg.Config = *base.Copy()
		cfg.Database = database
		if tune != nil {
			tune(cfg)
		}
		return pgx.ConnectConfig(ctx, cfg)
	}
}

// login is a session that ends with the test.
func (p *place) login(role string, tune func(*pgx.ConnConfig)) *pgx.Conn {
	p.t.Helper()
	c, err := p.as(role, tune)(p.t.Context(), p.db)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = c.Close(context.WithoutCancel(p.t.Context())) })
	return c
}

func named(app string) func(*pgx.ConnConfig) {
	return func(c *pgx.ConnConfig) { c.RuntimeParams["application_name"] = app }
}

// state is everything that Close changes, as the server writes it.
func (p *place) state() string {
	p.t.Helper()
	return p.text(`select coalesce(datacl::text, acldefault('d', datdba)::text) || ' ' || coalesce((select string_agg(coalesce(rolname, '') || setconfig::text, ' ' order by setrole) from pg_db_role_setting left join pg_roles r on r.oid = setrole where setdatabase = d.oid), '')
 from pg_database d where datname = current_database()`)
}

func (p *place) look() *Before {
	p.t.Helper()
	b, err := Look(p.t.Context(), p.as("dbops", nil), []string{p.db})
	if err != nil {
		p.t.Fatal(err)
	}
	return b
}

// writers insert in a loop, each time in a new session, until stopped.
type writers struct {
	wg      sync.WaitGroup
	stop    context.CancelFunc
	written atomic.Int64
	refused [4]atomic.Int64
}

func (p *place) write() *writers {
	p.t.Helper()
	w := &writers{}
	ctx, cancel := context.WithCancel(p.t.Context())
	w.stop = cancel
	for i, role := range []string{"plain", "stubborn", "Über", "plain"} {
		connect := p.as(role, named("shop"))
		w.wg.Go(func() {
			for ctx.Err() == nil {
				if err := writeOnce(ctx, connect, p.db, i%2 == 0, &w.written); err != nil {
					w.refused[i].Add(1)
					_ = rest(ctx, 20*time.Millisecond) // others want the processor, too
				}
			}
		})
	}
	p.t.Cleanup(w.end)
	return w
}

func (w *writers) end() {
	w.stop()
	w.wg.Wait()
}

func writeOnce(ctx context.Context, connect Connect, db string, insist bool, n *atomic.Int64) error {
	c, err := connect(ctx, db)
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	if insist {
		if _, err := c.Exec(ctx, "set default_transaction_read_only = off"); err != nil {
			return err
		}
	}
	for range 5 {
		if _, err := c.Exec(ctx, "insert into t (who) values (current_user)"); err != nil {
			return err
		}
		n.Add(1)
	}
	return nil
}

// until waits for a condition.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("it never came that %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestNobodyWritesOnceItIsClosed(t *testing.T) {
	for _, major := range pgtest.Majors {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, major)
			before := p.state()
			w := p.write()
			lasting := p.login("plain", named("batch"))
			for _, sql := range []string{"begin", "insert into t (who) values ('never')"} {
				if _, err := lasting.Exec(t.Context(), sql); err != nil {
					t.Fatal(err)
				}
			}
			until(t, "all write", func() bool { return w.written.Load() > 20 })
			b := p.look()
			if !slices.Contains(b.Databases[0].MayConnect, p.db+"_Über") || len(b.Databases[0].Settings) != 2 {
				t.Errorf("before: %+v", b)
			}
			r, err := Close(t.Context(), p.as("dbops", nil), b, Options{})
			if err != nil {
				t.Fatal(err)
			}
			rows := p.text("select count(*)::text || ' ' || coalesce(max(i), 0) from t")
			var refused [4]int64
			for i := range refused {
				refused[i] = w.refused[i].Load()
			}
			until(t, "all were refused", func() bool {
				for i := range refused {
					if w.refused[i].Load() < refused[i]+3 {
						return false
					}
				}
				return true
			})
			if now := p.text("select count(*)::text || ' ' || coalesce(max(i), 0) from t"); now != rows || p.text("select count(*)::text from t where who = 'never'") != "0" {
				t.Errorf("%s rows, and later %s", rows, now)
			}
			if !slices.ContainsFunc(r.Ended, func(x Session) bool {
				return x.Application == "batch" && x.Role == p.db+"_plain" && x.State == "idle in transaction" && x.Age > 0
			}) || len(r.Phases) != 3 || len(r.Notes) != 0 {
				t.Errorf("report: %+v", r)
			}
			still, err := Closed(t.Context(), p.as("dbops", nil), b)
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range still { // the test's own session, and the roles of the server that made it
				if x.Role != p.db+"_dbops" && !strings.Contains(x.Why, "superusers") {
					t.Errorf("still: %+v", x)
				}
			}
			if len(still) < 3 {
				t.Errorf("still: %+v", still)
			}
			for range 2 {
				if err := Open(t.Context(), p.as("dbops", nil), b); err != nil {
					t.Fatal(err)
				}
				if now := p.state(); now != before {
					t.Errorf("afterwards %s, before %s", now, before)
				}
			}
			n := w.written.Load()
			until(t, "all write again", func() bool { return w.written.Load() > n+15 })
			w.end()
			if p.text("select count(distinct who)::text from t") != "3" {
				t.Error("somebody did not write")
			}
		})
	}
}
