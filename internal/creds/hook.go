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
	"dbops/internal/secret"
)

// Command is a rollout by a program, whose exit status decides.
type Command struct {
	Dir  string
	Args []string
	Env  []string // beside that of this process
	Hide []string // variables of this process that it does not get: what they hold are secrets of dbops
}

// hidden are the variables with which PostgreSQL's own clients are told a password.
var hidden = []string{"PGPASSWORD", "PGPASSFILE", "PGSSLPASSWORD"}

// environment is what the program gets of this process, and what it does not get, because it is secret.
func (c Command) environment() (env []string, secrets []string) {
	for _, v := range os.Environ() {
		name, value, _ := strings.Cut(v, "=")
		switch {
		case !slices.Contains(hidden, name) && !slices.Contains(c.Hide, name):
			env = append(env, v)
		case name != "PGPASSFILE": // a path
			secrets = append(secrets, value)
		}
	}
	return env, secrets
}

// Start runs the program and waits for it. It is told the container and the version, never the secret; with the same version it may be
// run again.
func (c Command) Start(ctx context.Context, container, version, _ string) (string, error) {
	what := "roll out " + container + " with " + c.Args[0]
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Dir = c.Dir
	env, secrets := c.environment()
	cmd.Env = slices.Concat(env, c.Env, []string{"DBOPS_CONTAINER=" + container, "DBOPS_VERSION=" + version})
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if err == nil {
		return version, nil
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	text := redacted(lastLines(string(out), 3), secrets...)
	if _, ok := errors.AsType[*exec.ExitError](err); !ok {
		return "", fault.New(fault.Config, what, err).Hint("check rollout.command of the container in dbops.yaml")
	}
	if text != "" {
		text = ": " + text
	}
	return "", fault.Newf(fault.Failed, what, "%w%s", err, text).Hint("the credential that is current works: mend the rollout, then retry")
}

// shortest is the length from which on a text is taken for a secret: a shorter one would be found in words.
const shortest = 6

// redacted is a text without secrets.
func redacted(text string, secrets ...string) string {
	for _, s := range secrets {
		if len(s) >= shortest {
			text = strings.ReplaceAll(text, s, secret.Redacted)
		}
	}
	return text
}

// redact takes what somebody else's program may have printed out of an error.
func redact(err error, secrets ...string) error {
	if err == nil || redacted(err.Error(), secrets...) == err.Error() {
		return err
	}
	clean := fault.Newf(fault.KindOf(err), "", "%s", redacted(err.Error(), secrets...))
	if hint := fault.HintOf(err); hint != "" {
		return clean.Hint("%s", redacted(hint, secrets...))
	}
	return clean
}

// Done is true: the program has ended.
func (Command) Done(context.Context, string, string) (bool, string, error) { return true, "", nil }

// lastLines are the last lines of an output, as one line.
func lastLines(s string, n int) string {
	lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' })
	return strings.Join(lines[max(0, len(lines)-n):], " | ")
}
