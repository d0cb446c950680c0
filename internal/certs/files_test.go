package certs

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/fault"
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

func TestAFolderThatOthersCanWriteToIsRefused(t *testing.T) {
	t.Parallel()
	ca := authority(t, "the CA", 1000*time.Hour)
	base := t.TempDir()
	wide := filepath.Join(base, "wide")
	must(t, os.Mkdir(wide, 0o700))
	must(t, os.Chmod(wide, 0o777))
	for dir, want := range map[string]string{
		wide: "chmod go-w " + wide, filepath.Join(wide, "new"): "everybody can move what is in " + wide, filepath.Join(base, "new"): "",
	} {
		k, err := NewKit(subjectWith(cloud.RDS, []*x509.Certificate{ca.Certificate()}, false, "h:1", "h"), nil, KitOptions{Dir: dir, Database: "x"}, time.Now())
		must(t, err)
		_, err = k.Write()
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || !strings.Contains(fault.HintOf(err), "nothing was written")) {
			t.Errorf("%s: %v", dir, err)
		}
		if _, err := os.Stat(k.Path(FileRoots)); (err == nil) != (want == "") {
			t.Errorf("%s: %v", dir, err)
		}
	}
}
