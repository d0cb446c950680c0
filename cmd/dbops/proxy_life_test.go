package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/proxy"
)

// eventually waits for what must become true.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come about that %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// socketDir is a folder whose path leaves room for a socket's name.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// ended waits for the end and returns the exit status, or the signal as a negative number.
func (p *runningProxy) ended(t *testing.T) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		t.Fatal("the proxy does not end")
	}
	if exit, ok := errors.AsType[*exec.ExitError](p.err); ok {
		if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() {
			return -int(s.Signal())
		}
		return exit.ExitCode()
	}
	return 0
}

func TestAKilledProxyLeavesNothingInTheWay(t *testing.T) {
	t.Parallel()
	dir := socketDir(t)
	for range 2 { // the second one finds what the first one left
		p := startProxy(t, "-e", "local", "--unix-socket", dir, "--listen", "127.0.0.1:0")
		if want := proxy.SocketPath(dir, 0); !strings.HasPrefix(p.Socket, strings.TrimSuffix(want, "0")) || strings.HasSuffix(p.Socket, ".0") {
			t.Errorf("socket %s", p.Socket)
		}
		_ = p.cmd.Process.Kill()
		p.ended(t)
		if _, err := os.Lstat(p.Socket); err != nil {
			t.Errorf("the test is void, it left no socket: %v", err)
		}
		q := startProxy(t, "-e", "local", "--unix-socket", dir, "--listen", p.Address)
		if q.Socket != p.Socket || q.Address != p.Address {
			t.Errorf("the next one is at %s and %s, not %s and %s", q.Socket, q.Address, p.Socket, p.Address)
		}
		c, err := pgx.Connect(t.Context(), q.Databases[0].SocketURI)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close(t.Context())
		if code := q.interrupt(t); code != 0 {
			t.Errorf("exit status %d", code)
		}
		if _, err := os.Lstat(p.Socket); !os.IsNotExist(err) {
			t.Errorf("the socket is left: %v", err)
		}
	}
}

func TestASecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	p := startProxy(t, "-e", "staging", "--access", "write", "--drain-timeout", "10m")
	c, err := pgx.Connect(t.Context(), p.uri(t, "shop"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.WithoutCancel(t.Context())) }()
	if _, err := c.Exec(t.Context(), "begin"); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it drains", func() bool {
		conn, err := net.Dial("tcp", p.Address)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	if _, err := c.Exec(t.Context(), "select 1"); err != nil {
		t.Errorf("the transaction was cut: %v", err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := p.ended(t); code != -int(syscall.SIGTERM) {
		t.Errorf("it ended with %d", code)
	}
}

func TestSignalsReachTheCommand(t *testing.T) {
	t.Parallel()
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1} {
		name := map[syscall.Signal]string{syscall.SIGTERM: "TERM", syscall.SIGINT: "INT", syscall.SIGHUP: "HUP", syscall.SIGUSR1: "USR1"}[s]
		script := fmt.Sprintf(`trap 'echo got %s; exit 5' %s; echo up; while :; do sleep 0.05; done`, name, name)
		cmd := exec.CommandContext(t.Context(), shared.program, "proxy", "-e", "local", "--", "sh", "-c", script)
		cmd.Env = environ(t)
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(stdout)
		if !lines.Scan() || lines.Text() != "up" {
			t.Fatalf("%q", lines.Text())
		}
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		if !lines.Scan() || lines.Text() != "got "+name {
			t.Errorf("%s: the command said %q", name, lines.Text())
		}
		_, _ = io.Copy(io.Discard, stdout)
		err = cmd.Wait()
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 5 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAProtectedEnvironmentIsOpenForATime(t *testing.T) {
	t.Parallel()
	p := startProxy(t, "-e", "prod", "--access", "write", "--reason", "a test", "--for", "3s")
	if p.Until.IsZero() || time.Until(p.Until) > 3*time.Second {
		t.Errorf("until %s", p.Until)
	}
	c, err := pgx.Connect(t.Context(), p.uri(t, "shop"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.WithoutCancel(t.Context())) }()
	for err == nil {
		_, err = c.Exec(t.Context(), "select pg_sleep(0.02)")
	}
	pe, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pe.Code != "57P01" || !strings.Contains(pe.Message, "the 3s of write access to prod are over") ||
		!strings.Contains(pe.Hint, "dbops proxy -e prod --access write --reason") {
		t.Errorf("the client heard %v", err)
	}
	if code := p.ended(t); code != 0 {
		t.Errorf("exit status %d: %s", code, p.stderr)
	}
}

func TestEditsOfTheConfigurationTakeEffect(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(shared.dir, "cloud", "dbops.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(shared.dir, "cloud", "edited.yaml") // beside what it names
	write := func(s string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write(string(text))
	t.Cleanup(func() { _ = os.Remove(file) })
	p := startProxy(t, "--config", file, "-e", "staging", "--access", "write")
	connect := func(db string) (*pgx.Conn, string) {
		c, err := pgx.Connect(t.Context(), strings.Replace(p.uri(t, "shop"), "/shop", "/"+db, 1))
		if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
			return nil, pe.Code + " " + pe.Hint
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close(context.WithoutCancel(t.Context())) })
		return c, ""
	}
	works := func(c *pgx.Conn) {
		t.Helper()
		var n int
		if err := c.QueryRow(t.Context(), "select 1").Scan(&n); err != nil {
			t.Errorf("the open session: %v", err)
		}
	}
	c, code := connect("shop")
	if code != "" {
		t.Fatal(code)
	}
	if _, code := connect("again"); !strings.HasPrefix(code, "3D000") {
		t.Errorf("before the edit: %s", code)
	}
	at := strings.Index(string(text), "\n  staging:")
	if at < 0 {
		t.Fatal("no staging in the sandbox's dbops.yaml")
	}
	databases := at + strings.Index(string(text)[at:], "\n    databases:\n") + len("\n    databases:\n")
	more := string(text)[:databases] + "      again: {instance: main, name: postgres}\n" + string(text)[databases:]
	write(more)
	if _, code := connect("again"); code != "" {
		t.Errorf("after the edit: %s", code)
	}
	works(c)

	write("version: 1\nnonsense: true\n")
	if _, code := connect("again"); code != "" {
		t.Errorf("after a mistake: %s", code)
	}
	works(c)

	write(string(text))
	if _, code := connect("again"); !strings.HasPrefix(code, "3D000") || !strings.Contains(code, "shop") {
		t.Errorf("after it was taken back: %s", code)
	}
	works(c)

	// Protected from now on: this one could not be opened like that any more.
	write(string(text)[:at] + "\n  staging:\n    protected: true" + string(text)[at+len("\n  staging:"):])
	err = nil
	for err == nil {
		_, err = c.Exec(t.Context(), "select pg_sleep(0.02)")
	}
	if pe, ok := errors.AsType[*pgconn.PgError](err); !ok || pe.Code != "57P01" || !strings.Contains(pe.Message, "has become protected") {
		t.Errorf("the client heard %v", err)
	}
	if code := p.ended(t); code != 0 {
		t.Errorf("exit status %d", code)
	}
	for _, want := range []string{
		"in effect: new: again", "cannot be used, so it is served as it was before", "nonsense", "in effect: gone: again",
	} {
		if !strings.Contains(p.said(), want) {
			t.Errorf("it does not say %q:\n%s", want, p.said())
		}
	}
}

func TestFiguresAndProbesOnAPort(t *testing.T) {
	t.Parallel()
	p := startProxy(t, "-e", "prod", "--metrics", "127.0.0.1:0")
	for _, db := range []string{"shop", "billing"} {
		c, err := pgx.Connect(t.Context(), p.uri(t, db))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close(context.WithoutCancel(t.Context())) }()
	}
	ask := func(path string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.Metrics+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(b)
	}
	for _, path := range []string{"/startup", "/readiness", "/liveness"} {
		if status, text := ask(path); status != http.StatusOK {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
	_, text := ask("/metrics")
	for _, want := range []string{
		`dbops_proxy_connections{database="billing",instance="billing",state="idle"} 1`,
		`dbops_proxy_connections{database="shop",instance="main",state="idle"} 1`,
		`dbops_proxy_info{access="read",environment="prod",version=`,
		`dbops_proxy_control_plane_age_seconds{instance="billing"}`, `dbops_proxy_credential_age_seconds{instance="main"}`,
		`dbops_proxy_upstream_certificate_expiry_timestamp_seconds{instance="billing"}`,
		`dbops_proxy_upstream_certificate_expiry_timestamp_seconds{instance="main"}`, `dbops_proxy_connector_certificate_expiry_timestamp_seconds{instance="main"}`, `dbops_proxy_until_timestamp_seconds 0`,
		`dbops_proxy_audit_lost_total 0`, `process_open_fds`, `go_goroutines`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(text, strings.Split(strings.Split(p.uri(t, "shop"), ":")[2], "@")[0]) {
		t.Error("the password is among the figures")
	}
}

func TestSystemdIsToldAndHandsSocketsOver(t *testing.T) {
	t.Parallel()
	dir := socketDir(t)
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer notify.Close()
	said := make(chan string, 1000)
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := notify.Read(b)
			if err != nil {
				return
			}
			said <- string(b[:n])
		}
	}()
	hears := func(want string) {
		t.Helper()
		timeout := time.After(30 * time.Second)
		for {
			select {
			case s := <-said:
				if s == want {
					return
				}
			case <-timeout:
				t.Fatalf("systemd does not hear %s", want)
			}
		}
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	path := proxy.SocketPath(dir, 5432)
	unix, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	unix.SetUnlinkOnClose(false) // it is systemd's
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	// A client that comes before the proxy is there is served, too.
	early := make(chan error, 1)
	go func() {
		c, err := pgx.Connect(t.Context(), "postgresql://dbops@/events?host="+dir+"&port=5432")
		if err == nil {
			err = c.Close(t.Context())
		}
		early <- err
	}()
	p := handOver(t, []string{"NOTIFY_SOCKET=" + filepath.Join(dir, "notify"), "WATCHDOG_USEC=300000"}, tcp, unix)
	hears("READY=1")
	hears("WATCHDOG=1")
	if err := <-early; err != nil {
		t.Errorf("the early client: %v", err)
	}
	if p.Address != tcp.Addr().String() || p.Socket != path {
		t.Errorf("it listens on %s and %s", p.Address, p.Socket)
	}
	c, err := pgx.Connect(t.Context(), p.Databases[0].URI)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close(t.Context())
	if code := p.interrupt(t); code != 0 {
		t.Errorf("exit status %d", code)
	}
	hears("STOPPING=1")
	last, err := net.Dial("unixgram", filepath.Join(dir, "notify"))
	if err != nil {
		t.Fatal(err)
	}
	defer last.Close()
	if _, err := last.Write([]byte("nothing more")); err != nil {
		t.Fatal(err)
	}
	for s := range said {
		if s == "STOPPING=1" {
			t.Error("systemd is told twice that it stops")
		}
		if s == "nothing more" {
			break
		}
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the socket was systemd's to remove: %v", err)
	}
	_, _ = tcp.Close(), unix.Close()
}

func TestSocketsForOthersAreNotTakenOver(t *testing.T) {
	t.Parallel()
	all, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	cmd := handOverCmd(t, nil, all)
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 2 || !bytes.Contains(out, []byte("this machine only")) {
		t.Errorf("%v: %s", err, out)
	}
}

func TestSystemdSocketActivate(t *testing.T) {
	t.Parallel()
	activate, err := exec.LookPath("systemd-socket-activate")
	if err != nil {
		t.Skip("systemd is not here; TestSystemdIsToldAndHandsSocketsOver hands sockets over itself")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	_ = ln.Close()
	var args []string
	for _, kv := range environ(t, "HOME="+t.TempDir()) {
		args = append(args, "-E", kv)
	}
	args = append(args, "-l", addr, shared.program, "proxy", "-e", "local", "--exit-after-idle", "500ms", "-o", "json")
	cmd := exec.CommandContext(t.Context(), activate, args...)
	cmd.Env = environ(t)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The first client makes it start; what it needs to know, the proxy tells.
	eventually(t, "somebody listens", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	if err := cmd.Wait(); err != nil { // systemd-socket-activate becomes the proxy, which ends without clients
		t.Fatalf("%v: %s", err, out.String())
	}
	var first proxyJSON
	line, _, _ := strings.Cut(out.String()[strings.Index(out.String(), "{"):], "\n")
	if err := json.Unmarshal([]byte(line), &first); err != nil || first.Address != addr {
		t.Errorf("%v: %s", err, out.String())
	}
}

// handOverCmd is a proxy that gets listeners as systemd hands them over.
func handOverCmd(t *testing.T, env []string, all ...net.Listener) *exec.Cmd {
	t.Helper()
	script := fmt.Sprintf(`LISTEN_PID=$$ LISTEN_FDS=%d exec "$0" "$@"`, len(all))
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "sh", "-c", script, shared.program, "-o", "json", "proxy", "-e", "local")
	cmd.Env = environ(t, env...)
	for _, ln := range all {
		f, err := ln.(interface{ File() (*os.File, error) }).File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	return cmd
}

func handOver(t *testing.T, env []string, all ...net.Listener) *runningProxy {
	t.Helper()
	return start(t, handOverCmd(t, env, all...))
}
