package world

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"dbops/internal/sandbox/pgbin"
)

// superuser is the internal one: nobody logs in as it but the world itself, with a certificate.
const superuser = "sandbox_super"

// postmaster is one PostgreSQL server process over one data folder.
type postmaster struct {
	bin  string // folder of the programs
	data string
	log  string
	user *pgbin.User

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{}
}

// command prepares a program of the server's, run as the unprivileged user with an environment of its own: a HOME that leads to
// another user's folder breaks replication, and no PG variable may reach it.
func (p *postmaster) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, name), args...)
	cmd.Dir = filepath.Dir(p.data)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "TZ=UTC", "LC_ALL=C"}
	cmd.SysProcAttr = procAttr(p.user)
	return cmd
}

// initdb makes a cluster in p.data.
func (p *postmaster) initdb(ctx context.Context) error {
	cmd := p.command(ctx, "initdb", "-D", p.data, "-U", superuser, "-A", "reject", "-E", "UTF8",
		"--locale=C", "--data-checksums", "-N")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// start starts the server and returns when it accepts connections, or has reached the end of a recovery if it is in one.
func (p *postmaster) start(ctx context.Context, settings map[string]string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		return nil
	}
	if err := p.endOrphan(ctx); err != nil {
		return err
	}
	var conf strings.Builder
	for _, k := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&conf, "%s = '%s'\n", k, strings.ReplaceAll(settings[k], "'", "''"))
	}
	if err := p.write("postgresql.conf", []byte(conf.String())); err != nil {
		return err
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	size, err := log.Seek(0, 2)
	if err != nil {
		return err
	}
	cmd := p.command(context.WithoutCancel(ctx), "postgres", "-D", p.data)
	cmd.Stdout, cmd.Stderr = log, log
	done := make(chan struct{})
	started := make(chan error, 1)
	go func() {
		// The kernel's word that the server dies with us is tied to the thread that forks it.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
		close(done)
		p.mu.Lock()
		if p.cmd == cmd {
			p.cmd = nil
		}
		p.mu.Unlock()
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	p.cmd, p.done = cmd, done
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !p.ready(cmd.Process.Pid) {
		select {
		case <-tick.C:
		case <-done:
			p.cmd = nil
			return fmt.Errorf("postgres ended instead of starting: %s", tailFrom(p.log, size))
		case <-ctx.Done():
			_ = cmd.Process.Signal(syscall.SIGQUIT)
			<-done
			p.cmd = nil
			return fmt.Errorf("postgres did not become ready: %w: %s", ctx.Err(), tailFrom(p.log, size))
		}
	}
	return nil
}

// ready reads the status line that the server itself keeps.
func (p *postmaster) ready(pid int) bool {
	b, err := os.ReadFile(filepath.Join(p.data, "postmaster.pid"))
	if err != nil {
		return false
	}
	lines := strings.Split(string(b), "\n")
	return len(lines) > 7 && strings.TrimSpace(lines[7]) == "ready" && strings.TrimSpace(lines[0]) == strconv.Itoa(pid)
}

// stop ends the server by a signal: SIGINT in an orderly way, SIGQUIT as a crash. A stopped one is left alone.
func (p *postmaster) stop(sig syscall.Signal) {
	p.mu.Lock()
	cmd, done := p.cmd, p.done
	p.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(sig)
	select {
	case <-done:
	case <-time.After(20 * time.Second): // a shutdown that hangs, on an archive that fails for instance
		_ = cmd.Process.Signal(syscall.SIGQUIT)
		<-done
	}
	p.mu.Lock()
	if p.cmd == cmd {
		p.cmd = nil
	}
	p.mu.Unlock()
}

// reload makes the server read its configuration and certificates again.
func (p *postmaster) reload() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return nil
	}
	return p.cmd.Process.Signal(syscall.SIGHUP)
}

// endOrphan ends a server that a supervisor left behind when it was killed: one that still runs on our data folder.
func (p *postmaster) endOrphan(ctx context.Context) error {
	b, err := os.ReadFile(filepath.Join(p.data, "postmaster.pid"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	first, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid < 2 || !ownsData(pid, p.data) {
		return nil //nolint:nilerr // a file that names nobody of ours is PostgreSQL's to judge
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	asked := time.After(2 * time.Second) // it may be on its way out already
	for ownsData(pid, p.data) {
		select {
		case <-tick.C:
		case <-asked:
			_ = syscall.Kill(pid, syscall.SIGQUIT)
		case <-deadline:
			return fmt.Errorf("an older server, process %d, still runs on %s and does not end", pid, p.data)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// write replaces a file of the data folder, readable by the server only.
func (p *postmaster) write(name string, b []byte) error {
	path := filepath.Join(p.data, name)
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	if err := p.user.Own(path + ".new"); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// tailFrom is what was logged since an offset, the last lines of it.
func tailFrom(path string, offset int64) string {
	b, err := os.ReadFile(path)
	if err != nil || int64(len(b)) <= offset {
		return "nothing logged in " + path
	}
	lines := strings.Split(strings.TrimSpace(string(b[offset:])), "\n")
	return strings.Join(lines[max(0, len(lines)-6):], " | ")
}
