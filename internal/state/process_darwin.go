package state

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// processOf names a process by the machine's boot and when it started: a number alone is given again.
func processOf(pid int) string {
	boot, err := unix.Sysctl("kern.bootsessionuuid")
	if err != nil {
		return ""
	}
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s %d.%d", boot, info.Proc.P_starttime.Sec, info.Proc.P_starttime.Usec)
}

// gone tells whether a process of this machine is surely no more.
func gone(pid int, process string) bool {
	boot, err := unix.Sysctl("kern.bootsessionuuid")
	if err != nil || !strings.HasPrefix(process, boot+" ") {
		return false
	}
	if missing(pid) {
		return true
	}
	now := processOf(pid)
	return now != "" && now != process
}
