//go:build peers

package peers

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// corpus is a folder of migrations that others have published and that their users' databases have gone through.
type corpus struct {
	name  string
	major int // of the server
	// floor is how many up files are applied at least: a corpus that shrinks proves less.
	floor int
	// stuck is the version whose down file fails, and why; 0 if they go down to nothing.
	stuck int
	why   string
	// downAll takes it all back by the program as well.
	downAll bool
}

// step is one version of a corpus.
type step struct {
	key      string // as the publisher numbers it
	name     string
	up, down string // paths; "" for none
}

// The publisher's name of a file: 20150101000001000000_networks.postgres.up.sql, or 001_create_river_migration.up.sql. autocommit is a word to
// its own tool.
var fileName = regexp.MustCompile(`^(\d+)_([^.]+)(?:\.(postgres|cockroach|mysql|sqlite|sqlite3))?(?:\.autocommit)?\.(up|down)\.sql$`)

// read returns the steps of a corpus in order: of each the file for PostgreSQL or, if there is none, the one for every dialect. A version that
// only other dialects have is none of PostgreSQL's.
func (c corpus) read(t *testing.T) []step {
	t.Helper()
	dir := filepath.Join(peer(t, "DBOPS_PEER_MIGRATIONS"), c.name)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all, own := map[string]*step{}, map[string]bool{}
	others := 0
	for _, e := range entries {
		m := fileName.FindStringSubmatch(e.Name())
		if m == nil {
			t.Fatalf("%s has %s, whose name is not understood", c.name, e.Name())
		}
		key, name, dialect, direction := m[1], m[2], m[3], m[4]
		if dialect != "" && dialect != "postgres" {
			others++
			continue
		}
		s := all[key]
		if s == nil {
			s = &step{key: key, name: name}
			all[key] = s
		}
		if dialect == "" && own[key+direction] {
			continue
		}
		own[key+direction] = dialect != ""
		path := &s.up
		if direction == "down" {
			path = &s.down
		}
		*path = filepath.Join(dir, e.Name())
	}
	var steps []step
	for _, s := range all {
		if s.up != "" {
			steps = append(steps, *s)
		}
	}
	slices.SortFunc(steps, func(a, b step) int { return strings.Compare(a.key, b.key) })
	t.Logf("%s: %d versions for PostgreSQL; %d files for other databases left out", c.name, len(steps), others)
	return steps
}

// folder writes a corpus as golang-migrate's folder, numbered from 1 in the publisher's order: it takes no version of 20 digits. The texts stay
// as they are. It returns the folder, and how many up files it has.
func (c corpus) folder(t *testing.T) (dir string, n int) {
	t.Helper()
	dir = t.TempDir()
	write := func(path, direction string, s step) {
		if path == "" {
			return
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%04d_%s.%s.sql", n, s.name, direction)), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range c.read(t) {
		n++
		write(s.up, "up", s)
		write(s.down, "down", s)
	}
	if n < c.floor {
		t.Errorf("%s has %d up files, fewer than %d", c.name, n, c.floor)
	}
	return dir, n
}
