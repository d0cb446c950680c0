package pg

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// NewestMajor is the last major that is looked for.
const NewestMajor = 30

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

// Programs returns the first folder that holds all the programs of a major, "" without one, and the folders that were looked into. kind is
// the cache's word: server or client.
func Programs(kind string, major int, programs ...string) (dir string, looked []string) {
	n := strconv.Itoa(major)
	if named := os.Getenv("DBOPS_PG_" + n); named != "" {
		looked = append(looked, named)
	}
	looked = append(looked,
		filepath.Join(CacheDir(), kind, n, "bin"),
		filepath.Join(rootCache, kind, n, "bin"), // what root fetched serves everybody
		"/usr/lib/postgresql/"+n+"/bin",
		"/usr/pgsql-"+n+"/bin",
		"/opt/homebrew/opt/postgresql@"+n+"/bin",
		"/usr/local/opt/postgresql@"+n+"/bin",
		"/home/linuxbrew/.linuxbrew/opt/postgresql@"+n+"/bin",
	)
	for _, d := range looked {
		if holds(d, programs) {
			return d, looked
		}
	}
	return "", looked
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

// scratchPrograms are those of a major, or of the nearest newer one. Without any, dir is empty.
func scratchPrograms(major int) (dir string, found int) {
	for m := major; m <= NewestMajor; m++ {
		if dir, _ := Programs("server", m, "initdb", "postgres"); dir != "" {
			return dir, m
		}
	}
	return "", 0
}

// ToolFor finds a client program that understands a server of a major: of that major, or of the nearest newer one. Without one it is
// what [Tool] finds, which may be too old.
func ToolFor(ctx context.Context, name string, major int) (string, error) {
	path, err := exec.LookPath(name)
	onPath := 0
	if err == nil {
		onPath = toolMajor(ctx, path)
	}
	for m := major; m <= NewestMajor; m++ {
		for _, kind := range []string{"client", "server"} {
			if dir, _ := Programs(kind, m, name); dir != "" {
				return filepath.Join(dir, name), nil
			}
		}
		if onPath == m {
			return path, nil
		}
	}
	return Tool(name)
}

// toolMajor is the major of a client program, 0 if it does not say.
func toolMajor(ctx context.Context, path string) int {
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return 0
	}
	for _, w := range strings.Fields(string(out)) { // "pg_dump (PostgreSQL) 17.2 (Debian ...)"
		if m, err := strconv.Atoi(strings.SplitN(w, ".", 2)[0]); err == nil {
			return m
		}
	}
	return 0
}
