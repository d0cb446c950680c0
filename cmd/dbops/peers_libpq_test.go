//go:build peers

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/sandbox/pgbin"
)

// libpq is a program of PostgreSQL's, of one major.
type libpq struct {
	path  string
	major int
}

func client(t *testing.T, program string, major int) libpq {
	t.Helper()
	path, err := pgbin.Client(program, major)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), path, "--version").Output()
	if want := fmt.Sprintf("%s (PostgreSQL) %d.", program, major); err != nil || !strings.HasPrefix(string(out), want) {
		t.Fatalf("%s is %q, want %q: run scripts/postgres.sh", path, out, want)
	}
	return libpq{path, major}
}

func (l libpq) command(ctx context.Context, t *testing.T, input string, args ...string) (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	t.Helper()
	cmd = exec.CommandContext(ctx, l.path, args...)
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	cmd.Env, cmd.WaitDelay = environ(t), 5*time.Second
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), stdout, stderr
	return cmd, stdout, stderr
}

func (l libpq) run(t *testing.T, input string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd, out, errOut := l.command(ctx, t, input, args...)
	err = cmd.Run()
	return out.String(), errOut.String(), err
}

// way is a manner of connecting, and what \conninfo of psql 18 says of it.
type way struct {
	query string // of the URI; CA stands for the file
	facts map[string]string
	since int // major of libpq
}

var (
	plain    = map[string]string{"SSL Connection": "false", "Protocol Version": "3.0"}
	sealed   = map[string]string{"SSL Connection": "true", "Protocol Version": "3.0", "ALPN": "postgresql"}
	sealed32 = map[string]string{"SSL Connection": "true", "Protocol Version": "3.2", "ALPN": "postgresql"}
)

var ways = []way{
	{"sslmode=disable", plain, 17},
	{"sslmode=prefer", sealed, 17},
	{"sslmode=verify-full&sslrootcert=CA", sealed, 17},
	{"sslmode=require&sslnegotiation=direct", sealed, 17},
	{"sslmode=verify-full&sslrootcert=CA&sslnegotiation=direct", sealed, 17},
	{"sslmode=disable&min_protocol_version=3.2&max_protocol_version=3.2", map[string]string{"SSL Connection": "false", "Protocol Version": "3.2"}, 18},
	{"sslmode=verify-full&sslrootcert=CA&sslnegotiation=direct&min_protocol_version=3.2&max_protocol_version=latest", sealed32, 18},
	{"sslmode=require&max_protocol_version=latest", sealed32, 18},
}

func psqlJudges(t *testing.T, read, write *runningProxy) {
	t.Helper()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, []byte(read.CA), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, major := range []int{17, 18} {
		psql := client(t, "psql", major)
		for _, w := range ways {
			if w.since > major {
				continue
			}
			t.Run(fmt.Sprintf("%d with %s", major, w.query), func(t *testing.T) {
				var wg sync.WaitGroup
				for _, db := range []string{"shop", "billing"} {
					uri := read.uri(t, db) + "?" + strings.Replace(w.query, "CA", ca, 1)
					wg.Go(func() {
						psql.judge(t, uri, db, w)
						psql.cancels(t, uri)
					})
				}
				wg.Wait()
			})
		}
		t.Run(fmt.Sprintf("%d is told what is wrong", major), func(t *testing.T) { psql.isRefused(t, read) })
		t.Run(fmt.Sprintf("%d copies", major), func(t *testing.T) { psql.copies(t, write) })
	}
	t.Run("18 in a pipeline", func(t *testing.T) { client(t, "psql", 18).pipelines(t, read) })
}

// questions is what psql is asked on its standard input.
const questions = `\set ON_ERROR_STOP on
\set FETCH_COUNT 100
select current_database(), current_setting('default_transaction_read_only');
select $1::int + 1 \bind 41 \g
select count(*), sum(length(t)) from (select repeat('x', n) as t from generate_series(1, 5000) n) s;
select n from generate_series(1, 1000) n;
\conninfo
`

var fact = regexp.MustCompile(`(?m)^([A-Za-z][A-Za-z ]*)\|(.*)$`)

func (l libpq) judge(t *testing.T, uri, database string, w way) {
	t.Helper()
	want := database + "|on\n42\n5000|12502500\n"
	for n := range 1000 {
		want += strconv.Itoa(n+1) + "\n"
	}
	out, errOut, err := l.run(t, questions, "-XAtq", uri)
	facts, ok := strings.CutPrefix(out, want)
	if err != nil || !ok {
		t.Errorf("on %s: %v: %s\ngot %.200q, want %.200q first", database, err, errOut, out, want)
		return
	}
	if l.major < 18 { // its \conninfo is two sentences
		if tls := strings.Contains(facts, "SSL connection (protocol: TLSv1.3") && strings.Contains(facts, "ALPN: postgresql"); tls != (w.facts["SSL Connection"] == "true") {
			t.Errorf("on %s: %s", database, facts)
		}
		return
	}
	said := map[string]string{}
	for _, m := range fact.FindAllStringSubmatch(facts, -1) {
		said[m[1]] = m[2]
	}
	for name, want := range w.facts {
		if said[name] != want {
			t.Errorf("on %s: \\conninfo says %s is %q, want %q", database, name, said[name], want)
		}
	}
}

// cancels interrupts psql in a statement. It then asks the proxy to cancel it, over TLS if the session has it, with a key of the
// session's protocol version.
func (l libpq) cancels(t *testing.T, uri string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	application := fmt.Sprintf("peer-%d", rand.Uint64())
	cmd, out, errOut := l.command(ctx, t, "select pg_sleep(30);\n", "-XAt", uri+"&application_name="+application)
	if err := cmd.Start(); err != nil {
		t.Error(err)
		return
	}
	running(ctx, t, uri, application)
	interrupted := time.Now()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	err := cmd.Wait()
	if took := time.Since(interrupted); took > 15*time.Second {
		t.Errorf("cancelling took %s", took)
	}
	// A psql that reads a script ends with it.
	exit, ok := errors.AsType[*exec.ExitError](err)
	if want := "Cancel request sent\nERROR:  canceling statement due to user request\n"; !ok || exit.ExitCode() != 3 || out.Len() > 0 || errOut.String() != want {
		t.Errorf("interrupted: %v, said %q and %q", err, out, errOut)
	}
}

// running waits until a session with that application_name is at a statement.
func running(ctx context.Context, t *testing.T, uri, application string) {
	t.Helper()
	uri, _, _ = strings.Cut(uri, "?")
	c, err := pgx.Connect(ctx, uri)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close(context.WithoutCancel(ctx))
	for n := 0; n == 0; time.Sleep(20 * time.Millisecond) {
		err := c.QueryRow(ctx, "select count(*) from pg_stat_activity where application_name = $1 and state = 'active' and query like '%pg_sleep%'",
			application).Scan(&n)
		if err != nil {
			t.Errorf("%s does not run: %v", application, err)
			return
		}
	}
}

// isRefused looks at what psql shows of an error, and at its exit status: 2 if it could not log in, 3 if the script failed.
func (l libpq) isRefused(t *testing.T, p *runningProxy) {
	t.Helper()
	uri := p.uri(t, "shop")
	user, address, _ := strings.Cut(uri, "@")
	wrong := user[:strings.LastIndex(user, ":")] + ":wrong@" + address
	for _, mode := range []string{"disable", "require", "require&sslnegotiation=direct"} {
		for _, c := range []struct {
			name, uri, sql string
			status         int
			says           []string
		}{
			{"a wrong password", wrong, "select 1", 2, []string{"FATAL:  dbops: password authentication failed for user ", "HINT:  ", "connection string"}},
			{"an unknown database", strings.TrimSuffix(uri, "shop") + "nowhere", "select 1", 2, []string{"FATAL:  dbops: ", "nowhere", "HINT:  ", "billing", "shop"}},
			{"a table that is not there", uri, "select * from no_such_table;", 3, []string{"ERROR:  42P01: ", "no_such_table"}},
			{"a write where reading is allowed", uri, "create table peer_wrote (n int);", 3, []string{"ERROR:  25006: ", "read-only transaction"}},
		} {
			_, errOut, err := l.run(t, c.sql, "-XAt", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose", c.uri+"?sslmode="+mode)
			exit, ok := errors.AsType[*exec.ExitError](err)
			if !ok || exit.ExitCode() != c.status {
				t.Errorf("%s, sslmode=%s: %v, want exit status %d: %s", c.name, mode, err, c.status, errOut)
			}
			for _, want := range c.says {
				if !strings.Contains(errOut, want) {
					t.Errorf("%s, sslmode=%s: it does not say %q: %s", c.name, mode, want, errOut)
				}
			}
		}
	}
}

// copies moves rows into and out of psql with \copy.
func (l libpq) copies(t *testing.T, p *runningProxy) {
	t.Helper()
	var rows strings.Builder
	for n := range 50000 {
		fmt.Fprintf(&rows, "%d\t%s\n", n, strings.Repeat("z", n%150))
	}
	for _, mode := range []string{"disable", "require&sslnegotiation=direct"} {
		for _, db := range []string{"shop", "billing"} {
			file := filepath.Join(t.TempDir(), "rows")
			if err := os.WriteFile(file, []byte(rows.String()), 0o600); err != nil {
				t.Fatal(err)
			}
			out, errOut, err := l.run(t, "create temp table kept (n int, t text);\n\\copy kept from '"+file+"'\n\\copy (select * from kept order by n) to stdout\n",
				"-XAtq", "-v", "ON_ERROR_STOP=1", p.uri(t, db)+"?sslmode="+mode)
			if err != nil || out != rows.String() {
				t.Errorf("%s, sslmode=%s: %v, %d bytes of %d came back: %s", db, mode, err, len(out), rows.Len(), errOut)
			}
		}
	}
}

// pipelines sends statements without waiting, with an error among them.
func (l libpq) pipelines(t *testing.T, p *runningProxy) {
	t.Helper()
	const script = `\startpipeline
select $1::int \bind 1 \sendpipeline
select $1::int \bind 2 \sendpipeline
\syncpipeline
select 1/$1::int \bind 0 \sendpipeline
select 'not reached' \bind \sendpipeline
\syncpipeline
select $1::int \bind 3 \sendpipeline
\endpipeline
select 4;
`
	for _, db := range []string{"shop", "billing"} {
		for _, mode := range []string{"disable", "require&max_protocol_version=latest"} {
			out, errOut, err := l.run(t, script, "-XAtq", p.uri(t, db)+"?sslmode="+mode)
			if err != nil || strings.ReplaceAll(out, "Pipeline aborted, command did not run\n", "") != "1\n2\n3\n4\n" || !strings.Contains(errOut, "division by zero") {
				t.Errorf("%s, sslmode=%s: %v: %q %s", db, mode, err, out, errOut)
			}
		}
	}
}

// pgbenchJudges runs pgbench on both clouds at once: so many transactions, as a time would go by with logins on a busy machine.
func pgbenchJudges(t *testing.T, p *runningProxy) {
	t.Helper()
	pgbench := client(t, "pgbench", 18)
	const sealed = "sslmode=require&sslnegotiation=direct&max_protocol_version=latest"
	for _, c := range []struct {
		name, query string
		args        []string
	}{
		{"of 32 clients", "sslmode=disable", []string{"-c", "32", "-t", "100"}},
		{"of 32 clients over TLS", sealed, []string{"-c", "32", "-t", "100"}},
		{"that connects for each transaction", "sslmode=disable", []string{"-C", "-c", "8", "-t", "20"}},
		{"that connects for each transaction over TLS", sealed, []string{"-C", "-c", "8", "-t", "20"}},
		{"with prepared statements", sealed, []string{"-M", "prepared", "-c", "32", "-t", "100"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var wg sync.WaitGroup
			for _, db := range []string{"pgbench_main", "pgbench_billing"} {
				wg.Go(func() {
					out, errOut, err := pgbench.run(t, "", append([]string{"-n", "-S", "-j", "2", p.uri(t, db) + "?" + c.query}, c.args...)...)
					m := processed.FindStringSubmatch(out)
					if err != nil || m == nil || m[1] == "0" || !strings.Contains(out, "number of failed transactions: 0 ") {
						t.Errorf("on %s: %v\n%s\n%s", db, err, out, errOut)
					}
				})
			}
			wg.Wait()
		})
	}
}

var processed = regexp.MustCompile(`(?m)^number of transactions actually processed: (\d+)`)
