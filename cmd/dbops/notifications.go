package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"dbops/internal/notify"
	"dbops/internal/state"
)

func newNotificationsCmd(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "notifications",
		Short: "See who was told of gates, failures and finished runs, by webhook",
		Long: `The webhooks of dbops.yaml (notifications:) are told of gates, of approvals that are asked for, of failures and of finished runs. Notices are stored with
what they tell of, and sent by whatever process has the state open. docs/notifications.md tells their format.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	limit := 50
	list := &cobra.Command{
		Use: "list", Short: "List notices, newest first, and whether they arrived", Args: cobra.NoArgs,
		Long:    "List notices: sent, due (with why the last attempt failed, and when the next is), lost after a day.\n\nExit status: 0 listed; 1 failed; 2 usage or configuration.",
		Example: "  dbops notifications list\n  dbops notifications list -o json | jq '.notices[] | select(.state != \"sent\")'",
		RunE:    func(cmd *cobra.Command, _ []string) error { return runNotificationsList(cmd.Context(), c, limit) },
	}
	list.Flags().IntVar(&limit, "limit", limit, "at most so many")
	cmd.AddCommand(list, &cobra.Command{
		Use: "test NAME", Short: "Send a notice that says that it is a test", Args: takes("NAME"),
		Long:    "Post to one webhook, now and once, and say whether it took it. Nothing is stored.\n\nExit status: 0 it arrived; 1 it did not; 2 usage or configuration.",
		Example: "  dbops notifications test on-call",
		RunE:    func(cmd *cobra.Command, args []string) error { return runNotificationsTest(cmd.Context(), c, args[0]) },
	}, &cobra.Command{
		Use: "send", Short: "Send what is due, now", Args: cobra.NoArgs,
		Long:    "Make one attempt for each notice that is due, as every process that has the state open does by itself.\n\nExit status: 0 tried; 1 failed; 2 usage or configuration.",
		Example: "  dbops notifications send",
		RunE:    func(cmd *cobra.Command, _ []string) error { return runNotificationsSend(cmd.Context(), c) },
	})
	return cmd
}

// noticesJSON is dbops/notices/v1.
type noticesJSON struct {
	Schema  string         `json:"schema"`
	Notices []state.Notice `json:"notices"`
}

func runNotificationsList(ctx context.Context, c *cli, limit int) error {
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	all, err := a.Notices(ctx, limit)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(c.out, noticesJSON{"dbops/notices/v1", append([]state.Notice{}, all...)})
	}
	if len(all) == 0 {
		_, err := fmt.Fprintln(c.out, "nobody was told of anything")
		return err
	}
	rows := make([][]string, len(all))
	for i, n := range all {
		word, about := string(n.State), n.Problem
		if n.State != state.NoticeSent {
			word = "! " + word
		}
		if n.State == state.NoticeDue && n.Attempts > 0 {
			about += ", again at " + stamp(n.Due)
		}
		rows[i] = []string{n.ID, n.Receiver, n.Environment, n.Occasion, orText(n.Run, "-"), stamp(n.Created), word, fmt.Sprint(n.Attempts), orText(about, "-")}
	}
	return printTable(c.out, []string{"NOTICE", "TO", "ENVIRONMENT", "ON", "RUN", "CREATED", "STATE", "TRIES", ""}, rows)
}

func runNotificationsTest(ctx context.Context, c *cli, name string) error {
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	n, err := a.TestNotice(ctx, name)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(c.out, struct {
			Schema   string        `json:"schema"`
			Receiver string        `json:"receiver"`
			Notice   notify.Notice `json:"notice"`
		}{"dbops/notice-test/v1", name, n})
	}
	_, err = fmt.Fprintf(c.out, "%s took it: notice %s\n", name, n.ID)
	return err
}

func runNotificationsSend(ctx context.Context, c *cli) error {
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	sent, err := a.SendNotices(ctx)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(c.out, struct {
			Schema string `json:"schema"`
			Sent   int    `json:"sent"`
		}{"dbops/notices-sent/v1", sent})
	}
	_, err = fmt.Fprintf(c.out, "%d sent\n", sent)
	return err
}
