package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
)

func newApprovalsCmd(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "approvals",
		Short: "See, give and refuse approvals",
		Long: `A change to a protected environment needs the yes of somebody else, to exactly one plan, once, within a day. Who you are is what the
cloud that has the instance says, or what an SSH key of the allowed signers proves; never what this machine says.
docs/approvals.md says what this can enforce, and what only the cloud's own permissions can.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newApprovalsListCmd(c), newApprovalsShowCmd(c), newVoteCmd(c, true), newVoteCmd(c, false))
	return cmd
}

func newApprovalsListCmd(c *cli) *cobra.Command {
	all := false
	cmd := &cobra.Command{
		Use: "list", Short: "List what waits for an approval", Args: cobra.NoArgs,
		Example: "  dbops approvals list\n  dbops approvals list --all -o json",
		RunE:    func(cmd *cobra.Command, _ []string) error { return runApprovalsList(cmd.Context(), c, all) },
	}
	cmd.Flags().BoolVar(&all, "all", false, "also those that were refused, used, or expired")
	return cmd
}

// approvalsJSON is dbops/approvals/v1.
type approvalsJSON struct {
	Schema    string           `json:"schema"`
	Approvals []state.Approval `json:"approvals"`
}

func runApprovalsList(ctx context.Context, c *cli, everything bool) error {
	a, e, err := c.engine(ctx)
	if err != nil {
		return err
	}
	defer a.Close()
	found, err := e.Approvals(ctx, "")
	if err != nil {
		return err
	}
	shown := []state.Approval{}
	for _, one := range found {
		if everything || !one.Expired && (one.State == state.Requested || one.State == state.Approved) {
			shown = append(shown, one)
		}
	}
	if c.json() {
		return printJSON(c.out, approvalsJSON{"dbops/approvals/v1", shown})
	}
	if len(shown) == 0 {
		_, err := fmt.Fprintln(c.out, "nothing waits for an approval")
		return err
	}
	rows := make([][]string, len(shown))
	for i, one := range shown {
		what := one.Kind
		if p, err := e.PlanOf(ctx, one.PlanHash); err == nil { // of another version: its kind says something
			what = p.Title
		}
		rows[i] = []string{one.ID, one.Environment + "/" + one.Instance, approvalWord(one), what, one.PlanHash[:12], stamp(one.Expires), one.Requester}
	}
	return printTable(c.out, []string{"APPROVAL", "INSTANCE", "STATE", "WHAT", "PLAN", "UNTIL", "ASKED BY"}, rows)
}

func approvalWord(a state.Approval) string {
	if a.Expired && a.State != state.Used {
		return "expired"
	}
	if a.State == state.Requested && a.Required > 1 {
		return fmt.Sprintf("requested, of %d", a.Required)
	}
	return string(a.State)
}

func newApprovalsShowCmd(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "show APPROVAL|FILE", Short: "Show what an approval is for, and what was said", Args: cobra.ExactArgs(1),
		Example: "  dbops approvals show a1b2c3d4",
		RunE:    func(cmd *cobra.Command, args []string) error { return runApprovalsShow(cmd.Context(), c, args[0]) },
	}
}

// approvalJSON is dbops/approval/v1.
type approvalJSON struct {
	Schema string `json:"schema"`
	state.Approval
	Of *op.Plan `json:"of"`
}

func runApprovalsShow(ctx context.Context, c *cli, word string) error {
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	one, p, err := a.FindApproval(ctx, word)
	if err != nil {
		return err
	}
	return c.showApproval(one, p)
}

func (c *cli) showApproval(one state.Approval, p *op.Plan) error {
	if c.json() {
		return printJSON(c.out, approvalJSON{"dbops/approval/v1", one, p})
	}
	var b bytes.Buffer
	c.showPlan(&b, p)
	fmt.Fprintf(&b, "\nAPPROVAL  %s, %s, asked for by %s, until %s\n", one.ID, approvalWord(one), one.Requester, stamp(one.Expires))
	for _, v := range one.Votes {
		line := fmt.Sprintf("  %s  %s: %s (known by %s)", stamp(v.At), v.Actor, v.Verdict, v.Method)
		if v.Reason != "" {
			line += ": " + oneBlock(v.Reason)
		}
		fmt.Fprintln(&b, line)
	}
	_, err := b.WriteTo(c.out)
	return err
}

type voteOptions struct {
	word, reason, key string
	approve           bool
}

func newVoteCmd(c *cli, approve bool) *cobra.Command {
	o := &voteOptions{approve: approve}
	name, short := "approve", "Say yes to a plan"
	if !approve {
		name, short = "refuse", "Say no to a plan"
	}
	cmd := &cobra.Command{
		Use:   name + " APPROVAL|FILE",
		Short: short,
		Long: short + ` that somebody else made. The plan is shown; read it.

Exit status: 0 said; 1 failed; 2 usage or configuration; 4 you may not, or said no: the approval is still missing.`,
		Example: strings.ReplaceAll(`  dbops approvals VERB a1b2c3d4 --reason "as discussed"
  AWS_PROFILE=alice dbops approvals VERB plan.json
  dbops approvals VERB a1b2c3d4 --ssh-key ~/.ssh/id_ed25519`, "VERB", name),
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.word = args[0]
			return runVote(cmd.Context(), c, o)
		},
	}
	cmd.Flags().StringVar(&o.reason, "reason", "", "why, for the others and the audit log")
	addKeyFlag(cmd, &o.key)
	return cmd
}

// read shows a person what is to be approved, and asks.
func (c *cli) read(ctx context.Context, a *app.App, word string) error {
	_, p, err := a.FindApproval(ctx, word)
	if err != nil {
		return err
	}
	c.showPlan(c.err, p)
	fmt.Fprint(c.err, "Type yes to approve it: ")
	answer, err := readLine(ctx, c.in)
	if err != nil || answer != "yes" {
		return fault.Newf(fault.Unapproved, "approve "+word, "nobody said yes").Hint("nothing was said")
	}
	return nil
}

func runVote(ctx context.Context, c *cli, o *voteOptions) error {
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	if o.approve && terminal(c.in) && terminal(c.err) {
		if err := c.read(ctx, a, o.word); err != nil {
			return err
		}
	}
	one, p, err := a.Vote(ctx, o.word, o.approve, o.reason, c.sshKey(o.key))
	if err != nil {
		return err
	}
	if err := c.showApproval(one, p); err != nil || c.json() {
		return err
	}
	if one.State == state.Approved {
		if r, ok, err := a.RunbookOf(ctx, one.PlanHash); err != nil {
			return err
		} else if ok {
			_, err := fmt.Fprintf(c.err, "approved: run %s, a runbook, waits for it: dbops runs decide %s continue\n", r.ID, r.ID)
			return err
		}
		fmt.Fprintf(c.err, "approved: dbops apply %s --confirm %s\n", one.ID, one.Instance)
	}
	return nil
}
