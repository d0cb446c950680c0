// Package pgbin finds the PostgreSQL programs that this machine has, and the user to run servers as.
//
// Servers and client tools are looked for where package pg looks for those of a scratch server; an error says what is missing and how to get
// it.
package pgbin

import (
	"fmt"
	"path/filepath"
	"strings"

	"dbops/internal/fault"
	"dbops/internal/pg"
)

// User is the unprivileged user that runs PostgreSQL, which refuses to run as root.
type User = pg.OSUser

// RunAs returns the user to drop to, nil unless this process is root's.
func RunAs() (*User, error) { return pg.RunAs() }

// CacheDir is where `make postgres` puts what it fetches.
func CacheDir() string { return pg.CacheDir() }

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
	for m := major + 1; m <= pg.NewestMajor; m++ {
		if dir, err := find("client", m, program); err == nil {
			return filepath.Join(dir, program), nil
		}
	}
	return "", first
}

// find returns the first folder that holds the programs. kind is the cache's word: server or client.
func find(kind string, major int, programs ...string) (string, error) {
	dir, dirs := pg.Programs(kind, major, programs...)
	if dir != "" {
		return filepath.Abs(dir)
	}
	err := fmt.Errorf("no %s of major %d in %s: run `make postgres`", strings.Join(programs, " and "), major, strings.Join(dirs, ", "))
	return "", fault.New(fault.NotFound, fmt.Sprintf("find the PostgreSQL %d %s programs", major, kind), err).
		Hint("`make postgres` brings them; or install that major, or name the folder of its programs in DBOPS_PG_%d", major)
}
