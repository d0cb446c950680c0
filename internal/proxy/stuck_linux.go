package proxy

import (
	"net"

	"golang.org/x/sys/unix"
)

// stuck tells whether sent data is being retransmitted because the peer acknowledges nothing. A peer that answers and has no room
// is not stuck.
func stuck(c *net.TCPConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	var info *unix.TCPInfo
	if raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }) != nil || err != nil {
		return false
	}
	return info.Unacked > 0 && info.Retransmits > 0
}
