package world

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"dbops/internal/pg"
	"dbops/internal/sandbox/pgbin"
)

const (
	stopPatience = 20 * time.Second // of an orderly stop
	killPatience = 10 * time.Second // of a crash
	largestLog   = 16 << 20         // bytes; a larger one is begun anew at the next start
)

// program prepares one of PostgreSQL's programs, run as the unprivileged user. Its environment is its own: a HOME that leads to
// another user's folder breaks replication, and no PG variable may reach it.
func program(ctx context.Context, bin, name string, user *pgbin.User, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(bin, name), args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=/usr/bin:/bin", "TZ=UTC", "LC_ALL=C"}
	cmd.SysProcAttr = procAttr(user)
	cmd.Cancel = func() error { // initdb has children
		err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		if errors.Is(err, syscall.ESRCH) {
			err = os.ErrProcessDone
		}
		return err
	}
	return cmd
}

// runProgram runs a program to its end, feeding it input, and returns what it printed.
func runProgram(ctx context.Context, cmd *exec.Cmd, input string) (string, error) {
	return runFed(ctx, cmd, strings.NewReader(input))
}

func runFed(ctx context.Context, cmd *exec.Cmd, input io.Reader) (string, error) {
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = input, &out, &out
	// The death signal is bound to the thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, bytes.TrimSpace(out.Bytes()))
	}
	return out.String(), err
}

// cluster is what a server runs on.
type cluster struct {
	bin  string // folder of its programs
	dir  string // holds data/, conf/ and postgres.log
	user *pgbin.User
}

func (c cluster) data() string            { return filepath.Join(c.dir, "data") }
func (c cluster) conf(name string) string { return filepath.Join(c.dir, "conf", name) }
func (c cluster) log() string             { return filepath.Join(c.dir, "postgres.log") }

// process is a running server, or one that has ended.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// startError is a server that ended instead of starting.
type startError struct{ log string }

func (e *startError) Error() string {
	lines := strings.Split(strings.TrimSpace(e.log), "\n")
	return "PostgreSQL ended instead of starting: " + strings.Join(lines[max(0, len(lines)-6):], " | ")
}

// says tells whether the server ended with those words.
func says(err error, words string) bool {
	var e *startError
	return errors.As(err, &e) && strings.Contains(e.log, words)
}

// start runs the server on the cluster and returns when it accepts connections; if it is to recover, after that.
func (c cluster) start(ctx context.Context, patience time.Duration) (*process, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := endOrphan(ctx, c.data()); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(c.log(), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	offset, err := log.Seek(0, io.SeekEnd)
	if err == nil && offset > largestLog {
		offset, err = 0, log.Truncate(0)
	}
	if err != nil {
		return nil, err
	}
	cmd := program(context.WithoutCancel(ctx), c.bin, "postgres", c.user, c.dir, "-D", c.data(), "-c", "config_file="+c.conf("postgresql.conf"))
	cmd.Stdout, cmd.Stderr = log, log
	p := &process{cmd: cmd}
	if p.done, err = pg.StartDying(cmd); err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !c.ready(cmd.Process.Pid) {
		select {
		case <-tick.C:
		case <-p.done:
			return nil, &startError{log: readFrom(log, offset)}
		case <-ctx.Done():
			p.end(context.WithoutCancel(ctx), syscall.SIGQUIT)
			return nil, fmt.Errorf("PostgreSQL did not become ready: %w: %w", context.Cause(ctx), &startError{log: readFrom(log, offset)})
		}
	}
	return p, nil
}

// ready reads the state that the server itself keeps in its lock file.
func (c cluster) ready(pid int) bool {
	b, err := os.ReadFile(filepath.Join(c.data(), "postmaster.pid"))
	if err != nil {
		return false
	}
	lines := strings.Split(string(b), "\n")
	return len(lines) > 7 && strings.TrimSpace(lines[7]) == "ready" && strings.TrimSpace(lines[0]) == strconv.Itoa(pid)
}

func readFrom(f *os.File, offset int64) string {
	b, err := io.ReadAll(io.NewSectionReader(f, offset, largestLog))
	if err != nil || len(bytes.TrimSpace(b)) == 0 {
		return "nothing was logged"
	}
	return string(b)
}

// runs tells whether the process has not ended. A nil process has.
func (p *process) runs() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// end sends sig, SIGINT for an orderly stop or SIGQUIT for a crash, and waits until the process has ended. When ctx ends, or
// after some patience, it goes on to harsher signals. A process that has ended is left alone.
func (p *process) end(ctx context.Context, sig syscall.Signal) {
	if !p.runs() {
		return
	}
	patience := stopPatience
	if sig == syscall.SIGQUIT {
		patience = killPatience
	}
	_ = p.cmd.Process.Signal(sig)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.done:
		return
	case <-timer.C:
	case <-ctx.Done():
	}
	if sig == syscall.SIGKILL {
		<-p.done
		return
	}
	harsher := syscall.SIGQUIT
	if sig == syscall.SIGQUIT {
		harsher = syscall.SIGKILL
	}
	p.end(context.WithoutCancel(ctx), harsher)
}

// reload makes the server read its configuration and certificates again.
func (p *process) reload() error {
	if !p.runs() {
		return nil
	}
	return p.cmd.Process.Signal(syscall.SIGHUP)
}
