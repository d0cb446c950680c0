package world

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestACustomerLogsIn(t *testing.T) {
	t.Parallel()
	for _, major := range majors {
		t.Run(on(major), func(t *testing.T) {
			t.Parallel()
			s := sharedServer(t, major)
			cfg := config(t, s, master, password, "postgres")
			cfg.ChannelBinding = "require"
			c := loginWith(t, cfg)
			version := c.ParameterStatus("server_version")
			if !strings.HasPrefix(s.Version(), strconv.Itoa(major)+".") || !strings.HasPrefix(version, s.Version()) {
				t.Errorf("version %q, the server says %q", s.Version(), version)
			}
			for setting, want := range map[string]string{
				"data_checksums": "on", "wal_level": "logical", "archive_mode": "on", "max_connections": "200", "is_superuser": "off",
				"server_encoding": "UTF8", "ssl": "on", "TimeZone": "UTC",
			} {
				if got := run(t, c, "SHOW "+setting); got != want {
					t.Errorf("%s is %q, not %q", setting, got, want)
				}
			}
			if got := run(t, c, "SELECT upper('straße ä')"); got != "STRASSE Ä" && got != "STRAßE Ä" {
				t.Errorf("letters beyond ASCII: %s", got)
			}
		})
	}
}

func TestAWrongLoginIsRefused(t *testing.T) {
	t.Parallel()
	for _, major := range majors {
		t.Run(on(major), func(t *testing.T) {
			t.Parallel()
			s := sharedServer(t, major)
			try := func(user, word string) error {
				_, err := pgconn.ConnectConfig(t.Context(), config(t, s, user, word, "postgres"))
				return err
			}
			refused(t, try(master, "wrong"), "28P01", "password authentication failed")
			refused(t, try("nobody_of_that_name", "x"), "28P01", "password authentication failed")
			refused(t, try(superuser, "x"), "28000", "pg_hba.conf rejects connection")
			refused(t, func() error {
				cfg := config(t, s, master, password, "postgres")
				cfg.RuntimeParams["replication"] = "true"
				_, err := pgconn.ConnectConfig(t.Context(), cfg)
				return err
			}(), "28000", "no pg_hba.conf entry for replication connection")
			_, err := pgconn.ConnectConfig(t.Context(), config(t, s, master, password, "no_such_database"))
			refused(t, err, "3D000", "does not exist")
		})
	}
}

// Tests of what a server can be told about logins share one of each major.
func TestALoginFollowsTheRulesOfItsServer(t *testing.T) {
	t.Parallel()
	for _, major := range majors {
		t.Run(on(major), func(t *testing.T) {
			t.Parallel()
			s := own(t, "rules", major)
			t.Run("encryption is required unless it is not", func(t *testing.T) { encryptionIsRequired(t, s) })
			t.Run("a token logs an IAM role in", func(t *testing.T) { aTokenLogsIn(t, s) })
		})
	}
}

func encryptionIsRequired(t *testing.T, s *Server) {
	t.Helper()
	cfg := config(t, s, master, password, "postgres")
	cfg.TLSConfig = nil
	_, err := pgconn.ConnectConfig(t.Context(), cfg)
	refused(t, err, "28000", `no pg_hba.conf entry for host "127.0.0.1", user "boss", database "postgres", no encryption`)

	s.SetRequireTLS(false)
	loginWith(t, cfg)
	super(t, s, "postgres", "CREATE ROLE clear LOGIN IN ROLE "+group)
	s.SetTokenCheck(func(string, string) error { return nil })
	defer s.SetTokenCheck(nil)
	iam := config(t, s, "clear", "right", "postgres")
	iam.TLSConfig = nil
	_, err = pgconn.ConnectConfig(t.Context(), iam)
	refused(t, err, "28000", `user "clear", database "postgres", no encryption`)

	s.SetRequireTLS(true)
	_, err = pgconn.ConnectConfig(t.Context(), cfg)
	refused(t, err, "28000", "no encryption")
}

func TestDirectTLSWorksWherePostgreSQLHasIt(t *testing.T) {
	t.Parallel()
	for _, major := range majors {
		t.Run(on(major), func(t *testing.T) {
			t.Parallel()
			s := sharedServer(t, major)
			cfg := config(t, s, master, password, "postgres")
			cfg.SSLNegotiation = "direct"
			cfg.TLSConfig.NextProtos = []string{"postgresql"}
			c, err := pgconn.ConnectConfig(t.Context(), cfg)
			if err == nil {
				defer func() { _ = c.Close(t.Context()) }()
			}
			if (err == nil) != (major >= 17) {
				t.Errorf("direct TLS on %d: %v", major, err)
			}
			if major < 17 {
				return
			}
			conn, err := tls.Dial("tcp", s.Addr(), &tls.Config{RootCAs: authority().Pool()})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			if n, err := conn.Read(make([]byte, 1)); err == nil {
				t.Errorf("without the name of the protocol it answers %d bytes", n)
			}
		})
	}
}

func TestTLSIsAtLeast12(t *testing.T) {
	t.Parallel()
	s := sharedServer(t, 15)
	cfg := config(t, s, master, password, "postgres")
	cfg.TLSConfig.MinVersion, cfg.TLSConfig.MaxVersion = tls.VersionTLS11, tls.VersionTLS11
	if _, err := pgconn.ConnectConfig(t.Context(), cfg); err == nil {
		t.Error("TLS 1.1 is accepted")
	}
	cfg = config(t, s, master, password, "postgres")
	cfg.TLSConfig.MaxVersion = tls.VersionTLS12
	loginWith(t, cfg)
	cfg = config(t, s, master, password, "postgres")
	cfg.TLSConfig.RootCAs = x509.NewCertPool()
	if _, err := pgconn.ConnectConfig(t.Context(), cfg); err == nil {
		t.Error("the certificate is verified by nobody")
	}
}

func TestTheMasterHasTheRightsOfACloudsCustomer(t *testing.T) {
	t.Parallel()
	for _, major := range majors {
		t.Run(on(major), func(t *testing.T) {
			t.Parallel()
			s := sharedServer(t, major)
			c := login(t, s, "postgres")
			run(t, c, "CREATE ROLE app LOGIN PASSWORD 'x'", "GRANT pg_read_all_data TO app", "CREATE DATABASE owned", "GRANT "+group+" TO app")
			if got := run(t, c, "SELECT count(*) > 0 FROM pg_stat_statements WHERE query ~ 'GRANT'"); got != "t" {
				t.Errorf("pg_stat_statements: %s", got)
			}
			own := login(t, s, "owned")
			if got := super(t, s, "owned", "SELECT current_database() || ' ' || current_user"); got != "owned "+superuser {
				t.Errorf("past the edge: %s", got)
			}
			run(t, own, "CREATE EXTENSION pgcrypto", "CREATE TABLE t AS SELECT 1 AS n",
				"SELECT count(*) FROM pg_stat_activity WHERE query IS NOT NULL")
			for _, q := range []string{
				"ALTER ROLE app SUPERUSER", "SELECT pg_read_file('/etc/passwd')", "COPY t TO PROGRAM 'cat'", "ALTER SYSTEM SET work_mem = 1",
				"SET ROLE " + superuser,
			} {
				if _, err := value(t.Context(), c, q); err == nil {
					t.Errorf("the master may %s", q)
				}
			}
		})
	}
}

func aTokenLogsIn(t *testing.T, s *Server) {
	t.Helper()
	run(t, login(t, s, "postgres"), "CREATE ROLE token LOGIN PASSWORD 'of-no-use'", "GRANT "+group+" TO token")
	try := func(word string) error {
		c, err := pgconn.ConnectConfig(t.Context(), config(t, s, "token", word, "postgres"))
		if err != nil {
			return err
		}
		if got := run(t, c, "SELECT current_user || ' ' || ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"); got != "token true" {
			t.Errorf("logged in as %s", got)
		}
		return c.Close(t.Context())
	}
	refused(t, try("right"), "28000", "pg_hba.conf rejects connection")
	s.SetTokenCheck(func(role, token string) error {
		if role != "token" || token != "right" {
			return errors.New("not that one")
		}
		return nil
	})
	if err := try("right"); err != nil {
		t.Error(err)
	}
	refused(t, try("wrong"), "28000", `PAM authentication failed for user "token"`)
	refused(t, try("of-no-use"), "28000", "PAM authentication failed")
	refused(t, try(strings.Repeat("x", 65530)), "28000", "PAM authentication failed")
	refused(t, try(strings.Repeat("x", 70000)), "08P01", "expected password response")
	s.SetTokenCheck(nil)
	refused(t, try("right"), "28000", "pg_hba.conf rejects connection")
	// The master's own login stays one by password.
	login(t, s, "postgres")
}

// dialHandled leads a client to [Server.Handle] instead of the edge's own listener.
func dialHandled(t *testing.T, s *Server, principal string) pgconn.DialFunc {
	t.Helper()
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer ln.Close()
		served := make(chan struct{})
		accepted := make(chan struct{})
		go func() {
			defer close(served)
			c, err := ln.Accept()
			close(accepted)
			if err == nil {
				_ = s.Handle(context.Background(), c, principal)
			}
		}()
		t.Cleanup(func() { <-served })
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", ln.Addr().String())
		<-accepted
		return c, err
	}
}

func TestASessionWhoseEncryptionEndedBeforeIsServed(t *testing.T) {
	t.Parallel()
	for _, major := range majors {
		t.Run(on(major), func(t *testing.T) {
			t.Parallel()
			w := sharedWorld(t)
			id := "handle-" + strconv.Itoa(major)
			sp := spec(id, major)
			sp.SuperGroup, sp.IAMGroup = "cloudsqlsuperuser", "cloudsqliamuser"
			s := create(t, w, sp)
			t.Cleanup(func() { _ = w.Remove(context.Background(), id) })
			super(t, s, "postgres", `CREATE ROLE "bot@p.iam" LOGIN IN ROLE cloudsqliamuser`, `CREATE ROLE other LOGIN IN ROLE cloudsqliamuser`)
			s.SetTokenCheck(func(_, token string) error {
				if token != "right" {
					return errors.New("not that one")
				}
				return nil
			})
			try := func(principal, user, word string) error {
				cfg := config(t, s, user, word, "postgres")
				cfg.TLSConfig, cfg.DialFunc = nil, dialHandled(t, s, principal)
				c, err := pgconn.ConnectConfig(t.Context(), cfg)
				if err == nil {
					err = c.Close(t.Context())
				}
				return err
			}
			for name, err := range map[string]error{
				"a password":                    try("", master, password),
				"a principal without any token": try("bot@p.iam", "bot@p.iam", ""),
				"a token":                       try("", "bot@p.iam", "right"),
				"another principal's token":     try("other", "bot@p.iam", "right"),
			} {
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			refused(t, try("other", "bot@p.iam", "wrong"), "28000", `Cloud SQL IAM user authentication failed for user "bot@p.iam"`)
			refused(t, try("bot@p.iam", master, "wrong"), "28P01", "password authentication failed")
			refused(t, try(superuser, superuser, ""), "28000", "rejects connection")
			encrypted := config(t, s, master, password, "postgres")
			encrypted.DialFunc = dialHandled(t, s, "")
			if _, err := pgconn.ConnectConfig(t.Context(), encrypted); err == nil || !strings.Contains(err.Error(), "refused TLS") {
				t.Errorf("TLS inside: %v", err)
			}
		})
	}
}

func TestACancelRequestReachesItsSession(t *testing.T) {
	t.Parallel()
	for _, major := range majors {
		t.Run(on(major), func(t *testing.T) {
			t.Parallel()
			s := sharedServer(t, major)
			c, other := login(t, s, "postgres"), login(t, s, "postgres")
			type answer struct {
				err error
				at  time.Time
			}
			slept := make(chan answer, 1)
			go func() {
				_, err := c.Exec(t.Context(), "SELECT pg_sleep(60) /* to be cancelled */").ReadAll()
				slept <- answer{err, time.Now()}
			}()
			eventually(t, "the query runs", func() bool {
				return super(t, s, "postgres", "SELECT count(*) FROM pg_stat_activity WHERE query ~ 'to be cancelled' AND wait_event = 'PgSleep'") == "1"
			})
			if err := c.CancelRequest(t.Context()); err != nil {
				t.Fatal(err)
			}
			pgErr, ok := errors.AsType[*pgconn.PgError]((<-slept).err)
			if !ok || pgErr.Code != "57014" {
				t.Errorf("the query ended with %v", pgErr)
			}
			run(t, other, "SELECT 1")
			run(t, c, "SELECT 1")
		})
	}
}

func TestNoPasswordIsKept(t *testing.T) {
	t.Parallel()
	s := sharedServer(t, 16)
	login(t, s, "postgres")
	super(t, s, "postgres", "CHECKPOINT")
	var seen int
	err := filepath.WalkDir(shared.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil //nolint:nilerr // the servers come and go
		}
		b, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(b), password) {
			t.Errorf("%s holds the password", path)
		}
		seen++
		return nil
	})
	if err != nil || seen < 100 {
		t.Errorf("%d files, %v", seen, err)
	}
	if got := s.Spec(); !got.MasterPassword.IsZero() || got.Listen != s.Addr() || got.Master != master {
		t.Errorf("%+v", got)
	}
}

func TestTheEnvironmentDoesNotReachTheServers(t *testing.T) {
	for name, v := range map[string]string{
		"PGSSLMODE": "verify-full", "PGPORT": "1", "PGHOST": "/nowhere", "PGOPTIONS": "-c nonsense=1", "PGDATA": "/nowhere", "PGSSLCERT": "/nowhere",
		"PGREQUIREAUTH": "none", "PGTARGETSESSIONATTRS": "standby", "PGPASSFILE": "/nowhere", "LANG": "tlh", "HOME": "/root", "PGUSER": "x",
		"PGCHANNELBINDING": "require", "PGSSLNEGOTIATION": "direct", "PGMAXPROTOCOLVERSION": "3.2",
	} {
		t.Setenv(name, v)
	}
	w := openWorld(t, newFolder(t))
	s := create(t, w, spec("a", 17))
	if got := super(t, s, "postgres", "SELECT current_user"); got != superuser {
		t.Error(got)
	}
}
