package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/creds"
	"dbops/internal/fault"
)

type rotateOptions struct {
	credsOptions
	changeFlags
	all         bool
	olderThan   string
	grace, soak time.Duration
	polls       int
	compromised bool
	reason      string
}

func newCredsRotateCmd(c *cli) *cobra.Command {
	o := &rotateOptions{}
	cmd := &cobra.Command{
		Use:   "rotate -e ENV [CONTAINER]...",
		Short: "Give containers new credentials, without a failed query",
		Long: `Rotate the credentials of the named containers, of all, or of those that are older than an age. Containers of one instance are one plan
and one run; with several instances there is one after the other.

Each container keeps its old credential until it has the new one. Until the old password is destroyed, after --soak, the way back is open:
dbops creds rollback, or dbops runs undo for a run that has not ended. Where approvals are needed, the same command again runs what was approved
meanwhile. A container that was revoked is refused if it is named, and left out otherwise: dbops creds issue
gives it access again. --compromised leaves no way back: it ends the old credential, and every session
that has it, as soon as the new one is current.
` + changeStatuses,
		Example: `  dbops creds rotate -e staging shop-api
  dbops creds rotate -e prod --all --confirm main,billing
  dbops creds rotate -e prod --older-than 90d --plan
  dbops creds rotate -e prod shop-api --compromised --reason "in a log of 12 May" --confirm main`,
		RunE: func(cmd *cobra.Command, args []string) error { return runCredsRotate(cmd.Context(), c, o, args) },
	}
	o.flags(cmd, true)
	fs := cmd.Flags()
	fs.BoolVar(&o.all, "all", false, "every container of the environment")
	fs.StringVar(&o.olderThan, "older-than", "", "only containers whose credential is older, as in 90d or 36h")
	fs.DurationVar(&o.grace, "grace", creds.DefaultGrace, "how long nobody must have been logged in with the old credential before it is disabled")
	fs.IntVar(&o.polls, "polls", creds.DefaultPolls, "how often to look in that time, at least")
	fs.DurationVar(&o.soak, "soak", creds.DefaultSoak, "how long the old credential stays disabled before it is destroyed")
	fs.BoolVar(&o.compromised, "compromised", false, "end the old credential and its sessions at once; needs --reason")
	fs.StringVar(&o.reason, "reason", "", "why, for the plan and the audit log")
	o.add(cmd)
	return cmd
}

func (o *rotateOptions) check(args []string) error {
	const what = "read the arguments"
	chosen := 0
	for _, b := range []bool{len(args) > 0, o.all, o.olderThan != ""} {
		if b {
			chosen++
		}
	}
	switch {
	case chosen > 1:
		return fault.Newf(fault.Usage, what, "containers, --all and --older-than do not go together").Hint("give one of them")
	case chosen == 0:
		return fault.Newf(fault.Usage, what, "which containers?").Hint("name them, or give --all or --older-than AGE")
	case o.compromised && o.reason == "":
		return fault.Newf(fault.Usage, what, "--compromised needs --reason")
	case o.grace < 0 || o.soak < 0 || o.polls < 1:
		return fault.Newf(fault.Usage, what, "--grace and --soak are not negative, --polls is 1 or more")
	}
	return nil
}

func runCredsRotate(ctx context.Context, c *cli, o *rotateOptions, args []string) error {
	if err := o.check(args); err != nil {
		return err
	}
	pick := app.CredentialPick{Environment: o.env, Instance: o.instance, Containers: args}
	if o.olderThan != "" {
		var err error
		if pick.OlderThan, err = app.ParseAge(o.olderThan); err != nil {
			return err
		}
	}
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	groups, err := a.PickCredentials(ctx, pick)
	if err != nil {
		return err
	}
	for _, g := range groups {
		for _, name := range g.Revoked {
			fmt.Fprintf(c.err, "%s is left out: it may not log in any more, as after a revocation; dbops creds issue %s -e %s gives it access again\n", name, name, o.env)
		}
	}
	groups = slices.DeleteFunc(groups, func(g app.CredentialGroup) bool { return len(g.Containers) == 0 })
	if len(groups) == 0 {
		if c.json() {
			return printJSON(c.out, struct {
				Schema     string   `json:"schema"`
				Containers []string `json:"containers"`
			}{"dbops/creds-chosen/v1", []string{}})
		}
		_, err := fmt.Fprintln(c.err, "nothing to do: no container is chosen")
		return err
	}
	var wants []app.Change
	for _, g := range groups {
		wants = append(wants, app.Change{
			Environment: o.env, Instance: g.Instance, Kind: creds.RotateKind,
			Request: creds.RotateRequest{
				Containers: g.Containers, Grace: creds.Span(o.grace), Soak: creds.Span(o.soak), Polls: o.polls, Compromised: o.compromised, Reason: o.reason,
			},
		})
	}
	return c.changes(ctx, a, o.changeFlags, wants)
}
