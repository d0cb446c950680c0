package bench

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// processorTime is what a process has used, as /proc tells it: in hundredths of a second.
func processorTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	if pid == 0 {
		return 0
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	must(b, err)
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	f := strings.Fields(string(rest)) // from the state on, which is the third field
	user, err := strconv.Atoi(f[11])
	must(b, err)
	system, err := strconv.Atoi(f[12])
	must(b, err)
	return time.Duration(user+system) * (time.Second / 100)
}

// resident is a process's memory in bytes.
func resident(b *testing.B, pid int) int {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(b, err)
	for line := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.Atoi(strings.Fields(v)[0])
			must(b, err)
			return kb << 10
		}
	}
	b.Fatalf("process %d has no memory", pid)
	return 0
}

// describe names the machine and the versions.
func describe(b *testing.B, st *stage) []string {
	b.Helper()
	first := func(program string, args ...string) string {
		out, err := exec.CommandContext(b.Context(), program, args...).Output()
		if err != nil {
			return "unknown"
		}
		line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return line
	}
	model := "unknown"
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if name, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(v)
				break
			}
		}
	}
	load, _, _ := strings.Cut(readFile("/proc/loadavg"), " ")
	memory := "unknown"
	if f := strings.Fields(readFile("/proc/meminfo")); len(f) > 1 {
		if kb, err := strconv.Atoi(f[1]); err == nil {
			memory = fmt.Sprintf("%d GB", kb>>20)
		}
	}
	servers := strings.Fields(st.dbops(b, "psql", "--config", st.config, "-e", "bench", "pgbench_main", "--access", "write", "--", "-XAtc", "show server_version"))
	return []string{
		"processor: " + model + ", " + strconv.Itoa(runtime.NumCPU()) + " cores; memory: " + memory,
		"kernel: " + strings.TrimSpace(readFile("/proc/sys/kernel/osrelease")) + "; Go: " + runtime.Version() + ", " + runtime.GOOS + "/" + runtime.GOARCH,
		"server of the first table: PostgreSQL " + strings.Join(servers, " "),
		"clients: " + first(clientPath(st, "pgbench"), "--version"),
		"cloud-sql-proxy: " + first(st.csp, "--version"),
		"load of the machine at the start: " + load,
	}
}

func readFile(name string) string {
	text, err := os.ReadFile(name)
	if err != nil {
		return "unknown"
	}
	return string(text)
}

func clientPath(st *stage, program string) string {
	dir, _, _ := strings.Cut(st.variable("PATH"), ":")
	return dir + "/" + program
}
