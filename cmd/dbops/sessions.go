package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/fault"
	"dbops/internal/live"
)

func newSessionsCmd(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sessions",
		Short: "See who is connected and who blocks whom; cancel and terminate",
		Long: `What a server does now: its connections, the statements that run, who waits for whose locks. Reading takes one short session that changes
nothing, as the login for read. Cancel and terminate are plans like any other, run as the login for admin.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSessionsListCmd(c), newSessionsLocksCmd(c), newSessionsSignalCmd(c, live.CancelKind), newSessionsSignalCmd(c, live.TerminateKind))
	return cmd
}

type sessionsOptions struct {
	changeFlags
	env, instance string
	busy          bool
	pids          []int
}

// take reads INSTANCE [PID...].
func (o *sessionsOptions) take(args []string) error {
	o.instance = args[0]
	for _, word := range args[1:] {
		pid, err := strconv.Atoi(word)
		if err != nil || pid < 0 {
			return fault.Newf(fault.Usage, "read the arguments", "%q is not the number of a session", word).Hint("dbops sessions list -e %s %s shows them", o.env, o.instance)
		}
		o.pids = append(o.pids, pid)
	}
	return nil
}

func newSessionsListCmd(c *cli) *cobra.Command {
	o := &sessionsOptions{}
	cmd := &cobra.Command{
		Use: "list -e ENV INSTANCE [PID...]", Short: "List the sessions of a server, or show some in full", Args: cobra.MinimumNArgs(1),
		Long: `List who is connected: those that others wait for first, then those that wait, then by the age of their transaction. With numbers of sessions
each of them is shown in full, with its statement and its locks. What the login may not see is said at the end.

Exit status: 0 it was read; 1 the server could not be asked; 2 usage or configuration.`,
		Example: `  dbops sessions list -e prod main
  dbops sessions list -e prod main --busy        leave out who is idle
  dbops sessions list -e prod main 40122         all that is known of one
  dbops sessions list -e prod main -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.take(args); err != nil {
				return err
			}
			if len(o.pids) > 0 {
				return runSessionsShow(cmd.Context(), c, o)
			}
			return runSessionsList(cmd.Context(), c, o)
		},
	}
	environmentFlag(cmd, &o.env, true)
	cmd.Flags().BoolVar(&o.busy, "busy", false, "leave out sessions that are idle")
	return cmd
}

func newSessionsLocksCmd(c *cli) *cobra.Command {
	o := &sessionsOptions{}
	cmd := &cobra.Command{
		Use: "locks -e ENV INSTANCE", Short: "Show who blocks whom", Args: takes("INSTANCE"),
		Long: `Show who blocks whom as a tree: a session above those that wait for it, with what they wait for and how long. It ends with what to do.

Exit status: 0 it was read, whether somebody waits or not; 1 the server could not be asked; 2 usage or configuration.`,
		Example: "  dbops sessions locks -e prod main\n  dbops sessions locks -e prod main -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.instance = args[0]
			return runSessionsLocks(cmd.Context(), c, o)
		},
	}
	environmentFlag(cmd, &o.env, true)
	return cmd
}

func newSessionsSignalCmd(c *cli, kind string) *cobra.Command {
	o := &sessionsOptions{}
	cmd := &cobra.Command{
		Use: "cancel -e ENV INSTANCE PID...", Short: "Cancel the statements that sessions run",
		Long: `Cancel the statement that a session runs; the session stays. The plan says who is hit, what they lose and who waits for them. A statement that
began after the plan was made is not touched, nor is another process of the same number.
` + changeStatuses,
		Example: "  dbops sessions cancel -e staging main 40122\n  dbops sessions cancel -e prod main 40122 --confirm main",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.take(args); err != nil {
				return err
			}
			return runSessionsSignal(cmd.Context(), c, o, kind)
		},
	}
	if kind == live.TerminateKind {
		cmd.Use, cmd.Short = "terminate -e ENV INSTANCE PID...", "End sessions: their transactions are rolled back"
		cmd.Long = `End sessions. Their transactions are rolled back and their clients are cut. The plan says who is hit, what they lose and who waits for them.
Another process of the same number is never hit. For a session that runs a statement try cancel first.
` + changeStatuses
		cmd.Example = "  dbops sessions terminate -e staging main 40122 40123\n  dbops sessions terminate -e prod main 40122 --confirm main"
	}
	environmentFlag(cmd, &o.env, true)
	o.add(cmd)
	return cmd
}

func runSessionsSignal(ctx context.Context, c *cli, o *sessionsOptions, kind string) error {
	r := live.Request{}
	for _, pid := range o.pids {
		r.Sessions = append(r.Sessions, live.Ref{PID: pid})
	}
	return c.change(ctx, o.changeFlags, app.Change{Environment: o.env, Instance: o.instance, Kind: kind, Request: r})
}
