package bench

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// side is one way of a client to a database.
type side struct {
	name  string
	env   []string // of libpq
	proxy int      // process; 0: none
	short bool
	dir   string
}

// way is the sides that lead to one instance.
type way struct {
	title string
	sides []side
}

// ways opens the proxies, and returns what is compared.
func (st *stage) ways(b *testing.B) []way {
	b.Helper()
	ours := st.openDBOps(b)
	csp := st.openCSP(b, st.variable("CLOUDSDK_API_ENDPOINT_OVERRIDES_SQL"))
	through := func(name string, p proxy, database, mode string) side {
		host, port, err := net.SplitHostPort(p.addr)
		must(b, err)
		return side{name: name, proxy: p.pid, dir: st.dir, env: append(slices.Clone(st.env),
			"PGHOST="+host, "PGPORT="+port, "PGUSER="+benchRole, "PGPASSWORD="+p.password, "PGDATABASE="+database, "PGSSLMODE="+mode)}
	}
	direct := func(instance, database, mode string, more ...string) side {
		host, port := st.address(b, instance)
		return side{name: "direct TLS", dir: st.dir, env: append(append(slices.Clone(st.env),
			"PGHOST="+host, "PGPORT="+port, "PGUSER="+benchRole, "PGPASSWORD="+benchPassword, "PGDATABASE="+database, "PGSSLMODE="+mode), more...)}
	}
	return []way{
		{"Cloud SQL, by the connector port", []side{
			direct("main", "pgbench_main", "require"), // its certificate names the instance and no address
			through("cloud-sql-proxy", csp, "pgbench_main", "disable"),
			through("dbops", ours, "pgbench_main", "disable"),
		}},
		{"RDS, by its address", []side{
			direct("billing", "pgbench_billing", "verify-full", "PGSSLROOTCERT="+st.rdsCA()),
			through("dbops", ours, "pgbench_billing", "disable"),
		}},
	}
}

var address = regexp.MustCompile(`(?m)^prod +(\S+) .* (\S+):(\d+)\s*$`)

// address is where an instance of prod listens.
func (st *stage) address(b *testing.B, instance string) (host, port string) {
	b.Helper()
	for _, m := range address.FindAllStringSubmatch(st.dbops(b, "sandbox", "status", "--dir", st.cloud()), -1) {
		if m[1] == instance {
			return m[2], m[3]
		}
	}
	b.Fatalf("the sandbox has no %s in prod", instance)
	return "", ""
}

// brief is the side for a run that only warms up.
func (s side) brief() side {
	s.short = true
	return s
}

func (s side) command(b *testing.B, program string, args ...string) *exec.Cmd {
	b.Helper()
	for _, kv := range s.env { // exec looks in this process's PATH
		if path, ok := strings.CutPrefix(kv, "PATH="); ok {
			program = filepath.Join(strings.SplitN(path, ":", 2)[0], program)
			break
		}
	}
	cmd := exec.CommandContext(b.Context(), program, args...)
	cmd.Env = s.env
	return cmd
}

// timed runs a client and tells what it and the proxy used.
func (s side) timed(b *testing.B, cmd *exec.Cmd) (out string, got sample) {
	b.Helper()
	var stdout, stderr bytes.Buffer
	if cmd.Stdout == nil {
		cmd.Stdout = &stdout
	}
	cmd.Stderr = &stderr
	before, begun := processorTime(b, s.proxy), time.Now()
	if err := cmd.Run(); err != nil {
		b.Fatalf("%s: %s: %v\n%s", s.name, filepath.Base(cmd.Path), err, &stderr)
	}
	got.took, got.cpu = time.Since(begun), processorTime(b, s.proxy)-before
	return stdout.String(), got
}

var (
	processed = regexp.MustCompile(`(?m)^number of transactions actually processed: (\d+)`)
	tps       = regexp.MustCompile(`(?m)^tps = ([0-9.]+)`)
)

func (s side) pgbench(b *testing.B, d time.Duration, args ...string) sample {
	b.Helper()
	if s.short {
		d = time.Second
	}
	out, got := s.timed(b, s.command(b, "pgbench", append([]string{"-n", "-T", strconv.Itoa(int(d.Seconds()))}, args...)...))
	if s.short {
		return got
	}
	n, rate := processed.FindStringSubmatch(out), tps.FindStringSubmatch(out)
	if n == nil || n[1] != "0" && (rate == nil || !strings.Contains(out, "number of failed transactions: 0 ")) {
		b.Fatalf("%s: pgbench said\n%s", s.name, out)
	}
	if n[1] == "0" && d < time.Minute { // a busy machine: the time went by while the clients connected
		return s.pgbench(b, 2*d, args...)
	}
	got.done, _ = strconv.ParseFloat(n[1], 64)
	perSecond, err := strconv.ParseFloat(rate[1], 64)
	must(b, err)
	got.took = time.Duration(got.done / perSecond * float64(time.Second)) // without the connecting, as pgbench counts it
	return got
}

// firstAnswers connects n times, one after the other, and asks a question each time. The client is pgx.
func (s side) firstAnswers(b *testing.B, n int) sample {
	b.Helper()
	if s.short {
		n = 3
	}
	var dsn []string
	for _, kv := range s.env {
		for env, key := range map[string]string{
			"PGHOST=": "host", "PGPORT=": "port", "PGUSER=": "user", "PGPASSWORD=": "password", "PGDATABASE=": "dbname", "PGSSLMODE=": "sslmode", "PGSSLROOTCERT=": "sslrootcert",
		} {
			if v, ok := strings.CutPrefix(kv, env); ok {
				dsn = append(dsn, fmt.Sprintf("%s='%s'", key, v))
			}
		}
	}
	cfg, err := pgx.ParseConfig(strings.Join(dsn, " "))
	must(b, err)
	cfg.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	before := processorTime(b, s.proxy)
	var took time.Duration
	for range n {
		at := time.Now()
		c, err := pgx.ConnectConfig(b.Context(), cfg)
		must(b, err)
		var one int
		must(b, c.QueryRow(b.Context(), "select 1").Scan(&one))
		took += time.Since(at)
		must(b, c.Close(b.Context()))
	}
	return sample{done: float64(n), took: took, cpu: processorTime(b, s.proxy) - before}
}

// megabytes that a run moves.
func (s side) megabytes(n int) int {
	if s.short {
		return max(1, n/16)
	}
	return n
}

func (s side) copyOut(b *testing.B, megabytes, width int) sample {
	b.Helper()
	mb := s.megabytes(megabytes)
	// One value of width-1 letters and a line end, for as many rows as make mb.
	sql := fmt.Sprintf("copy (select repeat('x', %d) from generate_series(1, %d)) to stdout", width-1, mb<<20/width)
	cmd := s.command(b, "psql", "-XAtqc", sql)
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	must(b, err)
	defer null.Close()
	cmd.Stdout = null // a pipe would be measured, too
	_, got := s.timed(b, cmd)
	got.done = float64(mb)
	return got
}

// copyIn sends rows that the server reads and drops.
func (s side) copyIn(b *testing.B, megabytes int) sample {
	b.Helper()
	mb := s.megabytes(megabytes)
	file := filepath.Join(s.dir, fmt.Sprintf("rows-%d", mb))
	if _, err := os.Stat(file); err != nil {
		f, err := os.Create(file)
		must(b, err)
		line := append(bytes.Repeat([]byte("x"), 7999), '\n')
		_, err = io.Copy(f, io.LimitReader(&repeating{line: line}, int64(mb<<20/8000*8000)))
		must(b, err)
		must(b, f.Close())
	}
	in, err := os.Open(file)
	must(b, err)
	defer in.Close()
	cmd := s.command(b, "psql", "-XAtq", "-c", "create temp table dropped (t text)", "-c", "copy dropped from stdin where t is null")
	cmd.Stdin = in
	_, got := s.timed(b, cmd)
	got.done = float64(mb)
	return got
}

type repeating struct {
	line []byte
	at   int
}

func (r *repeating) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		k := copy(p[n:], r.line[r.at:])
		n += k
		r.at = (r.at + k) % len(r.line)
	}
	return n, nil
}
