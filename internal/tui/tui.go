// Package tui is the terminal UI: the fleet, an instance, the proxy of an environment.
//
// [Run] shows it until the person leaves; it reads and acts through a [Core]. The root model owns the stack of pages, the
// dialogs above them, the message line and the open proxies; a page is a value that draws a rectangle and lists its actions.
// Update touches nothing outside: all reading and doing happens in commands, which end with the page that asked for them.
package tui

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/mattn/go-isatty"

	"dbops/internal/fault"
	"dbops/internal/tui/core"
	"dbops/internal/tui/sessions"
	"dbops/internal/tui/work"
)

// Core is what the terminal UI needs of the program. See [core.Core].
type Core = core.Core

// Proxy is one open proxy. See [core.Proxy].
type Proxy = core.Proxy

// DefaultRefresh is how often a page reads its data anew.
const DefaultRefresh = 15 * time.Second

// Background is the colour of the terminal behind the text.
type Background string

// The backgrounds.
const (
	BackgroundAuto  Background = "" // ask the terminal; dark until it answers
	BackgroundDark  Background = "dark"
	BackgroundLight Background = "light"
)

// Options say where and how to draw. Zero values mean the default written beside them.
type Options struct {
	In, Out *os.File // the terminal. Default to the process's standard input and output.
	Env     []string // of the terminal: TERM, COLORTERM, NO_COLOR, LANG. Defaults to the process's.

	Version      string
	RefreshEvery time.Duration // Defaults to [DefaultRefresh].
	Background   Background
	NoColor      bool // only bold and reverse, whatever the terminal can do
	ASCII        bool // no glyph outside ASCII; a locale that is not UTF-8 sets it, too

	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	if o.In == nil {
		o.In = os.Stdin
	}
	if o.Out == nil {
		o.Out = os.Stdout
	}
	if o.Env == nil {
		o.Env = os.Environ()
	}
	if o.RefreshEvery <= 0 {
		o.RefreshEvery = DefaultRefresh
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.ASCII = o.ASCII || !utf8Locale(o.Env)
	return o
}

// Run shows the terminal UI until the person leaves or ctx ends, which is the way for signals to end it. It gives the terminal
// back as it was and drains the proxies that are still open before it returns. Without a terminal it returns a fault of kind
// Usage; when ctx ended, one of kind Interrupted; after a panic, whose stack it leaves on standard error, one of kind Internal.
func Run(ctx context.Context, c Core, o Options) error {
	o = o.withDefaults()
	if err := checkTerminal(o); err != nil {
		return err
	}
	pool, keeper := work.New(ctx), sessions.NewKeeper()
	opts := []tea.ProgramOption{
		tea.WithContext(ctx), tea.WithInput(o.In), tea.WithOutput(o.Out), tea.WithEnvironment(o.Env), tea.WithoutSignalHandler(),
	}
	if o.NoColor {
		opts = append(opts, tea.WithColorProfile(colorprofile.ASCII))
	}
	last, err := tea.NewProgram(newModel(c, pool, keeper, o), opts...).Run()
	if m, ok := last.(model); ok && m.hurried {
		keeper.Hurry()
	}
	pool.Close()
	closeErr := keeper.CloseAll(ctx)
	if c := pool.Crashed(); c != nil {
		fmt.Fprintf(os.Stderr, "panic: %v\n\n%s\n", c.Value, c.Stack)
		err = tea.ErrProgramPanic
	}
	switch {
	case errors.Is(err, tea.ErrProgramPanic):
		return fault.New(fault.Internal, "show the terminal UI", err).Hint("this is a bug in dbops: report it with the lines above")
	case ctx.Err() != nil:
		return fault.New(fault.Interrupted, "show the terminal UI", context.Cause(ctx))
	case err != nil:
		return fault.New(fault.Internal, "show the terminal UI", err)
	case closeErr != nil:
		return fault.New(fault.Unavailable, "close the open proxies", closeErr)
	}
	return nil
}

// checkTerminal refuses to draw where nobody could see or answer.
func checkTerminal(o Options) error {
	const op = "show the terminal UI"
	for _, f := range []struct {
		file *os.File
		name string
	}{{o.In, "standard input"}, {o.Out, "standard output"}} {
		if !isatty.IsTerminal(f.file.Fd()) && !isatty.IsCygwinTerminal(f.file.Fd()) {
			return fault.Newf(fault.Usage, op, "%s is not a terminal", f.name).Hint("in scripts use the commands: dbops status -o json")
		}
	}
	if term := getenv(o.Env, "TERM"); term == "dumb" {
		return fault.Newf(fault.Usage, op, "a terminal of type %q cannot be drawn on", term).
			Hint("set TERM to what it really is, or use the commands: dbops status")
	}
	return nil
}

// getenv is the last value of name in env.
func getenv(env []string, name string) string {
	value := ""
	for _, e := range env {
		if k, v, ok := strings.Cut(e, "="); ok && k == name {
			value = v
		}
	}
	return value
}

// utf8Locale tells whether the locale is UTF-8. Without any it counts as such: containers rarely set one.
func utf8Locale(env []string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(getenv(env, name)); v != "" {
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return true
}
