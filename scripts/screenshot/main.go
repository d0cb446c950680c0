// Command screenshot runs a program in a terminal, presses keys, and writes its screen as an SVG picture.
//
//	go run ./scripts/screenshot -cols 120 -rows 36 -wait orders-main -keys 'j enter' -wait Overview -o docs/images/instance.svg -- ./dbops
//
// -wait and -keys may be given several times; they happen in their order. Keys are separated by spaces: characters as they are,
// or enter, esc, tab, space, up, down, ctrl+p. The picture is taken when the screen has been still for a moment. The program has
// the environment of this one, but for what says which terminal it is.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"dbops/internal/tui/tuitest/console" //nolint:depguard // it looks at the program as a test does
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "screenshot:", err)
		stop()
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

// step is one -wait or one -keys.
type step struct {
	wait string
	keys []string
}

type options struct {
	cols, rows int
	out, title string
	env        []string
	limit      time.Duration
	still      time.Duration
	steps      []step
	command    []string
}

// environment is this process's, on a terminal that can show everything, with extra.
func environment(extra []string) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "NO_COLOR=") || strings.HasPrefix(v, "CLICOLOR") || strings.HasPrefix(v, "LC_") || strings.HasPrefix(v, "TERM_PROGRAM")
	})
	return append(append(env, console.Env()...), extra...)
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("screenshot", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.IntVar(&o.cols, "cols", 120, "columns of the terminal")
	f.IntVar(&o.rows, "rows", 36, "rows of the terminal")
	f.StringVar(&o.out, "o", "", "file to write; its folder is made")
	f.StringVar(&o.title, "title", "", "what the picture shows, for those who cannot see it (default: the command)")
	f.DurationVar(&o.limit, "limit", 20*time.Second, "longest wait for a text")
	f.DurationVar(&o.still, "still", 400*time.Millisecond, "how long the screen must be still before the picture")
	f.Func("env", "environment variable of the program, as NAME=VALUE; may be repeated", func(v string) error {
		o.env = append(o.env, v)
		return nil
	})
	f.Func("wait", "text that must be on the screen", func(v string) error {
		o.steps = append(o.steps, step{wait: v})
		return nil
	})
	f.Func("keys", "keys to press, separated by spaces", func(v string) error {
		keys := strings.Fields(v)
		for _, k := range keys {
			if _, err := console.Bytes(k); err != nil {
				return err
			}
		}
		o.steps = append(o.steps, step{keys: keys})
		return nil
	})
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.command = f.Args()
	if len(o.command) == 0 || o.out == "" {
		return o, errors.New("want -o FILE and, after --, the command to run")
	}
	if o.title == "" {
		o.title = strings.Join(o.command, " ")
	}
	return o, nil
}

func run(ctx context.Context, args []string, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	term, err := console.Start(ctx, console.Options{Cols: o.cols, Rows: o.rows, Env: environment(o.env)}, o.command[0], o.command[1:]...)
	if err != nil {
		return err
	}
	defer term.Close()
	for _, s := range o.steps {
		if s.wait != "" {
			err = term.Wait(s.wait, o.limit)
		} else {
			err = term.Send(s.keys...)
		}
		if err != nil {
			return err
		}
	}
	term.Settle(o.still, o.limit)
	var picture strings.Builder
	if err := writeSVG(&picture, term.Cells(), o.title); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(o.out), 0o755); err != nil { //nolint:gosec // pictures are for everybody
		return err
	}
	return os.WriteFile(o.out, []byte(picture.String()), 0o644) //nolint:gosec // pictures are for everybody
}
