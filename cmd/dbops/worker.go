package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/fault"
	"dbops/internal/op"
)

type workerOptions struct {
	queue string
	runs  int
}

func newWorkerCmd(c *cli) *cobra.Command {
	o := &workerOptions{}
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Work on the runs of a team",
		Long: `Work on the runs of a team until SIGTERM: a container next to the databases, with the permissions that the changes need. Any number
may serve a queue; each run is worked on by one. A worker works on --runs of them at once, not counting those that wait for a person or for
another run on their instance; what it was given beyond that waits in it, in no order. A run uses the credentials of the worker, and the
audit log names who started, resumed or decided it. A worker that loses its lease ends with status 1, and is to be started again.

Exit status: 0 told to end; 1 failed; 2 usage or configuration.`,
		Example: `  dbops worker
  dbops worker --queue eu-west-1 --runs 4`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runWorker(cmd.Context(), c, o) },
	}
	cmd.Flags().StringVar(&o.queue, "queue", "", "the queue to serve (default: default)")
	cmd.Flags().IntVar(&o.runs, "runs", op.DefaultRuns, "how many runs to work on at once")
	return cmd
}

func runWorker(ctx context.Context, c *cli, o *workerOptions) error {
	if o.runs < 1 {
		return fault.Newf(fault.Usage, "read the flags", "--runs %d: a worker works on one run at least", o.runs)
	}
	a, err := c.appLogging(slog.New(slog.NewTextHandler(c.err, nil)))
	if err != nil {
		return err
	}
	defer a.Close()
	e, err := a.Engine(ctx, app.EngineOptions{Queue: o.queue, Runs: o.runs})
	if err != nil {
		return err
	}
	if !e.Store().Team() {
		return e.Work(ctx) // which says why not
	}
	fmt.Fprintln(c.err, "working until SIGTERM or Ctrl-C")
	return e.Work(ctx)
}
