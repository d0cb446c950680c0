package pg_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	"dbops/internal/pg"
	"dbops/internal/sandbox/pgtest"
)

func TestMain(m *testing.M) {
	code := pgtest.Main(m)
	if code == 0 {
		if err := goleak.Find(); err != nil {
			println(err.Error())
			code = 1
		}
	}
	os.Exit(code)
}

func TestAProbeSeesARestart(t *testing.T) {
	s := pgtest.StartOwn(t, 17)
	cfg := s.Config(t, "postgres")
	p := pg.StartProbe(t.Context(), pg.ProbeOptions{
		Interval: 5 * time.Millisecond,
		Try:      pg.Answers(func(context.Context) (*pgconn.Config, error) { return cfg, nil }),
	})
	defer p.Stop()
	answers(t, p)
	if m := p.Measured(); m.Failures != 0 {
		t.Fatalf("before: %+v", m)
	}
	begun := time.Now()
	if err := s.World.Failover(t.Context(), 300*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	answers(t, p)
	took := time.Since(begun)
	m := p.Stop()
	t.Logf("the server was away for about %s: %+v", took.Round(time.Millisecond), m)
	if m.Outages < 1 || m.Down || m.Total < 250*time.Millisecond || m.Total > took+100*time.Millisecond || m.Longest > m.Total || m.Cause == "" {
		t.Errorf("got %+v", m)
	}
}

func answers(t *testing.T, p *pg.Probe) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if !p.Served(ctx, time.Now()) {
		t.Fatalf("the server does not answer: %+v", p.Measured())
	}
}
