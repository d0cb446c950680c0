package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"dbops/internal/fault"
)

// newRunsCarryCmd works on a run for whoever has begun or decided it: by their word, and in nobody's terminal.
func newRunsCarryCmd(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "carry RUN", Short: "Work on a run until it ends or waits for a person", Hidden: true, Args: takes("RUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, e, err := c.engine(cmd.Context())
			if err != nil {
				return err
			}
			defer a.Close()
			_, err = e.Attach(cmd.Context(), args[0], 0, nil)
			return err
		},
	}
}

// carryRun starts a process that works on a run, in a session of its own: it outlives this one and its terminal.
func carryRun(ctx context.Context, configPath, stateDir, run string) error {
	what := "work on run " + run
	self, err := os.Executable()
	if err != nil {
		return fault.New(fault.Internal, what, err)
	}
	log, err := openLog(filepath.Join(stateDir, "runs.log"))
	if err != nil {
		return fault.New(fault.Config, what, err).Hint("make room there, and let this user write")
	}
	defer log.Close()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, "--config", configPath, "runs", "carry", run)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	keepDescriptors()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fault.New(fault.Internal, what, err).Hint("dbops runs resume %s", run)
	}
	go func() { _ = cmd.Wait() }() // so that it leaves no zombie; what came of it is in the journal
	return nil
}
