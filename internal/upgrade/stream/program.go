package stream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
	"dbops/internal/pg"
)

// program is one run of pg_dump or pg_restore, which is let in through a relay and given no password.
type program struct {
	name    string
	major   int
	connect Connect
	tune    func(*pgx.ConnConfig)
	args    []string
	out     io.Writer
	line    func(string) // is told each line of what it says
}

func (c *Job) run(ctx context.Context, p program) error {
	path, err := c.Tool(ctx, p.name, p.major)
	if err != nil {
		return fault.New(fault.NotFound, "run "+p.name, err).Hint("install the client programs of PostgreSQL %d", p.major)
	}
	r, err := pg.StartRelay(ctx, c.Dir, func(ctx context.Context) (*pgx.Conn, error) { return p.connect(ctx, p.tune) })
	if err != nil {
		return err
	}
	args := append(p.args, "--no-password", "--host", r.Dir, "--port", pg.RelayPort, "--username", "dbops", "--dbname", "dbops")
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(pg.Environ(os.Environ()), "PGGSSENCMODE=disable", "PGSSLMODE=disable", "PGAPPNAME="+ourName, "LC_ALL=C")
	cmd.Stdout = p.out
	words := &tail{}
	read, write := io.Pipe()
	cmd.Stderr = write
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer read.Close()
		lines := bufio.NewScanner(read)
		lines.Buffer(make([]byte, 64<<10), 1<<20)
		for lines.Scan() {
			words.add(lines.Text())
			if p.line != nil {
				p.line(lines.Text())
			}
		}
		_, _ = io.Copy(io.Discard, read)
	}()
	err = cmd.Run()
	_ = write.Close()
	<-done
	rerr := r.Close()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case rerr != nil:
		return rerr
	}
	return fmt.Errorf("%s: %w: %s", p.name, err, words)
}

// tail keeps what a program said last of its errors.
type tail struct{ lines []string }

func (t *tail) add(s string) {
	const most = 6
	if !strings.Contains(s, "error:") && !strings.Contains(s, "detail:") && !strings.Contains(s, "hint:") && !strings.Contains(s, "from TOC entry") && !strings.Contains(s, "warning:") {
		return
	}
	if t.lines = append(t.lines, s); len(t.lines) > most {
		t.lines = t.lines[1:]
	}
}

func (t *tail) String() string { return strings.Join(t.lines, " | ") }

// mostSchema bounds a schema that is held in memory.
const mostSchema = 256 << 20

// dumpSchema reads the schema that a snapshot shows; "" is the present.
func (c *copier) dumpSchema(ctx context.Context, snapshot string) (*toc, error) {
	var out bytes.Buffer
	args := []string{"--format=custom", "--compress=0", "--encoding=UTF8", "--section=pre-data", "--section=post-data", "--lock-wait-timeout=10000"}
	if snapshot != "" {
		args = append(args, "--snapshot="+snapshot)
	}
	err := c.Job.run(ctx, program{name: "pg_dump", major: c.major, connect: c.Source, tune: readOnly, args: args, out: &limited{&out, mostSchema}})
	if err != nil {
		return nil, dumpFailed(err)
	}
	entries, err := readArchive(out.Bytes())
	if err != nil {
		return nil, fault.New(fault.Failed, "read the schema of the source", err).Hint("install the client programs of PostgreSQL %d, or copy with the other engine", c.major)
	}
	return newTOC(entries), nil
}

func readOnly(c *pgx.ConnConfig) {
	c.RuntimeParams["default_transaction_read_only"] = "on"
	c.RuntimeParams["application_name"] = ourName
}

func dumpFailed(err error) error {
	if errors.Is(err, context.Canceled) || fault.KindOf(err) != fault.Internal {
		return err
	}
	f := fault.New(fault.Failed, "dump the schema of the source", err)
	switch text := err.Error(); {
	case strings.Contains(text, "server version mismatch"):
		return f.Hint("install newer client programs of PostgreSQL")
	case strings.Contains(text, "canceling statement due to lock timeout"):
		return f.Hint("somebody alters a table of the source: wait until that is done, and run it again")
	case strings.Contains(text, "permission denied"):
		return f.Hint("copy with a login that may read everything, such as a member of pg_read_all_data, and of the owners")
	}
	return f.Hint("mend that on the source, and run it again")
}

// limited refuses what would not fit into memory.
type limited struct {
	b    *bytes.Buffer
	most int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.b.Len()+len(p) > l.most {
		return 0, fmt.Errorf("the schema is larger than %d MB", l.most>>20)
	}
	return l.b.Write(p)
}
