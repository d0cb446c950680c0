package live

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"dbops/internal/sandbox/pgtest"
)

func TestWhoBlocksWhomOnEveryMajor(t *testing.T) {
	for _, major := range pgtest.Majors {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			s := newStage(t, major)
			holder := s.client(t, "cart", "begin", "update item set note = 'x' where id = 1")
			first, second := s.client(t, "checkout"), s.client(t, "report")
			other := s.client(t, "batch")
			s.behind(t, first, "update item set note = 'y' where id = 1")
			s.behind(t, second, "begin; lock table item")
			s.behind(t, other, "select * from item where id = 2 for update")
			a := s.activity(t, s.watcher)
			if len(a.Missing) > 0 {
				t.Errorf("missing: %+v", a.Missing)
			}
			h, f, o := a.of(t, holder.PgConn().PID()), a.of(t, first.PgConn().PID()), a.of(t, other.PgConn().PID())
			if a.Sessions[0].PID != h.PID || h.State != "idle in transaction" || h.Blocks != 3 || !h.Wrote || h.InTransaction == nil || h.Application != "cart" {
				t.Errorf("the holder: %+v", h)
			}
			if f.Waits == nil || f.Waits.Mode != "ShareLock" || f.Waits.Object != "a row of item" || f.Waits.For == nil || fmt.Sprint(f.BlockedBy) != fmt.Sprint([]int{h.PID}) {
				t.Errorf("who waits for a row: %+v %+v", f, f.Waits)
			}
			if o.Waits == nil || o.Waits.Object != "item" || !strings.HasSuffix(o.Waits.Mode, "ShareLock") {
				t.Errorf("who waits behind: %+v", o.Waits)
			}
			forest := a.Forest()
			if len(forest) != 1 || forest[0].Session.PID != h.PID || len(forest[0].Waiting) < 2 {
				t.Errorf("forest: %+v", forest)
			}
		})
	}
}

func TestFiguresOnEveryMajor(t *testing.T) {
	for _, major := range pgtest.Majors {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			s := newStage(t, major)
			s.client(t, "cart", "begin", "update item set note = 'x' where id = 1")
			waits := s.client(t, "checkout")
			s.behind(t, waits, "update item set note = 'y' where id = 1")
			read := func() *Figures {
				conn, err := s.login(t.Context(), t, s.watcher, Tune)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close(t.Context())
				f, err := ReadFigures(t.Context(), conn, Want{Sizes: true})
				if err != nil {
					t.Fatal(err)
				}
				return f
			}
			f := read()
			if len(f.Missing) > 0 || f.Replica || !strings.HasPrefix(f.Version, fmt.Sprint(major)) {
				t.Errorf("%+v", f)
			}
			c := f.Connections
			if c.Max < 10 || c.InTx < 1 || c.Active < 1 || c.Locked < 1 || c.Hidden != 0 || c.Total != c.Active+c.Idle+c.InTx+c.Other {
				t.Errorf("connections: %+v", c)
			}
			if f.Query == nil || f.Transaction == nil || f.Transaction.Age <= 0 {
				t.Errorf("longest: %+v %+v", f.Query, f.Transaction)
			}
			size := int64(0)
			for _, one := range f.Sizes {
				if one.Database == s.db {
					size = one.Bytes
				}
			}
			if size < 1<<20 {
				t.Errorf("sizes: %+v", f.Sizes)
			}
			found := false
			for _, w := range f.Waits {
				found = found || w.Type == "Lock"
			}
			if !found {
				t.Errorf("waits: %+v", f.Waits)
			}
			r, ok := Between(f, read())
			if !ok || r.Over <= 0 || r.Hits < 0 || r.Hits > 1 {
				t.Errorf("rates: %+v %v", r, ok)
			}
		})
	}
}

func TestALoginWithoutRightsIsToldWhatItDoesNotSee(t *testing.T) {
	for _, major := range []int{14, 18} {
		s := newStage(t, major)
		holder := s.client(t, "cart", "begin", "update item set note = 'secret' where id = 1")
		plain := s.app(t)
		a := s.activity(t, plain)
		h := a.of(t, holder.PgConn().PID())
		if !h.Hidden() || h.Query != "" || h.User == "" {
			t.Errorf("%d: %+v", major, h)
		}
		if len(a.Missing) != 1 || !strings.Contains(a.Missing[0].Why, "may not see") || !strings.Contains(a.Missing[0].Hint, "pg_monitor") {
			t.Errorf("%d: %+v", major, a.Missing)
		}
		conn := s.as(t, plain, "dbops")
		f, err := ReadFigures(t.Context(), conn, Want{Sizes: true})
		for end := time.Now().Add(30 * time.Second); err == nil && f.Counters.Commits == 0 && time.Now().Before(end); { // 14 tells of them late
			f, err = ReadFigures(t.Context(), conn, Want{Sizes: true})
		}
		if err != nil || f.Connections.Max == 0 || f.Connections.Hidden == 0 || len(f.Missing) == 0 || f.Counters.Commits == 0 {
			t.Errorf("%d: %+v %v", major, f, err)
		}
		p := plan(t, s.engine(t, plain, 0), TerminateKind, Ref{PID: h.PID})
		if got := finding(p, "hidden"); !strings.HasPrefix(got, "block") || !strings.Contains(got, "pg_monitor") {
			t.Errorf("%d: %q of %+v", major, got, p.Findings)
		}
	}
}

func TestAPartThatCannotBeReadSaysWhyAndTheRestIsThere(t *testing.T) {
	s := newStage(t, 16)
	conn := s.as(t, s.watcher, "dbops")
	for _, q := range []string{"create temp view pg_stat_replication as select 1 / 0 as application_name", "set search_path = pg_temp, pg_catalog"} {
		if _, err := conn.Exec(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	f, err := ReadFigures(t.Context(), conn, Want{})
	if err != nil || len(f.Missing) != 1 || f.Missing[0].Part != "replication" || f.Missing[0].Why == "" || f.Connections.Max == 0 {
		t.Errorf("%+v %v", f, err)
	}
}

func TestTheWholeOfOneSession(t *testing.T) {
	s := newStage(t, 17)
	holder := s.client(t, "cart", "begin", "update item set note = 'x' where id = 1", "select set_config('a.b', 'password = ''hunter2''', true)")
	waits := s.client(t, "checkout")
	s.behind(t, waits, "update item set note = 'y' where id = 1")
	conn := s.as(t, s.watcher, "dbops")
	d, err := ReadDetail(t.Context(), conn, nil, int(holder.PgConn().PID()))
	if err != nil || d.Session == nil || len(d.Waiting) != 1 || d.Waiting[0].Application != "checkout" {
		t.Fatalf("%+v %v", d, err)
	}
	var locks []string
	for _, l := range d.Locks {
		locks = append(locks, l.Mode+" on "+l.Object)
	}
	if all := strings.Join(locks, "\n"); !strings.Contains(all, "RowExclusiveLock on item") || !strings.Contains(all, "ExclusiveLock on its own transaction") {
		t.Errorf("locks:\n%s", all)
	}
	if d, err = ReadDetail(t.Context(), conn, nil, 1); err != nil || d.Session != nil {
		t.Errorf("of nobody: %+v %v", d, err)
	}
}

func TestAPreparedTransactionStandsInTheForest(t *testing.T) {
	a := &Activity{Sessions: []Session{{PID: 7, BlockedBy: []int{Prepared}}, {PID: 9, BlockedBy: []int{7, 4}}, {PID: 4}}}
	a.withPrepared()
	a.count()
	forest := a.Forest()
	if len(forest) != 2 || forest[0].Session.PID != Prepared || forest[0].Session.Blocks != 2 || forest[0].Waiting[0].Session.PID != 7 || forest[1].Session.PID != 4 ||
		len(forest[1].Waiting) != 1 {
		t.Errorf("%+v", forest)
	}
}

func TestACircleIsDrawnOnce(t *testing.T) {
	a := &Activity{Sessions: []Session{{PID: 1, BlockedBy: []int{2}}, {PID: 2, BlockedBy: []int{1}}, {PID: 3, BlockedBy: []int{2, 99}}}}
	a.count()
	forest := a.Forest()
	if len(forest) != 2 || forest[0].Session.PID != 99 || forest[0].Waiting[0].Session.PID != 3 || forest[1].Session.PID != 1 {
		t.Fatalf("%+v", forest)
	}
	if next := forest[1].Waiting; len(next) != 1 || next[0].Session.PID != 2 || len(next[0].Waiting) > 0 {
		t.Errorf("%+v", next)
	}
}

func TestALongQueueIsDrawnInAsManyRows(t *testing.T) {
	a := &Activity{Sessions: []Session{{PID: 1}}}
	var before []int
	for pid := 2; pid <= 200; pid++ {
		before = append(before, pid-1)
		a.Sessions = append(a.Sessions, Session{PID: pid, BlockedBy: before[:len(before):len(before)]})
	}
	a.count()
	forest := a.Forest()
	if len(forest) != 1 || len(forest[0].Waiting) != 199 || forest[0].Session.Blocks != 199 || forest[0].Waiting[5].Waiting != nil {
		t.Errorf("%d at the top, %d below it", len(forest), len(forest[0].Waiting))
	}
}

func TestRatesAreOfTwoReadingsOfTheSameServer(t *testing.T) {
	before := &Figures{Counters: Counters{Commits: 100, Rollbacks: 10, BlocksHit: 1000, BlocksRead: 10, BlockSize: 8192}}
	now := &Figures{At: before.At.Add(2e9), Counters: Counters{Commits: 280, Rollbacks: 30, BlocksHit: 1090, BlocksRead: 20, Deadlocks: 1, BlockSize: 8192}}
	r, ok := Between(before, now)
	if !ok || r.Transactions != 100 || r.RolledBack != 0.1 || r.Hits != 0.9 || r.ReadBytes != 5*8192 || r.Deadlocks != 1 {
		t.Errorf("%+v %v", r, ok)
	}
	for name, other := range map[string]*Figures{
		"nobody": nil, "the same moment": {At: now.At, Counters: now.Counters}, "after a reset": {At: now.At.Add(-1), Counters: Counters{Commits: 281}},
		"another role": {Replica: true},
	} {
		if r, ok := Between(other, now); ok {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestStatementsAreMaskedAndShaped(t *testing.T) {
	for in, want := range map[string]string{
		"alter role a password 'hunter2'":                              "alter role a password '****'",
		"ALTER USER a WITH ENCRYPTED PASSWORD 'it''s' VALID UNTIL 'x'": "ALTER USER a WITH ENCRYPTED PASSWORD '****' VALID UNTIL 'x'",
		"alter role a password 'cut of":                                "alter role a password '****'",
		"alter role a password $x$hunter2$x$":                          "alter role a password '****'",
		"select 'password', 1":                                         "select 'password', 1",
	} {
		if got := Masked(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
	for in, want := range map[string]string{
		"select *\n from t -- who\n where a = 'O''Hara' and b in (1, 2.5) /* x */ and c1 = $1": "select * from t where a = ? and b in (?, ?) and c1 = $?",
		"insert into t values (E'a\\'b', 'cut":                                                 "insert into t values (?, ?",
		"do $$ secret $$":                                                                      "do ?",
		"select " + strings.Repeat("a", 300):                                                   "select " + strings.Repeat("a", 153) + "...",
	} {
		if got := Shape(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}
