package proxy

import (
	"cmp"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const socketPathMax = 107 // bytes, without the NUL

// credentials are the kernel's word on who connected to a socket.
func credentials(conn *net.UnixConn) (identity, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return identity{}, err
	}
	var cred *unix.Ucred
	var errno error
	if err := raw.Control(func(fd uintptr) { cred, errno = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return identity{}, err
	}
	if errno != nil {
		return identity{}, os.NewSyscallError("SO_PEERCRED", errno)
	}
	return identity{uid: int(cred.Uid), pid: int(cred.Pid)}, nil
}

func processName(pid int) string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// ofTCP finds the peer of a connection within this machine.
func (p *processes) ofTCP(conn net.Conn) (identity, error) {
	peer, own, ok := endpoints(conn)
	if !ok {
		return identity{}, errors.New("not a TCP connection")
	}
	uid, inode, err := askKernel(peer, own)
	switch {
	case err == nil:
		p.kernel.Store(true)
	case p.kernel.Load():
		return identity{}, err
	default:
		if uid, inode, err = readTables(peer, own); err != nil {
			return identity{}, err
		}
	}
	return identity{uid: uid, pid: p.holder(uid, inode)}, nil
}

// Of linux/inet_diag.h and linux/sock_diag.h.
const (
	diagByFamily  = 20
	diagRequest   = unix.NLMSG_HDRLEN + 56
	diagUID       = 64 // offsets in struct inet_diag_msg
	diagInode     = 68
	diagAnswerMin = 72
)

// askKernel asks for one socket of this machine by its addresses: in the same time however many there are.
func askKernel(local, remote netip.AddrPort) (uid int, inode uint64, err error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return 0, 0, os.NewSyscallError("socket", err)
	}
	defer func() { _ = unix.Close(fd) }()
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1})

	b := make([]byte, diagRequest)
	binary.NativeEndian.PutUint32(b, diagRequest)
	binary.NativeEndian.PutUint16(b[4:], diagByFamily)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST)
	req := b[unix.NLMSG_HDRLEN:]
	req[0], req[1] = unix.AF_INET, unix.IPPROTO_TCP
	if local.Addr().Is6() {
		req[0] = unix.AF_INET6
	}
	binary.NativeEndian.PutUint32(req[4:], 1<<unix.BPF_TCP_ESTABLISHED)
	binary.BigEndian.PutUint16(req[8:], local.Port())
	binary.BigEndian.PutUint16(req[10:], remote.Port())
	copy(req[12:28], local.Addr().AsSlice())
	copy(req[28:44], remote.Addr().AsSlice())
	for i := 48; i < 56; i++ { // no cookie
		req[i] = 0xff
	}
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, 0, os.NewSyscallError("sendto", err)
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return 0, 0, os.NewSyscallError("recvfrom", err)
	}
	if n < unix.NLMSG_HDRLEN+diagAnswerMin || binary.NativeEndian.Uint16(answer[4:]) != diagByFamily {
		return 0, 0, syscall.ENOENT
	}
	m := answer[unix.NLMSG_HDRLEN:]
	uid, inode = int(binary.NativeEndian.Uint32(m[diagUID:])), uint64(binary.NativeEndian.Uint32(m[diagInode:]))
	if inode == 0 { // closed in the meantime
		return 0, 0, syscall.ENOENT
	}
	return uid, inode, nil
}

// readTables is askKernel where the kernel has no such service.
func readTables(local, remote netip.AddrPort) (uid int, inode uint64, err error) {
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line) // sl local remote state queues timer retransmits uid timeout inode …
			if len(f) < 10 || kernelAddrPort(f[1]) != local || kernelAddrPort(f[2]) != remote {
				continue
			}
			uid, err := strconv.Atoi(f[7])
			if err != nil {
				continue
			}
			if inode, err := strconv.ParseUint(f[9], 10, 64); err == nil && inode > 0 {
				return uid, inode, nil
			}
		}
	}
	return 0, 0, syscall.ENOENT
}

func kernelAddrPort(s string) netip.AddrPort {
	host, port, _ := strings.Cut(s, ":")
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(kernelAddr(host).Unmap(), uint16(n))
}

// lastPID is the process that was made last, 0 if the system does not tell.
func lastPID() int {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b))
	last, _ := strconv.Atoi(f[len(f)-1])
	return last
}

// oldestFirst sorts processes by when they were made: the kernel begins again with small numbers after it has given the largest.
func oldestFirst(pids []int, last int) {
	slices.SortFunc(pids, func(a, b int) int {
		if (a > last) != (b > last) {
			return cmp.Compare(b, a)
		}
		return cmp.Compare(a, b)
	})
}

// search looks at every descriptor of those who were found lately, then of every other process of the user, the youngest first.
func search(uid int, link string, lately []holding) (holding, bool) {
	names, err := readNames("/proc")
	if err != nil {
		return holding{}, false
	}
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	oldestFirst(pids, lastPID())
	for _, h := range slices.Backward(lately) {
		pids = append(pids, h.pid)
	}
	for _, pid := range slices.Backward(pids) {
		var st unix.Stat_t
		if unix.Stat("/proc/"+strconv.Itoa(pid), &st) != nil || int(st.Uid) != uid && uid != 0 {
			continue
		}
		if fd := holds(pid, link); fd >= 0 {
			return holding{pid, fd}, true
		}
	}
	return holding{}, false
}

// holds returns the descriptor of a process whose link says that, -1 if there is none.
func holds(pid int, link string) int {
	dir := fdsOf(pid)
	names, err := readNames(dir)
	if err != nil {
		return -1
	}
	for _, name := range names {
		if to, err := os.Readlink(dir + "/" + name); err == nil && to == link {
			if fd, err := strconv.Atoi(name); err == nil {
				return fd
			}
		}
	}
	return -1
}

// near is holds for the descriptors around the one that the process had.
func near(h holding, link string) (fd int, alive bool) {
	dir, err := unix.Open(fdsOf(h.pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, false
	}
	defer func() { _ = unix.Close(dir) }()
	var to [64]byte // longer than any socket's
	is := func(fd int) bool {
		n, err := unix.Readlinkat(dir, strconv.Itoa(fd), to[:])
		return err == nil && string(to[:n]) == link
	}
	for i := range nearAbove { // the next ones above, mostly; below, where connections come and go
		if is(h.fd + i) {
			return h.fd + i, true
		}
		if i > 0 && i <= min(nearBelow, h.fd) && is(h.fd-i) {
			return h.fd - i, true
		}
	}
	return -1, true
}

func fdsOf(pid int) string { return filepath.Join("/proc", strconv.Itoa(pid), "fd") }

func readNames(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return f.Readdirnames(-1)
}
