//go:build peers

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestForeignClients holds the proxy against clients that share no code with it. Each works through the same proxy on a database of
// both clouds at once, and on a second proxy where it may write.
func TestForeignClients(t *testing.T) {
	read := startProxy(t, "-e", "prod")
	write := startProxy(t, "-e", "staging", "--access", "write")
	for _, c := range []struct {
		name    string
		command func(*testing.T) peerCommand
	}{
		{"node-postgres", nodePostgres},
		{"psycopg2", psycopg},
		{"JDBC", jdbc},
	} {
		t.Run(c.name, func(t *testing.T) {
			command := c.command(t)
			var wg sync.WaitGroup
			for _, p := range []*runningProxy{read, write} {
				for _, db := range []string{"shop", "billing"} {
					wg.Go(func() { command.judge(t, p, db) })
				}
			}
			wg.Wait()
		})
	}
	t.Run("psql", func(t *testing.T) { psqlJudges(t, read, write) })
	t.Run("pgbench", func(t *testing.T) { pgbenchJudges(t, read) })
	for _, p := range []*runningProxy{read, write} {
		if code := p.interrupt(t); code != 0 {
			t.Errorf("exit status %d of the proxy of %s: %s", code, p.Environment, p.stderr)
		}
	}
}

// peerCommand runs one of the programs in testdata/peers.
type peerCommand struct {
	args []string
	env  []string
}

func nodePostgres(t *testing.T) peerCommand {
	t.Helper()
	modules := filepath.Join(peer(t, "DBOPS_PEER_NODE_PG"), "node_modules")
	return peerCommand{args: []string{"node", "--no-deprecation", "testdata/peers/client.js"}, env: []string{"NODE_PATH=" + modules}}
}

func psycopg(t *testing.T) peerCommand {
	t.Helper()
	return peerCommand{args: []string{peer(t, "DBOPS_PEER_PSYCOPG"), "testdata/peers/client.py"}}
}

func jdbc(t *testing.T) peerCommand {
	t.Helper()
	jar := peer(t, "DBOPS_PEER_JDBC")
	if why, none := strings.CutPrefix(jar, "none: "); none {
		fmt.Fprintln(os.Stderr, "NOT TESTED on this machine: JDBC:", why)
		t.Skip("not on this machine:", why)
	}
	classes := t.TempDir()
	out, err := exec.CommandContext(t.Context(), "java", "-m", "jdk.compiler/com.sun.tools.javac.Main", "-d", classes, "-cp", jar, "-encoding", "UTF-8",
		"testdata/peers/Client.java").CombinedOutput()
	if err != nil {
		t.Fatalf("compile: %v\n%s", err, out)
	}
	return peerCommand{args: []string{"java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", jar + ":" + classes, "Client"}}
}

// peer is where scripts/peers.sh says that a foreign client is.
func peer(t *testing.T, variable string) string {
	t.Helper()
	v := os.Getenv(variable)
	if v == "" {
		t.Fatalf("%s is not set: scripts/peers.sh --env prints it; make test-peers", variable)
	}
	return v
}

// judge runs the program on a database. It must say "done" at its end: one that stops halfway has proved nothing.
func (c peerCommand) judge(t *testing.T, p *runningProxy, database string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, []byte(p.CA), 0o600); err != nil {
		t.Error(err)
		return
	}
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Env = environ(t, append(c.env, "PEER_URI="+p.uri(t, database), "PEER_CA="+ca, "PEER_ACCESS="+string(p.Access))...)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	switch {
	case err != nil:
		t.Errorf("%s on %s of %s: %v\n%s", t.Name(), database, p.Environment, err, out)
	case !bytes.HasSuffix(out, []byte("\ndone\n")) || bytes.Contains(out, []byte("FAIL")):
		t.Errorf("%s on %s of %s did not come to its end:\n%s", t.Name(), database, p.Environment, out)
	default:
		t.Logf("%s of %s:\n%s", database, p.Environment, out)
	}
}
