//go:build peers

package peers

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"dbops/internal/migrate/driver"
	"dbops/internal/migrate/source"
)

// None of their files has to be left out: both tools run all of the up files, and hydra's own down files end at 0052_support_amr_claim, which
// alters a table that 0060_merge_authentication_request_tables does not bring back. River's templates are within comments, which its own tool
// fills in; without it they stay comments.
var corpora = []corpus{
	{name: "hydra", major: 15, floor: 200, stuck: 52, why: `relation "hydra_oauth2_consent_request" does not exist`},
	{name: "kratos", major: 17, floor: 300, downAll: true},
	{name: "river", major: 17, floor: 8},
}

func clean(version int) string {
	if version == 0 {
		return "none"
	}
	return fmt.Sprintf("%d false", version)
}

// TestPublishedMigrationsEndWhereGolangMigrateEndsThem applies what others have published, and takes it back, by dbops and by golang-migrate's
// program, each on a database of its own, and hands databases from one to the other in between.
func TestPublishedMigrationsEndWhereGolangMigrateEndsThem(t *testing.T) {
	bin := program(t)
	for _, c := range corpora {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			folder, n := c.folder(t)
			s := newStage(t, bin, c.major, folder)
			ours, theirs := s.up(n)
			all := s.database(ours)
			s.down(c, n, ours, theirs)
			if c.downAll {
				s.mustDBOPS(all, "down", "--all", "--yes")
				s.at(all, clean(0))
				s.same("down --all", all, theirs)
			}
		})
	}
}

// up returns two databases with all n versions, one by dbops and one by golang-migrate alone.
func (s *stage) up(n int) (ours, theirs string) {
	s.t.Helper()
	most := n * 3 / 4
	ours, theirs = s.database(""), s.database("")
	s.mustDBOPS(ours, "up", "--to", strconv.Itoa(most), "--yes")
	s.mustCLI(theirs, "goto", strconv.Itoa(most))
	s.same("three quarters up", ours, theirs)
	begunByUs, begunByThem := s.database(ours), s.database(theirs)

	s.mustDBOPS(ours, "up", "--yes")
	s.mustCLI(theirs, "up")
	s.same("up", ours, theirs)
	s.is(ours, "select count(*)::text from dbops.migration_history where direction = 'up' and outcome = 'ok'", strconv.Itoa(n))

	s.mustCLI(begunByUs, "up", "1")
	if said := s.mustCLI(begunByUs, "version"); strings.TrimSpace(said) != strconv.Itoa(most+1) {
		s.t.Errorf("migrate version says %q after dbops, want %d", said, most+1)
	}
	s.mustDBOPS(begunByUs, "up", "--yes")

	s.mustDBOPS(begunByThem, "up", "--to", strconv.Itoa(most+1), "--yes")
	s.mustCLI(begunByThem, "up")

	for _, db := range []string{ours, theirs, begunByUs, begunByThem} {
		s.at(db, clean(n))
		if db != theirs {
			s.same("up by both in turn", db, theirs)
			s.mustDBOPS(db, "status", "--check") // nothing is pending, late, changed, dirty or unknown
		}
	}
	s.t.Logf("%d files up on PostgreSQL %d: by dbops, by golang-migrate, and by both in turn", n, s.server.Major)
	return ours, theirs
}

// down compares each tenth version on the way down, as far as golang-migrate gets. Here dbops is its driver alone: the program reads with
// PostgreSQL's grammar what a down file drops, and fifty times that would take minutes.
func (s *stage) down(c corpus, n int, ours, theirs string) {
	s.t.Helper()
	for at := n; at > c.stuck; {
		steps := min((at-1)%10+1, at-c.stuck)
		s.mustCLI(theirs, "down", strconv.Itoa(steps))
		if err := s.takeBack(ours, at, steps); err != nil {
			s.t.Fatalf("take back %d from %d: %v", steps, at, err)
		}
		at -= steps
		s.same(fmt.Sprintf("down to %d", at), ours, theirs)
		s.at(ours, clean(at))
		s.at(theirs, clean(at))
	}
	if c.stuck == 0 {
		return
	}
	if said, err := s.cli(theirs, "down", "1"); err == nil || !strings.Contains(said, c.why) {
		s.t.Errorf("golang-migrate gets below %d, or fails otherwise than by %q: %v\n%s", c.stuck, c.why, err, tail(said))
	}
	s.at(theirs, fmt.Sprintf("%d true", c.stuck-1)) // where it is not
	var file *driver.FileError
	if err := s.takeBack(ours, c.stuck, c.stuck); !errors.As(err, &file) || !strings.HasPrefix(file.File, fmt.Sprintf("%04d_", c.stuck)) || !strings.Contains(err.Error(), c.why) {
		s.t.Errorf("dbops gets below %d, or fails otherwise than by %q: %v", c.stuck, c.why, err)
	}
	s.at(ours, clean(c.stuck))
	s.same("where both are stuck", ours, theirs)
}

// takeBack takes the last steps back, of those up to at.
func (s *stage) takeBack(db string, at, steps int) error {
	s.t.Helper()
	folder, err := source.Read(s.folder)
	if err != nil {
		s.t.Fatal(err)
	}
	var jobs []driver.Job
	for v := at; v > at-steps; v-- {
		j := driver.Job{Migration: folder.Migrations[v-1], Direction: source.Down, Target: int64(v - 1)}
		if v == 1 {
			j.Target = -1
		}
		jobs = append(jobs, j)
	}
	d, err := driver.Open(s.t.Context(), driver.Options{What: db, Connect: func(ctx context.Context, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
		c, err := pgx.ParseConfig("")
		if err != nil {
			return nil, err
		}
		c.Config = *s.server.Config(s.t, db)
		tune(c)
		return pgx.ConnectConfig(ctx, c)
	}})
	if err != nil {
		s.t.Fatal(err)
	}
	defer d.Close()
	return d.Apply(s.t.Context(), int64(at), jobs)
}
