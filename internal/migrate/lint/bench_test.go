package lint_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"dbops/internal/migrate/lint"
	"dbops/internal/migrate/source"
)

// A thousand files as they are in the folders of real projects: tables with their indexes, columns that come later, data, functions.
const benchFiles = 1000

func writeBenchFolder(b *testing.B) string {
	b.Helper()
	dir := b.TempDir()
	for i := 1; i <= benchFiles; i++ {
		t := fmt.Sprintf("table_%04d", i-i%5)
		var up, down string
		switch i % 5 {
		case 0:
			up = fmt.Sprintf(`CREATE TABLE %[1]s (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id uuid NOT NULL,
    name text NOT NULL CHECK (length(name) < 200),
    state text NOT NULL DEFAULT 'new',
    amount numeric(12,2) NOT NULL DEFAULT 0,
    payload jsonb NOT NULL DEFAULT '{}'::jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, name)
);
CREATE INDEX %[1]s_created ON %[1]s (tenant_id, created_at DESC) WHERE state <> 'done';
COMMENT ON TABLE %[1]s IS 'what a tenant has';
`, t)
			down = "DROP TABLE " + t + ";\n"
		case 1:
			up = fmt.Sprintf("ALTER TABLE %[1]s ADD COLUMN note text, ADD COLUMN owner bigint;\nALTER TABLE %[1]s ADD CONSTRAINT %[1]s_owner FOREIGN KEY (owner) REFERENCES table_0005 (id);\n", t)
			down = fmt.Sprintf("ALTER TABLE %[1]s DROP COLUMN note, DROP COLUMN owner;\n", t)
		case 2:
			up = fmt.Sprintf("CREATE INDEX CONCURRENTLY IF NOT EXISTS %[1]s_state ON %[1]s USING btree (state) INCLUDE (amount);\n", t)
			down = fmt.Sprintf("DROP INDEX CONCURRENTLY %[1]s_state;\n", t)
		case 3:
			up = fmt.Sprintf(`CREATE OR REPLACE FUNCTION %[1]s_touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END;
$$;
CREATE TRIGGER %[1]s_touch BEFORE UPDATE ON %[1]s FOR EACH ROW EXECUTE FUNCTION %[1]s_touch();
CREATE VIEW %[1]s_open AS SELECT t.id, t.name, sum(t.amount) OVER (PARTITION BY t.tenant_id) AS total FROM %[1]s t WHERE t.state IN ('new', 'open') AND EXISTS (SELECT FROM table_0005 x WHERE x.id = t.owner);
`, t)
			down = fmt.Sprintf("DROP VIEW %[1]s_open;\nDROP TRIGGER %[1]s_touch ON %[1]s;\nDROP FUNCTION %[1]s_touch();\n", t)
		case 4:
			var rows strings.Builder
			for n := range 40 {
				fmt.Fprintf(&rows, "%s\n    ('00000000-0000-0000-0000-%012d', 'name %d', 'new', %d.50, '{\"n\": %d}')", map[bool]string{true: ","}[n > 0], n, n, n, n)
			}
			up = fmt.Sprintf("INSERT INTO %[1]s (tenant_id, name, state, amount, payload) VALUES%[2]s;\nUPDATE %[1]s SET state = 'open' WHERE amount > 10;\n", t, rows.String())
			down = fmt.Sprintf("DELETE FROM %s;\n", t)
		}
		for direction, sql := range map[string]string{"up": up, "down": down} {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%06d_step.%s.sql", i, direction)), []byte(sql), 0o600); err != nil {
				b.Fatal(err)
			}
		}
	}
	return dir
}

const benchChild = "DBOPS_LINT_BENCH"

// lintFolder is what the child does: a cold start, and one look at the folder.
func lintFolder(dir string) error {
	f, err := source.Read(dir)
	if err != nil {
		return err
	}
	l := &lint.Linter{Apart: true}
	found, err := l.Check(context.Background(), lint.Inputs(f), lint.Offline{})
	if err != nil {
		return err
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	peak := ""
	for s := bufio.NewScanner(strings.NewReader(string(status))); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), "VmHWM:"); ok {
			peak = strings.TrimSuffix(strings.TrimSpace(v), " kB")
		}
	}
	_, err = fmt.Printf("%d %s\n", len(found), peak)
	return err
}

// BenchmarkLintOfAThousandFiles runs the linter in a process of its own, from its cold start: 1,000 migrations, up and down, under 5 s and
// 300 MB.
func BenchmarkLintOfAThousandFiles(b *testing.B) {
	dir := writeBenchFolder(b)
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		cmd := exec.CommandContext(b.Context(), exe)
		cmd.Env = append(os.Environ(), benchChild+"="+dir)
		cmd.Stderr = os.Stderr
		began := time.Now()
		out, err := cmd.Output()
		took := time.Since(began)
		if err != nil {
			b.Fatal(err)
		}
		fields := strings.Fields(string(out))
		if len(fields) != 2 {
			b.Fatalf("the child says %q", out)
		}
		peak, err := strconv.Atoi(fields[1])
		if err != nil || fields[0] == "0" {
			b.Fatalf("the child says %q", out)
		}
		cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		b.ReportMetric(took.Seconds(), "s/folder")
		b.ReportMetric(cpu.Seconds(), "cpu-s/folder")
		b.ReportMetric(float64(peak)/1024, "MB-peak")
		if cpu > 5*time.Second || peak > 300<<10 { // of the processor: a machine with other work on it takes longer by the clock
			b.Errorf("%s and %d kB, the bounds are 5 s and 300 MB", cpu, peak)
		}
	}
}
