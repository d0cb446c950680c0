package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"dbops/internal/fault"
	"dbops/internal/pg"
	"dbops/internal/sandbox/pki"
	"dbops/internal/secret"
)

// refusedWith connects to a database that cannot be reached, and returns what the client is told.
func (p *testProxy) refusedWith(t *testing.T, cfg *pgx.ConnConfig) *pgconn.PgError {
	t.Helper()
	c, err := pgx.ConnectConfig(t.Context(), cfg)
	if err == nil {
		_ = c.Close(t.Context())
		t.Fatal("the connection was accepted")
	}
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		t.Fatalf("not a PostgreSQL error: %v", err)
	}
	return pe
}

func TestEveryFailureIsAPostgreSQLErrorThatSaysWhatToDo(t *testing.T) {
	s := postgres(t, 15)
	otherCA, err := pki.NewCA(pkixName("another CA"), time.Hour)
	must(t, err)
	otherFile := t.TempDir() + "/ca.pem"
	writeFile(t, otherFile, otherCA.CertPEM)
	silent := listenLocal(t, func(net.Conn) {}) // accepts and says nothing
	abrupt := listenLocal(t, func(c net.Conn) { _ = c.Close() })
	noSSL := listenLocal(t, func(c net.Conn) {
		var b [8]byte
		_, _ = c.Read(b[:])
		_, _ = c.Write([]byte{'N'})
	})
	muteInTLS := listenLocal(t, func(c net.Conn) { // agrees to TLS, and that is all
		var b [8]byte
		_, _ = io.ReadFull(c, b[:])
		_, _ = c.Write([]byte{'S'})
	})
	at := func(addr string, p pg.Params) Upstream {
		p = s.params(p)
		host, port, _ := net.SplitHostPort(addr)
		p.Host = host
		_, _ = fmt.Sscan(port, &p.Port)
		return Upstream{Instance: "main", Config: func(context.Context) (*pgconn.Config, error) { return pg.Config(p) }}
	}
	failing := func(err error) Upstream {
		return Upstream{Instance: "main", Config: func(context.Context) (*pgconn.Config, error) { return nil, err }}
	}
	dialing := func(err error) Upstream {
		return s.upstream("", pg.Params{User: "app", Password: secret.New("not-the-word-99"), Dial: func(context.Context, string, string) (net.Conn, error) { return nil, err }})
	}
	closed := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	for name, try := range map[string]struct {
		up      Upstream
		code    string
		message string // a part of it
		hint    string
		kind    fault.Kind // of Check
	}{
		"nothing listens": {at(closed, pg.Params{}), "08001", "connection refused", "is the instance running", fault.Unavailable},
		"the name is unknown": {
			s.upstream("", pg.Params{Host: "db.invalid"}), "08001", "no such host", "check the host", fault.Unavailable,
		},
		"the CA is not trusted": {
			s.upstream("", pg.Params{SSLMode: "verify-full", CAFile: otherFile}), "08001",
			`signed by an authority "CN=test CA" that is not trusted`, "ca_file", fault.Unavailable,
		},
		"the certificate is another's": {
			s.upstream("", pg.Params{Host: "127.0.0.2", Dial: dialTo(fmt.Sprintf("127.0.0.1:%d", s.port))}), "08001",
			"certificate is valid for 127.0.0.1, not 127.0.0.2", "another server's", fault.Unavailable,
		},
		"the server has no TLS": {at(noSSL, pg.Params{}), "08001", "server refused TLS", "sslmode=disable", fault.Unavailable},
		"nobody answers":        {at(silent, pg.Params{}), "08001", "no answer within 1s while negotiating TLS with " + silent, "VPN", fault.Unavailable},
		"nobody shakes hands":   {at(muteInTLS, pg.Params{}), "08001", "no answer within 1s while shaking hands on TLS", "VPN", fault.Unavailable},
		"nobody lets in":        {at(silent, pg.Params{SSLMode: "disable"}), "08001", "no answer within 1s while logging in", "VPN", fault.Unavailable},
		"the server closes":     {at(abrupt, pg.Params{}), "08001", "the server closed the connection while negotiating TLS", "", fault.Unavailable},
		"the password is wrong": {s.upstream("", pg.Params{User: "app", Password: secret.New("not-the-word-99")}), "28P01", `password authentication failed for user "app"`, "", fault.Denied},
		"the database is not there": {
			s.upstream("", pg.Params{Database: "gone"}), "3D000", `database "gone" does not exist`, "", fault.NotFound,
		},
		"the method is not accepted": {
			s.upstream("", pg.Params{RequireAuth: "md5"}), "08001", `require_auth`, "", fault.Unavailable,
		},
		"the cloud says no": {
			failing(fault.Newf(fault.Denied, "get token", "AccessDenied").Hint("ask for rds-db:connect").Missing("rds-db:connect")),
			"28000", "get token: AccessDenied", "ask for rds-db:connect", fault.Denied,
		},
		"the instance is unknown":      {failing(fault.Newf(fault.NotFound, "describe main", "no such instance")), "08001", "no such instance", "", fault.NotFound},
		"the control plane is down":    {failing(fault.Newf(fault.Unavailable, "ask the Admin API", "503").Hint("wait")), "08001", "ask the Admin API: 503", "wait", fault.Unavailable},
		"the control plane throttles":  {failing(fault.Newf(fault.Throttled, "ask", "429")), "53300", "429", "", fault.Throttled},
		"the instance is stopped":      {failing(fault.Newf(fault.Busy, "main", "it is stopped")), "57P03", "it is stopped", "", fault.Busy},
		"the configuration is wrong":   {failing(fault.Newf(fault.Config, "read", "bad ca_file")), "F0000", "bad ca_file", "", fault.Config},
		"the dialer fails with advice": {dialing(fault.Newf(fault.Denied, "connect to p:r:i", "403").Hint("grant roles/cloudsql.client")), "28000", "connect to p:r:i: 403", "roles/cloudsql.client", fault.Denied},
		"the dialer fails plainly":     {dialing(errors.New("tunnel: not-the-word-99 is no good")), "08001", "dial error: tunnel: [secret] is no good", "", fault.Unavailable},
		"a bug":                        {failing(errors.New("index out of range")), "XX000", "index out of range", "", fault.Internal},
		"a broken connection string":   {failing(badDSN()), "F0000", "cannot be read", "", fault.Config},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			try.up.Database = "orders"
			p := serve(t, Config{Upstreams: []Upstream{try.up}, ConnectTimeout: time.Second})
			pe := p.refusedWith(t, p.config(t, "orders", "disable"))
			if pe.Hint == "" || pe.Severity != "FATAL" || pe.Code != try.code || !strings.Contains(pe.Message, try.message) || !strings.Contains(pe.Hint, try.hint) {
				t.Errorf("told: %s %s: %s\nhint: %s\ndetail: %s", pe.Severity, pe.Code, pe.Message, pe.Hint, pe.Detail)
			}
			server := try.code == "28P01" || try.code == "3D000"
			if ours := strings.HasPrefix(pe.Message, `dbops: log in to database "orders" on instance main: `); ours == server {
				t.Errorf("who speaks: %s", pe.Message)
			}
			if strings.Contains(fmt.Sprintf("%+v", pe)+p.log.String(), "word-99") {
				t.Errorf("a password is told: %+v\n%s", pe, p.log)
			}
			err := p.Check(t.Context(), "orders")
			if fault.KindOf(err) != try.kind || !strings.Contains(err.Error(), try.message) || !strings.Contains(fault.HintOf(err), try.hint) {
				t.Errorf("Check: %s %v (%s)", fault.KindOf(err), err, fault.HintOf(err))
			}
			if got := p.Totals(); got.Refused != 1 || got.Accepted != 1 || got.Open != 0 {
				t.Errorf("%+v", got)
			}
		})
	}
}

func badDSN() error {
	_, err := pgconn.ParseConfig("host=x password=not-the-word-99 port=nonsense")
	return err
}

func TestTheServersOwnErrorIsCopiedWordForWord(t *testing.T) {
	told := &pgproto3.ErrorResponse{
		Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "28000", Message: "PAM authentication failed", Detail: "d", Hint: "h",
		Where: "w", SchemaName: "s", File: "auth.c", Line: 303, Routine: "auth_failed",
	}
	addr := listenLocal(t, func(c net.Conn) {
		defer c.Close()
		var b [512]byte
		_, _ = c.Read(b[:])
		_, _ = c.Write(encode(nil, told))
	})
	p := serve(t, Config{Upstreams: []Upstream{plainUpstream(t, "orders", addr)}})
	pe := p.refusedWith(t, p.config(t, "orders", "disable"))
	if got := errorResponse(pe); fmt.Sprint(got) != fmt.Sprint(*told) {
		t.Errorf("got  %+v\nwant %+v", got, *told)
	}
}

func TestUnknownDatabasesAreAnsweredWithTheKnownOnes(t *testing.T) {
	p := serve(t, Config{Environment: "staging", Upstreams: []Upstream{unreachable(t, "orders"), unreachable(t, "payments"), unreachable(t, "users")}})
	for asked, hint := range map[string]string{
		"ordres":   "did you mean orders? there are: orders, payments, users",
		"ORDERS":   "did you mean orders? there are: orders, payments, users",
		"payment":  "did you mean payments? there are: orders, payments, users",
		"postgres": "there are: orders, payments, users",
		"":         "did you mean users? there are: orders, payments, users", // the user's name
	} {
		cfg := p.config(t, "orders", "disable")
		cfg.Database, cfg.User = asked, "user"
		pe := p.refusedWith(t, cfg)
		if pe.Code != "3D000" || pe.Hint != hint || !strings.Contains(pe.Message, "is not in environment staging") {
			t.Errorf("%q: %s %q hint %q", asked, pe.Code, pe.Message, pe.Hint)
		}
		if err := p.Check(t.Context(), asked); fault.KindOf(err) != fault.NotFound || !strings.Contains(fault.HintOf(err), "there are: ") {
			t.Errorf("Check: %v", err)
		}
	}
}

func TestWhoAsksForAnotherRoleIsNotLetInAsSomebodyElse(t *testing.T) {
	s := postgres(t, 15)
	away := s.upstream("stock", pg.Params{})
	config := away.Config
	away.Config = func(ctx context.Context) (*pgconn.Config, error) {
		cfg, err := config(ctx)
		if err == nil {
			cfg.DialFunc = func(context.Context, string, string) (net.Conn, error) {
				t.Error("a server was dialled for somebody else")
				return nil, syscall.ECONNREFUSED
			}
		}
		return cfg, err
	}
	p := serve(t, Config{Users: []string{"dbops", "ann"}, Upstreams: []Upstream{s.upstream("orders", pg.Params{}), away}})
	cfg := p.config(t, "orders", "disable")
	for _, known := range []string{"dbops", "ann", "app"} { // the last is the login's
		cfg.User = known
		if got := query[string](t, p.connectWith(t, cfg), "select session_user"); got != "app" {
			t.Errorf("%s is %s", known, got)
		}
	}
	for _, database := range []string{"orders", "stock"} {
		for _, other := range []string{"postgres", "super", "Ann", "ann ", "application"} {
			cfg.Database, cfg.User = database, other
			pe := p.refusedWith(t, cfg)
			if pe.Code != "28P01" || pe.Message != fmt.Sprintf("dbops: password authentication failed for user %q: the proxy's password is good for its own login only, \"app\"", other) ||
				!strings.Contains(pe.Hint, "user=dbops") {
				t.Errorf("%s: %+v", other, pe)
			}
		}
	}
	if err := p.Check(t.Context(), "orders"); err != nil {
		t.Errorf("Check asks for no role: %v", err)
	}
}

func TestPsqlShowsMessageAndHint(t *testing.T) {
	p := serve(t, Config{Upstreams: []Upstream{unreachable(t, "order")}})
	for _, mode := range []string{"disable", "require"} {
		_, errOut, err := p.psql(t, "psql", []string{"PGSSLMODE=" + mode}, "-c", "select 1")
		if err == nil || !strings.Contains(errOut, `FATAL:  dbops: database "orders" is not in environment prod`) || !strings.Contains(errOut, "HINT:  did you mean order?") {
			t.Errorf("sslmode=%s: %s", mode, errOut)
		}
	}
}

func TestTooManyConnections(t *testing.T) {
	s := postgres(t, 15)
	p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}, MaxConns: 2})
	a := p.connect(t, "orders")
	p.connect(t, "orders")
	if pe := p.refusedWith(t, p.config(t, "orders", "disable")); pe.Code != "53300" {
		t.Errorf("%+v", pe)
	}
	must(t, a.Close(t.Context()))
	eventually(t, "the place is free again", func() bool { return p.Totals().Open == 1 })
	p.connect(t, "orders")
}

func TestCheckLogsInAndOut(t *testing.T) {
	s := postgres(t, 15)
	p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}})
	must(t, p.Check(t.Context(), "orders"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Check(ctx, "orders"); fault.KindOf(err) != fault.Interrupted {
		t.Errorf("%v", err)
	}
	if got := p.Totals(); got.Accepted != 0 || got.Open != 0 {
		t.Errorf("%+v", got)
	}
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	up := unreachable(t, "orders")
	word := secret.New("x")
	for name, cfg := range map[string]Config{
		"no password":       {Upstreams: []Upstream{up}},
		"no databases":      {Password: word},
		"the same twice":    {Password: word, Upstreams: []Upstream{up, up}},
		"one without name":  {Password: word, Upstreams: []Upstream{unreachable(t, "")}},
		"one without login": {Password: word, Upstreams: []Upstream{{Database: "orders"}}},
	} {
		if _, err := New(cfg); fault.KindOf(err) != fault.Config {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// ---- helpers ----

// listenLocal serves each connection with f and keeps it open until the test ends.
func listenLocal(tb testing.TB, f func(net.Conn)) string {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(tb, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		var open []net.Conn
		for {
			c, err := ln.Accept()
			if err != nil {
				for _, c := range open {
					_ = c.Close()
				}
				return
			}
			open = append(open, c)
			f(c)
		}
	}()
	tb.Cleanup(func() { _ = ln.Close(); <-done })
	return ln.Addr().String()
}

func dialTo(addr string) pgconn.DialFunc {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
}

// plainUpstream is a server without TLS, such as a played one.
func plainUpstream(tb testing.TB, name, addr string) Upstream {
	tb.Helper()
	host, port, err := net.SplitHostPort(addr)
	must(tb, err)
	p := pg.Params{Host: host, Database: "shop", User: "app", Password: secret.New("app-word-in-tests"), SSLMode: "disable"}
	_, err = fmt.Sscan(port, &p.Port)
	must(tb, err)
	return Upstream{Database: name, Instance: "main", Config: func(context.Context) (*pgconn.Config, error) { return pg.Config(p) }}
}

func TestPassingErrorsOfAccept(t *testing.T) {
	if !passing(fmt.Errorf("accept: %w", syscall.EMFILE)) || passing(net.ErrClosed) {
		t.Error("wrong")
	}
}

func TestWhereFilesAreMissingTheHintSaysHowManyThereAre(t *testing.T) {
	dial := func(e syscall.Errno) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", e)}
	}
	own := fmt.Sprintf("this process may open %d files", fileLimit())
	for _, c := range []struct {
		name string
		err  error
		hint string
	}{
		{"of the process", dial(syscall.EMFILE), own},
		{"of the machine", dial(syscall.ENFILE), "fs.file-max"},
		{"for a question about a name", &net.DNSError{Err: dial(syscall.EMFILE).Error(), Name: "db"}, own},
		{"on a way that has another hint", fault.New(fault.Unavailable, "connect to p:r:i", dial(syscall.EMFILE)).Hint("is the instance running?"), own},
	} {
		t.Run(c.name, func(t *testing.T) {
			told := refusalOf(explain("log in", "connecting", time.Second, "", c.err)).told
			if told.Code != "53300" || !strings.Contains(told.Message, "too many open files") || !strings.Contains(told.Hint, c.hint) {
				t.Errorf("%+v", told)
			}
		})
	}
}

// What a login can be refused with, by whom and however little is said: the client always hears what to do.
func TestEveryRefusedLoginHasAHint(t *testing.T) {
	kinds := []fault.Kind{
		fault.NotFound, fault.Denied, fault.Throttled, fault.Busy, fault.Stale, fault.Invalid, fault.Unavailable, fault.Usage, fault.Config,
		fault.Blocked, fault.Unapproved, fault.Findings, fault.Failed, fault.Interrupted, fault.Internal,
	}
	codes := []string{"28P01", "28000", "3D000", "42501", "53300", "53200", "53100", "57P01", "57P02", "57P03", "57P04", "55000", "0A000", "42704", "XX000", "08P01"}
	up := &Upstream{Database: "orders", Instance: "main"}
	check := func(err error, code string) {
		t.Helper()
		f := up.advise(explain("log in", "logging in", time.Second, "", err))
		told := refusalOf(f).told
		if told.Hint == "" || told.Message == "" || len(told.Code) != 5 || code != "" && told.Code != code {
			t.Errorf("%v: %+v", err, told)
		}
	}
	for _, k := range kinds {
		check(fault.Newf(k, "ask", "why"), "")
	}
	for _, code := range codes {
		check(&pgconn.PgError{Severity: "FATAL", Code: code, Message: "why"}, code)
	}
	up.LoginHint = func() string { return "renew" }
	if got := fault.HintOf(up.advise(explain("log in", "", time.Second, "", &pgconn.PgError{Code: "28000"}))); got != "renew" {
		t.Errorf("%q", got)
	}
	for _, r := range []*refusal{shuttingDown(), killed(), upstreamLost("main")} {
		if r.told.Hint == "" {
			t.Errorf("%+v", r.told)
		}
	}
}
