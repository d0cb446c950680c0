//go:build unix

package proxy

import "syscall"

// fileLimit is how many files this process may have open. The runtime has raised it to the hard limit.
func fileLimit() uint64 {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	return uint64(l.Cur) //nolint:unconvert // signed on some systems
}
