package driver

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// far makes a stage's sessions go through a relay that counts.
func (s *stage) far() (*Relay, func(*Options)) {
	s.t.Helper()
	r := NewRelay(s.t, s.server, 0)
	return r, func(o *Options) {
		o.Connect = func(ctx context.Context, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
			return s.connect(ctx, func(c *pgx.ConnConfig) {
				tune(c)
				r.Reach(&c.Config)
			})
		}
	}
}

// Each round trip of a database far away takes as long as a hundred small files take in one nearby.
func TestRoundTripsAreFew(t *testing.T) {
	s := newStage(t, 17)
	for i := 1; i <= 100; i++ {
		s.write(fmt.Sprintf("%04d_t.up.sql", i), fmt.Sprintf("create table t%d(a int)", i))
	}
	for _, c := range []struct {
		what   string
		status int // after the login
		up     int
		jobs   func() []Job
	}{
		{"a new database", 1, 12, func() []Job { return s.jobs(-1) }}, // 100 files are five messages: 1, 4, 16, 64 and 15 of them
		{"one at the last version", 2, 0, func() []Job { return nil }},
		{"one with a file to come", 2, 7, func() []Job {
			s.write("0101_t.up.sql", "create table t101(a int)")
			return s.jobs(100)
		}},
	} {
		r, far := s.far()
		d := s.open(far, func(o *Options) {
			o.now = func() time.Time { return time.Time{} } // no file takes time
			o.Connect = once(o.Connect)
		})
		from := s.at()
		login := r.trips(t)
		if _, err := ReadState(t.Context(), d.conn, Table{}); err != nil {
			t.Fatal(err)
		}
		if n := r.trips(t) - login; n != c.status {
			t.Errorf("the status of %s takes %d round trips, not %d", c.what, n, c.status)
		}
		login = r.trips(t)
		if err := d.Apply(t.Context(), from, c.jobs()); err != nil {
			t.Fatal(err)
		}
		if n := r.trips(t) - login; n != c.up {
			t.Errorf("up of %s takes %d round trips, not %d", c.what, n, c.up)
		}
	}
	if v := s.at(); v != 101 {
		t.Errorf("version %d", v)
	}
}

// trips are those of the only session.
func (r *Relay) trips(t *testing.T) int {
	t.Helper()
	all := r.Trips()
	if len(all) != 1 {
		t.Fatalf("%d sessions", len(all))
	}
	return all[0]
}

func TestTheStatusNeedsNothingThatWrites(t *testing.T) {
	s := newStage(t, 17)
	s.write("0001_t.up.sql", "create table t(a int)")
	look := func() {
		t.Helper()
		c := s.conn()
		if _, err := c.Exec(t.Context(), "set default_transaction_read_only = on"); err != nil {
			t.Fatal(err)
		}
		before := s.one("select count(*) from pg_class")
		if _, err := ReadState(t.Context(), c, Table{}); err != nil {
			t.Fatal(err)
		}
		if after := s.one("select count(*) from pg_class"); after != before {
			t.Errorf("%s relations, and %s before", after, before)
		}
		if n := s.one("select count(*) from pg_locks where pid = " + fmt.Sprint(c.PgConn().PID())); n != "0" {
			t.Errorf("%s locks are kept", n)
		}
	}
	look()
	if err := s.apply(s.jobs(-1)); err != nil {
		t.Fatal(err)
	}
	busy := s.conn()
	h, _, err := find(t.Context(), busy, Table{Name: DefaultTable})
	if err != nil {
		t.Fatal(err)
	}
	ids, err := h.lockIDs()
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if _, err := busy.Exec(t.Context(), "select pg_advisory_lock("+id+")"); err != nil {
			t.Fatal(err)
		}
	}
	look() // while both of golang-migrate's locks are taken
}

// once lets one session be opened, and no other: whether a run is looked at from the side depends on how long it takes.
func once(connect func(context.Context, func(*pgx.ConnConfig)) (*pgx.Conn, error)) func(context.Context, func(*pgx.ConnConfig)) (*pgx.Conn, error) {
	n := 0
	return func(ctx context.Context, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
		if n++; n > 1 {
			return nil, errors.New("one session is enough")
		}
		return connect(ctx, tune)
	}
}
