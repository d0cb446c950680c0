package dial

import (
	"os/exec"
	"runtime"
	"syscall"
)

// withParent makes a program end with this one, however that ends. The kernel watches the thread that started it: release lets that go.
func withParent(cmd *exec.Cmd) (release func()) {
	runtime.LockOSThread()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	return runtime.UnlockOSThread
}
