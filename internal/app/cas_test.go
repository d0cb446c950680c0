package app

import (
	"crypto/x509/pkix"
	"os"
	"path/filepath"
	"testing"
	"time"

	"dbops/internal/sandbox/pki"
)

func TestCAFilesAreReadOnceAndAgainWhenTheyChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ca.pem")
	write := func(names ...string) {
		t.Helper()
		var pem []byte
		for _, n := range names {
			ca, err := pki.NewCA(pkix.Name{CommonName: n}, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			pem = append(pem, ca.CertPEM...)
		}
		if err := os.WriteFile(path, pem, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var files caFiles
	if _, err := files.load(path); err == nil {
		t.Error("a missing file was read")
	}
	write()
	if _, err := files.load(path); err == nil {
		t.Error("an empty file was taken")
	}
	write("one")
	first, err := files.load(path)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := files.load(path); err != nil || again != first {
		t.Errorf("it was read again: %v", err)
	}
	write("one", "two")
	changed, err := files.load(path)
	if err != nil || changed == first || changed.Equal(first) {
		t.Errorf("the change was not seen: %v", err)
	}
}
