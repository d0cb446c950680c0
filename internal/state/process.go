package state

import (
	"errors"
	"os"
	"syscall"
)

// OwnProcess is how other processes of this machine can tell whether this one lives: what a runner is registered with. It is empty where
// that cannot be told; then only the lease says when a runner is dead.
func OwnProcess() string { return processOf(os.Getpid()) }

// missing tells whether there is no process of that number, whoever it would belong to.
func missing(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }
