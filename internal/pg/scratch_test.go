package pg_test

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/fault"
	"dbops/internal/pg"
	"dbops/internal/sandbox/pgtest"
)

func plain(*pgx.ConnConfig) {}

func startScratch(t *testing.T, o pg.ScratchOptions) *pg.Scratch {
	t.Helper()
	s, err := pg.StartScratch(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// folderOf is the private folder of a server that was started here.
func folderOf(t *testing.T, s *pg.Scratch) string {
	t.Helper()
	c, err := s.Admin(t.Context(), "postgres", plain)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	return c.Config().Host
}

func TestAScratchServerServesItsUserOnlyAndLeavesNothing(t *testing.T) {
	s := startScratch(t, pg.ScratchOptions{Major: 17, User: "Some one"})
	if s.Major != 17 || !s.Own {
		t.Errorf("%+v", s)
	}
	dir := folderOf(t, s)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	name, err := s.CreateDatabase(t.Context(), "shop", "")
	if err != nil || name != "shop" {
		t.Fatal(name, err)
	}
	c, err := s.Connect(t.Context(), name, plain)
	if err != nil {
		t.Fatal(err)
	}
	var user, listens, encoding string
	var super bool
	err = c.QueryRow(t.Context(), `select current_user, rolsuper, current_setting('listen_addresses'), current_setting('server_encoding')
		from pg_roles where rolname = current_user`).Scan(&user, &super, &listens, &encoding)
	if err != nil || user != "Some one" || super || listens != "" || encoding != "UTF8" {
		t.Errorf("user %q, superuser %t, listens at %q, %s, %v", user, super, listens, encoding, err)
	}
	if _, err := c.Exec(t.Context(), "create table t (a int); create role r; create extension citext"); err != nil {
		t.Error(err)
	}
	_ = c.Close(t.Context())
	if copied, err := s.CreateDatabase(t.Context(), "shop", "shop"); err != nil || copied == "shop" {
		t.Errorf("%q, %v", copied, err)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("its folder: %v", err)
	}
}

func TestWithoutTheMajorANewerOneServes(t *testing.T) {
	if s := startScratch(t, pg.ScratchOptions{Major: 13, User: "u"}); s.Major != 14 {
		t.Errorf("PostgreSQL %d", s.Major)
	}
	_, err := pg.StartScratch(t.Context(), pg.ScratchOptions{Major: 29, User: "u"})
	if fault.KindOf(err) != fault.NotFound || !strings.Contains(fault.HintOf(err), "scratch: in dbops.yaml") || !strings.Contains(fault.HintOf(err), "postgresql-29") {
		t.Errorf("%v (%s)", err, fault.HintOf(err))
	}
}

func TestWithoutACacheAScratchServerStartsAllTheSame(t *testing.T) {
	dir, _ := pg.Programs("server", 17, "initdb", "postgres")
	t.Setenv("DBOPS_PG_17", dir)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DBOPS_PG_CACHE", filepath.Join(file, "none"))
	if s := startScratch(t, pg.ScratchOptions{Major: 17, User: "u"}); s.Major != 17 {
		t.Errorf("PostgreSQL %d", s.Major)
	}
}

func TestAScratchServerByItsURL(t *testing.T) {
	server := pgtest.Start(t, 16)
	t.Setenv("PGPASSWORD", server.Password.Reveal())
	url := server.URL("postgres")
	t.Run("makes databases of its own and drops them", func(t *testing.T) {
		s := startScratch(t, pg.ScratchOptions{Major: 15, URL: url})
		name, err := s.CreateDatabase(t.Context(), "shop", "")
		if err != nil || !strings.HasPrefix(name, "dbops_scratch_") || s.Major != 16 || s.Own {
			t.Fatal(name, s.Major, err)
		}
		c, err := s.Connect(t.Context(), name, plain)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close(t.Context())
		if same, err := pg.SameServer(t.Context(), c, server.Superuser(t, "postgres")); !same || err != nil {
			t.Errorf("the same server: %t, %v", same, err)
		}
		if same, err := pg.SameServer(t.Context(), c, pgtest.Start(t, 14).Superuser(t, "postgres")); same || err != nil {
			t.Errorf("another server: %t, %v", same, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		var n int
		if err := server.Superuser(t, "postgres").QueryRow(t.Context(), "select count(*) from pg_database where datname like 'dbops_scratch%'").Scan(&n); err != nil || n != 0 {
			t.Errorf("%d databases are left, %v", n, err)
		}
	})
	for name, c := range map[string]struct {
		o    pg.ScratchOptions
		kind fault.Kind
	}{
		"older than the target":   {pg.ScratchOptions{Major: 17, URL: url}, fault.Blocked},
		"with a password in it":   {pg.ScratchOptions{Major: 16, URL: strings.Replace(url, "@", ":hunter2@", 1)}, fault.Usage},
		"with it as a parameter":  {pg.ScratchOptions{Major: 16, URL: "host=x user=y password=hunter2"}, fault.Usage},
		"nobody's":                {pg.ScratchOptions{Major: 16, URL: "postgresql://u@127.0.0.1:1/postgres"}, fault.Unavailable},
		"no URL of PostgreSQL's ": {pg.ScratchOptions{Major: 16, URL: "http://u:hunter2@x y"}, fault.Usage},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := pg.StartScratch(t.Context(), c.o)
			if fault.KindOf(err) != c.kind || fault.HintOf(err) == "" || strings.Contains(err.Error()+fault.HintOf(err), "hunter2") {
				t.Errorf("%s: %v (%s)", fault.KindOf(err), err, fault.HintOf(err))
			}
		})
	}
}

// childVariable makes this test binary one that starts a scratch server, says where, and waits to be killed.
const childVariable = "DBOPS_TEST_SCRATCH_CHILD"

func TestTheChildThatIsKilled(t *testing.T) {
	if os.Getenv(childVariable) == "" {
		return // it is one part of the next test
	}
	s := startScratch(t, pg.ScratchOptions{Major: 17, User: "u"})
	_, _ = os.Stdout.WriteString("folder " + folderOf(t, s) + "\n")
	select {}
}

func TestAKilledProcessLeavesNoServerAndTheNextOneSweeps(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestTheChildThatIsKilled$")
	cmd.Env = append(os.Environ(), childVariable+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	dir := ""
	for lines := bufio.NewScanner(out); dir == "" && lines.Scan(); {
		dir, _ = strings.CutPrefix(lines.Text(), "folder ")
		if !strings.HasPrefix(lines.Text(), "folder ") {
			dir = ""
		}
	}
	pidFile, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.SplitN(string(pidFile), "\n", 2)[0])
	if err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(dir, "lock"), old, old); err != nil {
		t.Fatal(err)
	}
	startScratch(t, pg.ScratchOptions{Major: 17, User: "u"}) // leaves the living one's alone
	if _, err := os.Stat(dir); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	deadline := time.Now().Add(20 * time.Second)
	for runtime.GOOS == "linux" { // there the kernel ends it; elsewhere the next start does
		if _, err := os.Stat(filepath.Join(dir, "data", "postmaster.pid")); os.IsNotExist(err) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the server outlives its process")
		}
		<-time.After(10 * time.Millisecond)
	}
	startScratch(t, pg.ScratchOptions{Major: 17, User: "u"})
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("its folder: %v", err)
	}
	for !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		if time.Now().After(deadline) {
			t.Fatal("the server still runs")
		}
		<-time.After(10 * time.Millisecond)
	}
}

func TestAnotherUserOfTheMachineIsNotLetIn(t *testing.T) {
	s := startScratch(t, pg.ScratchOptions{Major: 17, User: "u"})
	c, err := s.Connect(t.Context(), "postgres", func(c *pgx.ConnConfig) { c.User = "postgres" })
	if err == nil {
		_ = c.Close(t.Context())
	}
	var pe *pgconn.PgError
	if !errors.As(err, &pe) || pe.Code != "28000" {
		t.Errorf("a login that nobody made: %v", err)
	}
}
