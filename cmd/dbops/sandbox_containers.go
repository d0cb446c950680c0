package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dbops/internal/fault"
	"dbops/internal/sandbox"
	"dbops/internal/sandbox/containers"
)

// sandboxContainersJSON is dbops/sandbox-containers/v1.
type sandboxContainersJSON struct {
	Schema     string              `json:"schema"`
	Containers []containers.Status `json:"containers"`
}

func newSandboxContainersCmd(c *cli, o *sandboxOptions) *cobra.Command {
	reset := false
	cmd := &cobra.Command{
		Use:   "containers",
		Short: "Show the sandbox's containers, and count their queries",
		Long: `Show the sandbox's containers: programs that use its databases all the time, with the credential that was delivered to
them. Queries are counted, and those that failed, with the last errors; sessions are by the role that they logged in as. A query is one
short transaction, which reads and, where the container may, writes.

Exit status: 0 shown; 1 the sandbox does not run.`,
		Example: `  dbops sandbox containers
  dbops sandbox containers --reset
  dbops sandbox containers -o json | jq '.containers[] | select(.failed > 0) | .errors'`,
		Args: cobra.NoArgs,
		RunE: o.run(func(ctx context.Context) error {
			if reset {
				all, err := sandbox.ChangeContainersOf(ctx, o.dir, sandbox.ContainerChange{Reset: true})
				return showContainers(c, all, err)
			}
			all, err := sandbox.ContainersOf(ctx, o.dir)
			return showContainers(c, all, err)
		}),
	}
	cmd.Flags().BoolVar(&reset, "reset", false, "set the counts of queries to zero first")
	return cmd
}

func showContainers(c *cli, all []containers.Status, err error) error {
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(c.out, sandboxContainersJSON{Schema: "dbops/sandbox-containers/v1", Containers: all})
	}
	rows := make([][]string, 0, len(all))
	for _, s := range all {
		rows = append(rows, []string{
			s.Environment, s.Container, s.Platform, containerState(s), containerSessions(s),
			strconv.Itoa(s.Queries), strconv.Itoa(s.Failed), containerError(s), containerTrouble(s.Trouble),
		})
	}
	head := []string{"ENVIRONMENT", "CONTAINER", "RUNS ON", "STATE", "SESSIONS", "QUERIES", "FAILED", "LAST ERROR", "TROUBLE"}
	return printTable(c.out, head, rows)
}

func containerState(s containers.Status) string {
	if s.Resting {
		return s.State + ", resting"
	}
	return s.State
}

func containerSessions(s containers.Status) string {
	var all []string
	for _, user := range slices.Sorted(maps.Keys(s.Sessions)) {
		all = append(all, fmt.Sprintf("%d as %s", s.Sessions[user], user))
	}
	return orText(strings.Join(all, ", "), "-")
}

func containerError(s containers.Status) string {
	if n := len(s.Errors); n > 0 {
		return s.Errors[n-1].String()
	}
	return orText(s.DeploymentError, "-")
}

func containerTrouble(t containers.Trouble) string {
	var all []string
	switch {
	case t.Fail < 0:
		all = append(all, "every rollout fails")
	case t.Fail > 0:
		all = append(all, fmt.Sprintf("%d rollouts fail", t.Fail))
	}
	if t.Slow > 0 {
		all = append(all, "slow by "+t.Slow.String())
	}
	if t.Stick {
		all = append(all, "sticks to its credential")
	}
	return orText(strings.Join(all, ", "), "-")
}

func newSandboxRolloutCmd(c *cli, o *sandboxOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "rollout ENVIRONMENT/CONTAINER",
		Short: "Deploy a container of the sandbox anew, as a deployment script would",
		Long: `Deploy a container of the sandbox anew and wait until that is done: it reads its credential again, opens new sessions,
finishes its work on the old ones and closes them. It is for containers that no cloud deploys.

Exit status: 0 the new one serves; 1 it could not start, and the old one goes on; 2 usage.`,
		Example: "  dbops sandbox rollout prod/shop-reporting",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.absolute(); err != nil {
				return err
			}
			if err := containerID(args[0]); err != nil {
				return err
			}
			s, err := sandbox.Rollout(cmd.Context(), o.dir, args[0])
			if err != nil {
				return err
			}
			if c.json() {
				return showContainers(c, []containers.Status{s}, nil)
			}
			fmt.Fprintf(c.err, "%s runs as %s\n", args[0], s.User)
			return nil
		},
	}
}

type sandboxTroubleOptions struct {
	trouble containers.Trouble
	rate    float64
	clear   bool
}

func newSandboxTroubleCmd(c *cli, o *sandboxOptions) *cobra.Command {
	t := &sandboxTroubleOptions{}
	cmd := &cobra.Command{
		Use:   "trouble [ENVIRONMENT/CONTAINER]",
		Short: "Ask a container of the sandbox for trouble, or for more or less load",
		Long: `Ask a container of the sandbox, or all of them, for trouble: rollouts that fail, tasks that need long to start, a container
that goes on with its old credential. What is asked for replaces what was asked for before. --rate sets the load.

Exit status: 0 done; 1 the sandbox does not run; 2 usage.`,
		Example: `  dbops sandbox trouble prod/shop-api --fail 1
  dbops sandbox trouble prod/billing-invoicing --slow 20s --stick
  dbops sandbox trouble --rate 20
  dbops sandbox trouble --clear`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runSandboxTrouble(cmd, c, o, t, args)
		},
	}
	fl := cmd.Flags()
	fl.IntVar(&t.trouble.Fail, "fail", 0, "so many rollouts fail (-1: all)")
	fl.DurationVar(&t.trouble.Slow, "slow", 0, "a new task needs that long before it starts")
	fl.BoolVar(&t.trouble.Stick, "stick", false, "new tasks go on with the credential of the old one")
	fl.Float64Var(&t.rate, "rate", 0, "queries a second")
	fl.BoolVar(&t.clear, "clear", false, "no trouble any more")
	return cmd
}

func runSandboxTrouble(cmd *cobra.Command, c *cli, o *sandboxOptions, t *sandboxTroubleOptions, args []string) error {
	if err := o.absolute(); err != nil {
		return err
	}
	fl := cmd.Flags()
	ch := sandbox.ContainerChange{}
	if len(args) > 0 {
		if err := containerID(args[0]); err != nil {
			return err
		}
		ch.ID = args[0]
	}
	some := t.trouble != containers.Trouble{}
	switch {
	case t.clear && some:
		return fault.Newf(fault.Usage, "read the flags", "--clear takes trouble back, it asks for none")
	case t.trouble.Slow < 0 || t.trouble.Slow > 10*time.Minute:
		return fault.Newf(fault.Usage, "read the flags", "--slow %s", t.trouble.Slow).Hint("want 0 to 10m")
	case t.rate < 0 || t.rate > 1000:
		return fault.Newf(fault.Usage, "read the flags", "--rate %v", t.rate).Hint("want 0 to 1000")
	case !t.clear && !some && !fl.Changed("rate"):
		return fault.Newf(fault.Usage, "read the flags", "nothing is asked for").Hint("see %s sandbox trouble --help", os.Args[0])
	}
	if t.clear || some {
		ch.Trouble = &t.trouble
	}
	if fl.Changed("rate") {
		ch.Rate = &t.rate
	}
	all, err := sandbox.ChangeContainersOf(cmd.Context(), o.dir, ch)
	return showContainers(c, all, err)
}

// containerID checks a name of the form environment/container.
func containerID(id string) error {
	env, name, ok := strings.Cut(id, "/")
	if !ok || env == "" || name == "" || strings.ContainsAny(name, "/?#%") || strings.ContainsAny(env, "?#%") {
		return fault.Newf(fault.Usage, "read the arguments", "%q is no container", id).
			Hint("want ENVIRONMENT/CONTAINER, as in prod/shop-api; dbops sandbox containers lists them")
	}
	return nil
}
