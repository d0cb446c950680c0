package stats

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// carry pipes the statistics from the source into the target; nothing is written to disk, for they hold values of the tables. It returns why
// that cannot be done, if the tables can be analysed instead.
func (r *run) carry(ctx context.Context) (why string, err error) {
	if r.major < carryFrom {
		return fmt.Sprintf("the target is PostgreSQL %d, and can be given statistics from %d on", r.major, carryFrom), nil
	}
	dump, why := r.program(ctx, "pg_dump")
	if why != "" {
		return why, nil
	}
	restore, why := r.program(ctx, "pg_restore")
	if why != "" {
		return why, nil
	}
	err = r.pipe(ctx, dump, restore)
	if pf, ok := errors.AsType[*programError](err); ok && ctx.Err() == nil {
		return pf.Error(), nil
	}
	return "", err
}

// program finds one that knows of statistics.
func (r *run) program(ctx context.Context, name string) (path, why string) {
	path, err := r.Tool(ctx, name, r.major)
	if err != nil {
		return "", err.Error()
	}
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "", fmt.Sprintf("%s does not run: %v", name, err)
	}
	for _, word := range strings.Fields(string(out)) { // "pg_dump (PostgreSQL) 18.1 (Debian ...)"
		if major := leading(word); major > 0 {
			if major < r.major {
				return "", fmt.Sprintf("%s is of PostgreSQL %d, older than the target", name, major)
			}
			return path, ""
		}
	}
	return "", name + " does not say of what version it is"
}

// leading is the number that a text begins with, 0 without one.
func leading(s string) (n int) {
	for _, c := range s {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + int(c-'0')
	}
	return n
}

func (r *run) pipe(ctx context.Context, dump, restore string) error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var first error // of the two: the other one fails for it
	note := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if first == nil {
			first = err
		}
	}
	var g errgroup.Group
	g.Go(func() error {
		defer write.Close()
		note(r.execute(ctx, program{
			name: "pg_dump", path: dump, connect: r.Source, out: write, tune: func(c *pgx.ConnConfig) { c.RuntimeParams["default_transaction_read_only"] = "on" },
			args: []string{"--format=custom", "--compress=0", "--encoding=UTF8", "--statistics-only", "--lock-wait-timeout=60000"},
		}))
		return nil
	})
	g.Go(func() error {
		defer read.Close()
		var t told
		err := r.execute(ctx, program{
			name: "pg_restore", path: restore, connect: r.Target, in: read, line: t.line,
			tune: func(c *pgx.ConnConfig) {
				c.RuntimeParams["default_transaction_read_only"], c.RuntimeParams["synchronous_commit"] = "off", "off"
			},
			args: []string{"--statistics-only"},
		})
		if _, ok := errors.AsType[*programError](err); ok && t.finished {
			err = nil // what it could not restore is left out
		}
		note(err)
		r.res.LeftOut = append(r.res.LeftOut, t.left...)
		return nil
	})
	_ = g.Wait() // they note their errors
	return first
}

// told reads what pg_restore says of what failed: the cause, and then the command, which says whose statistics they were.
type told struct {
	left     []LeftOut
	schema   string
	named    bool // the last one
	finished bool
}

// line takes the cause and the names; the rest of the command holds values of the table.
func (t *told) line(s string) {
	if _, why, ok := strings.Cut(s, "could not execute query: ERROR: "); ok {
		t.left = append(t.left, LeftOut{Why: strings.TrimSpace(why)})
		t.schema, t.named = "", false
		return
	}
	if strings.Contains(s, "errors ignored on restore") {
		t.finished = true
	}
	if len(t.left) == 0 || t.named {
		return
	}
	if name, ok := argument(s, "schemaname"); ok && t.schema == "" {
		t.schema = name
	} else if name, ok := argument(s, "relname"); ok {
		t.left[len(t.left)-1].Table = pgx.Identifier{t.schema, name}.Sanitize()
		t.named = true
	}
}

// argument is the value of one that pg_dump wrote on a line of its own: 'relname', 'it”s'.
func argument(line, name string) (value string, ok bool) {
	v, ok := strings.CutPrefix(line, "\t'"+name+"', ")
	if !ok {
		return "", false
	}
	v, escaped := strings.CutPrefix(strings.TrimSuffix(strings.TrimSpace(v), ","), "E")
	if v = strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(v, "'"), "'"), "''", "'"); escaped {
		v = strings.ReplaceAll(v, `\\`, `\`)
	}
	return v, true
}
