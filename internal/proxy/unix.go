package proxy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"dbops/internal/fault"
)

// DefaultPort is in the name of a socket where nothing else says a port: what libpq looks for by itself.
const DefaultPort = 5432

// SocketPath is where libpq looks for a server of that port, given the folder as its host.
func SocketPath(dir string, port int) string {
	return filepath.Join(dir, ".s.PGSQL."+strconv.Itoa(port))
}

// ListenUnix listens on the socket of a port in dir, for [Server.Serve]. The folder is made if it is missing, and refused if others than
// this user could enter it. A socket whose proxy is gone is replaced, a live one never is: that is fault.Unavailable.
func ListenUnix(ctx context.Context, dir string, port int) (net.Listener, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fault.New(fault.Usage, "listen in "+dir, err)
	}
	path := SocketPath(abs, port)
	op := "listen on " + path
	if over := len(path) - socketPathMax; over > 0 {
		return nil, fault.Newf(fault.Usage, op, "the path is too long for a socket: %d bytes, the system takes %d", len(path), socketPathMax).
			Hint("use a folder with a path that is %d bytes shorter, such as one below $XDG_RUNTIME_DIR", over)
	}
	if err := privateFolder(abs); err != nil {
		return nil, err
	}
	unlock, err := lockFolder(ctx, abs) // else two that start at once could each take the other's socket for a stale one
	if err != nil {
		return nil, fault.New(fault.Unavailable, op, err)
	}
	defer unlock()
	if err := clearStale(ctx, op, path); err != nil {
		return nil, err
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fault.New(fault.Unavailable, op, err).Hint("check that this user may write to %s, and that it is on a local disk", abs)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = ln.Close()
		return nil, fault.New(fault.Unavailable, op, err)
	}
	return ln, nil
}

// privateFolder makes dir, or checks that nobody else can enter it: what others cannot reach they cannot replace either.
func privateFolder(dir string) error {
	op := "use the folder " + dir + " for a socket"
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fault.New(fault.Usage, op, err).Hint("make the folder above it first, or use one below $XDG_RUNTIME_DIR")
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fault.New(fault.Usage, op, err)
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return fault.Newf(fault.Usage, op, "it is a symbolic link, which could be made to point elsewhere").Hint("name the folder that it points to")
	}
	if !info.IsDir() {
		return fault.Newf(fault.Usage, op, "it is no folder").Hint("name a folder: the socket gets its name from the port")
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != os.Getuid() {
		return fault.Newf(fault.Usage, op, "it belongs to %s: who owns the folder can put another socket in its place", userName(ownerOf(info))).
			Hint("use a folder of your own, or one that does not exist yet")
	}
	if open := info.Mode().Perm() & 0o077; open != 0 {
		return fault.Newf(fault.Usage, op, "others may enter it: its mode is %#o", info.Mode().Perm()).Hint("chmod 700 %s, or use a folder that does not exist yet", dir)
	}
	return nil
}

func ownerOf(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return -1
}

// lockFolder holds a folder for a moment, against others who do the same.
func lockFolder(ctx context.Context, dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = f.Close()
			return nil, err
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("somebody else holds %s", dir)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// clearStale removes a socket that nobody listens on.
func clearStale(ctx context.Context, op, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fault.New(fault.Unavailable, op, err)
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fault.Newf(fault.Usage, op, "there is a file of that name, and it is no socket").Hint("move it away, or use another folder")
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err == nil {
		by := "another process"
		if u, ok := conn.(*net.UnixConn); ok {
			if id, err := credentials(u); err == nil && id.pid > 0 {
				by = describe(id.pid)
			}
		}
		_ = conn.Close()
		return fault.New(fault.Unavailable, op, fmt.Errorf("the socket is taken by %s: %w", by, syscall.EADDRINUSE)).
			Hint("use another folder, or another port in its name with --listen; dbops proxy list shows the proxies that are open")
	}
	if !errors.Is(err, syscall.ECONNREFUSED) { // a backlog that is full, for one, is not a sign of death
		return fault.New(fault.Unavailable, op, fmt.Errorf("a socket is there, and whether somebody listens cannot be told: %w", err)).
			Hint("look who has it (lsof %s), and remove it if nobody does", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.Unavailable, op, fmt.Errorf("remove the socket that an ended process left: %w", err))
	}
	return nil
}
