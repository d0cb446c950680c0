package live

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/sandbox/pgtest"
)

// elsewhere has sessions wait for each other in a database that is not the one which is read.
func (s *stage) elsewhere(t testing.TB) (database string, waits *pgx.Conn) {
	t.Helper()
	there := *s
	there.db = s.Database(t)
	there.Exec(t, there.db, "create schema books", "create table books.ledger (id int primary key)", "insert into books.ledger values (1)",
		"grant usage on schema books to public", "grant all on books.ledger to public")
	there.client(t, "holder", "begin", "select * from books.ledger for update")
	waits = there.client(t, "waiter")
	there.behind(t, waits, "begin; lock table books.ledger")
	return there.db, waits
}

// names are looked up as the watcher, and counts how often.
func (s *stage) names(t testing.TB, asked *[]string) *Names {
	t.Helper()
	return NewNames(func(ctx context.Context, database string) (*pgx.Conn, error) {
		*asked = append(*asked, database)
		there := *s
		there.db = database
		return there.login(ctx, t, s.watcher, Tune)
	})
}

func (s *stage) waiting(t testing.TB, names *Names, pid uint32) string {
	t.Helper()
	conn, err := s.login(t.Context(), t, s.watcher, Tune)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	d, err := ReadDetail(t.Context(), conn, names, int(pid))
	if err != nil || d.Session == nil || d.Session.Waits == nil {
		t.Fatalf("%+v, %v", d, err)
	}
	var all []string
	for _, l := range d.Locks {
		if !l.Granted {
			all = append(all, l.Object)
		}
	}
	if got := strings.Join(all, ", "); got != d.Session.Waits.Object {
		t.Errorf("it waits for %q, and its locks say %q", d.Session.Waits.Object, got)
	}
	return d.Session.Waits.Object
}

func TestRelationsOfOtherDatabasesAreCalledByTheirNames(t *testing.T) {
	for _, major := range []int{pgtest.Majors[0], pgtest.Majors[len(pgtest.Majors)-1]} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			s := newStage(t, major)
			db, waits := s.elsewhere(t)
			pid := waits.PgConn().PID()
			if got := s.waiting(t, nil, pid); !strings.HasPrefix(got, "relation ") || !strings.HasSuffix(got, " of "+db) {
				t.Errorf("without names: %q", got)
			}
			var asked []string
			names := s.names(t, &asked)
			for range 3 {
				if got := s.waiting(t, names, pid); got != "books.ledger of "+db {
					t.Errorf("with names: %q", got)
				}
			}
			if len(asked) != 1 || asked[0] != db {
				t.Errorf("asked %q", asked)
			}
			old := names.known[db]
			old.at = time.Now().Add(-2 * namesKept)
			names.known[db] = old
			s.Exec(t, "postgres", "revoke connect on database "+db+" from public")
			for range 3 { // it may not connect now, which is not tried again and again
				if got := s.waiting(t, names, pid); !strings.HasPrefix(got, "relation ") {
					t.Errorf("of a database that lets nobody in: %q", got)
				}
			}
			if len(asked) != 2 {
				t.Errorf("asked %q", asked)
			}
			names.began = time.Time{} // as if another server had been read before
			s.Exec(t, "postgres", "grant connect on database "+db+" to public")
			if got := s.waiting(t, names, pid); got != "books.ledger of "+db {
				t.Errorf("after a restart: %q", got)
			}
		})
	}
}

func TestFewDatabasesAreAskedForNamesAtOnce(t *testing.T) {
	var asked []string
	n := NewNames(func(_ context.Context, database string) (*pgx.Conn, error) {
		asked = append(asked, database)
		return nil, fmt.Errorf("nobody gets in")
	})
	n.known = map[string]catalog{}
	wanted := func() map[string][]uint32 {
		return map[string][]uint32{"a": {1}, "b": {1, 2}, "c": {1}, "d": {1}, "e": {1, 2, 3}}
	}
	for _, want := range []string{"e,b,a", "e,b,a,c,d", "e,b,a,c,d"} {
		n.learn(t.Context(), wanted())
		if got := strings.Join(asked, ","); got != want {
			t.Errorf("asked %s, want %s", got, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n.known = map[string]catalog{}
	n.learn(ctx, map[string][]uint32{"a": {1}})
	if n.known["a"].shut {
		t.Error("who gave up says nothing of the database")
	}
}
