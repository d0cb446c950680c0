package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/fault"
)

type proxyStopOptions struct {
	env        string
	access     string
	pid        int
	all        bool
	allConfigs bool
	timeout    time.Duration
}

func newProxyStopCmd(c *cli) *cobra.Command {
	o := &proxyStopOptions{}
	cmd := &cobra.Command{
		Use:   "stop -e ENV | --pid PID | --all",
		Short: "End your open proxies",
		Long: `End open proxies of this user as Ctrl-C does: they stop accepting, let transactions end (10 s), then end the rest. Returns when
they have ended.

Only those of the dbops.yaml in use here are ended, with any access unless --access says which; --all-configs ends those of
every dbops.yaml, too, and --pid the one that is named.

Exit status: 0 they have ended, or there was none; 1 failed, or not in time; 2 usage, or there is no dbops.yaml here.`,
		Example: `  dbops proxy stop -e prod
  dbops proxy stop -e prod --access write
  dbops proxy stop --pid 4711
  dbops proxy stop --all
  dbops proxy stop --all --all-configs`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runProxyStop(cmd.Context(), c, o) },
	}
	environmentFlag(cmd, &o.env, false)
	f := cmd.Flags()
	f.IntVar(&o.pid, "pid", 0, "the process to end, as dbops proxy list shows it")
	f.BoolVar(&o.all, "all", false, "end those of all environments")
	f.StringVar(&o.access, "access", "", "end those with this access only: read, write or admin")
	f.BoolVar(&o.allConfigs, "all-configs", false, "end those of every dbops.yaml")
	f.DurationVar(&o.timeout, "timeout", 30*time.Second, "how long to wait for their end")
	cmd.MarkFlagsMutuallyExclusive("env", "pid", "all")
	cmd.MarkFlagsMutuallyExclusive("pid", "access")
	cmd.MarkFlagsMutuallyExclusive("pid", "all-configs")
	cmd.MarkFlagsOneRequired("env", "pid", "all")
	return cmd
}

// proxyStopJSON is dbops/proxy-stop/v1.
type proxyStopJSON struct {
	Schema  string           `json:"schema"`
	Stopped []proxyOtherJSON `json:"stopped"`
}

func runProxyStop(ctx context.Context, c *cli, o *proxyStopOptions) error {
	all, others, err := c.proxiesToStop(o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	out := proxyStopJSON{Schema: "dbops/proxy-stop/v1", Stopped: []proxyOtherJSON{}}
	for _, p := range all { // all begin to end before the first is waited for
		out.Stopped = append(out.Stopped, otherJSON(ctx, p))
		if err := askToStop(ctx, p); err != nil {
			return fault.New(fault.Unavailable, fmt.Sprintf("stop the proxy of %s (process %d)", p.Environment, p.PID), err).
				Hint("kill %d ends it, too", p.PID)
		}
	}
	for _, p := range all {
		if err := c.waitForEnd(ctx, p); err != nil {
			return err
		}
	}
	if c.json() {
		return printJSON(c.out, out)
	}
	for _, p := range out.Stopped {
		fmt.Fprintf(c.out, "%s on %s, access %s, has ended\n", p.Environment, strings.Join(places(p), " and "), p.Access)
	}
	switch {
	case len(all) > 0:
	case others > 0:
		fmt.Fprintf(c.err, "no such proxy of this dbops.yaml is open; of others: %d; dbops proxy list shows them, --all-configs ends them\n", others)
	default:
		fmt.Fprintln(c.err, "no such proxy is open")
	}
	return nil
}

// proxiesToStop are those that the flags mean, and how many of another dbops.yaml they do not mean.
func (c *cli) proxiesToStop(o *proxyStopOptions) (all []app.RunningProxy, others int, err error) {
	if all, err = c.openProxies(o.env); err != nil {
		return nil, 0, err
	}
	if o.pid != 0 {
		all = slices.DeleteFunc(all, func(p app.RunningProxy) bool { return p.PID != o.pid })
		if len(all) == 0 {
			return nil, 0, fault.Newf(fault.Usage, fmt.Sprintf("stop process %d", o.pid), "it is no open proxy of yours").Hint("dbops proxy list")
		}
		return all, 0, nil
	}
	if o.access != "" {
		access, err := parseAccess(o.access)
		if err != nil {
			return nil, 0, err
		}
		all = slices.DeleteFunc(all, func(p app.RunningProxy) bool { return p.Access != access })
	}
	if o.allConfigs || len(all) == 0 {
		return all, 0, nil
	}
	ours, err := c.findConfig()
	if err != nil {
		return nil, 0, fault.New(fault.KindOf(err), "tell your proxies from those of another dbops.yaml", err).
			Hint("--config FILE says whose, --all-configs ends those of every dbops.yaml, --pid PID one; dbops proxy list shows them")
	}
	open := len(all)
	all = slices.DeleteFunc(all, func(p app.RunningProxy) bool { return p.Config != ours })
	return all, open - len(all), nil
}

// askToStop asks over the proxy's own socket; one that has none gets the signal. Its lock is held, so the process is the one that was listed.
func askToStop(ctx context.Context, p app.RunningProxy) error {
	status, _, err := p.Ask(ctx, http.MethodPost, "/stop")
	if err == nil && status == http.StatusAccepted {
		return nil
	}
	process, err := os.FindProcess(p.PID)
	if err == nil {
		err = process.Signal(syscall.SIGTERM)
	}
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

func (c *cli) waitForEnd(ctx context.Context, p app.RunningProxy) error {
	tick := time.NewTicker(othersEvery)
	defer tick.Stop()
	for {
		gone, err := p.Gone(c.runtimeDir())
		if err != nil {
			return fault.New(fault.Internal, "look for open proxies", err)
		}
		if gone {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fault.Newf(fault.Busy, fmt.Sprintf("stop the proxy of %s (process %d)", p.Environment, p.PID), "it has not ended yet").
				Hint("it may wait for a transaction; kill %d twice ends it at once", p.PID)
		}
	}
}
