package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/sandbox/pgbin"
	"dbops/internal/sandbox/play"
)

// runningProxy is a `dbops proxy` process.
type runningProxy struct {
	proxyJSON
	cmd    *exec.Cmd
	stderr *bytes.Buffer
	done   chan struct{}
	err    error // of its end, once done is closed

	mu     sync.Mutex
	events strings.Builder
}

// startProxy runs `dbops proxy -o json` with more arguments and waits until it listens. It ends with the test.
func startProxy(t *testing.T, args ...string) *runningProxy {
	t.Helper()
	return startProxyIn(t, environ(t), args...)
}

// startProxyIn is startProxy in an environment of its own.
func startProxyIn(t *testing.T, env []string, args ...string) *runningProxy {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), shared.program, append([]string{"-o", "json", "proxy"}, args...)...)
	cmd.Env = env
	return start(t, cmd)
}

// start starts a proxy that writes JSON.
func start(t *testing.T, cmd *exec.Cmd) *runningProxy {
	t.Helper()
	p := &runningProxy{cmd: cmd, stderr: &bytes.Buffer{}, done: make(chan struct{})}
	p.cmd.Stderr = p.stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &p.proxyJSON) != nil {
		t.Fatalf("the proxy said %q and %v", lines.Text(), p.cmd.Wait())
	}
	go func() {
		for lines.Scan() {
			p.mu.Lock()
			p.events.WriteString(lines.Text() + "\n")
			p.mu.Unlock()
		}
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		select {
		case <-p.done:
		case <-time.After(10 * time.Second):
			t.Error("the proxy does not end")
		}
	})
	return p
}

// said are the events so far.
func (p *runningProxy) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.events.String()
}

func (p *runningProxy) uri(t *testing.T, database string) string {
	t.Helper()
	for _, d := range p.Databases {
		if d.Database == database {
			return d.URI
		}
	}
	t.Fatalf("no URI for %s in %+v", database, p.Databases)
	return ""
}

// interrupt sends Ctrl-C and returns the exit status.
func (p *runningProxy) interrupt(t *testing.T) int {
	t.Helper()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		<-p.done
		t.Fatalf("%v: it ended by itself, with %v: %s", err, p.err, p.stderr)
	}
	select {
	case <-p.done:
		if exit, ok := errors.AsType[*exec.ExitError](p.err); ok {
			return exit.ExitCode()
		}
		return 0
	case <-time.After(30 * time.Second):
		t.Fatal("the proxy does not end")
		return -1
	}
}

func TestOnePortServesBothCloudsAtOnce(t *testing.T) {
	t.Parallel()
	p := startProxy(t, "-e", "prod")
	pgbench, err := pgbin.Client("pgbench", 15)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, db := range []string{"pgbench_main", "pgbench_billing"} {
		wg.Go(func() {
			cmd := exec.CommandContext(t.Context(), pgbench, "-n", "-S", "-c", "32", "-j", "2", "-T", "4", p.uri(t, db))
			cmd.Env = environ(t)
			out, err := cmd.CombinedOutput()
			if err != nil || !bytes.Contains(out, []byte("number of failed transactions: 0 ")) {
				t.Errorf("pgbench on %s: %v\n%s", db, err, out)
			}
		})
	}
	for _, db := range []string{"shop", "billing"} {
		for _, mode := range []string{"disable", "prefer", "require"} {
			wg.Go(func() {
				cmd := exec.CommandContext(t.Context(), psqlPath(t), "-XAtc",
					"select current_database(), current_setting('default_transaction_read_only')", p.uri(t, db)+"?sslmode="+mode)
				cmd.Env = environ(t)
				out, err := cmd.CombinedOutput()
				if err != nil || strings.TrimSpace(string(out)) != db+"|on" {
					t.Errorf("psql on %s with sslmode=%s: %v: %s", db, mode, err, out)
				}
			})
		}
	}
	wg.Wait()
	if code := p.interrupt(t); code != 0 {
		t.Errorf("exit status %d after Ctrl-C: %s", code, p.stderr)
	}
}

func TestClientsCanVerifyTheProxysOwnCertificate(t *testing.T) {
	t.Parallel()
	p := startProxy(t, "-e", "prod")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, []byte(p.CA), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), psqlPath(t), "-XAtc", "select 1", p.uri(t, "shop")+"?sslmode=verify-full&sslrootcert="+ca)
	cmd.Env = environ(t)
	if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "1" {
		t.Errorf("%v: %s", err, out)
	}
}

func TestCtrlCLetsATransactionEnd(t *testing.T) {
	t.Parallel()
	p := startProxy(t, "-e", "staging", "--access", "write")
	busy, err := pgx.Connect(t.Context(), p.uri(t, "shop"))
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close(t.Context())
	idle, err := pgx.Connect(t.Context(), p.uri(t, "billing"))
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close(t.Context())
	tx, err := busy.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "create temp table kept (n int) on commit drop"); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	// The idle session is told, and why.
	for err = nil; err == nil && t.Context().Err() == nil; {
		_, err = idle.Exec(t.Context(), "select 1") // until the signal has arrived
	}
	if pe, ok := errors.AsType[*pgconn.PgError](err); !ok || pe.Code != "57P01" {
		t.Errorf("the idle session heard %v, want 57P01", err)
	}
	// The transaction goes on, and commits.
	if _, err := tx.Exec(t.Context(), "insert into kept values (1)"); err != nil {
		t.Errorf("in the transaction: %v", err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Errorf("commit: %v", err)
	}
	select {
	case <-p.done:
		if p.err != nil {
			t.Errorf("the proxy ended with %v: %s", p.err, p.stderr)
		}
	case <-time.After(20 * time.Second):
		t.Error("the proxy did not end after the last transaction")
	}
}

func TestAPasswordFileSetsThePassword(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("a-password-that-stays\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startProxy(t, "-e", "staging", "--password-file", file)
	if uri := p.uri(t, "shop"); !strings.Contains(uri, ":a-password-that-stays@") {
		t.Error("the URI does not hold the password of the file")
	}
	cfg, err := pgx.ParseConfig(p.uri(t, "shop"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Password = "another"
	_, err = pgx.ConnectConfig(t.Context(), cfg)
	if pe, ok := errors.AsType[*pgconn.PgError](err); !ok || pe.Code != "28P01" {
		t.Errorf("a wrong password: %v, want 28P01", err)
	}
}

func TestAnOpenProxyKeepsServingWithoutTheControlPlane(t *testing.T) {
	p := startProxy(t, "-e", "prod")
	connect := func(db string) error {
		c, err := pgx.Connect(t.Context(), p.uri(t, db))
		if err != nil {
			return err
		}
		return c.Close(t.Context())
	}
	for _, db := range []string{"shop", "billing"} {
		if err := connect(db); err != nil {
			t.Fatal(err)
		}
	}
	shared.sandbox.Faults().Add(play.Fault{Effect: play.Unavailable})
	defer shared.sandbox.Faults().Clear()
	for _, db := range []string{"shop", "billing"} {
		if err := connect(db); err != nil {
			t.Errorf("%s while the control planes are down: %v", db, err)
		}
	}
}

func TestErrorsOfTheControlPlaneReachTheClient(t *testing.T) {
	p := startProxy(t, "-e", "prod")
	defer shared.sandbox.Faults().Clear()
	for _, c := range []struct {
		name, db string
		fault    play.Fault
		code     string
		says     string
	}{
		{"RDS does not answer", "billing", play.Fault{Effect: play.Unavailable, Service: "rds"}, "08001", "billing-prod"},
		{"RDS denies", "billing", play.Fault{Effect: play.Deny, Service: "rds"}, "28000", "rds:DescribeDBInstances"},
		{"Cloud SQL denies", "shop", play.Fault{Effect: play.Deny, Service: "cloudsql"}, "28000", "roles/cloudsql.client"},
		{"Cloud SQL does not answer", "shop", play.Fault{Effect: play.Drop, Service: "cloudsql"}, "08001", "shop-main"},
	} {
		t.Run(c.name, func(t *testing.T) {
			shared.sandbox.Faults().Clear()
			shared.sandbox.Faults().Add(c.fault)
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			_, err := pgx.Connect(ctx, p.uri(t, c.db))
			pe, ok := errors.AsType[*pgconn.PgError](err)
			if !ok {
				t.Fatalf("no PostgreSQL error: %v", err)
			}
			if all := pe.Message + pe.Detail + pe.Hint; pe.Code != c.code || !strings.Contains(all, c.says) {
				t.Errorf("SQLSTATE %s, want %s; it does not say %q: %s", pe.Code, c.code, c.says, all)
			}
		})
	}
}

func TestAFailoverEndsSessionsAndTheNextOnesWork(t *testing.T) {
	p := startProxy(t, "-e", "prod")
	for instance, db := range map[string]string{"billing": "billing", "main": "shop"} {
		c, err := pgx.Connect(t.Context(), p.uri(t, db))
		if err != nil {
			t.Fatal(err)
		}
		if err := shared.sandbox.Server("prod", instance).Failover(t.Context(), 200*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		_, err = c.Exec(t.Context(), "select 1")
		if pe, ok := errors.AsType[*pgconn.PgError](err); !ok || !strings.HasPrefix(pe.Code, "08") && !strings.HasPrefix(pe.Code, "57P") {
			t.Errorf("the open session on %s heard %v, want a PostgreSQL error of class 08 or 57P", db, err)
		}
		_ = c.Close(t.Context())
		c, err = pgx.Connect(t.Context(), p.uri(t, db))
		if err != nil {
			t.Errorf("after the failover of %s: %v", db, err)
			continue
		}
		_ = c.Close(t.Context())
	}
}

func TestIdleExitEndsAProxyThatNobodyUses(t *testing.T) {
	t.Parallel()
	p := startProxy(t, "-e", "local", "--idle-exit", "300ms")
	c, err := pgx.Connect(t.Context(), p.uri(t, "events"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.done:
		if p.err != nil {
			t.Errorf("it ended with %v: %s", p.err, p.stderr)
		}
	case <-time.After(20 * time.Second):
		t.Error("it is still there")
	}
}

func TestAPortInUseNamesItsHolder(t *testing.T) {
	t.Parallel()
	p := startProxy(t, "-e", "local")
	cmd := exec.CommandContext(t.Context(), shared.program, "proxy", "-e", "local", "--listen", p.Address)
	cmd.Env = environ(t)
	out, err := cmd.CombinedOutput()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != 1 || !bytes.Contains(out, []byte("in use")) || !bytes.Contains(out, []byte("--listen")) {
		t.Errorf("%v: %s", err, out)
	}
}

func TestNoSecretIsInTheArgumentsOfAProcess(t *testing.T) {
	t.Parallel()
	env := environ(t)
	cmd := exec.CommandContext(t.Context(), shared.program, "psql", "-e", "staging", "shop", "--", "-XAtc", "select pg_sleep(30)")
	cmd.Env = env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	}()
	deadline := time.Now().Add(20 * time.Second)
	for {
		args := childArguments(t, cmd.Process.Pid)
		if strings.Contains(args, "pg_sleep") && strings.Contains(args, "psql\x00-XAtc") {
			if strings.Contains(args, "postgresql://") || strings.Contains(strings.ToLower(args), "password") {
				t.Errorf("arguments: %q", args)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("psql did not start: %q", args)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// childArguments are the arguments of every child of a process.
func childArguments(t *testing.T, pid int) string {
	t.Helper()
	tasks, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range tasks {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		for child := range strings.FieldsSeq(string(b)) {
			args, err := os.ReadFile("/proc/" + child + "/cmdline")
			if err == nil {
				all.Write(args)
			}
		}
	}
	return all.String()
}
