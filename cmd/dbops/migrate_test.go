package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// migrationStage is a dbops.yaml whose database billing of staging has a folder of the test's own, with the sandbox's files in it.
type migrationStage struct {
	t       *testing.T
	folder  string
	environ []string
}

func newMigrationStage(t *testing.T, files map[string]string) migrationStage {
	t.Helper()
	cloud := filepath.Join(shared.dir, "cloud")
	text, err := os.ReadFile(filepath.Join(cloud, "dbops.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := migrationStage{t: t, folder: filepath.Join(dir, "billing")}
	if err := os.CopyFS(s.folder, os.DirFS(filepath.Join(cloud, "migrations", "billing"))); err != nil {
		t.Fatal(err)
	}
	for name, sql := range files {
		if err := os.WriteFile(filepath.Join(s.folder, name), []byte(sql), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config := filepath.Join(dir, "dbops.yaml")
	moved := strings.NewReplacer(": ca/", ": "+cloud+"/ca/", "file:secrets/", "file:"+cloud+"/secrets/", "./rollout", cloud+"/rollout",
		"migrations: migrations/billing", "migrations: billing", "migrations: migrations/", "migrations: "+cloud+"/migrations/").Replace(string(text))
	if err := os.WriteFile(config, []byte(moved), 0o600); err != nil {
		t.Fatal(err)
	}
	s.environ = append(environ(t), "DBOPS_CONFIG="+config, "DBOPS_STATE_DIR="+filepath.Join(dir, "state"))
	return s
}

// run runs dbops and demands its exit status.
func (s migrationStage) run(status int, args ...string) string {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), shared.program, args...)
	cmd.Env = s.environ
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != status {
		s.t.Fatalf("dbops %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// state is what migrate status says of staging's billing.
func (s migrationStage) state() (st struct {
	Version *int64
	Dirty   bool
	Pending []string
	Cut     *struct{ Done int }
},
) {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), shared.program, "migrate", "status", "-e", "staging", "billing", "-o", "json")
	cmd.Env = s.environ
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatal(err)
	}
	var all struct{ Databases []json.RawMessage }
	if err := json.Unmarshal(out, &all); err != nil || len(all.Databases) != 1 {
		s.t.Fatalf("%v: %s", err, out)
	}
	if err := json.Unmarshal(all.Databases[0], &st); err != nil {
		s.t.Fatal(err)
	}
	return st
}

func TestAMigrationThatIsKilledIsResumed(t *testing.T) {
	const sleep = "select pg_sleep(case when (select count(*) from pg_stat_activity where application_name = 'hurry') > 0 then 0 else 600 end)"
	for name, c := range map[string]struct {
		sql   string
		dirty bool
		done  int
	}{
		"in one transaction":     {"create table billing.killed_a (a int);\n" + sleep, false, 0},
		"statement by statement": {"-- dbops:no-transaction\ncreate table billing.killed_a (a int);\n" + sleep, true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newMigrationStage(t, map[string]string{"000005_invoice_reference.up.sql": c.sql, "000005_invoice_reference.down.sql": "drop table billing.killed_a"})
			kill := exec.CommandContext(context.WithoutCancel(t.Context()), shared.program, "migrate", "up", "-e", "staging", "billing", "--to", "5", "--yes")
			kill.Env = s.environ
			if err := kill.Start(); err != nil {
				t.Fatal(err)
			}
			billing := superuser(t)
			sleeping := "select exists (select from pg_stat_activity where wait_event = 'PgSleep' and datname = 'billing' and query like '%else 600 end%')"
			waitUntil(t, billing, sleeping)
			if err := kill.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = kill.Wait()
			waitUntil(t, billing, "select not "+strings.TrimPrefix(sleeping, "select ")) // the server looks whether its client is still there
			st := s.state()
			if st.Version == nil || st.Dirty != c.dirty || (c.dirty != (st.Cut != nil && st.Cut.Done == c.done)) || (!c.dirty && *st.Version != 4) {
				t.Errorf("%+v", st)
			}
			if _, err := billing.Exec(t.Context(), "set application_name = 'hurry'"); err != nil {
				t.Fatal(err)
			}
			s.run(0, "runs", "resume", s.lastRun())
			if st := s.state(); st.Version == nil || *st.Version != 5 || st.Dirty {
				t.Errorf("resumed: %+v", st)
			}
			s.run(0, "migrate", "goto", "-e", "staging", "billing", "4", "--yes")
		})
	}
}

// lastRun is the newest run.
func (s migrationStage) lastRun() string {
	s.t.Helper()
	var list struct{ Runs []struct{ ID string } }
	if err := json.Unmarshal([]byte(s.run(0, "runs", "list", "-o", "json")), &list); err != nil || len(list.Runs) == 0 {
		s.t.Fatalf("%v, %d runs", err, len(list.Runs))
	}
	return list.Runs[0].ID
}

// superuser is a session on staging's billing, past the edge of the cloud.
func superuser(t *testing.T) *pgx.Conn {
	t.Helper()
	c, err := shared.sandbox.Server("staging", "billing").DB(t.Context(), "billing")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func waitUntil(t *testing.T, c *pgx.Conn, sql string) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var so bool
		if err := c.QueryRow(t.Context(), sql).Scan(&so); err != nil {
			t.Fatal(err)
		}
		if so {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited in vain for: %s", sql)
		}
	}
}
