package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// psqlWith runs one statement through `dbops psql` on a copy of the sandbox's dbops.yaml in which old is replaced by replacement.
func psqlWith(t *testing.T, old, replacement, env, database string, extra ...string) (output string, code int) {
	t.Helper()
	cloud := filepath.Join(shared.dir, "cloud")
	b, err := os.ReadFile(filepath.Join(cloud, "dbops.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(b), old, replacement)
	if text == string(b) {
		t.Fatalf("dbops.yaml has no %q", old)
	}
	f, err := os.CreateTemp(cloud, "test-*.yaml") // beside the files that it names
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(f.Name())
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), shared.program, "--config", f.Name(), "psql", "-e", env, database, "--", "-XAtc", "select session_user")
	cmd.Env = environ(t, extra...)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func TestLoginsThatCannotWorkSayWhy(t *testing.T) {
	t.Parallel()
	wrongKeys := filepath.Join(t.TempDir(), "credentials")
	b, err := os.ReadFile(filepath.Join(shared.dir, "cloud", "aws-credentials"))
	if err != nil {
		t.Fatal(err)
	}
	_, key, _ := strings.Cut(string(b), "aws_secret_access_key = ")
	key, _, _ = strings.Cut(key, "\n")
	if err := os.WriteFile(wrongKeys, []byte(strings.ReplaceAll(string(b), key, strings.Repeat("x", 40))), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name             string
		old, replacement string
		env, database    string
		extra            []string
		says             []string
	}{
		{
			"a server that another CA signed", "ca_file: ca/rds.pem", "ca_file: ca/local.pem", "prod", "billing", nil,
			[]string{"certificate", "billing"},
		},
		{
			"a plain server that another CA signed", "ca_file: ca/local.pem", "ca_file: ca/rds.pem", "local", "events", nil,
			[]string{"certificate"},
		},
		{
			"no CA for RDS", "          ca_file: ca/rds.pem\n", "", "prod", "billing", nil,
			[]string{"ca_file of the instance", "certs update"},
		},
		{
			"a secret that does not exist", "file:secrets/local-read", "file:secrets/nobody", "local", "events", nil,
			[]string{"secrets/nobody"},
		},
		{
			"the password of somebody else", "file:secrets/local-read", "file:secrets/local-write", "local", "events", nil,
			[]string{`password authentication failed for user "dbops_read"`},
		},
		{
			"a role that does not exist", "read: {user: dbops_read, iam: true}", "read: {user: nobody_here, iam: true}", "prod", "billing", nil,
			[]string{"nobody_here"},
		},
		{
			"an instance that does not exist", "identifier: billing-prod", "identifier: billing-gone", "prod", "billing", nil,
			[]string{"billing-gone", "not found"},
		},
		{
			"a region that the instance is not in", "region: europe-west1", "region: europe-west9", "prod", "shop", nil,
			[]string{"europe-west9"},
		},
		{
			"AWS keys that are wrong", "version: 1", "version: 1 # as it is", "prod", "billing",
			[]string{"AWS_SHARED_CREDENTIALS_FILE=" + wrongKeys},
			[]string{"signature"},
		},
		{
			"no Google credentials", "version: 1", "version: 1 # as it is", "prod", "shop",
			[]string{"GOOGLE_APPLICATION_CREDENTIALS=/nonexistent.json"},
			[]string{"GOOGLE_APPLICATION_CREDENTIALS"},
		},
		{
			"nobody said as whom", "          read: {user: dbops_read, secret: \"file:secrets/local-read\"}\n", "", "local", "events", nil,
			[]string{"nobody said as whom", "PGUSER"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			out, code := psqlWith(t, c.old, c.replacement, c.env, c.database, c.extra...)
			if code != 2 { // psql's own status for a connection that failed
				t.Errorf("exit status %d", code)
			}
			for _, want := range c.says {
				if !strings.Contains(out, want) {
					t.Errorf("it does not say %q", want)
				}
			}
			if strings.Contains(out, "goroutine ") || t.Failed() {
				t.Errorf("it says:\n%s", out)
			}
		})
	}
}

func TestTheStandardVariablesServeWhereNoLoginIsNamed(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join(shared.dir, "cloud", "secrets", "local-read"))
	if err != nil {
		t.Fatal(err)
	}
	out, code := psqlWith(t, "          read: {user: dbops_read, secret: \"file:secrets/local-read\"}\n", "", "local", "events",
		"PGUSER=dbops_read", "PGPASSWORD="+strings.TrimSpace(string(b)))
	if code != 0 || strings.TrimSpace(out) != "dbops_read" {
		t.Errorf("exit status %d: %s", code, out)
	}
}
