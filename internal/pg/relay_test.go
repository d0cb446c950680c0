package pg_test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/pg"
	"dbops/internal/sandbox/pgtest"
)

// late is a connection whose writes return late while it is slow, as on a busy machine: pgconn then begins to read in the background.
type late struct {
	net.Conn
	slow *atomic.Bool
}

func (l late) Write(b []byte) (int, error) {
	n, err := l.Conn.Write(b)
	if l.slow.Load() {
		time.Sleep(40 * time.Millisecond) // more than the 15 ms after which pgconn takes a write for slow
	}
	return n, err
}

func TestNoAnswerIsLostInARelay(t *testing.T) {
	s := pgtest.Start(t, 17)
	psql, err := pg.Tool("psql")
	if err != nil {
		t.Fatal(err)
	}
	var slow atomic.Bool
	r, err := pg.StartRelay(t.Context(), "", func(ctx context.Context) (*pgx.Conn, error) {
		c, err := pgx.ParseConfig("")
		if err != nil {
			return nil, err
		}
		c.Config = *s.Config(t, "postgres")
		dial := c.DialFunc
		c.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return late{conn, &slow}, nil
		}
		slow.Store(true)
		defer slow.Store(false)
		return pgx.ConnectConfig(ctx, c)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		cmd := exec.CommandContext(ctx, psql, "-XAtw", "-h", r.Dir, "-p", pg.RelayPort, "-U", "dbops", "-d", "dbops", "-c", "select 41 + 1")
		cmd.Env = append(pg.Environ(os.Environ()), "PGSSLMODE=disable")
		out, err := cmd.CombinedOutput()
		cancel()
		if err != nil || strings.TrimSpace(string(out)) != "42" {
			t.Fatalf("%v: %s", err, out)
		}
	}
}

func TestWhyNobodyGetsInIsKnownWhenTheClientIs(t *testing.T) {
	for range 300 {
		r, err := pg.StartRelay(t.Context(), "", func(context.Context) (*pgx.Conn, error) { return nil, errors.New("the token is too old") })
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := pgx.ParseConfig("host=" + r.Dir + " port=" + pg.RelayPort + " user=me dbname=x sslmode=disable")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pgx.ConnectConfig(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "dbops could not log in") {
			t.Fatal(err)
		}
		if err := r.Close(); err == nil || !strings.Contains(err.Error(), "the token is too old") {
			t.Fatalf("the relay says %v", err)
		}
	}
}
