package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"dbops/internal/fault"
	"dbops/internal/sandbox/crowd"
	"dbops/internal/sandbox/play"
)

type sandboxCrowdOptions struct {
	instances, containers int
	aws, google           float64
}

func newSandboxCrowdCmd(c *cli, o *sandboxOptions) *cobra.Command {
	n := &sandboxCrowdOptions{}
	cmd := &cobra.Command{
		Use:   "crowd",
		Short: "Play many instances, to measure with",
		Long: `Play many instances in three regions of RDS and two projects of Cloud SQL, until it is interrupted. Two of them have servers; the others are
played by the control planes only. --dir is a folder of its own. What was asked of the clouds is written when it ends.

Exit status: 0 it was interrupted; 1 failed; 2 usage or configuration.`,
		Example: "  dbops sandbox crowd --dir /tmp/crowd --instances 1000 --google-rate 3",
		Hidden:  true, Args: cobra.NoArgs,
		RunE: o.run(func(ctx context.Context) error { return runSandboxCrowd(ctx, c, o, n) }),
	}
	f := cmd.Flags()
	f.IntVar(&n.instances, "instances", 1000, "how many")
	f.IntVar(&n.containers, "containers", 100, "how many containers, each on an instance of its own")
	f.Float64Var(&n.aws, "aws-rate", 20, "requests a second that RDS takes of an account in a region, after a hundred at once (0: all)")
	f.Float64Var(&n.google, "google-rate", 3, "requests a second that the Cloud SQL Admin API takes of a user in a project, after three seconds' worth at once (0: all)")
	return cmd
}

func runSandboxCrowd(ctx context.Context, c *cli, o *sandboxOptions, n *sandboxCrowdOptions) error {
	if n.aws < 0 || n.google < 0 {
		return fault.Newf(fault.Usage, "read the flags", "a negative rate")
	}
	opts := crowd.Options{Dir: o.dir, Instances: n.instances, Containers: n.containers}
	if n.aws > 0 {
		opts.AWS = play.Rate{Burst: 100, PerSecond: n.aws}
	}
	if n.google > 0 {
		opts.Google = play.Rate{Burst: max(1, int(3*n.google)), PerSecond: n.google}
	}
	played, err := crowd.Start(ctx, opts)
	if err != nil {
		return fault.New(fault.Internal, "play a crowd", err)
	}
	env := played.Environ()
	for _, name := range slices.Sorted(maps.Keys(env)) {
		fmt.Fprintf(c.out, "export %s=%s\n", name, shellQuote(env[name]))
	}
	<-ctx.Done()
	asked := played.Counts.Take()
	for _, what := range slices.Sorted(maps.Keys(asked)) {
		fmt.Fprintf(c.err, "%6d %s\n", asked[what], what)
	}
	fmt.Fprintf(c.err, "%6d throttled\n", played.Refused())
	return played.Close()
}
