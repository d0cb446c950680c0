package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"dbops/internal/sandbox"
	"dbops/internal/sandbox/island"
	"dbops/internal/sandbox/pgbin"
	"dbops/internal/sandbox/play"
)

// fixture is what the tests of this package share: the real program, and a sandbox for it to work on.
type fixture struct {
	dir     string // reachable by the servers' user
	program string // this test binary, called dbops
	sandbox *sandbox.Sandbox
	env     []string // that points at the sandbox
}

var shared fixture

func TestMain(m *testing.M) {
	island.Main()
	if filepath.Base(os.Args[0]) == programName {
		os.Exit(run())
	}
	code, err := testMain(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cmd/dbops tests:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func testMain(m *testing.M) (code int, err error) {
	ctx := context.Background()
	shared.dir, err = os.MkdirTemp("", "dbops-cmd-test-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(shared.dir)
	if err := os.Chmod(shared.dir, 0o755); err != nil {
		return 1, err
	}
	if err := installSelf(); err != nil {
		return 1, err
	}
	dir := filepath.Join(shared.dir, "cloud")
	shared.sandbox, err = sandbox.Start(ctx, sandbox.Options{Dir: dir, Pace: play.Pace(0.002), Program: shared.program})
	if err != nil {
		return 1, err
	}
	defer func() {
		if closeErr := shared.sandbox.Close(); err == nil {
			err = closeErr
		}
	}()
	control, err := shared.sandbox.ServeControl(ctx, func() {})
	if err != nil {
		return 1, err
	}
	defer func() { _ = control.Close() }()
	e, err := sandbox.Environ(dir, "")
	if err != nil {
		return 1, err
	}
	shared.env = sandboxEnv(e)
	return m.Run(), nil
}

// programName makes this test binary dbops: it holds all of it, built as the tests are, so that nothing is built twice.
const programName = "dbops"

// installSelf puts this test binary where the servers' user reaches it.
func installSelf() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	from, err := os.Open(self)
	if err != nil {
		return err
	}
	defer from.Close()
	shared.program = filepath.Join(shared.dir, "bin", programName)
	if err := os.Mkdir(filepath.Dir(shared.program), 0o755); err != nil {
		return err
	}
	to, err := os.OpenFile(shared.program, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close())
}

func sandboxEnv(e sandbox.Environment) []string {
	var env []string
	for k, v := range e.Set {
		env = append(env, k+"="+v)
	}
	return env
}

// environ is the environment of a child: the sandbox, a home and a runtime folder of its own, and no variable of whoever runs
// the tests.
func environ(t testing.TB, extra ...string) []string {
	t.Helper()
	return environOn(t, shared.env, extra...)
}

// environOn is the same on another sandbox.
func environOn(t testing.TB, cloud []string, extra ...string) []string {
	t.Helper()
	home := t.TempDir()
	env := append([]string{
		"PATH=" + filepath.Dir(shared.program) + ":" + filepath.Dir(psqlPath(t)) + ":" + os.Getenv("PATH"),
		"HOME=" + home, "XDG_RUNTIME_DIR=" + filepath.Join(home, "run"), "XDG_CONFIG_HOME=" + filepath.Join(home, "config"),
		"LANG=C.UTF-8", "TZ=UTC", "NO_COLOR=1", "GORACE=halt_on_error=1 exitcode=66 atexit_sleep_ms=0", // else each process sleeps for a second at its end
	}, cloud...)
	return append(env, extra...)
}

func psqlPath(t testing.TB) string {
	t.Helper()
	psql, err := pgbin.Client("psql", 15)
	if err != nil {
		t.Fatal(err)
	}
	return psql
}

func TestScripts(t *testing.T) { runScripts(t, "testdata/script") }

// The scripts of this folder break the sandbox that all share, so they run after the others.
func TestScriptsWithFaults(t *testing.T) { runScripts(t, "testdata/faults") }

// The scripts of this folder change the instances of the sandbox, and change them back.
func TestScriptsWithChanges(t *testing.T) { runScripts(t, "testdata/changes") }

// The scripts of this folder make and rotate certificates of instances that others change, too.
func TestScriptsWithCertificates(t *testing.T) { runScripts(t, "testdata/certs") }

// The scripts of this folder rotate the credentials of the sandbox's containers.
func TestScriptsWithCredentials(t *testing.T) { runScripts(t, "testdata/creds") }

// The scripts of this folder migrate databases of the sandbox, and migrate them back.
func TestScriptsWithMigrations(t *testing.T) { runScripts(t, "testdata/migrate") }

func runScripts(t *testing.T, dir string) {
	t.Helper()
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			for _, kv := range environ(e.T().(testing.TB)) { //nolint:forcetypeassert // testscript.Run passes a *testing.T
				k, v, _ := strings.Cut(kv, "=")
				e.Setenv(k, v)
			}
			e.Setenv("SANDBOX", filepath.Join(shared.dir, "cloud"))
			e.Setenv("DBOPS_STATE_DIR", filepath.Join(e.WorkDir, "state"))
			return os.MkdirAll(e.Getenv("XDG_RUNTIME_DIR"), 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"fault":      cmdFault,
			"status":     cmdExitStatus,
			"until":      cmdUntil,
			"field":      cmdField,
			"edit":       cmdEdit,
			"tamper":     cmdTamper,
			"run_id":     cmdRunID,
			"runbook_id": cmdRunbookID,
			"match":      cmdMatch,
		},
	})
}
