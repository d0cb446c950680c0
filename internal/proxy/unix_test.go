package proxy

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"dbops/internal/fault"
	"dbops/internal/pg"
	"dbops/internal/sandbox/pgbin"
)

// shortDir is a folder whose path leaves room for the name of a socket.
func shortDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "s")
	must(tb, err)
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func listenUnix(tb testing.TB, dir string) net.Listener {
	tb.Helper()
	ln, err := ListenUnix(tb.Context(), dir, DefaultPort)
	must(tb, err)
	tb.Cleanup(func() { _ = ln.Close() })
	return ln
}

func TestASocketIsForItsUserAlone(t *testing.T) {
	dir := filepath.Join(shortDir(t), "made")
	ln := listenUnix(t, dir)
	for path, mode := range map[string]os.FileMode{dir: 0o700 | os.ModeDir, filepath.Join(dir, ".s.PGSQL.5432"): 0o600 | os.ModeSocket} {
		info, err := os.Stat(path)
		must(t, err)
		if info.Mode() != mode {
			t.Errorf("%s has mode %s, want %s", path, info.Mode(), mode)
		}
	}
	must(t, ln.Close())
	if _, err := os.Stat(filepath.Join(dir, ".s.PGSQL.5432")); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}

func TestFoldersInWhichASocketWouldNotBeSafe(t *testing.T) {
	top := shortDir(t)
	mode := func(name string, m os.FileMode) string {
		dir := filepath.Join(top, name)
		must(t, os.Mkdir(dir, 0o700))
		must(t, os.Chmod(dir, m))
		return dir
	}
	link := filepath.Join(top, "link")
	must(t, os.Symlink(mode("target", 0o700), link))
	file := filepath.Join(top, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	taken := mode("taken", 0o700)
	must(t, os.WriteFile(SocketPath(taken, DefaultPort), nil, 0o600))
	theirs := mode("theirs", 0o700)
	cases := []struct{ name, dir, says, hint string }{
		{"the group may enter", mode("group", 0o710), "others may enter it", "chmod 700"},
		{"everybody may enter", mode("all", 0o755), "others may enter it", "chmod 700"},
		{"a link", link, "symbolic link", "points to"},
		{"a file", file, "no folder", "name a folder"},
		{"the folder above is missing", filepath.Join(top, "no", "such"), "no such file", "above"},
		{"a file has the name", taken, "no socket", "move it away"},
		{"the path is too long", filepath.Join(top, strings.Repeat("x", 120)), "too long", "shorter"},
	}
	if os.Getuid() == 0 { // only root can give one away
		must(t, os.Chown(theirs, 1, 1))
		cases = append(cases, struct{ name, dir, says, hint string }{"another's", theirs, "belongs to", "of your own"})
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			ln, err := ListenUnix(t.Context(), c.dir, DefaultPort)
			if err == nil {
				_ = ln.Close()
			}
			if fault.KindOf(err) != fault.Usage || !strings.Contains(fmt.Sprint(err), c.says) || !strings.Contains(fault.HintOf(err), c.hint) {
				t.Errorf("%v; hint: %s", err, fault.HintOf(err))
			}
		})
	}
}

func TestALongestPathWorks(t *testing.T) {
	top := shortDir(t)
	room := socketPathMax - len(SocketPath(top+"/", DefaultPort)) - 1
	if dir := filepath.Join(top, strings.Repeat("x", room)); len(SocketPath(dir, DefaultPort)) != socketPathMax {
		t.Fatal(len(SocketPath(dir, DefaultPort)))
	} else {
		listenUnix(t, dir)
	}
	_, err := ListenUnix(t.Context(), filepath.Join(top, strings.Repeat("x", room+1)), DefaultPort)
	if err == nil || !strings.Contains(fault.HintOf(err), "1 bytes shorter") {
		t.Error(err)
	}
}

func TestASocketOfTheDeadIsReplacedAndOneOfTheLivingIsNot(t *testing.T) {
	dir := shortDir(t)
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: SocketPath(dir, DefaultPort), Net: "unix"})
	must(t, err)
	stale.SetUnlinkOnClose(false) // as a killed process leaves it
	must(t, stale.Close())
	ln := listenUnix(t, dir)
	_, err = ListenUnix(t.Context(), dir, DefaultPort)
	if fault.KindOf(err) != fault.Unavailable || !strings.Contains(err.Error(), fmt.Sprintf("(pid %d)", os.Getpid())) || fault.HintOf(err) == "" {
		t.Errorf("a live socket: %v", err)
	}
	c, err := net.Dial("unix", ln.Addr().String())
	must(t, err)
	_ = c.Close()
}

func TestOneOfManyThatStartAtOnceGetsTheSocket(t *testing.T) {
	dir := shortDir(t)
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: SocketPath(dir, DefaultPort), Net: "unix"})
	must(t, err)
	stale.SetUnlinkOnClose(false)
	must(t, stale.Close())
	got := make(chan net.Listener)
	for range 8 {
		go func() {
			ln, err := ListenUnix(t.Context(), dir, DefaultPort)
			if err != nil && fault.KindOf(err) != fault.Unavailable {
				t.Error(err)
			}
			got <- ln
		}()
	}
	winners := 0
	for range 8 {
		if ln := <-got; ln != nil {
			winners++
			defer ln.Close()
		}
	}
	if winners != 1 {
		t.Errorf("%d have the socket", winners)
	}
}

func TestPsqlComesByTheSocketWithoutAPasswordAndByTCPWithOne(t *testing.T) {
	s := postgres(t, 15)
	dir := shortDir(t)
	tcp, err := Listen(t.Context(), "127.0.0.1:0")
	must(t, err)
	p := serveOn(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}}, Listeners(tcp, listenUnix(t, dir)))
	for _, major := range []int{15, 18} {
		program, err := pgbin.Client("psql", major)
		must(t, err)
		for name, env := range map[string][]string{
			"socket":             {"PGHOST=" + dir, "PGPORT=5432", "PGPASSWORD="},
			"socket, newest":     {"PGHOST=" + dir, "PGPORT=5432", "PGPASSWORD=", "PGMAXPROTOCOLVERSION=latest"},
			"socket, TLS wanted": {"PGHOST=" + dir, "PGPORT=5432", "PGPASSWORD=", "PGSSLMODE=prefer"},
			"TCP":                nil,
		} {
			out, errOut, err := p.psql(t, program, env, "-XAtc", "select 'in'")
			if err != nil || out != "in\n" {
				t.Errorf("psql %d by %s: %q %s %v", major, name, out, errOut, err)
			}
		}
	}
	_, errOut, err := p.psql(t, "psql", []string{"PGPASSWORD=", "PGCONNECT_TIMEOUT=5"}, "-XAtwc", "select 1")
	if err == nil || !strings.Contains(errOut, "password") {
		t.Errorf("by TCP without a password: %v %s", err, errOut)
	}
	eventually(t, "the log tells who came by the socket", func() bool {
		return strings.Contains(p.log.String(), "client=unix local_user="+userName(os.Getuid())+" pid=")
	})
}

func TestAnotherUserIsTurnedAwayAtTheSocket(t *testing.T) {
	u, err := pgbin.RunAs()
	must(t, err)
	if u == nil {
		t.Skip("only root can become another user")
	}
	program, err := pgbin.Client("psql", 18)
	must(t, err)
	dir := shortDir(t)
	p := serveOn(t, Config{Upstreams: []Upstream{unreachable(t, "orders")}}, listenUnix(t, dir))
	must(t, os.Chmod(dir, 0o711)) // what keeps others out before the question who they are
	must(t, os.Chmod(SocketPath(dir, DefaultPort), 0o666))
	cmd := exec.CommandContext(t.Context(), program, "-XAtc", "select 1", "host="+dir+" port=5432 user=x dbname=orders password="+proxyPassword)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: u.Credential()}
	cmd.Env, cmd.Dir = []string{"PATH=" + os.Getenv("PATH")}, "/"
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "belongs to "+userName(os.Getuid())) || !strings.Contains(string(out), "HINT") {
		t.Errorf("%v: %s", err, out)
	}
	eventually(t, "the log tells", func() bool { return strings.Contains(p.log.String(), "sqlstate=28000") })
}

func TestProxiesThatWantTLS(t *testing.T) {
	s := postgres(t, 15)
	dir := shortDir(t)
	tcp, err := Listen(t.Context(), "127.0.0.1:0")
	must(t, err)
	p := serveOn(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}, RequireTLS: true}, Listeners(tcp, listenUnix(t, dir)))
	for mode, works := range map[string]bool{"disable": false, "allow": true, "prefer": true, "require": true, "verify-full": true} {
		out, errOut, err := p.psql(t, "psql", []string{"PGSSLMODE=" + mode}, "-XAtc", "select 1")
		if works != (err == nil) {
			t.Errorf("sslmode=%s: %q %s %v", mode, out, errOut, err)
		}
		if !works && (!strings.Contains(errOut, "wants TLS") || !strings.Contains(errOut, "sslmode=require")) {
			t.Errorf("sslmode=%s: %s", mode, errOut)
		}
	}
	if out, errOut, err := p.psql(t, "psql", []string{"PGHOST=" + dir, "PGPORT=5432"}, "-XAtc", "select 1"); err != nil || out != "1\n" {
		t.Errorf("by the socket: %q %s %v", out, errOut, err)
	}
	c := p.dial(t)
	_, err = c.Write(startupPacket(196608, "user", "me", "database", "orders"))
	must(t, err)
	m := readUntil[*pgproto3.ErrorResponse](t, c)
	if m.Code != "28000" {
		t.Errorf("%+v", m)
	}
}

func TestTheProcessOfATCPClientIsFound(t *testing.T) {
	for _, network := range []string{"127.0.0.1:0", "[::1]:0"} {
		ln, err := Listen(t.Context(), network)
		must(t, err)
		// A client of its own, as this process itself is never looked for.
		_, port, _ := net.SplitHostPort(ln.Addr().String())
		host := strings.Trim(strings.TrimSuffix(ln.Addr().String(), ":"+port), "[]")
		cmd := exec.CommandContext(t.Context(), "bash", "-c", "exec 3<>/dev/tcp/"+host+"/"+port+"; read -u 3 x")
		must(t, cmd.Start())
		conn, err := ln.Accept()
		must(t, err)
		p := newProcesses()
		for range 2 { // by a look at all, and by memory
			id, err := p.ofTCP(conn)
			must(t, err)
			if id.uid != os.Getuid() || id.pid != cmd.Process.Pid || processName(id.pid) != "bash" {
				t.Errorf("%s: %+v, want process %d", network, id, cmd.Process.Pid)
			}
		}
		peer, own, _ := endpoints(conn)
		uid, inode, err := askKernel(peer, own)
		uid2, inode2, err2 := readTables(peer, own)
		if err != nil || err2 != nil || uid != uid2 || inode != inode2 {
			t.Errorf("%s: the kernel says %d, %d, %v; its tables %d, %d, %v", network, uid, inode, err, uid2, inode2, err2)
		}
		must(t, conn.Close())
		_ = cmd.Wait()
		if _, err := p.ofTCP(conn); err == nil {
			t.Errorf("%s: a process of a closed connection", network)
		}
		must(t, ln.Close())
	}
}

func TestListenersEndTogether(t *testing.T) {
	a, err := Listen(t.Context(), "127.0.0.1:0")
	must(t, err)
	b := listenUnix(t, shortDir(t))
	all := Listeners(a, b)
	for _, at := range []net.Addr{b.Addr(), a.Addr()} {
		c, err := net.Dial(at.Network(), at.String())
		must(t, err)
		defer c.Close()
		got, err := all.Accept()
		must(t, err)
		if got.LocalAddr().Network() != at.Network() {
			t.Error(got.LocalAddr())
		}
		must(t, got.Close())
	}
	must(t, all.Close())
	if _, err := all.Accept(); err == nil {
		t.Error("accepted after the end")
	}
	for _, at := range []net.Addr{b.Addr(), a.Addr()} {
		if c, err := net.Dial(at.Network(), at.String()); err == nil {
			_ = c.Close()
			t.Errorf("%s is open", at)
		}
	}
}

func TestSocketsThatWereHandedOver(t *testing.T) {
	dir := shortDir(t)
	listen := func(network, addr string, mode os.FileMode) net.Listener {
		t.Helper()
		ln, err := net.Listen(network, addr)
		must(t, err)
		if mode != 0 {
			must(t, os.Chmod(addr, mode))
		}
		return ln
	}
	for i, c := range []struct {
		name string
		ln   net.Listener
		says string
	}{
		{"loopback", listen("tcp", "127.0.0.1:0", 0), ""},
		{"a socket of this user's", listen("unix", filepath.Join(dir, "own"), 0o600), ""},
		{"every address", listen("tcp", "0.0.0.0:0", 0), "this machine only"},
		{"a socket for all", listen("unix", filepath.Join(dir, "all"), 0o666), "others may connect"},
		{"a socket without a place", listen("unix", "@dbops-test-"+strconv.Itoa(os.Getpid()), 0), "no place"},
	} {
		err := Given(c.ln)
		_ = c.ln.Close()
		if c.says == "" && err != nil || c.says != "" && (fault.KindOf(err) != fault.Usage || !strings.Contains(err.Error(), c.says) || fault.HintOf(err) == "") {
			t.Errorf("%d, %s: %v", i, c.name, err)
		}
	}
}
