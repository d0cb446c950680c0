package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/sandbox/play"
)

// measured says what a test measured, for the table of make faults.
func measured(t *testing.T, fault, what string, value any) {
	t.Helper()
	if d, ok := value.(time.Duration); ok {
		value = d.Round(time.Millisecond)
	}
	t.Logf("measured | %s | %s | %v |", fault, what, value)
}

func (p *runningProxy) connect(t *testing.T, database string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), p.uri(t, database))
	if err != nil {
		t.Fatalf("%v\n%s", err, p.stderr)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// refused connects where it cannot work, and returns what the client is told.
func (p *runningProxy) refused(t *testing.T, database string) *pgconn.PgError {
	t.Helper()
	c, err := pgx.Connect(t.Context(), p.uri(t, database))
	if err == nil {
		_ = c.Close(t.Context())
		t.Fatal("the connection was accepted")
	}
	pe, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		t.Fatalf("no PostgreSQL error: %v", err)
	}
	return pe
}

func (p *runningProxy) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func stateOf(err error) string {
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pe.Code
	}
	return ""
}

func backend(t *testing.T, c *pgx.Conn) (pid int) {
	t.Helper()
	if err := c.QueryRow(t.Context(), "select pg_backend_pid()").Scan(&pid); err != nil {
		t.Fatal(err)
	}
	return pid
}

// gone waits until a server has no such backend any more.
func gone(t *testing.T, watch *pgx.Conn, pid int) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		var n int
		if err := watch.QueryRow(t.Context(), "select count(*) from pg_stat_activity where pid = $1", pid).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return
		}
	}
	t.Fatal("the session on the server is still there")
}

func TestALaptopThatSleepsGoesOn(t *testing.T) {
	t.Parallel()
	p := startProxy(t, "-e", "local")
	kept, lost := p.connect(t, "events"), p.connect(t, "events")
	pid := backend(t, lost)
	p.signal(t, syscall.SIGSTOP)
	boss, err := shared.sandbox.Server("local", "main").DB(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer boss.Close(context.Background())
	if _, err := boss.Exec(t.Context(), "select pg_terminate_backend($1)", pid); err != nil {
		t.Fatal(err)
	}
	gone(t, boss, pid)
	asleep := make(chan error, 1)
	go func() { // a client that connects meanwhile
		c, err := pgx.Connect(context.Background(), p.uri(t, "events"))
		if err == nil {
			err = c.Close(context.Background())
		}
		asleep <- err
	}()
	begin := time.Now()
	p.signal(t, syscall.SIGCONT)
	if _, err := lost.Exec(t.Context(), "select 1"); stateOf(err) != "57P01" {
		t.Errorf("a session that the server ended meanwhile heard %v", err)
	}
	measured(t, "laptop sleep", "a client knows that its session was ended meanwhile, after waking up", time.Since(begin))
	if _, err := kept.Exec(t.Context(), "select 1"); err != nil {
		t.Errorf("a session that was idle: %v", err)
	}
	if err := <-asleep; err != nil {
		t.Errorf("a client that connected meanwhile: %v", err)
	}
	p.connect(t, "events")
}

func TestAProxyThatIsKilledLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	p := startProxy(t, "-e", "local")
	c := p.connect(t, "events")
	pid := backend(t, c)
	boss, err := shared.sandbox.Server("local", "main").DB(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer boss.Close(context.Background())
	begin := time.Now()
	p.signal(t, syscall.SIGKILL)
	gone(t, boss, pid)
	measured(t, "SIGKILL of the proxy", "its session on the server has ended after", time.Since(begin))
	<-p.done
	again := startProxy(t, "-e", "local", "--listen", p.Address)
	again.connect(t, "events")
}

func TestSIGTERMWaitsForTransactionsAsLongAsItWasTold(t *testing.T) {
	t.Parallel()
	p := startProxy(t, "-e", "staging", "--access", "write", "--drain-timeout", "1m")
	tx, err := p.connect(t, "shop").Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	idle := p.connect(t, "shop")
	p.signal(t, syscall.SIGTERM)
	for err = nil; err == nil; {
		_, err = idle.Exec(t.Context(), "select 1")
	}
	if stateOf(err) != "57P01" {
		t.Errorf("the idle session heard %v", err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Errorf("commit: %v", err)
	}
	if <-p.done; p.err != nil {
		t.Errorf("the proxy ended with %v", p.err)
	}

	p = startProxy(t, "-e", "staging", "--access", "write", "--drain-timeout", "200ms")
	if tx, err = p.connect(t, "shop").Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	p.signal(t, syscall.SIGTERM)
	<-p.done
	measured(t, "SIGTERM of the proxy", "it has ended, with a transaction open, after (--drain-timeout 200ms)", time.Since(begin))
	if err := tx.Commit(t.Context()); stateOf(err) != "57P01" {
		t.Errorf("the transaction that took too long heard %v", err)
	}
	if p.err != nil {
		t.Errorf("the proxy ended with %v", p.err)
	}
}

func TestOneConnectionTooManyIsTold(t *testing.T) {
	t.Parallel()
	p := startProxy(t, "-e", "local", "--max-connections", "2")
	p.connect(t, "events")
	c := p.connect(t, "events")
	if pe := p.refused(t, "events"); pe.Code != "53300" || !strings.Contains(pe.Hint, "--max-connections") {
		t.Errorf("%+v", pe)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; {
		c, err := pgx.Connect(t.Context(), p.uri(t, "events"))
		if err == nil {
			_ = c.Close(t.Context())
			return
		}
		if time.Now().After(end) {
			t.Fatalf("a place that is free again: %v", err)
		}
	}
}

// replace puts a file in the place of another in one step, as a login program does.
func replace(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestALoginThatIsRenewedWorksWithoutARestart(t *testing.T) {
	t.Parallel()
	cloud := filepath.Join(shared.dir, "cloud")
	for _, c := range []struct {
		name, database, variable string
		spoil                    func(file string) string
		code                     string
		hint                     string
	}{
		{
			"AWS", "billing", "AWS_SHARED_CREDENTIALS_FILE", func(s string) string {
				_, id, _ := strings.Cut(s, "aws_access_key_id = ") // each session has one of its own
				id, _, _ = strings.Cut(id, "\n")
				return strings.ReplaceAll(s, id, "ASIA"+strings.Repeat("X", 16))
			}, "28000", "aws sso login",
		},
		{
			"Google", "shop", "GOOGLE_APPLICATION_CREDENTIALS", func(s string) string {
				return strings.Replace(s, `"private_key_id": "`, `"private_key_id": "revoked`, 1)
			}, "28000", "gcloud auth application-default login",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			env := environ(t)
			var good []byte
			file := filepath.Join(t.TempDir(), "login")
			for i, kv := range env {
				if name, at, _ := strings.Cut(kv, "="); name == c.variable {
					var err error
					if good, err = os.ReadFile(at); err != nil {
						t.Fatal(err)
					}
					env[i] = name + "=" + file
				}
			}
			spoilt := c.spoil(string(good))
			if len(good) == 0 || spoilt == string(good) {
				t.Fatalf("%s of %s was not spoilt", c.variable, cloud)
			}
			replace(t, file, []byte(spoilt))
			p := startProxyIn(t, env, "-e", "prod")
			for range 2 {
				if pe := p.refused(t, c.database); pe.Code != c.code || !strings.Contains(pe.Hint, c.hint) {
					t.Errorf("%s %s\nhint: %s", pe.Code, pe.Message, pe.Hint)
				}
			}
			replace(t, file, good)
			begin := time.Now()
			p.connect(t, c.database)
			measured(t, "login expired, "+c.name, "the next connection after it was renewed works, without a restart, after", time.Since(begin))
		})
	}
}

// A connection that fails makes the connector forget what it knew; with the API down, that must not be all there was.
func TestAServerThatRestartsIsReachedWithoutTheControlPlane(t *testing.T) {
	p := startProxy(t, "-e", "prod")
	for instance, db := range map[string]string{"billing": "billing", "main": "shop"} {
		p.connect(t, db)
		shared.sandbox.Faults().Add(play.Fault{Effect: play.Unavailable})
		defer shared.sandbox.Faults().Clear()
		if err := shared.sandbox.Server("prod", instance).Failover(t.Context(), 300*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			p.connect(t, db)
		}
		shared.sandbox.Faults().Clear()
	}
}
