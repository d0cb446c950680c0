//go:build !linux

package world

import (
	"bytes"
	"os/exec"
	"strconv"
	"syscall"

	"dbops/internal/sandbox/pgbin"
)

// procAttr makes a child that runs as user, in a process group of its own. It does not die with us here: the next start ends it.
func procAttr(user *pgbin.User) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Credential: user.Credential()}
}

// ownsData tells whether a process is a server of the data folder, by its arguments.
func ownsData(pid int, data string) bool {
	out, err := exec.Command("ps", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && bytes.Contains(out, []byte("postgres")) && bytes.Contains(out, []byte(data))
}
