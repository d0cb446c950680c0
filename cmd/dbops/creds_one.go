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

type showOptions struct {
	env, format, name string
	reveal            bool
}

func newCredsShowCmd(c *cli) *cobra.Command {
	o := &showOptions{}
	cmd := &cobra.Command{
		Use: "show -e ENV CONTAINER", Short: "Show a container's credential; its password only with --reveal", Args: cobra.ExactArgs(1),
		Long: `Show which credential is current for a container, and where. With --reveal the credential itself is written to standard output: as it is
delivered, as variables, as a URI, or as the manifest of an immutable Kubernetes Secret.

Exit status: 0 shown; 1 failed; 2 usage or configuration.`,
		Example: `  dbops creds show -e prod shop-api
  dbops creds show -e staging shop-api --reveal --format env
  dbops creds show -e prod shop-api --reveal --format kubernetes --name shop-api-db | kubectl apply -f -`,
		RunE: func(cmd *cobra.Command, args []string) error { return runCredsShow(cmd.Context(), c, o, args[0]) },
	}
	environmentFlag(cmd, &o.env, true)
	fs := cmd.Flags()
	fs.BoolVar(&o.reveal, "reveal", false, "write the credential, with its password, to standard output")
	fs.StringVar(&o.format, "format", "text", "with --reveal: "+strings.Join(creds.Formats(), ", "))
	fs.StringVar(&o.name, "name", "", "of the Kubernetes Secret; default: CONTAINER-VERSION")
	return cmd
}

func runCredsShow(ctx context.Context, c *cli, o *showOptions, container string) error {
	switch {
	case !o.reveal && o.format != "text":
		return fault.Newf(fault.Usage, "read the flags", "--format needs --reveal: it writes the password")
	case o.reveal && c.json():
		return fault.Newf(fault.Usage, "read the flags", "--reveal writes the credential as it is, not as -o json").Hint("leave -o json out; --format text is what is delivered, mostly JSON")
	}
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	s, err := a.Credential(ctx, o.env, container)
	if err != nil {
		return err
	}
	if o.reveal {
		name := o.name
		if name == "" {
			name = kubernetesName(container + "-" + s.Version)
		}
		text, err := s.Text(o.format, name)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(c.out, strings.TrimSuffix(text.Reveal(), "\n"))
		return err
	}
	if c.json() {
		return printJSON(c.out, struct {
			Schema      string `json:"schema"`
			Environment string `json:"environment"`
			*creds.Shown
		}{"dbops/credential/v1", o.env, s})
	}
	return printTable(c.out, []string{"CONTAINER", "USER", "SLOT", "VERSION", "PLACE", "DATABASES"},
		[][]string{{s.Container, s.User, orText(s.Slot, "-"), s.Version, s.Place, strings.Join(s.Databases, ",")}})
}

// kubernetesName makes a text a name that Kubernetes takes.
func kubernetesName(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		default:
			return '-'
		}
	}, s)
	return strings.Trim(s[:min(len(s), 253)], "-")
}

type oneOptions struct {
	changeFlags
	env, reason, login, secret string
	grace                      time.Duration
	polls                      int
}

// one plans or runs an operation on one container.
func (c *cli) one(ctx context.Context, o *oneOptions, container, kind string, request any) error {
	a, err := c.app()
	if err != nil {
		return err
	}
	instance, err := a.ContainerInstance(o.env, container)
	_ = a.Close()
	if err != nil {
		return err
	}
	return c.change(ctx, o.changeFlags, app.Change{Environment: o.env, Instance: instance, Kind: kind, Request: request})
}

func newCredsIssueCmd(c *cli) *cobra.Command {
	o := &oneOptions{}
	cmd := &cobra.Command{
		Use: "issue -e ENV CONTAINER", Short: "Give a new container its roles and its first credential", Args: cobra.ExactArgs(1),
		Long: `Make the group role and the two slots of a container that dbops.yaml declares, grant the group what its access needs, and deliver the first
credential. After a revocation it gives a new credential to the roles that exist.
` + changeStatuses,
		Example: "  dbops creds issue -e staging shop-mailer\n  dbops creds issue -e prod shop-mailer --plan",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.one(cmd.Context(), o, args[0], creds.IssueKind, creds.IssueRequest{Container: args[0]})
		},
	}
	environmentFlag(cmd, &o.env, true)
	o.add(cmd)
	return cmd
}

func newCredsRevokeCmd(c *cli) *cobra.Command {
	o := &oneOptions{}
	cmd := &cobra.Command{
		Use: "revoke -e ENV CONTAINER", Short: "Take a container's access away, and end its sessions", Args: cobra.ExactArgs(1),
		Long: `Disable both slots of a container, end their sessions, and destroy their passwords. Its roles stay, with what they own and may:
dbops creds issue gives it a new credential.
` + changeStatuses,
		Example: `  dbops creds revoke -e staging shop-mailer
  dbops creds revoke -e prod shop-mailer --reason "it is shut down" --confirm main`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.one(cmd.Context(), o, args[0], creds.RevokeKind, creds.RevokeRequest{Container: args[0], Reason: o.reason})
		},
	}
	environmentFlag(cmd, &o.env, true)
	cmd.Flags().StringVar(&o.reason, "reason", "", "why, for the plan and the audit log")
	o.add(cmd)
	return cmd
}

func newCredsRollbackCmd(c *cli) *cobra.Command {
	o := &oneOptions{}
	cmd := &cobra.Command{
		Use: "rollback -e ENV CONTAINER", Short: "Make the credential from before the last rotation current again", Args: cobra.ExactArgs(1),
		Long: `Let the previous credential of a container log in again, see that it works, make it current, and roll the container out. That works until a
rotation destroys the old password, after its --soak. A rotation that has not ended is taken back by dbops runs undo.
` + changeStatuses,
		Example: "  dbops creds rollback -e staging shop-api\n  dbops creds rollback -e prod shop-api --confirm main",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.one(cmd.Context(), o, args[0], creds.RollbackKind, creds.RollbackRequest{Containers: args, Grace: creds.Span(o.grace), Polls: o.polls})
		},
	}
	environmentFlag(cmd, &o.env, true)
	cmd.Flags().DurationVar(&o.grace, "grace", creds.DefaultGrace, "how long nobody must have been logged in with the newer credential before it is disabled")
	cmd.Flags().IntVar(&o.polls, "polls", creds.DefaultPolls, "how often to look in that time, at least")
	o.add(cmd)
	return cmd
}

func newCredsAdoptCmd(c *cli) *cobra.Command {
	o := &oneOptions{}
	cmd := &cobra.Command{
		Use: "adopt -e ENV CONTAINER --login ROLE", Short: "Take over a login that a container uses already", Args: cobra.ExactArgs(1),
		Long: `Make an existing login role the slot a of a container that dbops.yaml declares, and make its group role and its slot b. The login keeps its
password; what it owns is given to the owner of the database; its memberships (encore_services, say) are granted to the group. The next rotation
moves the container to the slot b.

--secret says where the login's password is now, unless the container's place of delivery holds it already.
` + changeStatuses,
		Example: `  dbops creds adopt -e staging shop-api --login shop
  dbops creds adopt -e prod shop-api --login svc_shop --secret aws-sm:legacy/shop#password --confirm main`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.login == "" {
				return fault.Newf(fault.Usage, "read the flags", "which login?").Hint("--login ROLE; dbops creds audit lists who can log in")
			}
			return c.one(cmd.Context(), o, args[0], creds.AdoptKind, creds.AdoptRequest{Container: args[0], Login: o.login, Secret: o.secret})
		},
	}
	environmentFlag(cmd, &o.env, true)
	cmd.Flags().StringVar(&o.login, "login", "", "the login role")
	cmd.Flags().StringVar(&o.secret, "secret", "", "where its password is now: aws-sm:, gcp-sm: or file:")
	o.add(cmd)
	return cmd
}

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
		for _, f := range r.Findings {
			fmt.Fprintf(c.out, "%-5s %s: %s\n", f.Severity, r.Instance, f.Text)
			if f.Evidence != "" {
				fmt.Fprintf(c.out, "      %s\n", f.Evidence)
			}
			if f.Remedy != "" {
				fmt.Fprintf(c.out, "      %s\n", f.Remedy)
			}
		}
	}
	return nil
}
