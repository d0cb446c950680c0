package creds

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dbops/internal/secret"
)

// The environment is that of the whole process: it goes by itself.
func TestTheHookGetsNoSecretOfDbops(t *testing.T) { //nolint:paralleltest // it changes the environment
	const password = "correct-horse-battery"
	for _, name := range []string{"PGPASSWORD", "SHOP_ADMIN_PASSWORD"} {
		t.Setenv(name, password)
	}
	t.Setenv("PGPASSFILE", "/home/me/.pgpass")
	t.Setenv("PLAIN", "stays")
	dir := t.TempDir()
	told, leak := filepath.Join(dir, "told"), filepath.Join(dir, "leak")
	must(t, os.WriteFile(leak, []byte(password), 0o600))
	c := Command{
		Dir: dir, Args: []string{"/bin/sh", "-c", "env >" + told + "; cat " + leak + "; exit 3"}, Env: []string{"DBOPS_ENVIRONMENT=prod"}, Hide: []string{"SHOP_ADMIN_PASSWORD"},
	}
	_, err := c.Start(t.Context(), "shop", "v7", "")
	if err == nil || strings.Contains(err.Error(), password) || !strings.Contains(err.Error(), secret.Redacted) {
		t.Error("the error holds what the hook printed, or not even its place")
	}
	text, err := os.ReadFile(told)
	must(t, err)
	for _, gone := range []string{password, "PGPASSWORD", "PGPASSFILE", "SHOP_ADMIN_PASSWORD"} {
		if strings.Contains(string(text), gone) {
			t.Errorf("the hook is told %s", strings.ReplaceAll(gone, password, "a password"))
		}
	}
	for _, want := range []string{"PLAIN=stays", "DBOPS_CONTAINER=shop", "DBOPS_VERSION=v7", "DBOPS_ENVIRONMENT=prod", "PATH="} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the hook is not told %s", want)
		}
	}
}
