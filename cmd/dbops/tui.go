package main

import (
	"cmp"
	"context"
	"os"
	"os/signal"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"dbops/internal/app"
	"dbops/internal/fault"
	"dbops/internal/tui"
)

// screenOptions are the flags of the terminal UI.
type screenOptions struct {
	theme      string
	readOnly   bool
	noMouse    bool
	noBell     bool
	accessible bool
	refresh    time.Duration
}

func (o *screenOptions) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.theme, "theme", "", "colours of the terminal UI: auto, dark, light, high-contrast, colour-blind (default: $DBOPS_THEME, else auto)")
	f.BoolVar(&o.readOnly, "read-only", false, "terminal UI: change nothing, and open proxies for reading only")
	f.BoolVar(&o.noMouse, "no-mouse", false, "terminal UI: leave the mouse to the terminal, to select text with")
	f.BoolVar(&o.noBell, "no-bell", false, "terminal UI: no bell and no notification when something waits for a person; the message stays")
	f.BoolVar(&o.accessible, "accessible", false,
		"terminal UI: for screen readers, as sentences and numbered questions, line by line (default: $DBOPS_ACCESSIBLE, else where TERM is dumb)")
	f.DurationVar(&o.refresh, "refresh", tui.DefaultRefresh, "terminal UI: how often data is read anew")
}

// runTUI opens the terminal UI, or, where there is no terminal, shows the help.
func runTUI(ctx context.Context, c *cli, cmd *cobra.Command, o *screenOptions) error { //nolint:contextcheck // c.ended is no child of ctx: an interrupt does not end it
	aloud, err := o.aloud(c, cmd)
	if err != nil {
		return err
	}
	if !aloud && (!terminal(c.in) || !terminal(c.out)) {
		if err := cmd.Help(); err != nil {
			return err
		}
		return fault.Newf(fault.Usage, "open the terminal UI", "standard input and output are not a terminal").
			Hint("name a command, as in: dbops status")
	}
	theme, err := tui.ParseTheme(cmp.Or(o.theme, c.getenv("DBOPS_THEME")))
	if err != nil {
		return err
	}
	if o.refresh < time.Second {
		return fault.Newf(fault.Usage, "read the flags", "--refresh %s is too short", o.refresh).Hint("a second is the least")
	}
	readOnly := ""
	if o.readOnly {
		readOnly = "--read-only"
	}
	c.screen = true
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	desk := a.Desk(app.DeskOptions{ReadOnly: readOnly, Carry: func(ctx context.Context, run string) error {
		return carryRun(ctx, a.Config().Path, app.DefaultStateDir(c.getenv), run)
	}})
	defer desk.Close()
	opts := tui.Options{
		Version: version(), StateDir: app.DefaultStateDir(c.getenv), Theme: theme, NoMouse: o.noMouse, NoBell: o.noBell, RefreshEvery: o.refresh,
	}
	if aloud {
		if c.ended != nil {
			ctx = c.ended // which an interrupt does not end
		}
		interrupts := make(chan os.Signal, 1)
		signal.Notify(interrupts, os.Interrupt)
		defer signal.Stop(interrupts)
		opts.Lines = &tui.Lines{In: c.in, Out: c.out, Interrupt: interrupts, Echo: !terminal(c.in), Cells: cells(c.out)}
	}
	return tui.Run(ctx, core{desk}, opts)
}

// cells is how wide a stream is that is a terminal; nil if it is none.
func cells(stream any) func() int {
	f, ok := stream.(*os.File)
	if !ok || !terminal(f) {
		return nil
	}
	return func() int {
		w, _, err := term.GetSize(int(f.Fd()))
		if err != nil {
			return 0
		}
		return w
	}
}

// aloud tells whether the terminal UI is to be read out: the flag says so, or else the environment, or a terminal that cannot be drawn on.
func (o *screenOptions) aloud(c *cli, cmd *cobra.Command) (bool, error) {
	if cmd.Flags().Changed("accessible") {
		return o.accessible, nil
	}
	if said := c.getenv("DBOPS_ACCESSIBLE"); said != "" {
		on, err := strconv.ParseBool(said)
		if err != nil {
			return false, fault.Newf(fault.Usage, "read DBOPS_ACCESSIBLE", "%q is neither true nor false", said).Hint("DBOPS_ACCESSIBLE=1")
		}
		return on, nil
	}
	return c.getenv("TERM") == "dumb" && terminal(c.in) && terminal(c.out), nil
}

// core is the App as the terminal UI sees it.
type core struct{ *app.Desk }

// Elsewhere tells that this machine is that of who sits in front of the screen.
func (core) Elsewhere() string { return "" }

func (c core) OpenProxy(ctx context.Context, o app.ProxyOptions) (tui.Proxy, error) {
	p, err := c.Desk.OpenProxy(ctx, o)
	if err != nil {
		return nil, err
	}
	return p, nil
}
