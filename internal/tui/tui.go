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
	"sync"
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
	In, Out  *os.File  // the terminal. Default to the process's standard input and output.
	Terminal *Terminal // in their place, one at the other end of a connection
	Lines    *Lines    // no screen: pages are read out, and lines are taken
	Env      []string  // of the terminal: TERM, COLORTERM, NO_COLOR, LANG. Defaults to the process's.

	Version      string
	StateDir     string        // where the report of a crash goes. Defaults to nowhere: it is shown
	RefreshEvery time.Duration // Defaults to [DefaultRefresh].
	Background   Background
	Theme        Theme // Defaults to [ThemeAuto]
	NoMouse      bool  // the mouse stays the terminal's, to select text with
	NoColor      bool  // only bold and reverse, whatever the terminal can do
	ASCII        bool  // no glyph outside ASCII; a locale that is not UTF-8 sets it, too
	NoBell       bool  // no bell and no notification of the terminal when something waits for a person

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
// Usage; when ctx ended, one of kind Interrupted; after a panic, whose report it leaves under StateDir, one of kind Internal.
func Run(ctx context.Context, c Core, o Options) error {
	o = o.withDefaults()
	if o.Lines != nil {
		return runLines(ctx, c, o)
	}
	if err := checkTerminal(o); err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	lost := func(err error) { end(fmt.Errorf("the terminal is gone: %w", err)) }
	pool, keeper := work.New(ctx), sessions.NewKeeper()
	opts := []tea.ProgramOption{tea.WithContext(ctx), tea.WithEnvironment(o.Env), tea.WithoutSignalHandler()}
	var out *output
	if o.Terminal != nil {
		out = newOutput(rawLines{o.Terminal.Out}, lost)
		opts = append(opts, o.Terminal.options(o, out)...)
	} else {
		out = newOutput(o.Out, lost)
		opts = append(opts, tea.WithInput(keyFile{o.In, lost}), tea.WithOutput(screenFile{out, o.Out}))
	}
	opts = append(opts, tea.WithFilter(out.filter))
	defer context.AfterFunc(ctx, out.end)()
	if o.NoColor {
		opts = append(opts, tea.WithColorProfile(colorprofile.ASCII))
	}
	first := newModel(c, pool, keeper, o)
	first.out = out
	program := tea.NewProgram(first, opts...)
	var beside sync.WaitGroup
	over, done := context.WithCancel(ctx)
	if o.Terminal != nil {
		beside.Go(func() { o.Terminal.follow(over, program) })
	}
	beside.Go(func() { out.follow(over, program) })
	last, err := program.Run()
	done()
	beside.Wait()
	m, ok := last.(model)
	if !ok { // it panicked
		m = first
	}
	return m.ended(ctx, err)
}

// ended closes what is open, and says how it ended.
func (m model) ended(ctx context.Context, err error) error {
	pool, keeper, o := m.pool, m.keeper, m.opts
	if m.hurried {
		keeper.Hurry()
	}
	pool.Close()
	closeErr := keeper.CloseAll(ctx)
	m.out.finish()
	switch c := pool.Crashed(); {
	case c != nil:
		return crashed(c, m, o)
	case errors.Is(err, tea.ErrProgramPanic):
		lines := "the lines above"
		if o.Terminal != nil {
			lines = "what the server wrote about it"
		}
		return fault.New(fault.Internal, "show the terminal UI", err).Hint("this is a bug in dbops: report it with %s", lines)
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
		if o.Terminal == nil && !isatty.IsTerminal(f.file.Fd()) && !isatty.IsCygwinTerminal(f.file.Fd()) {
			return fault.Newf(fault.Usage, op, "%s is not a terminal", f.name).Hint("in scripts use the commands: dbops status -o json")
		}
	}
	if term := getenv(o.Env, "TERM"); term == "dumb" {
		return fault.Newf(fault.Usage, op, "a terminal of type %q cannot be drawn on", term).
			Hint("set TERM to what it really is, or have it read out line by line: dbops --accessible")
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
