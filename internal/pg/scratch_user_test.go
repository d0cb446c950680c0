package pg

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dbops/internal/fault"
)

func TestAUserReachesAFolder(t *testing.T) {
	dir := t.TempDir()
	// The folders above are the test's business as little as the user that runs it: only the last two count.
	uid := os.Getuid()
	u := &OSUser{Name: "somebody", UID: uid + 4242, GID: os.Getgid() + 4242}
	inner := filepath.Join(dir, "a", "b")
	if err := os.MkdirAll(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	for d := dir; d != filepath.Dir(d); d = filepath.Dir(d) {
		if info, err := os.Stat(d); err == nil && !u.passes(info) {
			if err := os.Chmod(d, 0o755); err != nil {
				t.Fatalf("%s is closed and not ours: %v", d, err)
			}
		}
	}
	if err := u.Reaches(filepath.Join(inner, "not", "made", "yet")); err != nil {
		t.Errorf("an open folder: %v", err)
	}
	if err := os.Chmod(filepath.Join(dir, "a"), 0o750); err != nil {
		t.Fatal(err)
	}
	err := u.Reaches(inner)
	if fault.KindOf(err) != fault.Denied || !strings.Contains(err.Error(), "pass through "+filepath.Join(dir, "a")+" (mode 0750)") {
		t.Fatalf("a closed folder: %v", err)
	}
	if !strings.Contains(fault.HintOf(err), "--dir") {
		t.Error(fault.HintOf(err))
	}
	for name, who := range map[string]*OSUser{
		"its owner":             {UID: uid, GID: 4242},
		"a member of its group": {UID: uid + 4242, GID: os.Getgid()},
		"nobody to drop to":     nil,
	} {
		if err := who.Reaches(inner); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRootDropsItsRights(t *testing.T) {
	u, err := RunAs()
	if err != nil {
		t.Fatal(err)
	}
	if (u != nil) != (os.Geteuid() == 0) {
		t.Fatalf("as user %d: %+v", os.Geteuid(), u)
	}
	if c := u.Credential(); (c != nil) != (u != nil) || c != nil && c.Uid == 0 {
		t.Errorf("%+v", c)
	}
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := u.Own(path); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(path); err != nil || u != nil && !u.passes(info) && info.Mode().Perm()&0o100 != 0 {
		t.Errorf("%v, %v", info, err)
	}
}
