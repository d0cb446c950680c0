package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"dbops/internal/creds"
	"dbops/internal/op"
)

func newCredsAuditCmd(c *cli) *cobra.Command {
	o := &credsOptions{}
	cmd := &cobra.Command{
		Use: "audit -e ENV", Short: "Who can log in, what they own, and what is wrong with that", Args: cobra.NoArgs,
		Long: `List the roles of each instance that can log in, and find what should not be: logins that dbops.yaml does not know, rights nearly of a superuser,
slots that own objects or have rights in their own name, schemas where anybody may make objects. Nothing is changed.

PostgreSQL does not tell when somebody logged in last, nor which passwords are old or weak: that cannot be known here.

Exit status: 0 nothing found; 1 failed; 2 usage or configuration; 5 findings.`,
		Example: "  dbops creds audit -e prod\n  dbops creds audit -e prod -i billing -o json",
		RunE:    func(cmd *cobra.Command, _ []string) error { return runCredsAudit(cmd.Context(), c, o) },
	}
	o.flags(cmd, true)
	return cmd
}

func runCredsAudit(ctx context.Context, c *cli, o *credsOptions) error {
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	all, err := a.AuditCredentials(ctx, o.env, o.instance)
	if err != nil {
		return err
	}
	found := 0
	for _, r := range all {
		for _, f := range r.Findings {
			if f.Severity != op.Info {
				found++
			}
		}
	}
	if c.json() {
		err = printJSON(c.out, struct {
			Schema    string               `json:"schema"`
			Instances []*creds.AuditReport `json:"instances"`
		}{"dbops/creds-audit/v1", all})
	} else {
		err = printAudit(c, all)
	}
	if err == nil && found > 0 {
		return &exitStatus{5}
	}
	return err
}

func printAudit(c *cli, all []*creds.AuditReport) error {
	var rows [][]string
	for _, r := range all {
		for _, x := range r.Accounts {
			who := "unknown"
			switch {
			case x.Container != "":
				who = "slot " + x.Slot + " of " + x.Container
			case x.Declared:
				who = "dbops"
			}
			rows = append(rows, []string{r.Instance, x.Role, who, fmt.Sprint(x.Sessions), fmt.Sprint(x.Owns), fmt.Sprint(x.Rights), orText(strings.Join(x.Mighty, ","), "-")})
		}
	}
	if err := printTable(c.out, []string{"INSTANCE", "ROLE", "WHOSE", "SESSIONS", "OWNS", "RIGHTS", "MIGHTY"}, rows); err != nil {
		return err
	}
	for _, r := range all {
		c.printFindings(r.Instance, r.Findings)
	}
	return nil
}
