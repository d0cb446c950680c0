package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"dbops/internal/sandbox/pgbin"
)

const (
	benchRole     = "bench_client"
	benchPassword = "word-of-the-benchmark"
)

// stage is what is measured on: the real program, and a sandbox that it brought up.
type stage struct {
	dir     string
	program string
	csp     string // Google's
	env     []string
	config  string // dbops.yaml of the benchmark
}

func newStage(b *testing.B) *stage {
	b.Helper()
	csp := os.Getenv("DBOPS_PEER_CLOUD_SQL_PROXY")
	if csp == "" {
		b.Fatal(`DBOPS_PEER_CLOUD_SQL_PROXY is not set: eval "$(scripts/peers.sh --env)", or make bench-proxy`)
	}
	dir, err := os.MkdirTemp("", "dbops-bench-")
	must(b, err)
	must(b, os.Chmod(dir, 0o755))
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	st := &stage{dir: dir, csp: csp, program: filepath.Join(dir, "dbops"), config: filepath.Join(dir, "bench.yaml")}
	build := exec.CommandContext(b.Context(), "go", "build", "-trimpath", "-o", st.program, "dbops/cmd/dbops")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("go build: %v\n%s", err, out)
	}
	psql, err := pgbin.Client("psql", 18)
	must(b, err)
	st.env = []string{"PATH=" + filepath.Dir(psql) + ":" + os.Getenv("PATH"), "HOME=" + dir, "XDG_RUNTIME_DIR=" + filepath.Join(dir, "run"), "LANG=C.UTF-8", "TZ=UTC", "NO_COLOR=1"}
	st.dbops(b, "sandbox", "up", "--dir", st.cloud())
	b.Cleanup(func() {
		down := exec.Command(st.program, "sandbox", "down", "--dir", st.cloud())
		down.Env = st.env
		if out, err := down.CombinedOutput(); err != nil {
			b.Errorf("dbops sandbox down: %v\n%s", err, out)
		}
	})
	var env struct{ Set map[string]string }
	must(b, json.Unmarshal([]byte(st.dbops(b, "-o", "json", "sandbox", "env", "--dir", st.cloud())), &env))
	for name, value := range env.Set {
		st.env = append(st.env, name+"="+value)
	}
	for _, db := range []string{"pgbench_main", "pgbench_billing"} {
		st.say(b, fmt.Sprintf("create role %s login password '%s' in role pg_read_all_data;\n", benchRole, benchPassword),
			"psql", "-e", "prod", db, "--access", "admin", "--reason", "the benchmark's role", "--", "-qv", "ON_ERROR_STOP=1")
	}
	st.configure(b, st.variable("CLOUDSDK_API_ENDPOINT_OVERRIDES_SQL"), "")
	return st
}

func (st *stage) cloud() string { return filepath.Join(st.dir, "cloud") }

// configure writes the benchmark's dbops.yaml: the sandbox's instances with the benchmark's login, and the stand-ins for many connections.
func (st *stage) configure(b *testing.B, admin, plain string) {
	b.Helper()
	password := filepath.Join(st.dir, "password")
	must(b, os.WriteFile(password, []byte(benchPassword), 0o600))
	text := fmt.Sprintf(`version: 1
environments:
  bench:
    instances:
      main:
        cloudsql: {project: shop-prod, region: europe-west1, instance: shop-main, endpoint: %q}
        logins: {write: {user: %s, secret: "file:%s"}}
      billing:
        rds: {region: eu-west-1, identifier: billing-prod, ca_file: %q, endpoint: %q}
        logins: {write: {user: %s, secret: "file:%s"}}
`, admin, benchRole, password, st.rdsCA(), st.variable("AWS_ENDPOINT_URL_RDS"), benchRole, password)
	databases := "    databases: {pgbench_main: {instance: main}, pgbench_billing: {instance: billing}}\n"
	if plain != "" {
		text += fmt.Sprintf(`      many:
        postgres: {url: "postgres://%s/?sslmode=verify-full", ca_file: %q}
        logins: {write: {user: %s, secret: "file:%s"}}
`, plain, filepath.Join(st.dir, "many.pem"), benchRole, password)
		// The stand-in asks for no password, as a server does where the connector has proved who the client is.
		text = strings.Replace(text, fmt.Sprintf(`{user: %s, secret: "file:%s"}`, benchRole, password), fmt.Sprintf("{user: %s, iam: true}", benchRole), 1)
		databases = strings.Replace(databases, "{pgbench_main", "{many: {instance: many}, pgbench_main", 1)
	}
	must(b, os.WriteFile(st.config, []byte(text+databases), 0o600))
}

func (st *stage) rdsCA() string { return filepath.Join(st.cloud(), "ca", "rds.pem") }

func (st *stage) variable(name string) string {
	for _, kv := range st.env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

// dbops runs the program and returns what it printed.
func (st *stage) dbops(b *testing.B, args ...string) string {
	b.Helper()
	return st.say(b, "", args...)
}

// say is dbops with something on its standard input.
func (st *stage) say(b *testing.B, input string, args ...string) string {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), st.program, args...)
	cmd.Env = st.env
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errOut
	if err := cmd.Run(); err != nil {
		b.Fatalf("dbops %s: %v\n%s%s", strings.Join(args, " "), err, &out, &errOut)
	}
	return out.String()
}

// daemon starts a program that goes on until the benchmark ends, or stop is called.
func (st *stage) daemon(b *testing.B, stderr io.Writer, program string, args ...string) (cmd *exec.Cmd, stdout io.Reader, stop func()) {
	b.Helper()
	cmd = exec.Command(program, args...)
	cmd.Env, cmd.Stderr = append([]string{"DBOPS_CONFIG=" + st.config}, st.env...), stderr
	cmd.Env, cmd.Dir = withoutTwice(cmd.Env), st.dir
	out, err := cmd.StdoutPipe()
	must(b, err)
	must(b, cmd.Start())
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		_ = cmd.Process.Signal(syscall.SIGTERM)
		timer := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		defer timer.Stop()
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
	}
	b.Cleanup(stop)
	return cmd, out, stop
}

// withoutTwice keeps the first of two values of a variable.
func withoutTwice(env []string) []string {
	seen := map[string]bool{}
	var out []string
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		if !seen[name] {
			seen[name] = true
			out = append(out, kv)
		}
	}
	return out
}

// proxy is one that runs in a process of its own.
type proxy struct {
	pid      int
	addr     string
	password string
	stop     func()
}

// openDBOps starts dbops proxy as a person would.
func (st *stage) openDBOps(b *testing.B, args ...string) proxy {
	b.Helper()
	var said bytes.Buffer
	cmd, out, stop := st.daemon(b, &said, st.program, append([]string{"--config", st.config, "-o", "json", "proxy", "-e", "bench", "--access", "write"}, args...)...)
	lines := bufio.NewReader(out)
	first, err := lines.ReadBytes('\n')
	if err != nil {
		stop()
		b.Fatalf("dbops proxy: %v\n%s", err, &said)
	}
	go func() { _, _ = io.Copy(io.Discard, lines) }() // its events
	var opened struct {
		Address   string
		Databases []struct{ URI string }
	}
	must(b, json.Unmarshal(first, &opened))
	u, err := url.Parse(opened.Databases[0].URI)
	must(b, err)
	word, _ := u.User.Password()
	return proxy{pid: cmd.Process.Pid, addr: opened.Address, password: word, stop: stop}
}

// openCSP starts Google's proxy for the same instance.
func (st *stage) openCSP(b *testing.B, endpoint string, args ...string) proxy {
	b.Helper()
	port := freePort(b)
	var said bytes.Buffer
	args = append([]string{
		"--sqladmin-api-endpoint", endpoint, "--enable-builtin-metrics=false", "--credentials-file", st.variable("GOOGLE_APPLICATION_CREDENTIALS"),
		"--address", "127.0.0.1", "--port", port, "--quiet", "shop-prod:europe-west1:shop-main",
	}, args...)
	cmd, out, stop := st.daemon(b, &said, st.csp, args...)
	go func() { _, _ = io.Copy(io.Discard, out) }()
	addr := "127.0.0.1:" + port
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		c, err := (&net.Dialer{}).DialContext(b.Context(), "tcp", addr)
		if err == nil {
			_ = c.Close()
			break
		}
		if time.Now().After(end) {
			stop()
			b.Fatalf("cloud-sql-proxy does not listen: %s", &said)
		}
	}
	return proxy{pid: cmd.Process.Pid, addr: addr, password: benchPassword, stop: stop}
}

func freePort(b *testing.B) string {
	b.Helper()
	ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	must(b, err)
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	must(b, err)
	return port
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// raiseFileLimit makes room for ten thousand connections, here and in the programs that are started.
func raiseFileLimit() {
	const want = 1 << 17
	_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: want, Max: want})
}

func fileLimit() uint64 {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	return l.Cur
}
