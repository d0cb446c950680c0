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
