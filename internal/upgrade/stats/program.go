package stats

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/jackc/pgx/v5"

	"dbops/internal/pg"
)

// program is one run of a client program, which is let in through a relay and given no password.
type program struct {
	name, path string
	connect    Connect
	tune       func(*pgx.ConnConfig)
	args       []string
	in, out    *os.File
	line       func(string) // is told each line of what it says
}

// programError is that a program ran, and failed.
type programError struct {
	name, said string
	err        error
}

func (e *programError) Error() string {
	if e.said == "" {
		return fmt.Sprintf("%s: %v", e.name, e.err)
	}
	return e.name + ": " + e.said
}

func (e *programError) Unwrap() error { return e.err }

func (r *run) execute(ctx context.Context, p program) error {
	relay, err := pg.StartRelay(ctx, r.Dir, func(ctx context.Context) (*pgx.Conn, error) {
		return p.connect(ctx, func(c *pgx.ConnConfig) {
			c.RuntimeParams["application_name"] = ourName
			p.tune(c)
		})
	})
	if err != nil {
		return err
	}
	args := append(p.args, "--no-password", "--host", relay.Dir, "--port", pg.RelayPort, "--username", "dbops", "--dbname", "dbops")
	cmd := exec.CommandContext(ctx, p.path, args...)
	cmd.Env = append(pg.Environ(os.Environ()), "PGGSSENCMODE=disable", "PGSSLMODE=disable", "PGAPPNAME="+ourName, "LC_ALL=C")
	if p.in != nil {
		cmd.Stdin = p.in
	}
	if p.out != nil {
		cmd.Stdout = p.out
	}
	read, write := io.Pipe()
	cmd.Stderr = write
	said := ""
	done := make(chan struct{})
	go func() {
		defer close(done)
		lines := bufio.NewReaderSize(read, 64<<10)
		for {
			// Only the beginning of a line: a command that failed may be long.
			b, more, err := lines.ReadLine()
			if err != nil {
				return
			}
			s := string(b)
			for more && err == nil {
				_, more, err = lines.ReadLine()
			}
			if strings.HasPrefix(s, p.name+": error: ") {
				said = strings.TrimPrefix(s, p.name+": error: ")
			}
			if p.line != nil {
				p.line(s)
			}
		}
	}()
	err = cmd.Run()
	_ = write.Close()
	<-done
	rerr := relay.Close()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case rerr != nil:
		return rerr
	}
	return &programError{name: p.name, said: said, err: err}
}
