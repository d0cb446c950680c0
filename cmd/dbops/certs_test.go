package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"dbops/internal/certs/bundle"
)

// dbops runs the program and returns its exit status.
func runProgram(t *testing.T, env []string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, shared.program, args...)
	var out, errOut bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = env, &out, &errOut
	_ = cmd.Run()
	return cmd.ProcessState.ExitCode(), out.String(), errOut.String()
}

// The published CAs, from a server that stands in for Amazon's, go before the program's own, for who checks and for who logs in.
func TestTheCAsOfRDSAreUpdated(t *testing.T) {
	t.Parallel()
	own, err := bundle.Own("eu-west-1")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(shared.dir, "cloud", "ca", "rds.pem"))
	if err != nil {
		t.Fatal(err)
	}
	played, err := bundle.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	published := append(played[:len(played):len(played)], own.Certs[1:]...)
	var answer atomic.Pointer[[]byte]
	answer.Store(new(bundle.Encode(published)))
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/eu-west-1/eu-west-1-bundle.pem" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(*answer.Load())
	}))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	yaml, err := os.ReadFile(filepath.Join(shared.dir, "cloud", "dbops.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"          ca_file: ca/rds.pem\n", "          ca_file: ca/local.pem\n"} {
		if !bytes.Contains(yaml, []byte(line)) {
			t.Fatalf("the sandbox's dbops.yaml has no %q", line)
		}
		yaml = bytes.ReplaceAll(yaml, []byte(line), nil)
	}
	trusted := write("system.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	env := environ(t, "DBOPS_CONFIG="+write("dbops.yaml", yaml), "XDG_DATA_HOME="+filepath.Join(dir, "data"), "SSL_CERT_FILE="+trusted)
	file := filepath.Join(dir, "data", "dbops", "rds-ca", "eu-west-1.pem")
	demand := func(want int, part string, args ...string) {
		t.Helper()
		status, stdout, stderr := runProgram(t, env, args...)
		if status != want || !strings.Contains(stdout+stderr, part) {
			t.Errorf("dbops %s: exit status %d, want %d and %q:\n%s%s", strings.Join(args, " "), status, want, part, stdout, stderr)
		}
	}
	update := []string{"certs", "update", "--from", server.URL}

	// By default the program's own copy of Amazon's CAs is trusted, which did not sign the sandbox's servers.
	demand(5, "which is not among dbops's own copy of the CAs of RDS in eu-west-1", "certs", "check", "-e", "prod", "billing")
	demand(2, "that is not trusted", "psql", "-e", "prod", "billing", "--", "-c", "select 1")
	demand(5, "  - "+bundle.Fingerprint(own.Certs[0]), append(update, "--check")...)
	demand(4, "nobody is there to say yes", update...)
	if _, err := os.Stat(file); err == nil {
		t.Error("it was kept without a yes")
	}
	demand(5, "  + "+bundle.Fingerprint(played[0]), append(update, "--check")...)
	demand(0, "kept: "+file+"\nback: rm "+file, append(update, "--yes")...)
	demand(0, "  5 the same", append(update, "--check")...)
	demand(0, "trusted by "+file, "certs", "check", "-e", "prod", "billing")
	demand(0, "it works", "psql", "-e", "prod", "billing", "--", "-Atc", "select 'it works'")

	// What cannot be used changes nothing.
	kept, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	answer.Store(new([]byte("<html>Sign in</html>")))
	demand(1, "no certificate in PEM", append(update, "--yes")...)
	demand(1, "404", append(update, "--yes", "--region", "eu-west-2")...)
	demand(2, "no region of AWS", append(update, "--region", "../x")...)
	demand(2, "where they are published", "certs", "update", "--region", "cn-north-1")
	env = append(env, "SSL_CERT_FILE="+write("none.pem", text))
	demand(1, "not trusted here", append(update, "--yes")...)
	if now, err := os.ReadFile(file); err != nil || !bytes.Equal(now, kept) {
		t.Errorf("the copy was changed: %v", err)
	}
}
