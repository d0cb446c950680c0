package state

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestOnlyAProcessThatIsSurelyNoMoreIsGone(t *testing.T) {
	t.Parallel()
	own, me := OwnProcess(), os.Getpid()
	if own == "" {
		t.Fatal("this process has no name")
	}
	cmd := exec.CommandContext(t.Context(), "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	other, pid := processOf(cmd.Process.Pid), cmd.Process.Pid
	if gone(pid, other) {
		t.Error("a process that lives is gone")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("it ended by itself")
	}
	elsewhere := "0" + strings.TrimPrefix(other, other[:1])
	if elsewhere == other {
		elsewhere = "1" + elsewhere[1:]
	}
	for name, c := range map[string]struct {
		pid     int
		process string
		gone    bool
	}{
		"this process":                               {me, own, false},
		"one that was killed":                        {pid, other, true},
		"a number that another process has now":      {me, other, true},
		"one of another machine":                     {pid, elsewhere, false},
		"one that could not be named":                {pid, "", false},
		"a name that is cut off":                     {pid, other[:10], false},
		"a process of everybody, which is not asked": {1, processOf(1), false},
	} {
		if gone(c.pid, c.process) != c.gone {
			t.Errorf("%s: gone is %v", name, !c.gone)
		}
	}
}
