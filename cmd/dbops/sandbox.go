package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"dbops/internal/fault"
	"dbops/internal/sandbox"
	"dbops/internal/sandbox/play"
)

type sandboxOptions struct {
	dir  string
	home string // the folder that nobody need name
	pace float64
}

func newSandboxCmd(c *cli) *cobra.Command {
	o := &sandboxOptions{home: sandbox.DefaultDir()}
	if dir := c.getenv(sandbox.DirVariable); dir != "" {
		o.home = dir
	}
	cmd := &cobra.Command{
		Use:   "sandbox",
		Short: "Run a local cloud: real PostgreSQL servers behind played cloud APIs",
		Long: `Run a local cloud to try dbops on: real PostgreSQL servers with TLS, behind the Cloud SQL Admin API with the
connector's endpoint, the RDS API with IAM logins, and both secret managers, all on this machine's loopback. The servers,
TLS, tokens, failovers and their downtime are real; storage, machine classes and zones are played.`,
		Example: `  dbops sandbox up
  eval "$(dbops sandbox env)"
  dbops status
  dbops sandbox down`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&o.dir, "dir", o.home, "folder of the sandbox; $"+sandbox.DirVariable+", which sandbox env sets, names it as well")
	cmd.AddCommand(
		newSandboxUpCmd(c, o), newSandboxStatusCmd(c, o), newSandboxDownCmd(c, o), newSandboxResetCmd(c, o),
		newSandboxEnvCmd(c, o), newSandboxFaultCmd(c, o), newSandboxContainersCmd(c, o), newSandboxRolloutCmd(c, o),
		newSandboxTroubleCmd(c, o), newSandboxRunCmd(o), newSandboxCrowdCmd(c, o),
	)
	return cmd
}

func (o *sandboxOptions) paceFlag(cmd *cobra.Command) {
	cmd.Flags().Float64Var(&o.pace, "pace", 0.02, "how slow the played clouds are: 1 is as slow as the real ones")
}

// run makes the body of a command that has checked its folder.
func (o *sandboxOptions) run(body func(context.Context) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		if err := o.absolute(); err != nil {
			return err
		}
		return body(cmd.Context())
	}
}

// dirArgument is what a further command line needs to mean the same sandbox.
func (o *sandboxOptions) dirArgument() string {
	if home, err := filepath.Abs(o.home); err == nil && o.dir == home {
		return ""
	}
	return " --dir " + shellQuote(o.dir)
}

// absolute checks and completes the folder.
func (o *sandboxOptions) absolute() error {
	if o.dir == "" {
		return fault.Newf(fault.Usage, "find the sandbox's folder", "--dir is empty")
	}
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return fault.New(fault.Usage, "find the sandbox's folder", err)
	}
	o.dir = dir
	if o.pace < 0 || o.pace > 10 {
		return fault.Newf(fault.Usage, "read the flags", "a pace of %v", o.pace).Hint("want 0 to 10; 1 is as slow as the real clouds")
	}
	return nil
}

func (o *sandboxOptions) up(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return fault.New(fault.Internal, "bring up the sandbox", err)
	}
	keepDescriptors()
	return sandbox.Up(ctx, sandbox.UpOptions{
		Dir:     o.dir,
		Command: []string{self, "sandbox", "run", "--dir", o.dir, "--pace", strconv.FormatFloat(o.pace, 'g', -1, 64)},
	})
}

func newSandboxUpCmd(c *cli, o *sandboxOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Bring the sandbox up and wait until it is ready",
		Long: `Bring the sandbox up and wait until it is ready. It goes on in the background until "dbops sandbox down". One that runs
already is left as it is; one that crashed comes back with its data.

Exit status: 0 ready; 1 failed (the error names the log); 2 usage or configuration.`,
		Example: "  dbops sandbox up\n  dbops sandbox up --dir /tmp/cloud --pace 1",
		Args:    cobra.NoArgs,
		RunE: o.run(func(ctx context.Context) error {
			if err := o.up(ctx); err != nil {
				return err
			}
			return showSandbox(ctx, c, o)
		}),
	}
	o.paceFlag(cmd)
	return cmd
}

func newSandboxStatusCmd(c *cli, o *sandboxOptions) *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "Show whether the sandbox runs, and its servers",
		Long:    "Show whether the sandbox runs, its servers and its APIs.\n\nExit status: 0 it runs; 1 it does not.",
		Example: "  dbops sandbox status",
		Args:    cobra.NoArgs,
		RunE:    o.run(func(ctx context.Context) error { return showSandbox(ctx, c, o) }),
	}
}

// sandboxJSON is dbops/sandbox/v1.
type sandboxJSON struct {
	Schema string `json:"schema"`
	sandbox.Status
}

func showSandbox(ctx context.Context, c *cli, o *sandboxOptions) error {
	s, err := sandbox.StatusOf(ctx, o.dir)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(c.out, sandboxJSON{Schema: "dbops/sandbox/v1", Status: s})
	}
	rows := make([][]string, 0, len(s.Servers))
	for _, v := range s.Servers {
		rows = append(rows, []string{v.Environment, v.Instance, v.Provider, "PostgreSQL " + v.Version, v.Address})
	}
	if err := printTable(c.out, []string{"ENVIRONMENT", "INSTANCE", "PLAYED AS", "SERVER", "ADDRESS"}, rows); err != nil {
		return err
	}
	fmt.Fprintf(c.err, "ready; point a shell at it:  eval \"$(%s sandbox env%s)\"\n", os.Args[0], o.dirArgument())
	return nil
}

func newSandboxDownCmd(c *cli, o *sandboxOptions) *cobra.Command {
	return &cobra.Command{
		Use:     "down",
		Short:   "Stop the sandbox; its data stays",
		Long:    "Stop the sandbox and wait until no process of it is left. Its data stays.\n\nExit status: 0 stopped, or did not run; 1 failed.",
		Example: "  dbops sandbox down",
		Args:    cobra.NoArgs,
		RunE: o.run(func(ctx context.Context) error {
			ran, err := sandbox.Down(ctx, o.dir)
			if err != nil {
				return err
			}
			if ran {
				fmt.Fprintf(c.err, "stopped the sandbox in %s\n", o.dir)
			} else {
				fmt.Fprintf(c.err, "no sandbox runs in %s\n", o.dir)
			}
			return nil
		}),
	}
}

func newSandboxResetCmd(c *cli, o *sandboxOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "reset",
		Short:   "Throw the sandbox's data away and bring it up anew",
		Long:    "Stop the sandbox, throw its data away, and bring it up as it was on the first day.\n\nExit status: 0 ready; 1 failed; 2 the folder is not a sandbox.",
		Example: "  dbops sandbox reset",
		Args:    cobra.NoArgs,
		RunE: o.run(func(ctx context.Context) error {
			if _, err := sandbox.Down(ctx, o.dir); err != nil {
				return err
			}
			if err := sandbox.Wipe(o.dir); err != nil {
				return err
			}
			if err := o.up(ctx); err != nil {
				return err
			}
			return showSandbox(ctx, c, o)
		}),
	}
	o.paceFlag(cmd)
	return cmd
}

// sandboxEnvJSON is dbops/sandbox-env/v1.
type sandboxEnvJSON struct {
	Schema string            `json:"schema"`
	Set    map[string]string `json:"set"`
	Unset  []string          `json:"unset"`
}

func newSandboxEnvCmd(c *cli, o *sandboxOptions) *cobra.Command {
	as := ""
	cmd := &cobra.Command{
		Use:   "env",
		Short: "Print the shell exports that point dbops and other clients at the sandbox",
		Long: `Print the shell exports that point dbops, the aws command, cloud-sql-proxy and gcloud at the sandbox. Variables that
would lead back to a real cloud are unset. --as alice is a second person, who can approve what the first one asks for.

Exit status: 0 printed; 1 the sandbox was never brought up.`,
		Example: `  eval "$(dbops sandbox env)"
  eval "$(dbops sandbox env --as alice)"
  dbops sandbox env -o json | jq .set`,
		Args: cobra.NoArgs,
		RunE: o.run(func(ctx context.Context) error {
			e, err := sandbox.Environ(o.dir, as)
			if err != nil {
				return err
			}
			if _, err := sandbox.StatusOf(ctx, o.dir); err != nil {
				fmt.Fprintf(c.err, "# it does not run now: %s sandbox up%s\n", os.Args[0], o.dirArgument())
			}
			if c.json() {
				return printJSON(c.out, sandboxEnvJSON{Schema: "dbops/sandbox-env/v1", Set: e.Set, Unset: e.Unset})
			}
			for _, name := range e.Unset {
				fmt.Fprintf(c.out, "unset %s\n", name)
			}
			for _, name := range slices.Sorted(maps.Keys(e.Set)) {
				fmt.Fprintf(c.out, "export %s=%s\n", name, shellQuote(e.Set[name]))
			}
			return nil
		}),
	}
	cmd.Flags().StringVar(&as, "as", "", "be somebody else: alice")
	return cmd
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

type sandboxFaultOptions struct {
	play.Fault
	clear bool
}

// sandboxFaultsJSON is dbops/sandbox-faults/v1.
type sandboxFaultsJSON struct {
	Schema string       `json:"schema"`
	Faults []play.Fault `json:"faults"`
}

func newSandboxFaultCmd(c *cli, o *sandboxOptions) *cobra.Command {
	f := &sandboxFaultOptions{}
	names := make([]string, 0, len(play.Effects))
	for _, e := range play.Effects {
		names = append(names, string(e))
	}
	cmd := &cobra.Command{
		Use:   "fault [" + strings.Join(names, "|") + "]",
		Short: "Ask the played clouds for a failure",
		Long: `Ask the played clouds for a failure: an API call that is throttled, denied, stale, unavailable or dropped, or an
operation that fails or hangs. Without an effect the failures that are in force are listed.

Services: rds, sts, secretsmanager, ecs, cloudwatch; cloudsql, secretmanager, run, monitoring. Actions are the API's own names: DescribeDBInstances,
instances.get, connectSettings. The target is the cloud's name of the instance, secret or service.

Exit status: 0 done; 1 the sandbox does not run; 2 usage.`,
		Example: `  dbops sandbox fault throttle --service rds --action DescribeDBInstances --count 3
  dbops sandbox fault unavailable --service cloudsql
  dbops sandbox fault --clear`,
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: names,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				f.Effect = play.Effect(args[0])
			}
			return runSandboxFault(cmd.Context(), c, o, f)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.Service, "service", "", "only this service")
	fl.StringVar(&f.Action, "action", "", "only this action")
	fl.StringVar(&f.Target, "target", "", "only this instance or secret")
	fl.IntVar(&f.Count, "count", 0, "how many times (0: until cleared)")
	fl.BoolVar(&f.clear, "clear", false, "take every failure back")
	return cmd
}

func runSandboxFault(ctx context.Context, c *cli, o *sandboxOptions, f *sandboxFaultOptions) error {
	if err := o.absolute(); err != nil {
		return err
	}
	if f.Service != "" && !slices.Contains(sandbox.Services, f.Service) {
		return fault.Newf(fault.Usage, "read the flags", "unknown service %q", f.Service).Hint("want one of %s", strings.Join(sandbox.Services, ", "))
	}
	if f.Count < 0 {
		return fault.Newf(fault.Usage, "read the flags", "--count %d is negative", f.Count)
	}
	if f.clear && f.Effect != "" {
		return fault.New(fault.Usage, "read the flags", errors.New("--clear takes failures back, it asks for none"))
	}
	if f.clear {
		if err := sandbox.ClearFaults(ctx, o.dir); err != nil {
			return err
		}
	}
	if f.Effect != "" {
		if err := sandbox.AddFault(ctx, o.dir, f.Fault); err != nil {
			return err
		}
	}
	all, err := sandbox.Faults(ctx, o.dir)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(c.out, sandboxFaultsJSON{Schema: "dbops/sandbox-faults/v1", Faults: all})
	}
	if len(all) == 0 {
		fmt.Fprintln(c.err, "no failure is in force")
		return nil
	}
	rows := make([][]string, 0, len(all))
	for _, x := range all {
		left := "until cleared"
		if x.Count > 0 {
			left = strconv.Itoa(x.Count)
		}
		rows = append(rows, []string{string(x.Effect), orAny(x.Service), orAny(x.Action), orAny(x.Target), left})
	}
	return printTable(c.out, []string{"EFFECT", "SERVICE", "ACTION", "TARGET", "TIMES"}, rows)
}

func orAny(s string) string {
	if s == "" {
		return "any"
	}
	return s
}

// newSandboxRunCmd is the process behind a sandbox.
func newSandboxRunCmd(o *sandboxOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:    "run",
		Short:  "Run the sandbox in the foreground",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: o.run(func(ctx context.Context) error {
			return sandbox.Supervise(ctx, sandbox.Options{Dir: o.dir, Pace: play.Pace(o.pace)})
		}),
	}
	o.paceFlag(cmd)
	return cmd
}
