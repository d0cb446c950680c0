package proxy

import (
	"bytes"
	"context"
	"crypto/md5"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/pg"
	"dbops/internal/sandbox/pgbin"
	"dbops/internal/secret"
)

// majors are the servers that the tests of clients run on.
var majors = []int{15, 18}

func versionName(major int) string { return fmt.Sprintf("PostgreSQL %d", major) }

// psql runs a program of PostgreSQL's against the proxy.
func (p *testProxy) psql(tb testing.TB, program string, env []string, args ...string) (stdout, stderr string, err error) {
	tb.Helper()
	host, port, _ := net.SplitHostPort(p.addr)
	cmd := exec.CommandContext(tb.Context(), program, args...)
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + tb.TempDir(), "PGHOST=" + host, "PGPORT=" + port, "PGUSER=anybody", "PGPASSWORD=" + proxyPassword,
		"PGDATABASE=orders", "PGSSLROOTCERT=" + p.ca,
	}, env...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	return out.String(), errOut.String(), err
}

func TestPsqlWorksWithEverySSLMode(t *testing.T) {
	for _, major := range majors {
		t.Run(versionName(major), func(t *testing.T) {
			s := postgres(t, major)
			p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}})
			plain := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}, TLS: noTLS})
			for _, mode := range []string{"disable", "allow", "prefer", "require", "verify-full"} {
				out, errOut, err := p.psql(t, "psql", []string{"PGSSLMODE=" + mode}, "-XAtc", "select current_user, current_database()")
				if err != nil || out != "app|shop\n" {
					t.Errorf("sslmode=%s: %q %s %v", mode, out, errOut, err)
				}
				out, errOut, err = plain.psql(t, "psql", []string{"PGSSLMODE=" + mode}, "-XAtc", "select 1")
				if insists := mode == "require" || mode == "verify-full"; insists != (err != nil) || (insists && !strings.Contains(errOut, "does not support SSL")) {
					t.Errorf("without TLS, sslmode=%s: %q %s %v", mode, out, errOut, err)
				}
			}
		})
	}
}

func TestTheClientSeesTheRealServer(t *testing.T) {
	for _, major := range majors {
		t.Run(versionName(major), func(t *testing.T) {
			s := postgres(t, major)
			p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}})
			direct, err := pgx.ConnectConfig(t.Context(), s.config(t, pg.Params{}))
			must(t, err)
			defer direct.Close(t.Context())
			c := p.connect(t, "orders")
			for _, name := range []string{"server_version", "server_encoding", "client_encoding", "TimeZone", "integer_datetimes", "session_authorization"} {
				if got, want := c.PgConn().ParameterStatus(name), direct.PgConn().ParameterStatus(name); got != want || want == "" {
					t.Errorf("%s: %q through the proxy, %q directly", name, got, want)
				}
			}
			if c.PgConn().PID() != uint32(query[int32](t, c, "select pg_backend_pid()")) {
				t.Error("the client was given another process number than the server's")
			}
			_, err = c.Exec(t.Context(), "set application_name = 'changed later'")
			must(t, err)
			if got := c.PgConn().ParameterStatus("application_name"); got != "changed later" {
				t.Errorf("a parameter that changes in the session is not reported: %q", got)
			}
		})
	}
}

func TestPgxModesAndBigRows(t *testing.T) {
	for _, major := range majors {
		t.Run(versionName(major), func(t *testing.T) {
			s := postgres(t, major)
			p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}})
			for _, mode := range []pgx.QueryExecMode{
				pgx.QueryExecModeCacheStatement, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
			} {
				cfg := p.config(t, "orders", "disable")
				cfg.DefaultQueryExecMode = mode
				c := p.connectWith(t, cfg)
				for i := range 3 {
					if got := query[int](t, c, "select $1::int + 1", i); got != i+1 {
						t.Errorf("%s: %d", mode, got)
					}
				}
			}
			for _, mode := range []string{"disable", "verify-full"} {
				c := p.connectWith(t, p.config(t, "orders", mode))
				b := &pgx.Batch{}
				for i := range 200 {
					b.Queue("select $1::int, repeat('x', $1)", i*50)
				}
				r := c.SendBatch(t.Context(), b)
				for i := range 200 {
					var n int
					var text string
					must(t, r.QueryRow().Scan(&n, &text))
					if n != i*50 || len(text) != n {
						t.Fatalf("answer %d of the pipeline is %d with %d bytes", i, n, len(text))
					}
				}
				must(t, r.Close())

				big := make([]byte, 10<<20)
				fill(big)
				var back []byte
				must(t, c.QueryRow(t.Context(), "select $1::bytea", big).Scan(&back))
				if !bytes.Equal(big, back) {
					t.Error("10 MB came back changed")
				}
			}
		})
	}
}

func fill(p []byte) {
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(p)
}

func TestCopyBothWaysKeepsEveryByte(t *testing.T) {
	for _, major := range majors {
		t.Run(versionName(major), func(t *testing.T) {
			s := postgres(t, major)
			p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}})
			for _, mode := range []string{"disable", "verify-full"} {
				c := p.connectWith(t, p.config(t, "orders", mode))
				_, err := c.Exec(t.Context(), "create temp table t (a int, b text)")
				must(t, err)
				var in bytes.Buffer
				r := rand.New(rand.NewPCG(7, 7))
				for i := range 60000 {
					fmt.Fprintf(&in, "%d\t%s\n", i, strings.Repeat("z", r.IntN(200)))
				}
				sent := md5.Sum(in.Bytes())
				_, err = c.PgConn().CopyFrom(t.Context(), &in, "copy t from stdin")
				must(t, err)
				sum := md5.New()
				_, err = c.PgConn().CopyTo(t.Context(), sum, "copy (select * from t order by a) to stdout")
				must(t, err)
				if !bytes.Equal(sum.Sum(nil), sent[:]) {
					t.Errorf("sslmode=%s: what came out is not what went in", mode)
				}
				if got := p.Connections(); got[len(got)-1].State != "idle" {
					t.Errorf("after COPY the session is %q", got[len(got)-1].State)
				}
			}
		})
	}
}

func TestListenAndNotify(t *testing.T) {
	for _, major := range majors {
		t.Run(versionName(major), func(t *testing.T) {
			s := postgres(t, major)
			p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}})
			a, b := p.connect(t, "orders"), p.connect(t, "orders")
			_, err := a.Exec(t.Context(), "listen news")
			must(t, err)
			_, err = b.Exec(t.Context(), "notify news, 'hello'")
			must(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			n, err := a.WaitForNotification(ctx)
			must(t, err)
			if n.Payload != "hello" {
				t.Errorf("got %q", n.Payload)
			}
		})
	}
}

func TestProtocolVersionsAndDirectTLS(t *testing.T) {
	for _, major := range majors {
		t.Run(versionName(major), func(t *testing.T) {
			s := postgres(t, major)
			p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}})
			for _, version := range []string{"3.0", "3.2"} {
				for _, negotiation := range []string{"postgres", "direct"} {
					cfg := p.config(t, "orders", "verify-full")
					cfg.MinProtocolVersion, cfg.MaxProtocolVersion, cfg.SSLNegotiation = version, version, negotiation
					cfg.TLSConfig.NextProtos = nil
					if negotiation == "direct" {
						cfg.TLSConfig.NextProtos = []string{"postgresql"}
					}
					c := p.connectWith(t, cfg)
					if got := query[int](t, c, "select 1"); got != 1 {
						t.Errorf("%s %s: %d", version, negotiation, got)
					}
					want := map[string]int{"3.0": 4, "3.2": 32}[version]
					if got := len(c.PgConn().SecretKey()); got != want {
						t.Errorf("protocol %s: a cancel key of %d bytes, want %d", version, got, want)
					}
				}
			}
		})
	}
}

func TestReplicationConnectionsPass(t *testing.T) {
	for _, major := range majors {
		t.Run(versionName(major), func(t *testing.T) {
			s := postgres(t, major)
			p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}})
			for _, value := range []string{"database", "true"} {
				cfg := p.config(t, "orders", "disable").Config
				cfg.RuntimeParams["replication"] = value
				c, err := pgconn.ConnectConfig(t.Context(), &cfg)
				must(t, err)
				r, err := c.Exec(t.Context(), "IDENTIFY_SYSTEM").ReadAll()
				must(t, err)
				if len(r) != 1 || len(r[0].Rows) != 1 {
					t.Errorf("replication=%s: %v", value, r)
				}
				must(t, c.Close(t.Context()))
			}
		})
	}
}

func TestReplicationThatTheServerRefusesIsExplained(t *testing.T) {
	for _, major := range majors {
		t.Run(versionName(major), func(t *testing.T) {
			s := ownPostgres(t, major)
			boss := s.connect(t, "postgres")
			_, err := boss.Exec(t.Context(), "create role plain login password 'plain-word-in-tests'")
			must(t, err)
			p := serve(t, Config{Upstreams: []Upstream{
				s.upstream("orders", pg.Params{User: "plain", Password: secret.New("plain-word-in-tests")}),
			}})
			for _, value := range []string{"database", "true"} {
				cfg := p.config(t, "orders", "disable")
				cfg.RuntimeParams["replication"] = value
				if e := p.refusedWith(t, cfg); e.Code != "42501" || !strings.Contains(e.Hint, "leave out replication= at the client") {
					t.Errorf("replication=%s: %+v", value, e)
				}
			}
		})
	}
}

func TestNoticesOfTheLoginReachTheClient(t *testing.T) {
	s := postgres(t, 18)
	boss := s.connect(t, "postgres")
	_, err := boss.Exec(t.Context(), "create database greeting owner app")
	must(t, err)
	inside := s.connect(t, "greeting")
	_, err = inside.Exec(t.Context(), `
		create function hello() returns event_trigger language plpgsql as $$ begin raise notice 'welcome, %', session_user; end $$;
		create event trigger greet on login execute function hello();
		alter event trigger greet enable always`)
	must(t, err)
	p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{Database: "greeting"})}})
	var got []string
	cfg := p.config(t, "orders", "disable")
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { got = append(got, n.Severity+": "+n.Message) }
	c := p.connectWith(t, cfg)
	query[int](t, c, "select 1")
	if len(got) != 1 || got[0] != "NOTICE: welcome, app" {
		t.Errorf("got %q", got)
	}
}

func TestApplicationNameIsTheClientsElseTheProxys(t *testing.T) {
	s := postgres(t, 15)
	p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}})
	c := p.connect(t, "orders")
	if got := query[string](t, c, "show application_name"); !strings.HasPrefix(got, "dbops:") || !strings.Contains(got, "@") {
		t.Errorf("a client without a name is called %q", got)
	}
	alone := serve(t, Config{Application: nameless, Upstreams: []Upstream{s.upstream("orders", pg.Params{})}})
	if got := query[string](t, alone.connect(t, "orders"), "show application_name"); got != "" {
		t.Errorf("where clients are left without a name, one is called %q", got)
	}
	cfg := p.config(t, "orders", "disable")
	cfg.RuntimeParams["application_name"] = "metabase"
	c = p.connectWith(t, cfg)
	if got := query[string](t, c, "show application_name"); got != "metabase" {
		t.Errorf("got %q", got)
	}
	all := p.Connections()
	if last := all[len(all)-1]; last.Application != "metabase" || last.Database != "orders" || last.Instance != "main" || last.User != "app" {
		t.Errorf("%+v", last)
	}
}

func TestPinnedParametersCannotBeOverriddenAtStartup(t *testing.T) {
	for _, major := range majors {
		t.Run(versionName(major), func(t *testing.T) {
			s := postgres(t, major)
			for name, pinned := range map[string]map[string]string{
				"as a parameter": {"default_transaction_read_only": "on"},
				"inside options": {"options": "-c default_transaction_read_only=on"},
				"as long option": {"options": "--default-transaction-read-only=on"},
			} {
				p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{Runtime: pinned})}})
				for _, try := range []map[string]string{
					{},
					{"default_transaction_read_only": "off"},
					{"Default_Transaction_READ_ONLY": "off"},
					{"options": "-c default_transaction_read_only=off"},
					{"options": "-cdefault_transaction_read_only=off"},
					{"options": "--default_transaction_read_only=off -c search_path=pg_catalog"},
					{"options": `-c application_name=x\`},
					{"options": `-c application_name=x\\\`},
				} {
					cfg := p.config(t, "orders", "disable")
					for k, v := range try {
						cfg.RuntimeParams[k] = v
					}
					c, err := pgx.ConnectConfig(t.Context(), cfg)
					if err != nil {
						t.Errorf("pinned %s, client sends %v: %v", name, try, err)
						continue
					}
					if got := query[string](t, c, "show default_transaction_read_only"); got != "on" {
						t.Errorf("pinned %s, client sends %v: read only is %s", name, try, got)
					}
					must(t, c.Close(t.Context()))
				}
				for _, try := range []string{"-c", "--", `-c a.b=\ `, "-c default_transaction_read_only=off x"} {
					cfg := p.config(t, "orders", "disable")
					cfg.RuntimeParams["options"] = try
					c, err := pgx.ConnectConfig(t.Context(), cfg)
					if err != nil { // the server does not accept such options
						continue
					}
					if got := query[string](t, c, "show default_transaction_read_only"); got != "on" {
						t.Errorf("pinned %s, client sends options %q: read only is %s", name, try, got)
					}
					must(t, c.Close(t.Context()))
				}
				cfg := p.config(t, "orders", "disable")
				cfg.RuntimeParams["options"] = "-c search_path=pg_catalog"
				cfg.RuntimeParams["extra_float_digits"] = "2"
				c := p.connectWith(t, cfg)
				if got := query[string](t, c, "select current_setting('search_path') || current_setting('extra_float_digits')"); got != "pg_catalog2" {
					t.Errorf("pinned %s: the client's other parameters came to %q", name, got)
				}
			}
		})
	}
}

func TestPgbenchRunsThroughTheProxy(t *testing.T) {
	s := postgres(t, 15)
	p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}})
	if _, errOut, err := p.psql(t, "pgbench", nil, "-i", "-q", "-s", "1"); err != nil {
		t.Fatal(errOut)
	}
	out, errOut, err := p.psql(t, "pgbench", nil, "-S", "-n", "-c", "32", "-j", "2", "-t", "100", "-M", "prepared")
	if err != nil || !strings.Contains(out, "number of failed transactions: 0 ") {
		t.Fatalf("%v\n%s\n%s", err, out, errOut)
	}
	t.Log(out[strings.Index(out, "latency average"):])
}

func TestManyClientsAtOnce(t *testing.T) {
	const clients = 200
	s := postgres(t, 15)
	p := serve(t, Config{MaxStartups: clients, Upstreams: []Upstream{s.upstream("orders", pg.Params{}), s.upstream("reports", pg.Params{Database: "postgres", User: "reader", Password: secret.New("reader-word-in-tests")})}})
	errs := make(chan error, clients)
	for i := range clients {
		go func() {
			errs <- func() error {
				database := []string{"orders", "reports"}[i%2]
				mode := []string{"disable", "verify-full"}[i/2%2]
				c, err := pgx.ConnectConfig(t.Context(), p.config(t, database, mode))
				if err != nil {
					return err
				}
				defer c.Close(context.Background())
				for j := range 10 {
					var n int
					var text string
					if err := c.QueryRow(t.Context(), "select $1::int, repeat('x', $2)", i, j*3000).Scan(&n, &text); err != nil {
						return err
					}
					if n != i || len(text) != j*3000 {
						return fmt.Errorf("client %d got the answer of another: %d %d", i, n, len(text))
					}
				}
				return nil
			}()
		}()
	}
	for range clients {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	eventually(t, "all sessions have ended", func() bool { return p.Totals().Open == 0 })
	if got := p.Totals(); got.Accepted != clients || got.Refused != 0 || got.FromClient == 0 || got.ToClient < clients*100000 {
		t.Errorf("%+v", got)
	}
	eventually(t, "the server has no sessions of theirs left", func() bool {
		return query[int](t, s.connect(t, "postgres"), "select count(*) from pg_stat_activity where application_name like 'dbops:%'") == 0
	})
}

func TestPipelinedStartupIsNotSwallowed(t *testing.T) {
	// A client may send its password and a query in one write with the startup packet; every byte behind the startup packet
	// belongs to the messages that follow.
	s := postgres(t, 15)
	p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}})
	c := p.dial(t)
	var b []byte
	b = append(b, startupPacket(196608, "user", "me", "database", "orders")...)
	b = append(b, message('p', proxyPassword+"\x00")...)
	b = append(b, message('Q', "select 'right behind'\x00")...)
	b = append(b, message('X', "")...)
	_, err := c.Write(b)
	must(t, err)
	all, err := io.ReadAll(c)
	must(t, err)
	if !bytes.Contains(all, []byte("right behind")) {
		t.Errorf("got %q", all)
	}
}

func TestTheNewestPsqlWorks(t *testing.T) {
	program, err := pgbin.Client("psql", 18)
	must(t, err)
	s := postgres(t, 18)
	p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}})
	for _, env := range [][]string{
		{"PGSSLMODE=require", "PGSSLNEGOTIATION=direct"},
		{"PGMINPROTOCOLVERSION=3.2", "PGMAXPROTOCOLVERSION=3.2"},
		{"PGSSLMODE=verify-full", "PGSSLNEGOTIATION=direct", "PGMAXPROTOCOLVERSION=latest"},
	} {
		out, errOut, err := p.psql(t, program, env, "-XAtc", "select 1")
		if err != nil || out != "1\n" {
			t.Errorf("%v: %q %s %v", env, out, errOut, err)
		}
	}
}
