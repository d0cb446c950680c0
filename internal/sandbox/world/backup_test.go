package world

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	"dbops/internal/fault"
)

// restore makes a server from a backup, which ends with its world.
func restore(t *testing.T, w *World, b Backup, at time.Time, id string) *Server {
	t.Helper()
	s, err := w.Restore(t.Context(), b, at, Spec{ID: id, Listen: "127.0.0.1:0"}, certificate())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// rows are the rows of table t, as the master sees them.
func rows(t *testing.T, s *Server) string {
	t.Helper()
	return run(t, login(t, s, "postgres"), "SELECT string_agg(n::text, ' ' ORDER BY n) FROM t")
}

// moment is a time on the server that no change is at.
func moment(t *testing.T, s *Server) time.Time {
	t.Helper()
	time.Sleep(3 * time.Millisecond)
	defer time.Sleep(3 * time.Millisecond)
	return clock(t, s)
}

func TestAServerIsRestoredToAnyMomentAfterABackup(t *testing.T) {
	t.Parallel()
	for _, major := range []int{14, 18} {
		t.Run(on(major), func(t *testing.T) {
			t.Parallel()
			w := openWorld(t, newFolder(t))
			s := create(t, w, spec("source", major))
			c := login(t, s, "postgres")
			run(t, c, "CREATE TABLE t AS SELECT 0 AS n")
			begun := clock(t, s)
			first, err := w.Backup(t.Context(), "source", "first")
			if err != nil {
				t.Fatal(err)
			}
			if first.Start.Before(begun) || first.End.Before(first.Start) || first.Bytes < 1<<20 || first.Major != major || first.Server != "source" {
				t.Errorf("%+v after %v", first, begun)
			}
			if got := s.LatestRestorable(); got.Before(first.End) {
				t.Errorf("restorable up to %v, the backup ended at %v", got, first.End)
			}
			run(t, c, "INSERT INTO t VALUES (1)")
			one := moment(t, s)
			run(t, c, "INSERT INTO t VALUES (2)", "ALTER ROLE "+master+" PASSWORD 'changed'")
			two := moment(t, s)
			second, err := w.Backup(t.Context(), "source", "second")
			if err != nil {
				t.Fatal(err)
			}
			if again, err := w.Backup(t.Context(), "source", "first"); err != nil || !again.End.Equal(first.End) {
				t.Errorf("the same backup again: %+v, %v", again, err)
			}
			run(t, c, "INSERT INTO t VALUES (3)")
			three := moment(t, s)

			if got := rows(t, restore(t, w, first, one, "one")); got != "0 1" {
				t.Errorf("between two inserts: %s", got)
			}
			if got := rows(t, restore(t, w, first, time.Time{}, "end")); got != "0" {
				t.Errorf("the end of the backup: %s", got)
			}
			last := restore(t, w, first, three, "three")
			changed := config(t, last, master, "changed", "postgres")
			if got := run(t, loginWith(t, changed), "SELECT string_agg(n::text, ' ' ORDER BY n) FROM t"); got != "0 1 2 3" {
				t.Errorf("the present, from the newer backup: %s", got)
			}
			if got := last.Spec(); got.Major != major || got.Master != master || got.SuperGroup != "rds_superuser" || got.IAMGroup != group {
				t.Errorf("%+v", got)
			}
			_, err = pgconn.ConnectConfig(t.Context(), config(t, last, master, password, "postgres"))
			refused(t, err, "28P01", "password")
			if got := super(t, last, "postgres", "SELECT pg_is_in_recovery() || ' ' || current_setting('restore_command')"); got != "false " {
				t.Errorf("afterwards: %s", got)
			}

			for name, try := range map[string]func() (*Server, error){
				"before the first backup": func() (*Server, error) {
					return w.Restore(t.Context(), second, begun, Spec{ID: "x", Listen: "127.0.0.1:0"}, certificate())
				},
				"the future": func() (*Server, error) {
					return w.Restore(t.Context(), first, time.Now().Add(time.Hour), Spec{ID: "x", Listen: "127.0.0.1:0"}, certificate())
				},
				"an id that is taken": func() (*Server, error) {
					return w.Restore(t.Context(), first, one, Spec{ID: "one", Listen: "127.0.0.1:0"}, certificate())
				},
				"a backup that is not there": func() (*Server, error) {
					return w.Restore(t.Context(), Backup{ID: "none", Server: "source"}, one, Spec{ID: "x", Listen: "127.0.0.1:0"}, certificate())
				},
			} {
				if _, err := try(); err == nil {
					t.Errorf("%s: it worked", name)
				}
			}
			if _, err := w.Backup(t.Context(), "none", "of-none"); err == nil {
				t.Error("a server that is not there was backed up")
			}

			if err := w.Remove(t.Context(), "source"); err != nil {
				t.Fatal(err)
			}
			got := restore(t, w, first, two, "two")
			if got := run(t, loginWith(t, config(t, got, master, "changed", "postgres")), "SELECT count(*) FROM t"); got != "3" {
				t.Errorf("after the source is gone: %s rows", got)
			}
			// A moment after the last change is one of the archive, too.
			late := restore(t, w, first, time.Now(), "late")
			if got := run(t, loginWith(t, config(t, late, master, "changed", "postgres")), "SELECT count(*) FROM t"); got != "4" {
				t.Errorf("as of now, after the source is gone: %s rows", got)
			}
		})
	}
}

func TestARestoredServerIsBackedUpAndRestoredAgain(t *testing.T) {
	t.Parallel()
	for _, major := range []int{15, 17} {
		t.Run(on(major), func(t *testing.T) {
			t.Parallel()
			dir := newFolder(t)
			w := openWorld(t, dir)
			s := create(t, w, spec("a", major))
			run(t, login(t, s, "postgres"), "CREATE TABLE t AS SELECT 0 AS n")
			b, err := w.Backup(t.Context(), "a", "of-a")
			if err != nil {
				t.Fatal(err)
			}
			child := restore(t, w, b, time.Time{}, "child")
			run(t, login(t, child, "postgres"), "INSERT INTO t VALUES (1)")
			if b, err = w.Backup(t.Context(), "child", "of-child"); err != nil {
				t.Fatal(err)
			}
			run(t, login(t, child, "postgres"), "INSERT INTO t VALUES (2)")
			at := moment(t, child)
			run(t, login(t, child, "postgres"), "INSERT INTO t VALUES (3)")
			if got := rows(t, restore(t, w, b, at, "grandchild")); got != "0 1 2" {
				t.Errorf("the restored server, restored: %s", got)
			}
			// All of it comes back.
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			w = openWorld(t, dir)
			for id, want := range map[string]string{"a": "0", "child": "0 1 2 3", "grandchild": "0 1 2"} {
				if got := rows(t, create(t, w, Spec{ID: id, Listen: "127.0.0.1:0"})); got != want {
					t.Errorf("%s: %s", id, got)
				}
			}
			if got := w.Backups(""); len(got) != 2 || got[0].ID != "of-a" || got[1].ID != "of-child" {
				t.Errorf("%+v", got)
			}
			if got := w.Backups("child"); len(got) != 1 || got[0].ID != "of-child" {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestABackupOfABusyServerIsConsistent(t *testing.T) {
	t.Parallel()
	for _, major := range []int{14, 16} {
		t.Run(on(major), func(t *testing.T) {
			t.Parallel()
			w := openWorld(t, newFolder(t))
			s := create(t, w, spec("a", major))
			run(t, login(t, s, "postgres"), "CREATE TABLE debit (n int, pad text)", "CREATE TABLE credit (n int, pad text)")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stopped := make(chan int)
			c := login(t, s, "postgres")
			go func() {
				n := 0
				for ctx.Err() == nil {
					const q = `BEGIN; INSERT INTO debit SELECT 1, repeat('x', 500); CREATE TEMP TABLE x ON COMMIT DROP AS SELECT 1;
					INSERT INTO credit SELECT 1, repeat('x', 500); COMMIT`
					if _, err := c.Exec(context.Background(), q).ReadAll(); err != nil {
						t.Error(err)
						break
					}
					n++
				}
				stopped <- n
			}()
			var backups []Backup
			for i := range 3 {
				b, err := w.Backup(t.Context(), "a", fmt.Sprintf("b%d", i))
				if err != nil {
					t.Fatal(err)
				}
				backups = append(backups, b)
			}
			at := moment(t, s)
			early := restore(t, w, backups[0], time.Time{}, "early")
			late := restore(t, w, backups[0], at, "late")
			cancel()
			n := <-stopped
			const q = "SELECT (SELECT count(*) FROM debit) - (SELECT count(*) FROM credit), (SELECT count(*) FROM debit)"
			var sums []int
			for _, r := range []*Server{early, late} {
				c, err := r.DB(t.Context(), "postgres")
				if err != nil {
					t.Fatal(err)
				}
				var apart, sum int
				if err := c.QueryRow(t.Context(), q).Scan(&apart, &sum); err != nil || apart != 0 {
					t.Errorf("%d rows have no other side, %v", apart, err)
				}
				sums = append(sums, sum)
				_ = c.Close(t.Context())
			}
			if sums[0] >= sums[1] || sums[1] > n {
				t.Errorf("early %d, late %d, written %d", sums[0], sums[1], n)
			}
		})
	}
}

func TestAServerOfTheSameNameHasAnArchiveOfItsOwn(t *testing.T) {
	t.Parallel()
	w := openWorld(t, newFolder(t))
	s := create(t, w, spec("a", 17))
	run(t, login(t, s, "postgres"), "CREATE TABLE t AS SELECT 1 AS n")
	first, err := w.Backup(t.Context(), "a", "first")
	if err != nil {
		t.Fatal(err)
	}
	run(t, login(t, s, "postgres"), "INSERT INTO t VALUES (2)")
	at := moment(t, s)
	if err := w.Remove(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	s = create(t, w, spec("a", 17))
	run(t, login(t, s, "postgres"), "CREATE TABLE t AS SELECT 3 AS n")
	second, err := w.Backup(t.Context(), "a", "second")
	if err != nil {
		t.Fatal(err)
	}
	if got := rows(t, restore(t, w, first, at, "of-the-first")); got != "1 2" {
		t.Errorf("the first of its name: %s", got)
	}
	if got := rows(t, restore(t, w, second, clock(t, s), "of-the-second")); got != "3" {
		t.Errorf("the second of its name: %s", got)
	}
	if _, err := w.Restore(t.Context(), second, at, Spec{ID: "x", Listen: "127.0.0.1:0"}, certificate()); fault.KindOf(err) != fault.Invalid {
		t.Errorf("the second, before it was: %v", err)
	}
}

func TestOldWALGoesWithTheBackupsThatNeedIt(t *testing.T) {
	t.Parallel()
	w := openWorld(t, newFolder(t))
	s := create(t, w, spec("a", 18))
	run(t, login(t, s, "postgres"), "CREATE TABLE t AS SELECT 0 AS n")
	archive := func() []string { return list(w.archiveDir(s.record.Archive)) }
	oldest := ""
	for i := range 3 {
		if _, err := w.Backup(t.Context(), "a", fmt.Sprintf("b%d", i)); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			oldest = archive()[0]
		}
	}
	if got := archive()[0]; got != oldest {
		t.Fatalf("the archive begins at %s, the first backup at %s", got, oldest)
	}
	for range 2 {
		if err := w.RemoveBackup("b0"); err != nil {
			t.Fatal(err)
		}
	}
	if got := archive()[0]; got <= oldest {
		t.Errorf("the archive still begins at %s", got)
	}
	b := w.Backups("a")
	if len(b) != 2 {
		t.Fatalf("%+v", b)
	}
	if got := rows(t, restore(t, w, b[0], time.Now(), "r")); got != "0" {
		t.Error(got)
	}
	if err := w.Remove(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	for _, b := range b {
		if len(archive()) == 0 {
			t.Fatalf("backup %s has lost its archive", b.ID)
		}
		if err := w.RemoveBackup(b.ID); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(w.archiveDir(s.record.Archive)); !os.IsNotExist(err) {
		t.Errorf("the archive is still there: %v", err)
	}
	if left := list(filepath.Join(w.dir, "backups")); len(left) > 0 {
		t.Error(strings.Join(left, " "))
	}
}

func TestTheArchiveIsCompletedBySeveralAtOnce(t *testing.T) {
	t.Parallel()
	for _, major := range []int{15, 18} {
		t.Run(on(major), func(t *testing.T) {
			t.Parallel()
			s := sharedServer(t, major)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			for range 20 {
				var g errgroup.Group
				for range 4 {
					g.Go(func() error { return s.archiveNow(ctx) })
				}
				if err := g.Wait(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
