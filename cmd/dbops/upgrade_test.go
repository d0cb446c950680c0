package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"dbops/internal/sandbox"
	"dbops/internal/sandbox/containers"
)

// The scripts of this folder upgrade instances. They have a sandbox of their own: an upgrade leaves an old instance beside the new one, and
// who changed them last is written on both.
func TestScriptsWithUpgrades(t *testing.T) {
	cloud, dir := startSandbox(t, "upgrades")
	env, err := sandbox.Environ(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	cloud.ForgetAsked() // what its own secrets were made with
	scripts, err := filepath.Glob("testdata/upgrade/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var ran atomic.Int32
	t.Cleanup(func() {
		if !t.Failed() && int(ran.Load()) == len(scripts) { // else some were left out, by -run
			judgePolicies(t, map[string][]string{upgradePage: cloud.Asked()}, true)
		}
	})
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/upgrade",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			ran.Add(1)
			for _, kv := range environ(e.T().(testing.TB), sandboxEnv(env)...) { //nolint:forcetypeassert // testscript.Run passes a *testing.T
				k, v, _ := strings.Cut(kv, "=")
				e.Setenv(k, v)
			}
			e.Setenv("SANDBOX", dir)
			e.Values[environKey{}] = e
			e.Setenv("DBOPS_STATE_DIR", filepath.Join(e.WorkDir, "state"))
			return os.MkdirAll(e.Getenv("XDG_RUNTIME_DIR"), 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status": cmdExitStatus,
			"field":  cmdField,
			"run_id": cmdRunID, "runbook_id": cmdRunbookID,
			"edit":   cmdEdit,
			"served": func(ts *testscript.TestScript, _ bool, args []string) { cmdServed(ts, cloud, args) },
			"killed": cmdKilled,
			"second": cmdSecond,
		},
	})
}

// cmdServed counts anew, and demands that every query of these containers is answered: served CONTAINER..., each as environment/name.
func cmdServed(ts *testscript.TestScript, cloud *sandbox.Sandbox, names []string) {
	const enough = 10
	for _, name := range names {
		if !cloud.ChangeContainers(sandbox.ContainerChange{ID: name, Reset: true, Rate: new(50.0)}) {
			ts.Fatalf("there is no container %s", name)
		}
		ts.Defer(func() { cloud.ChangeContainers(sandbox.ContainerChange{ID: name, Rate: new(1.0)}) })
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		waits := ""
		for _, name := range names {
			s := containerOf(cloud, name)
			if s.Failed > 0 {
				ts.Fatalf("%s: %d of %d queries failed: %s", name, s.Failed, s.Queries, s.Errors[len(s.Errors)-1])
			}
			if s.Queries < enough {
				waits = fmt.Sprintf("%s: %d queries", name, s.Queries)
			}
		}
		if waits == "" {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("waited in vain: %s", waits)
		}
	}
}

func containerOf(cloud *sandbox.Sandbox, name string) containers.Status {
	for _, s := range cloud.Containers() {
		if s.Environment+"/"+s.Container == name {
			return s
		}
	}
	return containers.Status{}
}
