// Package pgbin finds the PostgreSQL programs that this machine has, and the user to run servers as.
//
// Servers and client tools are looked for where `make postgres` puts them and where packages put them; an error says what is
// missing and how to get it. PostgreSQL refuses to run as root: [RunAs] names the user to drop to.
package pgbin

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// CacheDir is where `make postgres` puts what it fetches: $DBOPS_PG_CACHE, for root /var/cache/dbops/pg, else under the XDG cache.
func CacheDir() string {
	if d := os.Getenv("DBOPS_PG_CACHE"); d != "" {
		return d
	}
	if os.Geteuid() == 0 {
		return "/var/cache/dbops/pg"
	}
	base := os.Getenv("XDG_CACHE_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			home = os.TempDir()
		}
		base = filepath.Join(home, ".cache")
	}
	return filepath.Join(base, "dbops", "pg")
}

// Server returns the bin folder of a server of that major.
func Server(major int) (string, error) {
	n := strconv.Itoa(major)
	return first(major, "server", []string{
		os.Getenv("DBOPS_PG_" + n),
		filepath.Join(CacheDir(), "server", n, "bin"),
		"/usr/lib/postgresql/" + n + "/bin",
		"/usr/pgsql-" + n + "/bin",
		"/opt/homebrew/opt/postgresql@" + n + "/bin",
		"/usr/local/opt/postgresql@" + n + "/bin",
	}, "initdb", "postgres")
}

// Client returns the path of a client tool of that major or the nearest newer one.
func Client(tool string, major int) (string, error) {
	const newest = 30
	var last error
	for m := major; m <= newest; m++ {
		n := strconv.Itoa(m)
		bin, err := first(m, "client", []string{
			os.Getenv("DBOPS_PGTOOLS_" + n),
			filepath.Join(CacheDir(), "client", n, "bin"),
			"/usr/lib/postgresql/" + n + "/bin",
			"/usr/pgsql-" + n + "/bin",
			"/opt/homebrew/opt/postgresql@" + n + "/bin",
			"/usr/local/opt/postgresql@" + n + "/bin",
		}, tool)
		if err == nil {
			return filepath.Join(bin, tool), nil
		}
		if last == nil {
			last = err
		}
	}
	return "", last
}

func first(major int, what string, dirs []string, programs ...string) (string, error) {
	for _, d := range dirs {
		if d != "" && has(d, programs) {
			return d, nil
		}
	}
	return "", fmt.Errorf("no PostgreSQL %d %s programs (%v) on this machine: run `make postgres`, or name their folder in DBOPS_PG_%d", major, what, programs, major)
}

func has(dir string, programs []string) bool {
	for _, p := range programs {
		info, err := os.Stat(filepath.Join(dir, p))
		if err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
			return false
		}
	}
	return true
}

var errNoUser = errors.New("running as root, and there is no unprivileged user (postgres, nobody) to run PostgreSQL as")
