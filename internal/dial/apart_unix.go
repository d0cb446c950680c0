//go:build unix

package dial

import (
	"os/exec"
	"syscall"
)

// apart keeps a terminal's Ctrl-C, which asks dbops to drain, from ending a program that the draining needs.
func apart(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
