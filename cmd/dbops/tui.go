package main

import (
	"context"

	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/fault"
	"dbops/internal/tui"
)

// runTUI opens the terminal UI, or, where there is no terminal, shows the help.
func runTUI(ctx context.Context, c *cli, cmd *cobra.Command) error {
	if !terminal(c.in) || !terminal(c.out) {
		if err := cmd.Help(); err != nil {
			return err
		}
		return fault.Newf(fault.Usage, "open the terminal UI", "standard input and output are not a terminal").
			Hint("name a command, as in: dbops status")
	}
	c.screen = true
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	return tui.Run(ctx, core{a}, tui.Options{Version: version()})
}

// core is the App as the terminal UI sees it.
type core struct{ *app.App }

func (a core) OpenProxy(ctx context.Context, o app.ProxyOptions) (tui.Proxy, error) {
	p, err := a.App.OpenProxy(ctx, o)
	if err != nil {
		return nil, err
	}
	return p, nil
}
