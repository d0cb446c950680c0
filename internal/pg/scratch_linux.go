package pg

import (
	"context"
	"os"
	"strconv"
	"syscall"
)

// scratchAttr makes a child that runs as u, in a process group of its own, and dies with the thread that forks it.
func scratchAttr(u *OSUser) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Credential: u.Credential(), Pdeathsig: syscall.SIGQUIT}
}

// worksIn tells whether a process works in the data folder, as every server process does.
func worksIn(_ context.Context, pid int, data string) bool {
	dir, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/cwd")
	return err == nil && dir == data
}
