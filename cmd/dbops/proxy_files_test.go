package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// The file that is missing is the client's or the server's: one more or less of them decides, and what else has one open at that moment.
func TestAProxyThatRunsOutOfFilesSaysSo(t *testing.T) {
	t.Parallel()
	var refused, waits int
	for limit := 44; limit < 50 && (refused == 0 || waits == 0); limit++ {
		script := fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, limit)
		cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "sh", "-c", script, shared.program, "-o", "json", "proxy", "-e", "local")
		cmd.Env = environ(t)
		p := start(t, cmd)
		hint := fmt.Sprintf("this process may open %d files, and a session needs two: raise it with ulimit -n, or LimitNOFILE=", limit)
		if pe := fill(t, p, limit); pe != nil {
			refused++
			if pe.Code != "53300" || !strings.Contains(pe.Message, "too many open files") || !strings.HasPrefix(pe.Hint, hint) {
				t.Errorf("%+v", pe)
			}
		} else {
			waits++
			if !strings.Contains(p.said(), hint) {
				t.Errorf("the user of the proxy is told\n%s", p.said())
			}
		}
		if code := p.interrupt(t); code != 0 {
			t.Errorf("exit status %d", code)
		}
	}
	t.Logf("%d were refused and %d had to wait", refused, waits)
}

// fill opens sessions until there are no files left, and returns what a client is told; nil if it is not let in at all.
func fill(t *testing.T, p *runningProxy, most int) *pgconn.PgError {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	uri := p.uri(t, "events")
	for range most {
		got := make(chan error, 1)
		go func() {
			c, err := pgx.Connect(ctx, uri)
			if err == nil {
				t.Cleanup(func() { _ = c.Close(context.Background()) })
			}
			got <- err
		}()
		var err error
		waits := false
		eventually(t, "the client is let in, refused or waited for", func() bool {
			select {
			case err = <-got:
				return true
			default:
				waits = strings.Contains(p.said(), "clients wait to be let in: too many open files")
				return waits
			}
		})
		if waits {
			cancel()
			if err := <-got; err == nil {
				t.Error("the client was let in all the same")
			}
			return nil
		}
		if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
			return pe
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("there were files for all")
	return nil
}
