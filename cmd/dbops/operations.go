package main

import (
	"context"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"dbops/internal/app"
	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/runbook"
)

// operations are the commands that change something, for runbooks: what an operation means is what its command line means.
type operations struct{ c *cli }

// Check finds the command, and lets it read its flags and arguments.
func (o operations) Check(environment string, r runbook.Operation) error {
	cmd, args, err := o.parse(o.silent(), environment, r)
	if err != nil {
		return err
	}
	for _, check := range []func() error{
		func() error { return cmd.ValidateArgs(args) }, cmd.ValidateRequiredFlags, cmd.ValidateFlagGroups,
		func() error {
			if cmd.PreRunE == nil {
				return nil
			}
			return cmd.PreRunE(cmd, args)
		},
	} {
		if err := check(); err != nil {
			return usage(cmd, err)
		}
	}
	return nil
}

// Changes let the command work out what it asks for, and stop before it plans that.
func (o operations) Changes(ctx context.Context, environment string, r runbook.Operation) ([]app.Change, error) {
	if err := o.Check(environment, r); err != nil {
		return nil, err
	}
	c := o.silent()
	changes := []app.Change{}
	c.capture = &changes
	cmd, args, err := o.parse(c, environment, r)
	if err != nil {
		return nil, err
	}
	cmd.SetContext(ctx)
	if err := cmd.RunE(cmd, args); err != nil {
		return nil, err
	}
	return changes, nil
}

// silent is a cli that says nothing and asks nobody.
func (o operations) silent() *cli {
	return &cli{in: strings.NewReader(""), out: io.Discard, err: io.Discard, getenv: o.c.getenv, configPath: o.c.configPath, output: "text"}
}

// parse finds the command of an operation and reads its flags; args are the rest.
func (o operations) parse(c *cli, environment string, r runbook.Operation) (cmd *cobra.Command, args []string, err error) {
	root := newRootCmd(c)
	words := strings.Fields(r.Command)
	cmd, rest, err := root.Find(words)
	if err != nil || len(rest) > 0 || !isOperation(cmd) {
		return nil, nil, unknownOperation(root, r.Command)
	}
	if cmd.CommandPath() == "dbops upgrade rollback" {
		return nil, nil, fault.Newf(fault.Usage, r.Command, "a way back is for whoever is there to decide, not for a runbook").
			Hint("type it when it is needed: dbops upgrade rollback -e ENV INSTANCE")
	}
	line := []string{"--env=" + environment}
	args = slices.Clone(r.Args)
	if at := place(cmd.Use); at >= 0 && at <= len(args) {
		args = slices.Insert(args, at, r.Instance)
	} else if cmd.Flags().Lookup("instance") != nil {
		line = append(line, "--instance="+r.Instance)
	}
	if fix := cmd.Flags().Lookup("fix"); fix != nil && !slices.Equal(r.With["fix"], runbook.Words{"true"}) {
		return nil, nil, fault.Newf(fault.Usage, "read the operation", "%s changes nothing unless it is told to", cmd.CommandPath()).Hint("with: {fix: true}")
	}
	for _, flag := range slices.Sorted(maps.Keys(r.With)) {
		if slices.Contains(ofTheCaller, flag) || cmd.Flags().Lookup(flag) == nil {
			return nil, nil, unknownFlag(cmd, flag)
		}
		for _, v := range r.With[flag] {
			line = append(line, "--"+flag+"="+v)
		}
	}
	if err := cmd.ParseFlags(line); err != nil {
		return nil, nil, usage(cmd, err)
	}
	return cmd, args, nil
}

// place is where a command takes the instance among its arguments; -1: it does not.
func place(use string) int {
	n := 0
	for _, word := range strings.Fields(use)[1:] {
		switch {
		case strings.Trim(word, "[]") == "INSTANCE":
			return n
		case word != "ENV" && !strings.HasPrefix(word, "-"):
			n++
		}
	}
	return -1
}

// ofTheCaller are the flags that say how a command is run, which a runbook does not: whoever runs it does.
var ofTheCaller = []string{"env", "instance", "plan", "out", "yes", "confirm", "detach", "on", "ssh-key", "config", "output", "verbose", "help", "annotate"}

// isOperation tells whether a command changes something that goes through a plan. A runbook is in no runbook.
func isOperation(cmd *cobra.Command) bool {
	return cmd.RunE != nil && cmd.CommandPath() != "dbops runbook run" && cmd.Flags().Lookup("confirm") != nil && cmd.Flags().Lookup("env") != nil
}

// operationNames are the commands that a runbook may name.
func operationNames(root *cobra.Command) (names []string) {
	for _, cmd := range root.Commands() {
		if isOperation(cmd) && cmd.CommandPath() != "dbops upgrade rollback" {
			names = append(names, strings.TrimPrefix(cmd.CommandPath(), "dbops "))
		}
		names = append(names, operationNames(cmd)...)
	}
	slices.Sort(names)
	return names
}

func unknownOperation(root *cobra.Command, command string) error {
	names := operationNames(root)
	f := fault.Newf(fault.Usage, "read the operation", "%q is no operation that dbops does in a runbook", command)
	if near := config.Nearest(command, names); near != "" {
		return f.Hint("did you mean %s?", near)
	}
	return f.Hint("dbops runbook --help lists them")
}

func unknownFlag(cmd *cobra.Command, flag string) error {
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !slices.Contains(ofTheCaller, f.Name) && !f.Hidden {
			known = append(known, f.Name)
		}
	})
	switch {
	case flag == "instance":
		return fault.Newf(fault.Usage, "read the operation", "the instance of a step is its own key").Hint("write instance: NAME beside operation:")
	case slices.Contains(ofTheCaller, flag):
		return fault.Newf(fault.Usage, "read the operation", "%s is for whoever runs the runbook to say, not for its file", flag).Hint("leave %s out", flag)
	}
	f := fault.Newf(fault.Usage, "read the operation", "%s has no flag %s", cmd.CommandPath(), flag)
	if near := config.Nearest(flag, known); near != "" {
		return f.Hint("did you mean %s?", near)
	}
	return f.Hint("known: %s", strings.Join(known, ", "))
}

// usage is cobra's own complaint, or that of the command.
func usage(cmd *cobra.Command, err error) error {
	if fault.KindOf(err) == fault.Usage {
		return err
	}
	return fault.New(fault.Usage, "read the operation", err).Hint("%s --help", cmd.CommandPath())
}
