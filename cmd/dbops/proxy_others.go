package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/config"
	"dbops/internal/fault"
)

const othersEvery = 100 * time.Millisecond // between two looks at another proxy

// runtimeDir is where this user's open proxies are found.
func (c *cli) runtimeDir() string { return app.DefaultRuntimeDir(c.getenv) }

type proxyWaitOptions struct {
	env, access string
	timeout     time.Duration
	check       bool
}

func newProxyWaitCmd(c *cli) *cobra.Command {
	o := &proxyWaitOptions{}
	cmd := &cobra.Command{
		Use:   "wait -e ENV",
		Short: "Wait until a proxy takes clients",
		Long: `Wait until a proxy of yours for the environment and access takes clients, and print where. With --check, until one can be
logged in to through it at every database.

Exit status: 0 it takes clients; 1 not in time; 2 usage or configuration; 5 it does, and a database cannot be logged in to.`,
		Example: `  dbops proxy wait -e prod
  dbops proxy wait -e prod --access write --timeout 10s --check`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runProxyWait(cmd.Context(), c, o) },
	}
	environmentFlag(cmd, &o.env, true)
	accessFlag(cmd, &o.access)
	cmd.Flags().DurationVar(&o.timeout, "timeout", time.Minute, "how long to wait")
	cmd.Flags().BoolVar(&o.check, "check", false, "wait until every database can be logged in to")
	return cmd
}

// proxyOtherJSON is one of dbops/proxy-list/v1, and with a schema of its own what wait prints. It holds no password.
type proxyOtherJSON struct {
	Schema      string        `json:"schema,omitempty"`
	Environment string        `json:"environment"`
	Protected   bool          `json:"protected"`
	Access      config.Access `json:"access"`
	Address     string        `json:"address,omitempty"`
	Socket      string        `json:"socket,omitempty"`
	PID         int           `json:"pid"`
	Since       time.Time     `json:"since"`
	Until       time.Time     `json:"until,omitzero"`
	Ready       bool          `json:"ready"`
	Clients     int           `json:"clients"`
	Databases   []string      `json:"databases"`
	PassFile    string        `json:"pass_file,omitempty"`
	Config      string        `json:"config"`
}

func otherJSON(ctx context.Context, p app.RunningProxy) proxyOtherJSON {
	out := proxyOtherJSON{
		Environment: p.Environment, Protected: p.Protected, Access: p.Access, Address: p.Addr, Socket: p.Socket, PID: p.PID, Since: p.Since,
		Until: p.Until, PassFile: p.PassFile, Config: p.Config, Databases: []string{},
	}
	for _, u := range p.URIs {
		out.Databases = append(out.Databases, u.Database)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var s app.ProxyStatus
	if status, body, err := p.Ask(ctx, http.MethodGet, "/status"); err == nil && status == http.StatusOK && json.Unmarshal(body, &s) == nil {
		out.Ready, out.Clients = s.Ready, s.Totals.Open
	}
	return out
}

func runProxyWait(ctx context.Context, c *cli, o *proxyWaitOptions) error {
	access, err := parseAccess(o.access)
	if err != nil {
		return err
	}
	if o.timeout <= 0 {
		return fault.Newf(fault.Usage, "read the flags", "--timeout %s is no time to wait", o.timeout)
	}
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	if _, err := a.Config().Environment(o.env); err != nil {
		return err
	}
	whole := ctx
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	tick := time.NewTicker(othersEvery)
	defer tick.Stop()
	var last map[string]string // databases that could not be logged in to
	for {
		open, err := a.RunningProxies(o.env, access)
		if err != nil {
			return fault.New(fault.Internal, "look for open proxies", err)
		}
		for _, p := range open {
			var ready bool
			if ready, last = isReady(ctx, p, o.check, last); ready {
				return printReady(whole, c, p)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return notInTime(whole, o, access, last)
		}
	}
}

// isReady tells whether a proxy takes clients, and which databases could not be logged in to if that is asked.
func isReady(ctx context.Context, p app.RunningProxy, check bool, before map[string]string) (bool, map[string]string) {
	if status, _, err := p.Ask(ctx, http.MethodGet, "/readiness"); err != nil || status != http.StatusOK {
		return false, before
	}
	if !check {
		return true, nil
	}
	status, body, err := p.Ask(ctx, http.MethodGet, "/check")
	if err != nil {
		return false, before
	}
	if status == http.StatusOK {
		return true, nil
	}
	now := map[string]string{}
	if json.Unmarshal(body, &now) != nil {
		return false, before
	}
	for name, text := range now {
		if text == "" {
			delete(now, name)
		}
	}
	return false, now
}

func printReady(ctx context.Context, c *cli, p app.RunningProxy) error {
	out := otherJSON(ctx, p)
	if c.json() {
		out.Schema = "dbops/proxy-ready/v1"
		return printJSON(c.out, out)
	}
	_, err := fmt.Fprintf(c.out, "%s is open on %s, access %s\n", p.Environment, strings.Join(places(out), " and "), p.Access)
	return err
}

func places(p proxyOtherJSON) []string {
	return slices.DeleteFunc([]string{p.Address, p.Socket}, func(s string) bool { return s == "" })
}

func notInTime(ctx context.Context, o *proxyWaitOptions, access config.Access, failing map[string]string) error {
	what := "wait for the proxy of " + o.env
	if ctx.Err() != nil {
		return fault.New(fault.Interrupted, what, ctx.Err())
	}
	if len(failing) > 0 {
		var list []string
		for name, text := range failing {
			list = append(list, name+": "+text)
		}
		slices.Sort(list)
		return fault.Newf(fault.Findings, what, "after %s it takes clients, and cannot log in to\n%s", o.timeout, strings.Join(list, "\n")).
			Hint("dbops proxy -e %s --check says what to do", o.env)
	}
	return fault.Newf(fault.Unavailable, what, "none of yours with access %s takes clients after %s", access, o.timeout).
		Hint("open it: dbops proxy -e %s --daemon; dbops proxy list shows those that are open", o.env)
}

func newProxyListCmd(c *cli) *cobra.Command {
	env := ""
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List your open proxies",
		Long: `List the open proxies of this user, of every dbops.yaml: CONFIG shows which, where it is not the one in use here. No password
is shown; dbops conn-uri prints one.

Exit status: 0; 1 failed; 2 usage.`,
		Example: "  dbops proxy list\n  dbops proxy list -e prod -o json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runProxyList(cmd.Context(), c, env) },
	}
	environmentFlag(cmd, &env, false)
	return cmd
}

// proxyListJSON is dbops/proxy-list/v1.
type proxyListJSON struct {
	Schema  string           `json:"schema"`
	Proxies []proxyOtherJSON `json:"proxies"`
}

func runProxyList(ctx context.Context, c *cli, env string) error {
	all, err := c.openProxies(env)
	if err != nil {
		return err
	}
	out := proxyListJSON{Schema: "dbops/proxy-list/v1", Proxies: []proxyOtherJSON{}}
	for _, p := range all {
		out.Proxies = append(out.Proxies, otherJSON(ctx, p))
	}
	if c.json() {
		return printJSON(c.out, out)
	}
	ours, err := c.findConfig()
	if err != nil {
		ours = "" // all are others'
	}
	head := []string{"ENVIRONMENT", "ACCESS", "LISTENS", "PID", "STATE", "CLIENTS", "SINCE", "UNTIL"}
	foreign := slices.ContainsFunc(out.Proxies, func(p proxyOtherJSON) bool { return p.Config != ours })
	if foreign {
		head = append(head, "CONFIG")
	}
	rows := make([][]string, 0, len(out.Proxies))
	for _, p := range out.Proxies {
		until, state := "-", "draining"
		if !p.Until.IsZero() {
			until = stamp(p.Until)
		}
		if p.Ready {
			state = "ready"
		}
		row := []string{
			p.Environment, string(p.Access), strings.Join(places(p), " "), fmt.Sprint(p.PID), state, fmt.Sprint(p.Clients), stamp(p.Since), until,
		}
		switch {
		case foreign && p.Config == ours:
			row = append(row, "-")
		case foreign:
			row = append(row, p.Config)
		}
		rows = append(rows, row)
	}
	return printTable(c.out, head, rows)
}

// openProxies are this user's, of env if it is not empty.
func (c *cli) openProxies(env string) ([]app.RunningProxy, error) {
	all, err := app.ListProxies(c.runtimeDir())
	if err != nil {
		return nil, fault.New(fault.Internal, "look for open proxies", err)
	}
	return slices.DeleteFunc(all, func(p app.RunningProxy) bool { return env != "" && p.Environment != env }), nil
}
