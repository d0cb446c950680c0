package world

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	orphanGrace    = 3 * time.Second // to end by itself: it may have been told to already
	orphanDeadline = 20 * time.Second
)

// endOrphan makes a data folder ready for a new server: it ends one that a killed supervisor left running there, and mends a
// lock file whose process number now belongs to somebody else. The caller holds the world's lock, so no server there is anybody's.
func endOrphan(ctx context.Context, data string) error {
	path := filepath.Join(data, "postmaster.pid")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	first, rest, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid < 2 {
		return os.Remove(path) // killed while it wrote the file, which PostgreSQL does first of all; it would refuse to start now
	}
	if !alive(pid) {
		return nil // nobody is there, and PostgreSQL itself knows what to do with the file
	}
	if !ownsData(ctx, pid, data) {
		// PostgreSQL would take that process for the server. It knows its parent better, and still looks for children of the
		// dead server by the other lines of the file.
		return os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"+rest), 0o600)
	}
	begun := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for asked := false; ownsData(ctx, pid, data); {
		switch waited := time.Since(begun); {
		case waited > orphanDeadline:
			return fmt.Errorf("process %d does not end", pid)
		case waited > orphanGrace && !asked:
			if err := syscall.Kill(pid, syscall.SIGQUIT); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("end process %d: %w", pid, err)
			}
			asked = true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func alive(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}
