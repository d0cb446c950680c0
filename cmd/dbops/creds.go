package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/creds"
	"dbops/internal/fault"
	"dbops/internal/op"
)

func newCredsCmd(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "creds",
		Short: "The credential of each container: list, rotate, issue, revoke, repair",
		Long: `Each container of dbops.yaml has a database credential of its own: two login roles, its slots a and b, of which one is active. A rotation
gives the idle slot a new password, proves it by a login, makes it current where the container reads it, rolls the container out, and takes the old
slot out of use once nobody is logged in with it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newCredsListCmd(c), newCredsShowCmd(c), newCredsIssueCmd(c), newCredsRotateCmd(c), newCredsRollbackCmd(c), newCredsRevokeCmd(c), newCredsAdoptCmd(c), newCredsRepairCmd(c),
		newCredsAuditCmd(c),
	)
	return cmd
}

type credsOptions struct {
	env, instance string
}

type credsListOptions struct {
	credsOptions
	check bool
}

func (o *credsOptions) flags(cmd *cobra.Command, required bool) {
	environmentFlag(cmd, &o.env, required)
	cmd.Flags().StringVarP(&o.instance, "instance", "i", "", "only containers with their databases on this instance")
}

// containerJSON is one container in dbops/creds/v1.
type containerJSON struct {
	creds.Listed
	AgeSeconds int64 `json:"age_seconds,omitempty"`
}

func newCredsListCmd(c *cli) *cobra.Command {
	o := &credsListOptions{}
	cmd := &cobra.Command{
		Use: "list -e ENV", Short: "List the containers, their active slots, and who is logged in", Args: cobra.NoArgs,
		Long: `List each container of an environment: its databases, access, active slot, the age of its credential, the sessions of both slots, where the
credential is delivered, and what is wrong. Each current credential is tried with a login, for 5 seconds at most. Nothing is changed, and no
password is shown.

An instance whose containers cannot be looked at is named below the list, and hides no other.

Exit status: 0 listed, also with findings; 1 failed, or some instances could not be looked at; 2 usage or configuration; 130 interrupted, what was
seen is shown.`,
		Example: "  dbops creds list -e prod\n  dbops creds list -e prod --check=false\n  dbops creds list -e prod -i billing -o json",
		RunE:    func(cmd *cobra.Command, _ []string) error { return runCredsList(cmd.Context(), c, o) },
	}
	o.flags(cmd, true)
	cmd.Flags().BoolVar(&o.check, "check", true, "try each current credential with a login")
	return cmd
}

func runCredsList(ctx context.Context, c *cli, o *credsListOptions) error {
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	lists, cut := a.CredentialLists(ctx, o.env, o.instance, creds.Look{Login: o.check})
	c.looking.wipe()
	if cut != nil && fault.KindOf(cut) != fault.Interrupted {
		return cut
	}
	errOf := func(i app.InstanceCredentials) error { return i.Err }
	if len(lists) == 1 && cut == nil && lists[0].Err != nil {
		return lists[0].Err
	}
	var all []creds.Listed
	var failed problems
	for _, i := range lists {
		all = append(all, i.Containers...)
		failed.add(i.Environment+"/"+i.Name, i.Err)
	}
	if c.json() {
		err = c.printCredsJSON(lists, time.Now())
	} else {
		err = c.printCreds(all, &failed, time.Now())
	}
	switch {
	case err != nil:
		return err
	case cut != nil:
		return cutShort(cut, lists, errOf)
	case len(failed.texts) > 0:
		return &exitStatus{1}
	}
	return nil
}

// credsJSON is dbops/creds/v1.
type credsJSON struct {
	Schema     string          `json:"schema"`
	Containers []containerJSON `json:"containers"`
	// Failed are the instances whose containers are missing.
	Failed []failedJSON `json:"failed,omitempty"`
}

type failedJSON struct {
	Environment string    `json:"environment"`
	Instance    string    `json:"instance"`
	Error       errorJSON `json:"error"`
}

func (c *cli) printCredsJSON(lists []app.InstanceCredentials, now time.Time) error {
	out := credsJSON{Schema: "dbops/creds/v1", Containers: []containerJSON{}}
	for _, i := range lists {
		for _, l := range i.Containers {
			out.Containers = append(out.Containers, containerJSON{l, int64(l.Age(now).Seconds())})
		}
		if i.Err != nil {
			out.Failed = append(out.Failed, failedJSON{i.Environment, i.Name, errorObject(i.Err, c.verbose)})
		}
	}
	return printJSON(c.out, out)
}

func (c *cli) printCreds(all []creds.Listed, failed *problems, now time.Time) error {
	rows := make([][]string, 0, len(all))
	for _, l := range all {
		places := make([]string, len(l.Places))
		for i, p := range l.Places {
			places[i] = p.Place
		}
		rows = append(rows, []string{
			l.Instance, l.Name, strings.Join(l.Databases, ","), string(l.Access), orText(l.Active, "-"), ageText(l.Age(now)),
			fmt.Sprintf("a:%d b:%d", l.Sessions[creds.SlotA], l.Sessions[creds.SlotB]), strings.Join(places, " "), findingWord(len(l.Findings)),
		})
	}
	if err := printTable(c.out, []string{"INSTANCE", "CONTAINER", "DATABASES", "ACCESS", "ACTIVE", "AGE", "SESSIONS", "DELIVERED TO", "FINDINGS"}, rows); err != nil {
		return err
	}
	for _, l := range all {
		c.printFindings(l.Instance, l.Findings)
	}
	failed.print(c.out)
	return nil
}

// printFindings prints what is wrong on an instance, below a table.
func (c *cli) printFindings(instance string, all []op.Finding) {
	for _, f := range all {
		fmt.Fprintf(c.out, "%-5s %s: %s: %s\n", f.Severity, instance, f.Check, oneBlock(f.Text))
		if f.Evidence != "" {
			fmt.Fprintf(c.out, "      seen: %s\n", oneBlock(f.Evidence))
		}
		if f.Remedy != "" {
			fmt.Fprintf(c.out, "      next: %s\n", oneBlock(f.Remedy))
		}
	}
}

func findingWord(n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

// ageText is an age as people say it.
func ageText(d time.Duration) string {
	switch {
	case d <= 0:
		return "?"
	case d < time.Minute:
		return "<1m"
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}
