package main

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dbops/internal/telemetry/otlptest"
)

// told runs the program, which must end well, and returns what it wrote to standard error.
func told(t *testing.T, env []string, args ...string) (stderr string) {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), shared.program, args...)
	var out, errs bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = env, &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("dbops %s: %v\n%s%s", strings.Join(args, " "), err, out.String(), errs.String())
	}
	return errs.String()
}

func TestRunsAndConnectionsAreToldToTheCollectorOfTheJob(t *testing.T) {
	to := otlptest.Start(t)
	state := "DBOPS_STATE_DIR=" + filepath.Join(t.TempDir(), "state")
	env := environ(t, state, "OTEL_EXPORTER_OTLP_ENDPOINT="+to.URL, "OTEL_SERVICE_NAME=nightly", "TRACEPARENT=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	t.Cleanup(func() { told(t, environ(t, state), "unprotect", "-e", "staging", "main", "--yes") })

	told(t, env, "protect", "-e", "staging", "main", "--yes")
	runs := to.Spans("run protect")
	if len(runs) != 1 {
		t.Fatalf("%+v", to.Spans(""))
	}
	run := runs[0]
	if a := run.Attributes; run.Trace != "0af7651916cd43dd8448eb211c80319c" || run.Parent != "b7ad6b7169203331" || a["resource.service.name"] != "nightly" ||
		a["dbops.state"] != "done" || a["dbops.environment"] != "staging" || a["dbops.instance"] != "main" || a["dbops.run"] == "" {
		t.Errorf("%+v", run)
	}
	if steps := to.Spans("step protect"); len(steps) != 1 || steps[0].Parent != run.ID {
		t.Errorf("%+v", steps)
	}
	if ended, unit := to.Metric("dbops.run.ended"); len(ended) != 1 || unit != "{run}" {
		t.Errorf("%+v", ended)
	}

	told(t, env, "proxy", "-e", "prod", "--database", "shop", "--", "psql", "-XAtwc", "select 1")
	connections := to.Spans("proxy connection")
	how := []string{"goodbye", "shutdown"} // the proxy ends with its command, and may be faster than the goodbye
	if len(connections) != 1 || connections[0].Trace != run.Trace || connections[0].Attributes["db.namespace"] != "shop" || !slices.Contains(how, connections[0].Attributes["dbops.outcome"]) {
		t.Errorf("%+v", connections)
	}

	before := len(to.Bodies())
	told(t, env, "runs", "list")
	if after := len(to.Bodies()); after != before {
		t.Error("a command that did nothing sent something")
	}
}

func TestACollectorThatIsAwayFailsNothing(t *testing.T) {
	state := "DBOPS_STATE_DIR=" + filepath.Join(t.TempDir(), "state")
	env := environ(t, state, "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1", "OTEL_TRACES_SAMPLER=sometimes")
	said := told(t, env, "-v", "proxy", "-e", "prod", "--database", "shop", "--", "psql", "-XAtwc", "select 1")
	for _, want := range []string{`OTEL_TRACES_SAMPLER is "sometimes", which nobody knows; it is ignored`, "telemetry cannot be sent; this is said once"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not in %s", want, said)
		}
	}
	if n := strings.Count(said, "signal=traces"); n != 1 {
		t.Errorf("said of traces %d times: %s", n, said)
	}
}
