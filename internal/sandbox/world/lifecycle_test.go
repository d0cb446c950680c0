package world

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/fault"
)

// own is a server of the shared world that the test may stop.
func own(t *testing.T, id string, major int) *Server {
	t.Helper()
	w := sharedWorld(t)
	id += "-" + strconv.Itoa(major)
	s := create(t, w, spec(id, major))
	t.Cleanup(func() {
		if err := w.Remove(context.Background(), id); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestACertificateChangesUnderLoad(t *testing.T) {
	t.Parallel()
	for _, major := range []int{14, 18} {
		t.Run(on(major), func(t *testing.T) {
			t.Parallel()
			s := own(t, "certificate", major)
			before := login(t, s, "postgres")
			ctx, cancel := context.WithCancel(t.Context())
			var clients sync.WaitGroup
			logins := make(chan struct{}, 10000)
			for range 3 {
				clients.Go(func() {
					for ctx.Err() == nil {
						cfg := config(t, s, master, password, "postgres")
						cfg.ChannelBinding = "require" // the server must show the certificate that the edge shows
						c, err := pgconn.ConnectConfig(t.Context(), cfg)
						// A client that was between its handshake and its startup message is told to come again.
						if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code == "57P01" {
							continue
						}
						if err != nil {
							t.Error(err)
							return
						}
						logins <- struct{}{}
						_ = c.Close(t.Context())
					}
				})
			}
			for range 5 {
				<-logins
				cert := certificate()
				if err := s.SetCertificate(cert); err != nil {
					t.Fatal(err)
				}
				for name, addr := range map[string]string{"edge": s.Addr(), "server": s.backend()} {
					if got := shown(t, addr); got != string(cert.Certificate[0]) {
						t.Errorf("the %s shows another certificate", name)
					}
				}
			}
			cancel()
			clients.Wait()
			run(t, before, "SELECT 1")

			other, err := authority().Issue(time.Hour, func(*x509.Certificate) {})
			if err != nil {
				t.Fatal(err)
			}
			good, bad := shown(t, s.Addr()), certificate()
			bad.PrivateKey = other.TLS.PrivateKey
			if err := s.SetCertificate(bad); err == nil {
				t.Error("a certificate with the key of another one is accepted")
			}
			if err := s.Restart(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			if shown(t, s.Addr()) != good {
				t.Error("after a refused change the certificate is another one")
			}
			login(t, s, "postgres")
		})
	}
}

// shown is the certificate, in DER, that a PostgreSQL at addr shows.
func shown(t *testing.T, addr string) string {
	t.Helper()
	var der string
	cfg, err := pgconn.ParseConfig("host=127.0.0.1 user=x sslmode=require passfile='' sslrootcert=''")
	if err != nil {
		t.Fatal(err)
	}
	cfg.TLSConfig = &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(c tls.ConnectionState) error {
		der = string(c.PeerCertificates[0].Raw)
		return errors.New("seen")
	}}
	cfg.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	}
	_, _ = pgconn.ConnectConfig(t.Context(), cfg)
	return der
}

func TestAFailoverCutsRefusesAndComesBack(t *testing.T) {
	t.Parallel()
	for _, major := range []int{15, 17} {
		t.Run(on(major), func(t *testing.T) {
			t.Parallel()
			s := own(t, "failover", major)
			c := login(t, s, "postgres")
			run(t, c, "CREATE TABLE t AS SELECT 42 AS n", "BEGIN", "CREATE TABLE lost ()")
			started := super(t, s, "postgres", "SELECT pg_postmaster_start_time()")
			silent, err := net.Dial("tcp", s.Addr()) // of a client that has not yet said who it is
			if err != nil {
				t.Fatal(err)
			}
			defer silent.Close()
			_ = silent.SetDeadline(time.Now().Add(20 * time.Second))
			const outage = 400 * time.Millisecond
			done := make(chan error, 1)
			begun := time.Now()
			go func() { done <- s.Failover(t.Context(), outage) }()

			if _, err := value(t.Context(), c, "SELECT pg_sleep(30)"); err == nil || pgconn.SafeToRetry(err) && !c.IsClosed() {
				t.Errorf("the session outlived the failover: %v", err)
			}
			var refusals int
			var first, last time.Time
			eventually(t, "a login works again", func() bool {
				c, err := net.Dial("tcp", s.Addr())
				switch {
				case errors.Is(err, syscall.ECONNREFUSED):
					if refusals++; refusals == 1 {
						first = time.Now()
					}
					last = time.Now()
					return false
				case err != nil:
					t.Errorf("neither refused nor accepted: %v", err)
					return true
				}
				_ = c.Close()
				return refusals > 0
			})
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begun); took < outage || last.Sub(first) < outage/2 {
				t.Errorf("%d refusals within %v, all done after %v", refusals, last.Sub(first), took)
			}
			if _, err := silent.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("a connection without a session: %v", err)
			}
			c = login(t, s, "postgres")
			if got := run(t, c, "SELECT n FROM t"); got != "42" {
				t.Errorf("what was committed: %s", got)
			}
			if got := run(t, c, "SELECT count(*) FROM pg_class WHERE relname = 'lost'"); got != "0" {
				t.Errorf("what was not committed: %s", got)
			}
			if again := super(t, s, "postgres", "SELECT pg_postmaster_start_time()"); again == started {
				t.Error("the server did not start anew")
			}
		})
	}
}

func TestAFailoverThatNobodyWaitsForEndsWithAServer(t *testing.T) {
	t.Parallel()
	s := own(t, "impatient", 16)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Failover(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	login(t, s, "postgres")
}

func TestARestartTellsSessionsWhyAndMergesSettings(t *testing.T) {
	t.Parallel()
	for _, major := range []int{14, 18} {
		t.Run(on(major), func(t *testing.T) {
			t.Parallel()
			s := own(t, "restart", major)
			c := login(t, s, "postgres")
			ended := make(chan error, 1)
			go func() {
				_, err := c.Exec(context.Background(), "SELECT pg_sleep(60)").ReadAll()
				ended <- err
			}()
			eventually(t, "the query runs", func() bool {
				return super(t, s, "postgres", "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1"
			})
			if err := s.Restart(t.Context(), map[string]string{"work_mem": "7MB", "sandbox.note": `it's \ a "note"`}); err != nil {
				t.Fatal(err)
			}
			refused(t, <-ended, "57P01", "terminating connection due to administrator command")
			if err := s.Restart(t.Context(), map[string]string{"max_connections": "55"}); err != nil {
				t.Fatal(err)
			}
			check := func(when string) {
				t.Helper()
				c := login(t, s, "postgres")
				for setting, want := range map[string]string{"work_mem": "7MB", "max_connections": "55", "sandbox.note": `it's \ a "note"`} {
					if got := run(t, c, "SHOW "+setting); got != want || s.Spec().Settings[setting] != want {
						t.Errorf("%s: %s is %q, the spec says %q", when, setting, got, s.Spec().Settings[setting])
					}
				}
			}
			check("after two restarts")
			for name, bad := range map[string]map[string]string{
				"a value that PostgreSQL refuses": {"max_connections": "many", "work_mem": "1MB"},
				"a name that it does not know":    {"no_such_setting": "1"},
				"the world's own":                 {"port": "5432"},
				"two lines":                       {"work_mem": "1MB\nport = 5432"},
				"a file of more settings":         {"include": "/dev/null"},
				"a name with a space":             {"work mem": "1MB"},
			} {
				if err := s.Restart(t.Context(), bad); fault.KindOf(err) != fault.Invalid {
					t.Errorf("%s: %v", name, err)
				}
				check("after " + name)
			}
		})
	}
}

func TestAStoppedServerSaysSo(t *testing.T) {
	t.Parallel()
	for _, major := range []int{15, 18} {
		t.Run(on(major), func(t *testing.T) {
			t.Parallel()
			s := own(t, "stop", major)
			addr := s.Addr()
			for range 2 {
				if err := s.Stop(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			_, err := pgconn.ConnectConfig(t.Context(), config(t, s, master, password, "postgres"))
			refused(t, err, "57P03", "the database system is shut down")
			if _, err := s.DB(t.Context(), "postgres"); err == nil || !strings.Contains(err.Error(), "stopped") {
				t.Errorf("past the edge: %v", err)
			}
			if _, err := sharedWorld(t).Backup(t.Context(), s.Spec().ID, "of-nothing-"+strconv.Itoa(major)); err == nil {
				t.Error("a stopped server was backed up")
			}
			if err := s.SetCertificate(certificate()); err != nil {
				t.Error(err)
			}
			for range 2 {
				if err := s.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			login(t, s, "postgres")
			if s.Addr() != addr {
				t.Errorf("at %s, then at %s", addr, s.Addr())
			}
		})
	}
}

func TestAServerThatCrashedCanBeStarted(t *testing.T) {
	t.Parallel()
	s := own(t, "crashed", 16)
	run(t, login(t, s, "postgres"), "CREATE TABLE t AS SELECT 1 AS n")
	for name, damage := range map[string]func(lock string) error{
		"":                               func(string) error { return nil },
		"while it began to run":          func(lock string) error { return os.WriteFile(lock, nil, 0o600) },
		"while it wrote its lock file":   func(lock string) error { return os.WriteFile(lock, []byte("-"), 0o600) },
		"and somebody removed that file": os.Remove,
	} {
		kill(t, s)
		if err := damage(filepath.Join(s.cluster.data(), "postmaster.pid")); err != nil {
			t.Fatal(err)
		}
		_, err := pgconn.ConnectConfig(t.Context(), config(t, s, master, password, "postgres"))
		refused(t, err, "57P03", "not accepting connections")
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(name, err)
		}
		run(t, login(t, s, "postgres"), "SELECT n FROM t")
	}
}

// kill ends a server as the kernel does that runs out of memory.
func kill(t *testing.T, s *Server) {
	t.Helper()
	if err := s.process.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-s.process.done
}

func TestCreateBringsAServerBackAsItWas(t *testing.T) {
	t.Parallel()
	dir := newFolder(t)
	w := openWorld(t, dir)
	sp := spec("a", 17)
	sp.Settings = map[string]string{"work_mem": "5MB", "log_statement": "none"}
	s := create(t, w, sp)
	addr := s.Addr()
	run(t, login(t, s, "postgres"), "CREATE TABLE t AS SELECT 1 AS n")
	if err := s.Restart(t.Context(), map[string]string{"work_mem": "6MB"}); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Options{Dir: dir}); fault.KindOf(err) != fault.Busy {
		t.Errorf("the same folder twice: %v", err)
	}
	if again := create(t, w, sp); again != s {
		t.Error("creating it twice makes two")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	for name, err := range map[string]error{
		"start": s.Start(t.Context()), "stop": s.Stop(t.Context()), "restart": s.Restart(t.Context(), nil), "fail over": s.Failover(t.Context(), 0),
		"remove": w.Remove(t.Context(), "a"), "handle": s.Handle(t.Context(), &net.TCPConn{}, ""),
	} {
		if err == nil {
			t.Errorf("after the end one can %s", name)
		}
	}

	w = openWorld(t, dir)
	if w.Server("a") != nil {
		t.Error("it is there before it was brought back")
	}
	squatter, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Create(t.Context(), Spec{ID: "a", Listen: "127.0.0.1:0"}, certificate())
	if fault.KindOf(err) != fault.Busy || !strings.Contains(err.Error(), addr) || w.Server("a") != nil {
		t.Errorf("while somebody else has its address: %v", err)
	}
	_ = squatter.Close()
	s = create(t, w, Spec{ID: "a", Major: 14, Listen: "127.0.0.1:0", Settings: map[string]string{"log_statement": "ddl"}})
	if s.Addr() != addr || s.Spec().Major != 17 || s.Spec().Master != master || w.Server("a") != s {
		t.Errorf("at %s: %+v", s.Addr(), s.Spec())
	}
	c := login(t, s, "postgres")
	run(t, c, "SELECT n FROM t")
	if got := run(t, c, "SHOW work_mem") + " " + run(t, c, "SHOW log_statement"); got != "6MB ddl" {
		t.Error(got)
	}
	for range 2 {
		if err := w.Remove(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	if w.Server("a") != nil || len(list(filepath.Join(w.dir, "servers"))) > 0 || len(list(filepath.Join(w.dir, "archive"))) > 0 {
		t.Error("something is left of a removed server")
	}
	if err := s.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "removed") {
		t.Errorf("a removed server: %v", err)
	}
}

func TestWhatCannotBeCreatedLeavesNothing(t *testing.T) {
	t.Parallel()
	w := openWorld(t, newFolder(t))
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, change := range map[string]func(*Spec){
		"no id":                              func(s *Spec) { s.ID = "" },
		"an id that is a path":               func(s *Spec) { s.ID = "../x" },
		"an address that is taken":           func(s *Spec) { s.Listen = taken.Addr().String() },
		"an address that is none":            func(s *Spec) { s.Listen = "nowhere" },
		"a major that is not here":           func(s *Spec) { s.Major = 9 },
		"the name of the internal superuser": func(s *Spec) { s.Master = superuser },
		"a group that is a rule of its own":  func(s *Spec) { s.IAMGroup = "all trust" },
		"a setting of the world's":           func(s *Spec) { s.Settings = map[string]string{"ssl": "off"} },
		"a setting that PostgreSQL refuses":  func(s *Spec) { s.Settings = map[string]string{"shared_buffers": "some"} },
		"a password that has no verifier":    func(s *Spec) { s.MasterPassword = nonASCII },
	} {
		sp := spec("x", 16)
		change(&sp)
		if s, err := w.Create(t.Context(), sp, certificate()); err == nil {
			t.Errorf("%s: created %s", name, s.Addr())
		} else if strings.Contains(err.Error(), "passwörd") {
			t.Error("the error tells the password")
		}
		if left := append(list(filepath.Join(w.dir, "servers")), list(filepath.Join(w.dir, "archive"))...); len(left) > 0 {
			t.Errorf("%s left %v", name, left)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Create(ctx, spec("x", 16), certificate()); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	create(t, w, spec("x", 16))
}

func TestClosingTheWorldEndsWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	w := openWorld(t, newFolder(t))
	s := create(t, w, spec("a", 18))
	c := login(t, s, "postgres")
	done := make(chan error, 2)
	go func() { done <- s.Failover(context.Background(), time.Hour) }()
	go func() {
		_, err := w.Create(context.Background(), spec("b", 18), certificate())
		done <- err
	}()
	if _, err := value(t.Context(), c, "SELECT pg_sleep(60)"); err == nil {
		t.Error("the failover did not begin")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil && !errors.Is(err, errClosed) {
		t.Error(err)
	}
	if err := <-done; err != nil && !errors.Is(err, errClosed) {
		t.Error(err)
	}
	if _, err := w.Create(t.Context(), spec("c", 18), certificate()); !errors.Is(err, errClosed) {
		t.Error(err)
	}
	if left := serversIn(t, w.dir); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
}
