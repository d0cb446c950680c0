package pg

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"time"

	"github.com/gofrs/flock"
)

// MadeOnce returns a folder that many processes share: the first one that asks makes it, in a draft beside it that takes its name when it is
// whole.
func MadeOnce(ctx context.Context, path string, create func(draft string) error) (string, error) {
	lock := flock.New(path + ".lock")
	if _, err := lock.TryLockContext(ctx, 20*time.Millisecond); err != nil {
		return "", err
	}
	defer func() { _ = lock.Unlock() }()
	if _, err := os.Stat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	draft := path + ".new"
	if err := os.RemoveAll(draft); err != nil {
		return "", err
	}
	if err := create(draft); err != nil {
		return "", errors.Join(err, os.RemoveAll(draft))
	}
	return path, os.Rename(draft, path)
}

// StartDying starts a server whose command says that it dies with this process. done is closed when it has ended.
func StartDying(cmd *exec.Cmd) (done chan struct{}, err error) {
	done = make(chan struct{})
	started := make(chan error, 1)
	go func() {
		defer close(done)
		// The kernel's word that the server dies with us is given to the thread that forks it: it has to live as long.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		<-done
		return nil, err
	}
	return done, nil
}
