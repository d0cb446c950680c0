package audit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/fault"
	"dbops/internal/sandbox/pgtest"
	"dbops/internal/state/db"
)

// The test binary appends until it is killed if it finds these in its environment.
const (
	childDir = "AUDIT_TEST_CHILD_DIR"
	childURL = "AUDIT_TEST_CHILD_URL" // of PostgreSQL; the password is in PGPASSWORD
)

func appendForever() int {
	ctx := context.Background()
	dir := os.Getenv(childDir)
	var d *db.DB
	var err error
	if url := os.Getenv(childURL); url != "" {
		d, err = db.OpenPostgres(ctx, func(context.Context) (*pgconn.Config, error) { return pgconn.ParseConfig(url) })
	} else {
		for d == nil && (err == nil || fault.KindOf(err) == fault.Busy) { // while another process makes the file
			d, err = db.OpenSQLite(ctx, filepath.Join(dir, "state.db"))
		}
	}
	if err == nil {
		_, _, err = d.Migrate(ctx)
	}
	var l *Log
	if err == nil {
		l, err = Open(ctx, d, keysIn(dir))
	}
	for n := 0; err == nil; n++ {
		run := "run-" + strconv.Itoa(os.Getpid())
		err = d.Tx(ctx, func(ctx context.Context, q db.Querier) error {
			var err error
			for _, e := range step(run, "modify") {
				if _, e := l.Append(ctx, q, e); e != nil {
					err = errors.Join(err, e)
				}
			}
			return err
		})
		if err == nil {
			_, err = fmt.Println(l.signer.Name(), n)
		}
		if err == nil && n%7 == 0 {
			_, err = l.Check(ctx)
		}
	}
	_, _ = fmt.Fprintln(os.Stderr, err)
	return 1
}

// A process that is killed at any moment, also while it makes its key, its name or its witness file, leaves a log that verifies and
// holds everything that was committed.
func TestAKilledWriterLeavesAWholeLog(t *testing.T) {
	t.Parallel()
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		kill(t, dir, rounds)
		check(t, sqlite(t, filepath.Join(dir, "state.db")), dir)
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		s := pgtest.Start(t, 17)
		name, dir := s.Database(t), t.TempDir()
		kill(t, dir, rounds, childURL+"="+s.URL(name), "PGPASSWORD="+s.Password.Reveal())
		cfg := s.Config(t, name)
		d, err := db.OpenPostgres(t.Context(), func(context.Context) (*pgconn.Config, error) { return cfg.Copy(), nil })
		check(t, migrated(t, d, err), dir)
	})
}

func check(t *testing.T, d *db.DB, dir string) {
	t.Helper()
	committed, err := os.ReadFile(filepath.Join(dir, "committed"))
	if err != nil {
		t.Fatal(err)
	}
	lines := int64(strings.Count(string(committed), "\n"))
	r := verify(t, open(t, d, keysIn(dir)))
	if !r.OK() || r.Open != 0 || r.Size < 1+2*lines || lines == 0 {
		t.Errorf("%d steps were committed: %+v", lines, r)
	}
}

// kill starts two writers again and again, and kills both after some commits and a moment.
func kill(t *testing.T, dir string, rounds int, env ...string) {
	t.Helper()
	committed, err := os.Create(filepath.Join(dir, "committed"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = committed.Close() }()
	for range rounds {
		var writers []*exec.Cmd
		outs := make([]*bufio.Scanner, 2)
		for i := range outs {
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(append(os.Environ(), childDir+"="+dir), env...)
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			writers, outs[i] = append(writers, cmd), bufio.NewScanner(out)
		}
		if rand.IntN(4) > 0 { // else they are killed while they start
			for range rand.IntN(20) {
				if outs[0].Scan() {
					_, _ = committed.WriteString(outs[0].Text() + "\n")
				}
			}
		}
		<-time.After(time.Duration(rand.IntN(20_000)) * time.Microsecond)
		for i, w := range writers {
			if err := w.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			for outs[i].Scan() {
				_, _ = committed.WriteString(outs[i].Text() + "\n")
			}
			var exit *exec.ExitError
			if err := w.Wait(); !errors.As(err, &exit) || exit.Exited() {
				t.Errorf("the writer ended by itself: %v", err)
			}
		}
	}
}
