package world

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dbops/internal/secret"
)

var nonASCII = secret.New("passwörd")

// supervise is the child process: it opens a world, says where its server is, and waits to be killed.
func supervise(dir string) {
	w, err := Open(context.Background(), Options{Dir: dir})
	if err != nil {
		fmt.Println("open:", err)
		os.Exit(1)
	}
	s, err := w.Create(context.Background(), spec("a", 16), certificate())
	if err != nil {
		fmt.Println("create:", err)
		os.Exit(1)
	}
	c, err := s.DB(context.Background(), "postgres")
	if err != nil {
		fmt.Println("connect:", err)
		os.Exit(1)
	}
	if _, err := c.Exec(context.Background(), "CREATE TABLE IF NOT EXISTS t (n int); INSERT INTO t VALUES (1); CREATE TABLE IF NOT EXISTS big AS SELECT generate_series(1, 20000)"); err != nil {
		fmt.Println("insert:", err)
		os.Exit(1)
	}
	fmt.Println(s.Addr(), s.process.cmd.Process.Pid)
	select {}
}

// startSupervisor runs a supervisor until it serves.
func startSupervisor(t *testing.T, dir string) (cmd *exec.Cmd, addr string, pid int) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), child+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if _, scanErr := fmt.Sscan(line, &addr, &pid); err != nil || scanErr != nil {
		t.Fatalf("the supervisor says %q, %v", line, err)
	}
	return cmd, addr, pid
}

// serversIn are the processes that work in folders below dir.
func serversIn(t *testing.T, dir string) []int {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		t.Fatal(err)
	}
	var found []int
	for _, link := range all {
		if at, err := os.Readlink(link); err == nil && strings.HasPrefix(at, dir+"/") {
			pid, _ := strconv.Atoi(strings.Split(link, "/")[2])
			found = append(found, pid)
		}
	}
	return found
}

func TestNothingIsLostOrLeftWhenTheSupervisorIsKilled(t *testing.T) {
	t.Parallel()
	for name, also := range map[string]func(postmaster int){
		"the supervisor alone":           func(int) {},
		"the supervisor and PostgreSQL":  func(pid int) { _ = syscall.Kill(pid, syscall.SIGKILL) },
		"the supervisor, and not a word": func(pid int) { _ = syscall.Kill(pid, syscall.SIGSTOP) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := newFolder(t)
			cmd, addr, pid := startSupervisor(t, dir)
			also(pid)
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			_ = syscall.Kill(pid, syscall.SIGCONT)
			w := openWorld(t, dir)
			s := create(t, w, Spec{ID: "a", Listen: "127.0.0.1:0"})
			if s.Addr() != addr {
				t.Errorf("at %s, before at %s", s.Addr(), addr)
			}
			c := login(t, s, "postgres")
			if got := super(t, s, "postgres", "SELECT count(*) || ' ' || (SELECT count(*) FROM big) FROM t"); got != "1 20000" {
				t.Errorf("%s rows", got)
			}
			_ = c
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if left := serversIn(t, dir); len(left) > 0 {
				t.Errorf("processes %v are left", left)
			}
		})
	}
}

func TestAKilledSupervisorTakesItsServerAlong(t *testing.T) {
	t.Parallel()
	dir := newFolder(t)
	cmd, _, _ := startSupervisor(t, dir)
	if len(serversIn(t, dir)) == 0 {
		t.Fatal("there is no server to begin with")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	eventually(t, "no process of the server is left", func() bool { return len(serversIn(t, dir)) == 0 })
}

func TestAServerThatWasLeftBehindIsEnded(t *testing.T) {
	t.Parallel()
	dir := newFolder(t)
	w := openWorld(t, dir)
	s := create(t, w, spec("a", 18))
	run(t, login(t, s, "postgres"), "CREATE TABLE t AS SELECT 1 AS n")
	// As if the supervisor had gone and the server had not heard of it.
	if err := w.lock.Unlock(); err != nil {
		t.Fatal(err)
	}
	if err := s.edge.Close(); err != nil {
		t.Fatal(err)
	}
	old := s.process
	again := openWorld(t, dir)
	eventually(t, "it has ended", func() bool { return !old.runs() }) // who started it hears of that a moment later
	s = create(t, again, Spec{ID: "a", Listen: "127.0.0.1:0"})
	run(t, login(t, s, "postgres"), "SELECT n FROM t")
}

func TestALockFileThatNamesAStrangerIsMended(t *testing.T) {
	t.Parallel()
	dir := newFolder(t)
	w := openWorld(t, dir)
	s := create(t, w, spec("a", 15))
	run(t, login(t, s, "postgres"), "CREATE TABLE t AS SELECT 1 AS n")
	path := filepath.Join(s.cluster.data(), "postmaster.pid")
	lock, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.process.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-s.process.done
	// Whoever has the number now runs as the same user, so that PostgreSQL believes it to be the server.
	stranger := program(t.Context(), "/bin", "sleep", w.user, "/", "300")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = stranger.Process.Kill()
		_ = stranger.Wait()
	}()
	_, rest, _ := strings.Cut(string(lock), "\n")
	if err := os.WriteFile(path, []byte(strconv.Itoa(stranger.Process.Pid)+"\n"+rest), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	run(t, login(t, s, "postgres"), "SELECT n FROM t")
	if !alive(stranger.Process.Pid) {
		t.Error("the stranger was ended")
	}
}

func TestWhatAKilledProcessDidNotFinishIsRemoved(t *testing.T) {
	t.Parallel()
	dir := newFolder(t)
	w := openWorld(t, dir)
	s := create(t, w, spec("whole", 16))
	if _, err := w.Backup(t.Context(), "whole", "whole"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, half := range []string{"servers/half/data", "backups/half/data", "archive/nobodys"} {
		if err := os.MkdirAll(filepath.Join(dir, half), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w = openWorld(t, dir)
	got := fmt.Sprint(list(filepath.Join(dir, "servers")), list(filepath.Join(dir, "backups")), list(filepath.Join(dir, "archive")))
	if want := fmt.Sprintf("[whole] [whole] [%s]", s.record.Archive); got != want {
		t.Errorf("%s, not %s", got, want)
	}
	if len(w.Backups("")) != 1 {
		t.Error(w.Backups(""))
	}
}

func TestASupervisorStopsInTime(t *testing.T) {
	t.Parallel()
	w := openWorld(t, newFolder(t))
	s := create(t, w, spec("a", 16))
	// A server that hangs does not hold up its world for long.
	if err := s.process.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begun := time.Now()
	done := make(chan struct{})
	go func() {
		s.process.end(ctx, syscall.SIGQUIT)
		close(done)
	}()
	<-done
	if took := time.Since(begun); took > 5*time.Second || s.process.runs() {
		t.Errorf("it took %v", took)
	}
}
