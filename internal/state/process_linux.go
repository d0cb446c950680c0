package state

import (
	"os"
	"strconv"
	"strings"
)

// processOf names a process by the machine's boot, its PID namespace and when it started: a number alone is given again.
func processOf(pid int) string {
	here := place()
	_, start := stat(pid)
	if here == "" || start == "" {
		return ""
	}
	return here + start
}

// gone tells whether a process of this machine is surely no more.
func gone(pid int, process string) bool {
	here := place()
	if here == "" || !strings.HasPrefix(process, here) {
		return false
	}
	found, start := stat(pid)
	if !found {
		return missing(pid) // /proc may hide what is somebody else's
	}
	return start != "" && process != here+start
}

// place is where a process's number means what it means here; empty if that is not known.
func place() string {
	if self, err := os.Readlink("/proc/self"); err != nil || self != strconv.Itoa(os.Getpid()) {
		return "" // the /proc of another namespace
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(boot)) + " " + namespace + " "
}

// stat is whether a process is there, and when it started, in ticks since the boot.
func stat(pid int) (found bool, start string) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return !os.IsNotExist(err), ""
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:])) // a program's name may hold anything
	if len(fields) < 20 {
		return true, ""
	}
	return true, fields[19]
}
