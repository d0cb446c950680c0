package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/adrg/xdg"
	"github.com/gofrs/flock"

	"dbops/internal/fault"
	"dbops/internal/sandbox/play"
)

// The files of a sandbox's folder that its processes share.
const (
	markerFile = "sandbox.json"    // its presence says that the folder is a sandbox, and may be wiped
	lockFile   = "supervisor.lock" // held by the supervisor for as long as it lives
	pidFile    = "supervisor.pid"
	logFile    = "supervisor.log"
	worldDir   = "world"
)

// How long things may take before somebody should look.
const (
	upTimeout   = 5 * time.Minute // five servers, initialised and filled, on a slow machine
	downTimeout = 30 * time.Second
)

// DefaultDir is where a sandbox lives unless somebody says otherwise. PostgreSQL refuses to run as root, so root's sandbox must be
// where an unprivileged user can reach it.
func DefaultDir() string {
	if os.Geteuid() == 0 {
		return "/var/lib/dbops/sandbox"
	}
	return filepath.Join(xdg.StateHome, "dbops", "sandbox")
}

// UpOptions say which sandbox to bring up, and how.
type UpOptions struct {
	Dir  string
	Pace float64 // of the played clouds: 1 is as slow as the real ones
	// Command is the argument list that runs [Supervise] in a process of its own; Dir and pace are appended by the caller.
	Command []string
}

// Up brings the sandbox up and returns when all of it is ready. One that runs already is left as it is.
func Up(ctx context.Context, o UpOptions) error {
	op := "bring up the sandbox in " + o.Dir
	if err := os.MkdirAll(o.Dir, 0o755); err != nil { //nolint:gosec // the unprivileged user of the servers passes through
		return fault.New(fault.Config, op, err).Hint("--dir names another folder")
	}
	if s, err := ask(ctx, o.Dir); err == nil && s.Ready {
		return nil
	}
	if err := claim(o.Dir); err != nil {
		return fault.New(fault.Usage, op, err).Hint("--dir names a folder of its own, which is made")
	}
	log, err := os.OpenFile(filepath.Join(o.Dir, logFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fault.New(fault.Config, op, err)
	}
	defer log.Close()
	start, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return fault.New(fault.Internal, op, err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), o.Command[0], o.Command[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = o.Dir
	if err := cmd.Start(); err != nil {
		return fault.New(fault.Internal, op, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()

	ctx, cancel := context.WithTimeout(ctx, upTimeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			if held, lockErr := lockHeld(o.Dir); lockErr == nil && held {
				ended = nil // somebody else's supervisor was faster: wait for that one
				continue
			}
			return fault.Newf(fault.Internal, op, "it ended before it was ready (%w): %s", orClean(err), tail(log.Name(), start)).
				Hint("the whole log is in %s", log.Name())
		case <-ctx.Done():
			return fault.New(fault.Unavailable, op, ctx.Err()).Hint("it goes on in the background; its log is in %s", log.Name())
		case <-tick.C:
			if s, err := ask(ctx, o.Dir); err == nil && s.Ready {
				return nil
			}
		}
	}
}

// claim marks a folder as a sandbox's, so that it may be wiped later. One that holds anything else is refused.
func claim(dir string) error {
	marker := filepath.Join(dir, markerFile)
	if _, err := os.Stat(marker); err == nil {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != lockFile { // what a wipe leaves
			return fmt.Errorf("it is no sandbox and it is not empty: it holds %s", e.Name())
		}
	}
	return play.Save(dir, markerFile, meta{})
}

// Down stops the sandbox in dir and returns when no process of it is left. It tells whether one ran.
func Down(ctx context.Context, dir string) (ran bool, err error) {
	op := "stop the sandbox in " + dir
	if _, err := os.Stat(filepath.Join(dir, lockFile)); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if held, err := lockHeld(dir); !held || err != nil {
		return false, err
	}
	return true, down(ctx, op, dir)
}

func down(ctx context.Context, op, dir string) error {
	askErr := askDown(ctx, dir)
	pid, pidErr := readPID(dir)
	if askErr != nil {
		if pidErr != nil {
			return fault.New(fault.Internal, op, errors.Join(askErr, pidErr))
		}
		_ = syscall.Kill(pid, syscall.SIGTERM) // the lock says that this process is the supervisor
	}
	deadline, killed := time.Now().Add(downTimeout), false
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if held, err := lockHeld(dir); !held || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			if killed || pidErr != nil {
				return fault.Newf(fault.Unavailable, op, "its supervisor, process %d, does not end", pid)
			}
			_ = syscall.Kill(pid, syscall.SIGKILL) // the servers die with it
			deadline, killed = time.Now().Add(downTimeout), true
		}
		select {
		case <-ctx.Done():
			return fault.New(fault.Interrupted, op, ctx.Err())
		case <-tick.C:
		}
	}
}

// lockHeld tells whether a supervisor of dir lives.
func lockHeld(dir string) (bool, error) {
	lock := flock.New(filepath.Join(dir, lockFile))
	ok, err := lock.TryLock()
	if ok {
		err = lock.Unlock()
	}
	return !ok, err
}

// Wipe deletes the state of a stopped sandbox. It refuses a folder that is not one.
func Wipe(dir string) error {
	op := "wipe the sandbox in " + dir
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := os.Stat(filepath.Join(dir, markerFile)); err != nil {
		return fault.Newf(fault.Usage, op, "there is no %s in it, so it is not a sandbox", markerFile)
	}
	lock := flock.New(filepath.Join(dir, lockFile))
	ok, err := lock.TryLock()
	if err != nil || !ok {
		return fault.New(fault.Busy, op, errors.Join(errors.New("it is running"), err)).Hint("dbops sandbox down --dir %s", dir)
	}
	defer func() { _ = lock.Unlock() }()
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fault.New(fault.Internal, op, err)
	}
	for _, e := range entries {
		if e.Name() == lockFile || e.Name() == markerFile {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fault.New(fault.Internal, op, err)
		}
	}
	return os.Remove(filepath.Join(dir, markerFile)) // last, so that an interrupted wipe can be repeated
}

// Supervise runs the sandbox until ctx ends or somebody asks it to stop. It is the body of the process that [Up] starts.
func Supervise(ctx context.Context, o Options) error {
	op := "run the sandbox in " + o.Dir
	lock := flock.New(filepath.Join(o.Dir, lockFile))
	ok, err := lock.TryLock()
	if err != nil {
		return fault.New(fault.Internal, op, err)
	}
	if !ok {
		return fault.Newf(fault.Busy, op, "it is running already").Hint("dbops sandbox status --dir %s", o.Dir)
	}
	defer func() { _ = lock.Unlock() }()
	if err := os.WriteFile(filepath.Join(o.Dir, pidFile), []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		return fault.New(fault.Internal, op, err)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s, err := Start(ctx, o)
	if err != nil {
		return err
	}
	control, err := s.ServeControl(ctx, stop)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	o.Log.Info("ready", "dir", o.Dir)
	<-ctx.Done()
	o.Log.Info("stopping")
	return errors.Join(control.Close(), s.Close(), os.Remove(filepath.Join(o.Dir, pidFile)))
}

func readPID(dir string) (int, error) {
	b, err := os.ReadFile(filepath.Join(dir, pidFile))
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid < 2 {
		return 0, fmt.Errorf("%s holds no process number", filepath.Join(dir, pidFile))
	}
	return pid, nil
}

// tail is what was logged since start, at most its last lines.
func tail(path string, start int64) string {
	b, err := os.ReadFile(path)
	if err != nil || int64(len(b)) < start {
		return "no log"
	}
	lines := strings.Split(strings.TrimSpace(string(b[start:])), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

func orClean(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}
