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
	"strings"

	"dbops/internal/fault"
)

// newest is the last major that [Client] looks for.
const newest = 30

// rootCache is where root's `make postgres` puts what it fetches.
const rootCache = "/var/cache/dbops/pg"

// CacheDir is where `make postgres` puts what it fetches: $DBOPS_PG_CACHE, for root /var/cache/dbops/pg, else dbops/pg in the
// user's cache folder.
func CacheDir() string {
	if d := os.Getenv("DBOPS_PG_CACHE"); d != "" {
		return d
	}
	if os.Geteuid() == 0 {
		return rootCache
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

// Server returns the folder that holds initdb and postgres of that major. Without one it is fault.NotFound.
func Server(major int) (string, error) {
	return find("server", major, "initdb", "postgres")
}

// Client returns the path of a client program such as psql, of that major or else of the nearest newer one. Without one it is
// fault.NotFound.
func Client(program string, major int) (string, error) {
	dir, first := find("client", major, program)
	if first == nil {
		return filepath.Join(dir, program), nil
	}
	for m := major + 1; m <= newest; m++ {
		if dir, err := find("client", m, program); err == nil {
			return filepath.Join(dir, program), nil
		}
	}
	return "", first
}

// find returns the first folder that holds the programs. kind is the cache's word: server or client.
func find(kind string, major int, programs ...string) (string, error) {
	n := strconv.Itoa(major)
	dirs := []string{
		filepath.Join(CacheDir(), kind, n, "bin"),
		filepath.Join(rootCache, kind, n, "bin"), // what root fetched serves everybody
		"/usr/lib/postgresql/" + n + "/bin",
		"/usr/pgsql-" + n + "/bin",
		"/opt/homebrew/opt/postgresql@" + n + "/bin",
		"/usr/local/opt/postgresql@" + n + "/bin",
		"/home/linuxbrew/.linuxbrew/opt/postgresql@" + n + "/bin",
	}
	if named := os.Getenv("DBOPS_PG_" + n); named != "" {
		dirs = append([]string{named}, dirs...)
	}
	for _, dir := range dirs {
		if holds(dir, programs) {
			return filepath.Abs(dir)
		}
	}
	err := fmt.Errorf("no %s of major %d in %s: run `make postgres`", strings.Join(programs, " and "), major, strings.Join(dirs, ", "))
	return "", fault.New(fault.NotFound, fmt.Sprintf("find the PostgreSQL %d %s programs", major, kind), err).
		Hint("`make postgres` brings them; or install that major, or name the folder of its programs in DBOPS_PG_%d", major)
}

func holds(dir string, programs []string) bool {
	for _, p := range programs {
		info, err := os.Stat(filepath.Join(dir, p))
		if err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
			return false
		}
	}
	return true
}

var errNoUser = errors.New("running as root, and there is no unprivileged user (postgres, nobody) to run PostgreSQL as")
