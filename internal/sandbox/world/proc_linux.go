package world

import (
	"context"
	"os"
	"strconv"
	"syscall"

	"dbops/internal/sandbox/pgbin"
)

// procAttr makes a child that runs as user, in a process group of its own, and dies with the thread that forks it.
func procAttr(user *pgbin.User) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Credential: user.Credential(), Pdeathsig: syscall.SIGQUIT}
}

// ownsData tells whether a process works in the data folder, as every server process does.
func ownsData(_ context.Context, pid int, data string) bool {
	dir, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/cwd")
	return err == nil && dir == data
}
