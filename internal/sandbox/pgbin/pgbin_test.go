package pgbin

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dbops/internal/fault"
)

// programs puts empty programs into a folder and returns it.
func programs(t *testing.T, mode os.FileMode, path ...string) string {
	t.Helper()
	for _, p := range path {
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Dir(path[0])
}

func TestAServerIsFound(t *testing.T) {
	const major = 29 // one that no machine has installed
	named, cache := t.TempDir(), t.TempDir()
	bin := filepath.Join(cache, "server", "29", "bin")
	tests := map[string]struct {
		set  func()
		want string
	}{
		"nowhere": {func() {}, ""},
		"not where only one program is": {func() {
			programs(t, 0o755, filepath.Join(named, "postgres"))
		}, ""},
		"not where a program cannot be run": {func() {
			programs(t, 0o755, filepath.Join(named, "postgres"))
			programs(t, 0o644, filepath.Join(named, "initdb"))
		}, ""},
		"in the cache": {func() {
			programs(t, 0o755, filepath.Join(bin, "postgres"), filepath.Join(bin, "initdb"))
		}, bin},
		"in the named folder before the cache": {func() {
			programs(t, 0o755, filepath.Join(bin, "postgres"), filepath.Join(bin, "initdb"))
			programs(t, 0o755, filepath.Join(named, "postgres"), filepath.Join(named, "initdb"))
		}, named},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Setenv("DBOPS_PG_CACHE", cache)
			t.Setenv("DBOPS_PG_29", named)
			for _, d := range []string{named, filepath.Join(cache, "server")} {
				if err := os.RemoveAll(d); err != nil {
					t.Fatal(err)
				}
			}
			test.set()
			got, err := Server(major)
			if got != test.want || (err == nil) != (test.want != "") {
				t.Fatalf("%q, %v", got, err)
			}
			if err == nil {
				return
			}
			if fault.KindOf(err) != fault.NotFound || !strings.Contains(fault.HintOf(err), "DBOPS_PG_29") {
				t.Errorf("%s: %v (%s)", fault.KindOf(err), err, fault.HintOf(err))
			}
			for _, part := range []string{"initdb and postgres of major 29", named, bin, "make postgres"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q is not in: %v", part, err)
				}
			}
		})
	}
}

func TestAClientMayBeNewerButNotOlder(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("DBOPS_PG_CACHE", cache)
	path := func(major int) string {
		return filepath.Join(cache, "client", fmt.Sprint(major), "bin", "pg_example")
	}
	programs(t, 0o755, path(16), path(18))
	for asked, want := range map[int]string{14: path(16), 16: path(16), 17: path(18), 18: path(18), 19: ""} {
		got, err := Client("pg_example", asked)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%d: %q, %v", asked, got, err)
		}
		if err != nil && !strings.Contains(err.Error(), "pg_example of major 19") {
			t.Error(err)
		}
	}
	t.Run("one that is named by the variable of its major comes first", func(t *testing.T) {
		own := programs(t, 0o755, filepath.Join(t.TempDir(), "pg_example"))
		t.Setenv("DBOPS_PG_18", own)
		if got, err := Client("pg_example", 17); err != nil || got != filepath.Join(own, "pg_example") {
			t.Errorf("%q, %v", got, err)
		}
	})
}

func TestTheCacheFolder(t *testing.T) {
	t.Setenv("DBOPS_PG_CACHE", "/given")
	if got := CacheDir(); got != "/given" {
		t.Error(got)
	}
	t.Setenv("DBOPS_PG_CACHE", "")
	t.Setenv("XDG_CACHE_HOME", "/xdg")
	want := "/xdg/dbops/pg"
	if os.Geteuid() == 0 {
		want = "/var/cache/dbops/pg"
	}
	if got := CacheDir(); got != want {
		t.Errorf("%s, not %s", got, want)
	}
}

func TestAUserReachesAFolder(t *testing.T) {
	dir := t.TempDir()
	// The folders above are the test's business as little as the user that runs it: only the last two count.
	uid := os.Getuid()
	u := &User{Name: "somebody", UID: uid + 4242, GID: os.Getgid() + 4242}
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
	for name, who := range map[string]*User{
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
