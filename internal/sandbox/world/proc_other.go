//go:build !linux

package world

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"dbops/internal/sandbox/pgbin"
)

// procAttr makes a child that runs as user, in a process group of its own. It does not die with us here: the next Open ends it.
func procAttr(user *pgbin.User) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Credential: user.Credential()}
}

// ownsData tells whether a process is a server of the data folder, by its arguments.
func ownsData(ctx context.Context, pid int, data string) bool {
	out, err := exec.CommandContext(ctx, "ps", "-ww", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.Contains(string(out)+" ", " -D "+data+" ")
}
