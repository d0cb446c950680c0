package proxy

import (
	"net"

	"golang.org/x/sys/unix"
)

// stuck tells whether sent data is being retransmitted because the peer acknowledges nothing. A peer that answers and has no room
// is not stuck.
func stuck(c *net.TCPConn) bool {
	info := infoOf(c)
	return info != nil && info.Unacked > 0 && info.Retransmits > 0
}

// reset tells whether the peer has broken the connection off, which a read would tell only after what came before.
func reset(c *net.TCPConn) bool {
	info := infoOf(c)
	return info != nil && info.State == unix.BPF_TCP_CLOSE
}

func infoOf(c *net.TCPConn) *unix.TCPInfo {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	var info *unix.TCPInfo
	if raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }) != nil || err != nil {
		return nil
	}
	return info
}
