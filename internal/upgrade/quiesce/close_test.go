package quiesce

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

func TestTransactionsMayEndWithinTheGrace(t *testing.T) {
	p := newPlace(t, 14)
	begin := func(c *pgx.Conn, who string) {
		t.Helper()
		for _, sql := range []string{"begin", "insert into t (who) values ('" + who + "')"} {
			if _, err := c.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
		}
	}
	quick, again, slow, idle := p.login("plain", nil), p.login("stubborn", nil), p.login("Über", nil), p.login("plain", nil)
	begin(quick, "quick")
	begin(again, "again")
	begin(slow, "slow")
	did := make(chan error, 3)
	told := 0
	// A session that waits is asked to go on only when the closer has said that it waits.
	r, err := Close(t.Context(), p.as("dbops", nil), p.look(), Options{Grace: 2 * time.Second, Tell: func(g Progress) {
		if g.Waiting == 3 && told == 0 {
			told++
			_, err := idle.Exec(t.Context(), "select 1")
			did <- err
			_, err = quick.Exec(t.Context(), "commit")
			did <- err
			_, err = again.Exec(t.Context(), "commit; begin; insert into t (who) values ('late')", pgx.QueryExecModeSimpleProtocol)
			did <- err
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-did; err == nil {
		t.Error("an idle session was given grace")
	}
	for range 2 {
		if err := <-did; err != nil {
			t.Errorf("a transaction that was open could not end: %v", err)
		}
	}
	if who := p.text("select string_agg(who, ' ' order by who) from t"); who != "again quick" {
		t.Errorf("rows of %s", who)
	}
	if len(r.Ended) != 4 || r.Phases[2].Took < 2*time.Second {
		t.Errorf("report: %+v", r)
	}
}

func TestReplicationThatIsNamedStays(t *testing.T) {
	p := newPlace(t, 17)
	p.exec("alter role %[1]s_plain replication")
	sender := func(app string) *pgconn.PgConn {
		return p.login("plain", func(c *pgx.ConnConfig) {
			c.RuntimeParams["application_name"], c.RuntimeParams["replication"] = app, "database"
			c.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
		}).PgConn()
	}
	kept, other := sender("sub"), sender("else")
	impostor, ours := p.login("plain", named("sub")), p.login("dbops", named("copy"))
	b := p.look()
	o := Options{Keep: []string{"sub", "copy"}, Roles: []string{p.db + "_plain"}}
	r, err := Close(t.Context(), p.as("dbops", nil), b, o)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(c *pgconn.PgConn) error { _, err := c.Exec(t.Context(), "IDENTIFY_SYSTEM").ReadAll(); return err }
	_, oerr := ours.Exec(t.Context(), "select 1")
	if err := errors.Join(ask(kept), oerr); err != nil {
		t.Error(err)
	}
	_, ierr := impostor.Exec(t.Context(), "select 1")
	if ask(other) == nil || ierr == nil {
		t.Error("others stay, too")
	}
	if !slices.ContainsFunc(r.Still, func(x Session) bool { return x.Application == "sub" && strings.Contains(x.Why, "sends changes") }) ||
		!slices.ContainsFunc(r.Still, func(x Session) bool { return x.Role == p.db+"_plain" && x.State == StateMayLogIn }) {
		t.Errorf("still: %+v", r.Still)
	}
	if err := ask(sender("sub")); err != nil {
		t.Errorf("the subscription cannot come again: %v", err)
	}
}

// A session that was let in before the right was taken, and cannot be seen yet, is waited for.
func TestALoginThatIsUnderWayIsCaught(t *testing.T) {
	for _, major := range []int{14, 18} {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, major)
			b := p.look()
			done := make(chan struct{})
			var in atomic.Bool
			go func() { // it writes until it is ended
				c, err := p.as("stubborn", func(c *pgx.ConnConfig) { c.RuntimeParams["post_auth_delay"] = "1" })(t.Context(), p.db)
				in.Store(err == nil)
				for err == nil {
					_, err = c.Exec(t.Context(), "insert into t (who) values ('late')")
				}
				close(done)
			}()
			until(t, "it has the right to connect", func() bool {
				return p.text("select count(*)::text from pg_locks where classid = 'pg_database'::regclass and mode = 'RowExclusiveLock' and objid = (select oid from pg_database where datname = current_database())") == "1"
			})
			r, err := Close(t.Context(), p.as("dbops", nil), b, Options{})
			if err != nil {
				t.Fatal(err)
			}
			rows := p.text("select count(*)::text from t")
			select {
			case <-done:
			case <-time.After(20 * time.Second):
				t.Fatal("it was not ended")
			}
			if now := p.text("select count(*)::text from t"); now != rows {
				t.Errorf("%s rows, and later %s", rows, now)
			}
			if in.Load() && (len(r.Ended) != 1 || r.Ended[0].Role != p.db+"_stubborn") {
				t.Errorf("report: %+v", r)
			}
		})
	}
}

// A member of the owner who may end sessions, and no more, sees little of others' sessions, and closes as well.
func TestTheFewestRightsAreEnough(t *testing.T) {
	p, other := newPlace(t, 16), newPlace(t, 16)
	p.exec("revoke pg_monitor from %[1]s_dbops; alter role %[1]s_dbops nocreaterole; revoke %[1]s_plain, %[1]s_stubborn, \"%[1]s_Über\" from %[1]s_dbops; grant " + other.db + "_owner to %[1]s_dbops with inherit false, set true")
	before, otherBefore := p.state(), other.state()
	b, err := Look(t.Context(), p.as("dbops", nil), []string{p.db, other.db})
	if err != nil {
		t.Fatal(err)
	}
	quick, idle, there := p.login("plain", nil), p.login("stubborn", nil), other.login("plain", named("elsewhere"))
	for _, sql := range []string{"begin", "insert into t (who) values ('quick')"} {
		if _, err := quick.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	var qerr error
	told := false
	r, err := Close(t.Context(), p.as("dbops", nil), b, Options{Grace: 30 * time.Second, Tell: func(g Progress) {
		if g.Waiting == 1 && !told {
			told = true
			_, qerr = quick.Exec(t.Context(), "commit")
		}
	}})
	if err != nil || qerr != nil {
		t.Fatal(err, qerr)
	}
	for _, c := range []*pgx.Conn{quick, idle, there} {
		if _, err := c.Exec(t.Context(), "select 1"); err == nil {
			t.Error("a session goes on")
		}
	}
	if p.text("select count(*)::text from t") != "1" || len(r.Ended) != 3 || len(r.Notes) != 2 || !strings.Contains(r.Notes[0], p.db+"_stubborn") {
		t.Errorf("report: %+v", r)
	}
	if _, err := p.as("stubborn", nil)(t.Context(), other.db); err == nil {
		t.Error("somebody comes into the other database")
	}
	for range 2 {
		if err := Open(t.Context(), p.as("dbops", nil), b); err != nil {
			t.Fatal(err)
		}
	}
	if p.state() != before || other.state() != otherBefore {
		t.Errorf("afterwards %s and %s, before %s and %s", p.state(), other.state(), before, otherBefore)
	}
}

func TestWhatIsNoSessionIsTold(t *testing.T) {
	p := newPlace(t, 16)
	p.exec("create subscription %[1]s_sub connection 'dbname=nowhere' publication p with (connect = false, slot_name = none)")
	t.Cleanup(func() { p.exec("drop subscription %[1]s_sub") })
	b := p.look()
	still, err := Closed(t.Context(), p.as("dbops", nil), b)
	if err != nil {
		t.Fatal(err)
	}
	var may []string
	for _, x := range still {
		if x.State == StateMayLogIn && strings.HasPrefix(x.Role, p.db) {
			may = append(may, strings.TrimPrefix(x.Role, p.db+"_")+": "+x.Why)
		}
	}
	if got := strings.Join(may, ", "); got != "dbops: dbops logs in with it, plain: it has the right to connect, stubborn: it has the right to connect, Über: it has the right to connect" {
		t.Error(got)
	}
}

func TestASuperuserEndsSuperusersToo(t *testing.T) {
	p := newPlace(t, 17)
	before := p.state()
	as := func(app string) Connect {
		return func(ctx context.Context, _ string) (*pgx.Conn, error) {
			cfg := p.super.Config().Copy()
			cfg.RuntimeParams["application_name"] = app
			return pgx.ConnectConfig(ctx, cfg)
		}
	}
	shop, err := as("shop")(t.Context(), p.db)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Look(t.Context(), as("dbops"), []string{p.db})
	if err != nil {
		t.Fatal(err)
	}
	r, err := Close(t.Context(), as("dbops"), b, Options{Keep: []string{p.super.Config().RuntimeParams["application_name"]}})
	if err != nil || len(r.Ended) != 1 || r.Ended[0].Application != "shop" {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := shop.Exec(t.Context(), "select 1"); err == nil {
		t.Error("a superuser stays")
	}
	if _, err := p.as("stubborn", nil)(t.Context(), p.db); err == nil {
		t.Error("somebody comes in")
	}
	if err := Open(t.Context(), as("dbops"), b); err != nil || p.state() != before {
		t.Errorf("afterwards %s, before %s: %v", p.state(), before, err)
	}
}
