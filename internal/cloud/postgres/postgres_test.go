package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	"dbops/internal/cloud"
	"dbops/internal/cloud/cloudtest"
	"dbops/internal/fault"
	"dbops/internal/pg"
	"dbops/internal/sandbox/pgtest"
	"dbops/internal/secret"
)

func TestMain(m *testing.M) {
	code := pgtest.Main(m)
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func provider(cfg *pgconn.Config) (*Provider, string) {
	name := net.JoinHostPort(cfg.Host, fmt.Sprint(cfg.Port))
	return New(Options{Name: name, Config: func(context.Context) (*pgconn.Config, error) { return cfg.Copy(), nil }}), name
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, major := range []int{14, 16, 18} { // the oldest, the newest, and the one the other tests use
		t.Run(fmt.Sprintf("PostgreSQL %d", major), func(t *testing.T) {
			t.Parallel()
			s := pgtest.Start(t, major)
			cloudtest.Run(t, func(t *testing.T) (cloud.Provider, string) {
				t.Helper()
				return provider(s.Config(t, "postgres"))
			})
		})
	}
}

func TestAServerTellsAboutItself(t *testing.T) {
	t.Parallel()
	s := pgtest.Start(t, 16)
	p, name := provider(s.Config(t, "postgres"))
	live, err := p.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if live.Major != 16 || !strings.HasPrefix(live.EngineVersion, "16.") || live.RawState != "primary" {
		t.Errorf("version %d %q, role %q", live.Major, live.EngineVersion, live.RawState)
	}
	if e := live.Endpoints[0]; e.Host != "127.0.0.1" || e.Port != int(s.Port) || e.Kind != cloud.EndpointPrivate {
		t.Errorf("endpoint %+v", e)
	}
	if live.TLS.Mode != "verify-full" || !strings.Contains(live.TLS.CA, "pgtest") || time.Until(live.TLS.Expires) < time.Hour {
		t.Errorf("TLS %+v", live.TLS)
	}
	var raw description
	if err := json.Unmarshal(live.Raw, &raw); err != nil {
		t.Fatal(err)
	}
	if raw.VersionNum/10000 != 16 || time.Since(raw.Started) > time.Hour || raw.Connections < 1 || raw.MaxConnections < 10 ||
		raw.WALLevel == "" || raw.ArchiveMode == "" || raw.DataChecksums == "" || raw.Encryption.Version != "TLS 1.3" || raw.Encryption.Cipher == "" {
		t.Errorf("it tells only %s", live.Raw)
	}
	if (live.Backups != cloud.Backups{}) || (live.Storage != cloud.Storage{}) || live.Class != "" || live.TLS.Required {
		t.Errorf("it invents: %+v", live)
	}
}

func TestWhatTheRoleMayNotKnowStaysEmpty(t *testing.T) {
	t.Parallel()
	s := pgtest.Start(t, 16)
	database := s.Database(t)
	s.Exec(t, database,
		"CREATE ROLE curious_"+database+" LOGIN PASSWORD 'x'",
		"REVOKE EXECUTE ON FUNCTION pg_catalog.pg_postmaster_start_time() FROM PUBLIC",
		"REVOKE SELECT ON pg_catalog.pg_stat_database FROM PUBLIC",
	)
	p, name := provider(s.ConfigFor(t, "curious_"+database, secret.New("x"), database))
	live, err := p.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	var raw description
	if err := json.Unmarshal(live.Raw, &raw); err != nil {
		t.Fatal(err)
	}
	if !raw.Started.IsZero() || raw.Connections != 0 || raw.MaxConnections == 0 || live.State != cloud.Available {
		t.Errorf("got %s", live.Raw)
	}
}

func TestAServerThatCannotBeReachedIsAnErrorThatSaysWhy(t *testing.T) {
	t.Parallel()
	s := pgtest.Start(t, 16)
	private := s.Database(t)
	sleeper, stranger := "sleeper_"+private, "stranger_"+private
	s.Exec(t, private, "CREATE ROLE "+sleeper+" NOLOGIN PASSWORD 'x'", "CREATE ROLE "+stranger+" LOGIN PASSWORD 'x'",
		"REVOKE CONNECT ON DATABASE "+private+" FROM PUBLIC")
	base := pg.Params{
		Host: s.Host, Port: s.Port, User: pgtest.User, Password: s.Password, Database: "postgres", SSLMode: "verify-full", CAFile: s.CAFile,
	}
	for _, c := range []struct {
		name       string
		change     func(*pg.Params)
		kind       fault.Kind
		text, hint string
	}{
		{"nobody listens", func(p *pg.Params) { p.Port = closedPort(t) }, fault.Unavailable, "nobody listens at 127.0.0.1:", "check that the server runs"},
		{"the name is not in the certificate", func(p *pg.Params) { p.Host = "127.0.0.2"; p.Dial = to(s) }, fault.Unavailable, "the server's certificate is for localhost, 127.0.0.1, not for 127.0.0.2", "name that the certificate carries"},
		{"the CA is another", func(p *pg.Params) { p.CAFile = "" }, fault.Unavailable, "signed by a CA called pgtest, which is not trusted here", "ca_file"},
		{"the name does not exist", func(p *pg.Params) {
			p.Dial = func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Name: "db.example", Err: "no such host", IsNotFound: true}}
			}
		}, fault.Unavailable, "there is no host db.example", "DNS"},
		{"the server is silent", func(p *pg.Params) { p.Dial = silent(t) }, fault.Unavailable, "no answer in time", "firewalls"},
		{"the server has no TLS", func(p *pg.Params) { p.Port = talking(t, "N") }, fault.Unavailable, "does not offer TLS", "ssl = on"},
		{"something else listens", func(p *pg.Params) { p.Port = talking(t, "SSH-2.0-OpenSSH_9.2\r\n") }, fault.Unavailable, "does not speak TLS", "TLS settings"},
		{"something hangs up", func(p *pg.Params) { p.Port = talking(t, "") }, fault.Unavailable, "was cut before an answer came", "PostgreSQL server listens there"},
		{"the server wants the password in the clear", func(p *pg.Params) {
			p.Port, p.SSLMode, p.RequireAuth = talking(t, "R\x00\x00\x00\x08\x00\x00\x00\x03"), "disable", "!password"
		}, fault.Denied, "asks for the password in a way that is not accepted here", "scram-sha-256"},
		{"something talks nonsense", func(p *pg.Params) { p.Port, p.SSLMode = talking(t, "X\x00\x00\x00\x04"), "disable" }, fault.Unavailable, "", ""},
		{"the password is wrong", func(p *pg.Params) { p.Password = secret.New("hunter2") }, fault.Denied, `password authentication failed for user "postgres" (SQLSTATE 28P01)`, "PGPASSFILE"},
		{"there is no such role", func(p *pg.Params) { p.User = "nobody" }, fault.Denied, "28P01", "password"},
		{"the role may not log in", func(p *pg.Params) { p.User = sleeper; p.Password = secret.New("x") }, fault.Denied, "not permitted to log in (SQLSTATE 28000)", "may not log in"},
		{"the database does not exist", func(p *pg.Params) { p.Database = "missing" }, fault.NotFound, `database "missing" does not exist`, "name of the database"},
		{"the role may not connect", func(p *pg.Params) { p.Database = private; p.User = stranger; p.Password = secret.New("x") }, fault.Denied, "permission denied for database", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			params := base
			c.change(&params)
			cfg, err := pg.Config(params)
			if err != nil {
				t.Fatal(err)
			}
			p, name := provider(cfg)
			p.opts.Timeout = 5 * time.Second
			if c.name == "the server is silent" {
				p.opts.Timeout = 300 * time.Millisecond
			}
			_, err = p.Get(t.Context(), name)
			if fault.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.text) || !strings.Contains(fault.HintOf(err), c.hint) {
				t.Fatalf("got %v (%s), hint %q", err, fault.KindOf(err), fault.HintOf(err))
			}
			if strings.ContainsAny(err.Error(), "\n\t") || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("not one line without secrets: %q", err)
			}
			if _, ok := errors.AsType[*pgconn.ConnectError](err); !ok {
				t.Error("pgconn's error is not in the chain")
			}
			if _, err := p.List(t.Context()); fault.KindOf(err) != c.kind {
				t.Errorf("List: %v", err)
			}
		})
	}
}

func TestErrorsOfTheCallersConfigAreReturned(t *testing.T) {
	t.Parallel()
	for want, err := range map[fault.Kind]error{
		fault.Denied:   fault.Newf(fault.Denied, "read secret", "no").Hint("x"),
		fault.Internal: errors.New("odd"),
	} {
		p := New(Options{Name: "a:1", Config: func(context.Context) (*pgconn.Config, error) { return nil, err }})
		if _, got := p.Get(t.Context(), "a:1"); fault.KindOf(got) != want || !errors.Is(got, err) {
			t.Errorf("got %v", got)
		}
	}
}

func TestAnswersOfTheServerBySQLSTATE(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]fault.Kind{
		"28P01": fault.Denied, "28000": fault.Denied, "28999": fault.Denied, "42501": fault.Denied, "3D000": fault.NotFound,
		"53300": fault.Busy, "53400": fault.Busy, "57P03": fault.Unavailable, "57P01": fault.Unavailable, "57P02": fault.Unavailable,
		"08006": fault.Unavailable, "55000": fault.Busy, "55P03": fault.Busy, "40001": fault.Stale, "40P01": fault.Stale, "58030": fault.Unavailable,
		"XX000": fault.Unavailable, "22023": fault.Invalid, "": fault.Invalid,
	} {
		err := Fault(t.Context(), "op", fmt.Errorf("x: %w", &pgconn.PgError{Code: code, Message: "no", Hint: "do it"}))
		if got := fault.KindOf(err); got != want {
			t.Errorf("%q is %s, want %s", code, got, want)
		}
		if text := "op: no (SQLSTATE " + code + ")"; err.Error() != text {
			t.Errorf("got %q, want %q", err, text)
		}
	}
	if hint := fault.HintOf(Fault(t.Context(), "op", &pgconn.PgError{Code: "28000", Message: `no pg_hba.conf entry for host "10.0.0.1"`})); !strings.Contains(hint, "from here") {
		t.Errorf("hint %q", hint)
	}
}

func TestEndpointAndModeAreThoseOfTheConnection(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		host, mode string
		kind       cloud.EndpointKind
	}{
		{"127.0.0.1", "disable", cloud.EndpointPrivate},
		{"10.1.2.3", "require", cloud.EndpointPrivate},
		{"fd00::1", "verify-full", cloud.EndpointPrivate},
		{"198.51.100.7", "verify-full", cloud.EndpointPublic},
		{"db.example.com", "verify-ca", ""},
	} {
		ca := ""
		if c.mode == "verify-ca" {
			ca = pgtest.Start(t, 16).CAFile
		}
		cfg, err := pg.Config(pg.Params{Host: c.host, Port: 6432, User: "u", Database: "d", SSLMode: c.mode, CAFile: ca})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := endpoint(cfg), (cloud.Endpoint{Kind: c.kind, Host: c.host, Port: 6432}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if got := sslmode(cfg.TLSConfig); got != c.mode {
			t.Errorf("sslmode %s, want %s", got, c.mode)
		}
	}
}

func to(s *pgtest.Server) pgconn.DialFunc {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.World.Addr())
	}
}

func closedPort(t *testing.T) uint16 {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	return uint16(ln.Addr().(*net.TCPAddr).Port)
}

// silent dials somebody who never answers.
func silent(t *testing.T) pgconn.DialFunc {
	t.Helper()
	return func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		t.Cleanup(func() { _ = server.Close() })
		go func() {
			for {
				if _, err := server.Read(make([]byte, 64)); err != nil {
					return
				}
			}
		}()
		return client, nil
	}
}

// talking is the port of somebody who says one thing and hangs up.
func talking(t *testing.T, what string) uint16 {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 64))
			_, _ = conn.Write([]byte(what))
			_ = conn.Close()
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		wg.Wait()
	})
	return uint16(ln.Addr().(*net.TCPAddr).Port)
}
