package pgtest_test

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/sandbox/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func TestEveryMajorTakesAVerifiedLogin(t *testing.T) {
	for _, major := range pgtest.Majors {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			t.Parallel()
			s := pgtest.Start(t, major)
			c, err := pgconn.ConnectConfig(t.Context(), s.Config(t, s.Database(t)))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close(t.Context())
			if v := c.ParameterStatus("server_version"); v[:2] != strconv.Itoa(major) {
				t.Errorf("server version %s", v)
			}
		})
	}
}

// failing is a test that notes how it failed.
type failing struct {
	testing.TB
	message string
}

func (f *failing) Helper() {}

func (f *failing) Fatalf(format string, args ...any) {
	f.message = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestAServerThatIsNotHereFailsTheTest(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(testing.TB, int) *pgtest.Server{"a shared one": pgtest.Start, "its own": pgtest.StartOwn} {
		f := &failing{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			start(f, 9)
		}()
		<-done
		if !strings.Contains(f.message, "PostgreSQL 9") || !strings.Contains(f.message, "make postgres") || t.Skipped() {
			t.Errorf("%s: %q", name, f.message)
		}
	}
}

func TestAnOwnServerMayBeStopped(t *testing.T) {
	t.Parallel()
	other := pgtest.Start(t, 16)
	name := ""
	t.Run("while others serve", func(t *testing.T) {
		s := pgtest.StartOwn(t, 16)
		name = s.World.Spec().ID
		if err := s.World.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if c, err := pgconn.ConnectConfig(t.Context(), s.Config(t, "postgres")); err == nil {
			_ = c.Close(t.Context())
			t.Error("it serves")
		}
		other.Exec(t, other.Database(t), "SELECT 1")
	})
	if name == "" || name == other.World.Spec().ID {
		t.Errorf("its name is %q", name)
	}
}
