package island

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// live is the island's process: it makes the network, serves, and ends with its standard input.
func (s *Spec) live() error {
	runtime.LockOSThread() // what it starts dies with this thread
	if err := s.network(); err != nil {
		return fmt.Errorf("make the network: %w", err)
	}
	if err := s.names(); err != nil {
		return fmt.Errorf("make the names: %w", err)
	}
	for _, argv := range s.Programs {
		if err := s.program(argv, nil).Start(); err != nil {
			return err
		}
	}
	for addr, socket := range s.Bridges {
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		go serve(ln, func(c net.Conn) { pass(c, "unix", filepath.Join(s.Dir, socket)) })
	}
	for socket, addr := range s.Doors {
		if err := s.socket(socket, func(c net.Conn) { pass(c, "tcp", addr) }); err != nil {
			return err
		}
	}
	start := make(chan *exec.Cmd)
	for socket, argv := range s.Servers {
		if err := s.socket(socket, func(c net.Conn) {
			if u, ok := c.(*net.UnixConn); ok {
				if f, err := u.File(); err == nil {
					start <- s.program(argv, f)
				}
			}
			_ = c.Close()
		}); err != nil {
			return err
		}
	}
	if err := s.socket(dialDoor, dial); err != nil {
		return err
	}
	if _, err := os.Stdout.WriteString("ready\n"); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	for {
		select {
		case <-ended:
			return nil
		case cmd := <-start: // on this thread
			if err := cmd.Start(); err != nil {
				_, _ = fmt.Fprintln(os.Stderr, "island:", cmd.Path, err)
			}
			if f, ok := cmd.Stdin.(*os.File); ok {
				_ = f.Close()
			}
			go func() { _ = cmd.Wait() }() // its end is its own
		}
	}
}

// network brings up the loopback interface with the addresses. There is no other.
func (s *Spec) network() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	up, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	up.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, up); err != nil {
		return err
	}
	for n, text := range s.Addresses {
		one, err := unix.NewIfreq(fmt.Sprintf("lo:%d", n+1))
		if err != nil {
			return err
		}
		if err := one.SetInet4Addr(net.ParseIP(text).To4()); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, unix.SIOCSIFADDR, one); err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
	}
	return nil
}

// names puts a file of hosts in place of this machine's, for the island alone.
func (s *Spec) names() error {
	var text strings.Builder
	text.WriteString("127.0.0.1 localhost\n")
	for name, addr := range s.Hosts {
		text.WriteString(addr + " " + name + "\n")
	}
	file := filepath.Join(s.Dir, "hosts")
	if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil { //nolint:gosec // names
		return err
	}
	own := func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") }
	err := own()
	if errors.Is(err, unix.EINVAL) {
		err = s.outside(own)
	}
	if err != nil {
		return err
	}
	return unix.Mount(file, "/etc/hosts", "", unix.MS_BIND, "")
}

// outside does something at the root of all mounts. In a chroot, / is a folder of a mount that has no name there; of the namespace, which is this
// process's own, that is the way to it.
func (s *Spec) outside(do func() error) error {
	inside, err := os.Open("/")
	if err != nil {
		return err
	}
	defer inside.Close()
	below := filepath.Join(s.Dir, "below")
	if err := os.MkdirAll(below, 0o700); err != nil {
		return err
	}
	if err := errors.Join(unix.Chdir("/"), unix.Chroot(below)); err != nil {
		return err
	}
	const deeper = 64 // than folders are
	for range deeper {
		if err := unix.Chdir(".."); err != nil {
			return err
		}
	}
	return errors.Join(unix.Chroot("."), do(), inside.Chdir(), unix.Chroot("."))
}

// program is one of the unprivileged user.
func (s *Spec) program(argv []string, stream *os.File) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), argv[0], argv[1:]...) // ends with the island
	cmd.Env, cmd.Dir, cmd.Stderr = []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "HOME=" + s.Dir}, s.Dir, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Getuid() == 0 && s.UID != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: s.UID, Gid: s.GID}
	}
	if stream != nil {
		cmd.Stdin, cmd.Stdout = stream, stream
	}
	return cmd
}

func (s *Spec) socket(name string, handle func(net.Conn)) error {
	path := filepath.Join(s.Dir, name)
	ln, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	go serve(ln, handle)
	return os.Chmod(path, 0o666) //nolint:gosec // programs of the unprivileged user connect, too
}

func serve(ln net.Listener, handle func(net.Conn)) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go handle(c)
	}
}

func pass(in net.Conn, network, to string) {
	out, err := (&net.Dialer{}).DialContext(context.Background(), network, to)
	if err != nil {
		_ = in.Close()
		return
	}
	join(in, out)
}

func join(a, b net.Conn) {
	var wg sync.WaitGroup
	end := func() { _, _ = a.Close(), b.Close() }
	wg.Go(func() { defer end(); _, _ = io.Copy(a, b) })
	wg.Go(func() { defer end(); _, _ = io.Copy(b, a) })
	wg.Wait()
}

// dial connects to the address that the first line names; the answer is a line with what went wrong, an empty one if nothing.
func dial(c net.Conn) {
	r := bufio.NewReaderSize(c, 16) // what comes after the line comes after the answer
	addr, err := r.ReadString('\n')
	if err != nil {
		_ = c.Close()
		return
	}
	out, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", strings.TrimSpace(addr))
	if err != nil {
		_, _ = fmt.Fprintf(c, "%s\n", strings.ReplaceAll(err.Error(), "\n", " "))
		_ = c.Close()
		return
	}
	if _, err := c.Write([]byte("\n")); err != nil {
		_, _ = c.Close(), out.Close()
		return
	}
	join(c, out)
}
