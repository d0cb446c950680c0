//go:build peers

package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"dbops/internal/sandbox/pgbin"
)

// TestForeignClientsOfACommand holds what a command is told against clients that share no code with dbops: they find the database, and the
// password in the file, by themselves; by a socket they need none.
func TestForeignClientsOfACommand(t *testing.T) {
	t.Parallel()
	python3 := peer(t, "DBOPS_PEER_PSYCOPG")
	modules := "NODE_PATH=" + filepath.Join(peer(t, "DBOPS_PEER_NODE_PG"), "node_modules")
	const (
		python = `import os, psycopg2; c = psycopg2.connect(%s).cursor(); c.execute("select current_database()"); print(c.fetchone()[0])`
		node   = `const { Client } = require("pg"); const c = new Client(%s); c.connect().then(() => c.query("select current_database() as d")).then((r) => { console.log(r.rows[0].d); return c.end() }).catch((e) => { console.error(e); process.exit(1) })`
	)
	psql, err := pgbin.Client("psql", 18)
	if err != nil {
		t.Fatal(err)
	}
	clients := map[string][]string{
		"psycopg2 by the variables":      {python3, "-c", strings.Replace(python, "%s", `""`, 1)},
		"psycopg2 by DATABASE_URL":       {python3, "-c", strings.Replace(python, "%s", `os.environ["DATABASE_URL"]`, 1)},
		"node-postgres by the variables": {"node", "--no-deprecation", "-e", strings.Replace(node, "%s", "", 1)},
		"psql 18":                        {psql, "-XAtwc", "select current_database()"},
	}
	for name, ways := range map[string][]string{"TCP": nil, "a socket": {"--unix-socket", socketDir(t)}, "TLS": {"--tls", "require"}} {
		for client, command := range clients {
			if strings.HasPrefix(client, "node") && name == "TLS" {
				continue // it knows no PGSSLROOTCERT
			}
			args := append(append([]string{"proxy", "-e", "staging", "--database", "shop"}, ways...), "--")
			cmd := exec.CommandContext(t.Context(), shared.program, append(args, command...)...)
			cmd.Env = environ(t, modules)
			if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "shop" {
				t.Errorf("%s by %s: %v: %s", client, name, err, out)
			}
		}
	}
}
