//go:build peers

// Package peers holds dbops migrate against golang-migrate's own program, on folders of migrations that others have published.
package peers

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"dbops/internal/sandbox/pgbin"
	"dbops/internal/sandbox/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// peer is where scripts/peers.sh says that something foreign is.
func peer(t *testing.T, variable string) string {
	t.Helper()
	v := os.Getenv(variable)
	if v == "" {
		t.Fatalf("%s is not set: scripts/peers.sh --env prints it; make test-peers", variable)
	}
	return v
}

// program builds dbops as this test was built, of which most is there already.
func program(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "dbops")
	args := []string{"build", "-o", bin}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		t.Fatal("the test does not know how it was built")
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "-race", "-tags", "-gcflags", "-trimpath":
			args = append(args, s.Key+"="+s.Value)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", append(args, "dbops/cmd/dbops")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return bin
}

// stage is a server, and the programs that work on it.
type stage struct {
	t      *testing.T
	server *pgtest.Server
	bin    string // dbops
	dir    string // of its configuration and state
	folder string
}

func newStage(t *testing.T, bin string, major int, folder string) *stage {
	t.Helper()
	return &stage{t: t, server: pgtest.Start(t, major), bin: bin, dir: t.TempDir(), folder: folder}
}

// database is a new one, or a copy of another.
func (s *stage) database(of string) string {
	s.t.Helper()
	db := s.server.Database(s.t)
	if of != "" {
		s.server.Exec(s.t, "postgres", "drop database "+db, "create database "+db+" template "+of+" owner "+pgtest.User)
	}
	return db
}

// run runs a program with the server's password and no variable of whoever runs the tests.
func (s *stage) run(name string, args ...string) (stdout, stderr string, err error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.WaitDelay = s.dir, 5*time.Second
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "XDG_STATE_HOME=" + s.dir, "XDG_CONFIG_HOME=" + s.dir, "XDG_RUNTIME_DIR=" + s.dir, "LANG=C.UTF-8", "NO_COLOR=1",
		"PGPASSWORD=" + s.server.Password.Reveal(), "TEST_PASSWORD=" + s.server.Password.Reveal(),
	}
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	return out.String(), errOut.String(), err
}

// dbops runs a migrate command on a database. It returns what it says of an error.
func (s *stage) dbops(db, command string, args ...string) (said string, err error) {
	s.t.Helper()
	config := fmt.Sprintf(`version: 1
environments:
  test:
    instances:
      main:
        postgres: {url: "postgres://%s/?sslmode=verify-full", ca_file: %q}
        logins:
          read: {user: %[3]s, secret: "env:TEST_PASSWORD"}
          admin: {user: %[3]s, secret: "env:TEST_PASSWORD"}
    databases:
      %[4]s: {instance: main, migrations: %[5]q}
`, s.addr(), s.server.CAFile, pgtest.User, db, s.folder)
	path := filepath.Join(s.dir, db+".yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		s.t.Fatal(err)
	}
	_, said, err = s.run(s.bin, append([]string{"--config", path, "migrate", command, "-e", "test", db}, args...)...)
	return said, err
}

// mustDBOPS is dbops where it has to succeed.
func (s *stage) mustDBOPS(db, command string, args ...string) {
	s.t.Helper()
	if said, err := s.dbops(db, command, args...); err != nil {
		s.t.Fatalf("dbops migrate %s %s: %v\n%s", command, strings.Join(args, " "), err, said)
	}
}

// cli runs golang-migrate's program on a database.
func (s *stage) cli(db string, args ...string) (string, error) {
	s.t.Helper()
	u := url.URL{
		Scheme: "pgx5", User: url.User(pgtest.User), Host: s.addr(), Path: db,
		RawQuery: url.Values{"sslmode": {"verify-full"}, "sslrootcert": {s.server.CAFile}}.Encode(),
	}
	_, said, err := s.run(peer(s.t, "DBOPS_PEER_MIGRATE"), append([]string{"-path", s.folder, "-database", u.String()}, args...)...)
	return said, err
}

func (s *stage) addr() string {
	return net.JoinHostPort(s.server.Host, strconv.Itoa(int(s.server.Port)))
}

func (s *stage) mustCLI(db string, args ...string) string {
	s.t.Helper()
	said, err := s.cli(db, args...)
	if err != nil {
		s.t.Fatalf("migrate %s: %v\n%s", strings.Join(args, " "), err, tail(said))
	}
	return said
}

func tail(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

// schema is what pg_dump says of a database, without what dbops keeps beside it, and the table of versions.
func (s *stage) schema(db string) string {
	s.t.Helper()
	dump, err := pgbin.Client("pg_dump", s.server.Major)
	if err != nil {
		s.t.Fatal(err)
	}
	out, errOut, err := s.run(dump, "--schema-only", "--exclude-schema=dbops", s.server.URL(db))
	if err != nil {
		s.t.Fatalf("pg_dump: %v\n%s", err, errOut)
	}
	lines := strings.Split(out, "\n")
	kept := lines[:0]
	for _, l := range lines {
		if !strings.HasPrefix(l, `\restrict`) && !strings.HasPrefix(l, `\unrestrict`) { // a word that is new each time
			kept = append(kept, l)
		}
	}
	return strings.Join(kept, "\n")
}

// is compares the answer to a query, as text.
func (s *stage) is(db, sql, want string) {
	s.t.Helper()
	c := s.server.Superuser(s.t, db)
	defer c.Close(context.WithoutCancel(s.t.Context()))
	var got string
	if err := c.QueryRow(s.t.Context(), sql).Scan(&got); err != nil || got != want {
		s.t.Fatalf("%s: %s is %q, want %q (%v)", db, sql, got, want, err)
	}
}

// at tells which version a database has: "none", or "12 false" where it is not dirty.
func (s *stage) at(db, want string) {
	s.t.Helper()
	s.is(db, "select coalesce(string_agg(version || ' ' || dirty, ', '), 'none') from schema_migrations", want)
}

// same compares two databases: what pg_dump says of them.
func (s *stage) same(what, a, b string) {
	s.t.Helper()
	left, right := s.schema(a), s.schema(b)
	if left == right {
		return
	}
	l, r := strings.Split(left, "\n"), strings.Split(right, "\n")
	for i := range min(len(l), len(r)) {
		if l[i] != r[i] {
			s.t.Fatalf("%s: they differ in line %d of %d and %d:\n%s\n%s", what, i+1, len(l), len(r), l[i], r[i])
		}
	}
	s.t.Fatalf("%s: one schema has %d lines, the other %d", what, len(l), len(r))
}
