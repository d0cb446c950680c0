package certs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDraftsOfAKilledProcessAreSwept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{".client.pk8123456", ".client.pk8", ".client.pk8x1", ".other123"} {
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	if _, err := writeAll(dir, map[string][]byte{"client.pk8": []byte("x")}, 0o600); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	must(t, err)
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if got := strings.Join(left, " "); got != ".client.pk8 .client.pk8x1 .other123 client.pk8" {
		t.Error(got)
	}
}
