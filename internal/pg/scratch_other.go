//go:build !linux

package pg

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// scratchAttr makes a child that runs as u, in a process group of its own. It does not die with us here: the next start ends it.
func scratchAttr(u *OSUser) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Credential: u.Credential()}
}

// worksIn tells whether a process is a server of the data folder, by its arguments.
func worksIn(ctx context.Context, pid int, data string) bool {
	out, err := exec.CommandContext(ctx, "ps", "-ww", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.Contains(string(out)+" ", " -D "+data+" ")
}
