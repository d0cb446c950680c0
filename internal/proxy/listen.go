package proxy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"dbops/internal/fault"
)

// Listen listens on addr, host:port, for [Server.Serve]. The host must be this machine's own loopback: 127.0.0.1, ::1 or localhost;
// port 0 takes a free one. Another host, or none, is fault.Usage; a port that is taken is fault.Unavailable and names who has it,
// where the system tells.
func Listen(ctx context.Context, addr string) (net.Listener, error) {
	return listenHere(ctx, addr, "--listen", "the proxy serves this machine only: whoever reaches its port can try passwords against it")
}

// ListenFigures is [Listen] for the figures and probes, for which nobody is asked for a password.
func ListenFigures(ctx context.Context, addr string) (net.Listener, error) {
	return listenHere(ctx, addr, "--metrics", "figures and probes are for this machine only: they are told without a password")
}

// listenHere listens for a flag; why is the reason that other machines may not come.
func listenHere(ctx context.Context, addr, flag, why string) (net.Listener, error) {
	op := "listen on " + addr
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fault.New(fault.Usage, op, err).Hint("say host and port, as in 127.0.0.1:5432; port 0 takes a free one")
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if ip, err := netip.ParseAddr(host); err != nil || !ip.Unmap().IsLoopback() {
		return nil, fault.Newf(fault.Usage, op, "%s", why).
			Hint("use 127.0.0.1:%s; for another machine, forward the port over SSH", port)
	}
	return listen(ctx, op, net.JoinHostPort(host, port), flag)
}

func listen(ctx context.Context, op, addr, flag string) (net.Listener, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	switch {
	case err == nil:
		return ln, nil
	case errors.Is(err, syscall.EADDRINUSE):
		by := holder(addr)
		if by == "" {
			by = "another process"
		}
		return nil, fault.New(fault.Unavailable, op, fmt.Errorf("the port is taken by %s: %w", by, syscall.EADDRINUSE)).
			Hint("use another port, or %s 127.0.0.1:0 for a free one", flag)
	case errors.Is(err, syscall.EACCES):
		return nil, fault.New(fault.Denied, op, err).Hint("ports below 1024 are root's: use a higher one, or %s 127.0.0.1:0 for a free one", flag)
	}
	return nil, fault.New(fault.Usage, op, err).Hint("say host and port, as in 127.0.0.1:5432; port 0 takes a free one")
}

// holder finds who listens on addr, as "postgres (pid 123)"; empty if the system does not tell. It reads Linux's /proc.
func holder(addr string) string {
	want, err := netip.ParseAddrPort(addr)
	if err != nil {
		return ""
	}
	var inodes []string
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		inodes = append(inodes, listeners(b, want)...)
	}
	if len(inodes) == 0 {
		return ""
	}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*") // of other users' processes none are readable
	for _, link := range links {
		to, err := os.Readlink(link)
		if err != nil || !slices.Contains(inodes, strings.TrimSuffix(strings.TrimPrefix(to, "socket:["), "]")) {
			continue
		}
		pid := strings.Split(link, "/")[2]
		name, err := os.ReadFile(filepath.Join("/proc", pid, "comm"))
		if err != nil {
			continue
		}
		return fmt.Sprintf("%s (pid %s)", bytes.TrimSpace(name), pid)
	}
	return ""
}

// listeners are the inodes of the sockets in a table of /proc/net that listen on addr, or on its port of every address.
func listeners(table []byte, addr netip.AddrPort) []string {
	const listening = "0A"
	var out []string
	lines := bufio.NewScanner(bytes.NewReader(table))
	for lines.Scan() {
		f := strings.Fields(lines.Text()) // sl local remote state queues timer retransmits uid timeout inode …
		if len(f) < 10 || f[3] != listening {
			continue
		}
		host, port, _ := strings.Cut(f[1], ":")
		p, err := strconv.ParseUint(port, 16, 16)
		if err != nil || uint16(p) != addr.Port() {
			continue
		}
		if ip := kernelAddr(host); ip.IsUnspecified() || ip.Unmap() == addr.Addr().Unmap() {
			out = append(out, f[9])
		}
	}
	return out
}

// kernelAddr reads an address as /proc/net writes it: in hex, each four bytes in the order of a little-endian machine.
func kernelAddr(s string) netip.Addr {
	b, err := hex.DecodeString(s)
	if err != nil || len(b)%4 != 0 {
		return netip.Addr{}
	}
	for i := 0; i < len(b); i += 4 {
		slices.Reverse(b[i : i+4])
	}
	ip, _ := netip.AddrFromSlice(b)
	return ip
}
