package creds

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"dbops/internal/fault"
)

// Command is a rollout by a program, whose exit status decides.
type Command struct {
	Dir  string
	Args []string
	Env  []string // beside that of this process
}

// Start runs the program and waits for it. It is told the container and the version, never the secret; with the same version it may be
// run again.
func (c Command) Start(ctx context.Context, container, version, _ string) (string, error) {
	what := "roll out " + container + " with " + c.Args[0]
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Dir = c.Dir
	cmd.Env = slices.Concat(os.Environ(), c.Env, []string{"DBOPS_CONTAINER=" + container, "DBOPS_VERSION=" + version})
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if err == nil {
		return version, nil
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	text := lastLines(string(out), 3)
	if _, ok := errors.AsType[*exec.ExitError](err); !ok {
		return "", fault.New(fault.Config, what, err).Hint("check rollout.command of the container in dbops.yaml")
	}
	if text != "" {
		text = ": " + text
	}
	return "", fault.Newf(fault.Failed, what, "%w%s", err, text).Hint("the credential that is current works: mend the rollout, then retry")
}

// Done is true: the program has ended.
func (Command) Done(context.Context, string, string) (bool, string, error) { return true, "", nil }

// lastLines are the last lines of an output, as one line.
func lastLines(s string, n int) string {
	lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' })
	return strings.Join(lines[max(0, len(lines)-n):], " | ")
}
