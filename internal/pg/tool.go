package pg

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/adrg/xdg"
)

// Tool finds a PostgreSQL client program such as psql: on the PATH, else the newest of the usual folders of packages, else of what
// `make postgres` fetched.
func Tool(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, patterns := range [][]string{packaged(name), fetched(name)} {
		var all []string
		for _, pattern := range patterns {
			found, err := filepath.Glob(pattern)
			if err != nil {
				return "", err
			}
			all = append(all, found...)
		}
		if len(all) > 0 {
			return slices.MaxFunc(all, func(a, b string) int { return majorIn(a) - majorIn(b) }), nil
		}
	}
	return "", fmt.Errorf("%s is not installed: neither on the PATH nor in the usual folders", name)
}

func packaged(name string) []string {
	return []string{
		"/usr/lib/postgresql/*/bin/" + name,
		"/usr/pgsql-*/bin/" + name,
		"/opt/homebrew/opt/postgresql@*/bin/" + name,
		"/usr/local/opt/postgresql@*/bin/" + name,
		"/opt/homebrew/opt/libpq/bin/" + name,
		"/usr/local/opt/libpq/bin/" + name,
	}
}

func fetched(name string) []string {
	caches := []string{os.Getenv("DBOPS_PG_CACHE"), filepath.Join(xdg.CacheHome, "dbops", "pg"), "/var/cache/dbops/pg"}
	var out []string
	for _, c := range caches {
		if c != "" {
			out = append(out, filepath.Join(c, "client", "*", "bin", name))
		}
	}
	return out
}

// majorIn is the last number in a path, 0 without one.
func majorIn(path string) int {
	n := 0
	for i := 0; i < len(path); {
		j := i
		for j < len(path) && path[j] >= '0' && path[j] <= '9' {
			j++
		}
		if j > i {
			n, _ = strconv.Atoi(path[i:j])
		}
		i = j + 1
	}
	return n
}

// Environ returns environ without the PG variables, so that a client program gets exactly the ones it is given next.
func Environ(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return strings.HasPrefix(name, "PG") && !keep[name]
	})
}

// keep are the variables that change how psql looks, not where it connects.
var keep = map[string]bool{"PGCLIENTENCODING": true, "PGDATESTYLE": true, "PGTZ": true}

// Variables are the names of those that libpq knows and [Environ] takes away.
func Variables() []string {
	return []string{
		"PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGPASSFILE", "PGREQUIREAUTH", "PGCHANNELBINDING", "PGSERVICE",
		"PGSERVICEFILE", "PGSYSCONFDIR", "PGOPTIONS", "PGAPPNAME", "PGSSLMODE", "PGREQUIRESSL", "PGSSLNEGOTIATION", "PGSSLCOMPRESSION", "PGSSLCERT",
		"PGSSLKEY", "PGSSLCERTMODE", "PGSSLROOTCERT", "PGSSLCRL", "PGSSLCRLDIR", "PGSSLSNI", "PGREQUIREPEER", "PGSSLMINPROTOCOLVERSION",
		"PGSSLMAXPROTOCOLVERSION", "PGGSSENCMODE", "PGKRBSRVNAME", "PGGSSLIB", "PGGSSDELEGATION", "PGCONNECT_TIMEOUT", "PGTARGETSESSIONATTRS",
		"PGLOADBALANCEHOSTS", "PGGEQO", "PGMINPROTOCOLVERSION", "PGMAXPROTOCOLVERSION",
	}
}
