package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/creds"
	"dbops/internal/fault"
	"dbops/internal/secret"
)

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

// oneCmd completes a command on one container: what it asks for, of which kind.
func (c *cli) oneCmd(o *oneOptions, cmd *cobra.Command, kind string, request func(container string) any) *cobra.Command {
	cmd.Args, cmd.Long = takes("CONTAINER"), cmd.Long+"\n"+changeStatuses
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return c.one(cmd.Context(), o, args[0], kind, request(args[0]))
	}
	environmentFlag(cmd, &o.env, true)
	o.add(cmd)
	return cmd
}

func newCredsIssueCmd(c *cli) *cobra.Command {
	o := &oneOptions{}
	cmd := &cobra.Command{
		Use: "issue -e ENV CONTAINER", Short: "Give a new container its roles and its first credential",
		Long: `Make the group role and the two slots of a container that dbops.yaml declares, grant the group what its access needs, and deliver the first
credential. After a revocation it gives a new credential to the roles that exist.`,
		Example: "  dbops creds issue -e staging shop-mailer\n  dbops creds issue -e prod shop-mailer --plan",
	}
	return c.oneCmd(o, cmd, creds.IssueKind, func(container string) any { return creds.IssueRequest{Container: container} })
}

func newCredsRepairCmd(c *cli) *cobra.Command {
	o := &oneOptions{}
	cmd := &cobra.Command{
		Use: "repair -e ENV CONTAINER", Short: "Put the credential that dbops delivered back where the container reads it",
		Long: `Put the credential of a container back where it is not found any more. A file that somebody deleted comes from the versions beside it; an infra
config of Encore that somebody changed gets user and password anew; where somebody has put another text, of a wrong password, of somebody else or
no credential at all, the version that dbops delivered last and that logs in is made current again; and a second place of delivery gets what the
first one holds. The plan says what would be replaced. No password and no role is changed, and nothing is rolled out: what could not start
without it can be started.`,
		Example: "  dbops creds repair -e staging shop-reporting\n  dbops creds repair -e prod shop-reporting --confirm main",
	}
	return c.oneCmd(o, cmd, creds.RepairKind, func(container string) any { return creds.RepairRequest{Containers: []string{container}} })
}

func newCredsRevokeCmd(c *cli) *cobra.Command {
	o := &oneOptions{}
	cmd := &cobra.Command{
		Use: "revoke -e ENV CONTAINER", Short: "Take a container's access away, and end its sessions",
		Long: `Disable both slots of a container, end their sessions, and destroy their passwords. Its roles stay, with what they own and may:
dbops creds issue, and nothing else, gives it a new credential.`,
		Example: `  dbops creds revoke -e staging shop-mailer
  dbops creds revoke -e prod shop-mailer --reason "it is shut down" --confirm main`,
	}
	cmd.Flags().StringVar(&o.reason, "reason", "", "why, for the plan and the audit log")
	return c.oneCmd(o, cmd, creds.RevokeKind, func(container string) any { return creds.RevokeRequest{Container: container, Reason: o.reason} })
}

func newCredsRollbackCmd(c *cli) *cobra.Command {
	o := &oneOptions{}
	cmd := &cobra.Command{
		Use: "rollback -e ENV CONTAINER", Short: "Make the credential from before the last rotation current again",
		Long: `Let the previous credential of a container log in again, see that it works, make it current, and roll the container out. That works until a
rotation destroys the old password, after its --soak. A rotation that has not ended is taken back by dbops runs undo.`,
		Example: "  dbops creds rollback -e staging shop-api\n  dbops creds rollback -e prod shop-api --confirm main",
	}
	cmd.Flags().DurationVar(&o.grace, "grace", creds.DefaultGrace, "how long nobody must have been logged in with the newer credential before it is disabled")
	cmd.Flags().IntVar(&o.polls, "polls", creds.DefaultPolls, "how often to look in that time, at least")
	return c.oneCmd(o, cmd, creds.RollbackKind, func(container string) any {
		return creds.RollbackRequest{Containers: []string{container}, Grace: creds.Span(o.grace), Polls: o.polls}
	})
}

func newCredsAdoptCmd(c *cli) *cobra.Command {
	o := &oneOptions{}
	cmd := &cobra.Command{
		Use: "adopt -e ENV CONTAINER --login ROLE", Short: "Take over a login that a container uses already",
		Long: `Make an existing login role the slot a of a container that dbops.yaml declares, and make its group role and its slot b. The login keeps its
password; what it owns is given to the owner of the database; its memberships (encore_services, say) are granted to the group. The next rotation
moves the container to the slot b.

--secret says where the login's password is now, unless the container's place of delivery holds it already. It names a place, never the password
itself; a relative file: is below the folder of dbops.yaml. The login is tried before anything is changed.`,
		Example: `  dbops creds adopt -e staging shop-api --login shop
  dbops creds adopt -e prod shop-api --login svc_shop --secret aws-sm:legacy/shop#password --confirm main`,
	}
	cmd.Flags().StringVar(&o.login, "login", "", "the login role")
	cmd.Flags().StringVar(&o.secret, "secret", "", "where its password is now: aws-sm:NAME, gcp-sm:projects/P/secrets/S, file:PATH, with #FIELD of a JSON object, or env:NAME")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if o.login == "" {
			return fault.Newf(fault.Usage, "read the flags", "which login?").Hint("--login ROLE; dbops creds audit lists who can log in")
		}
		if _, err := secret.ParseRef(o.secret); o.secret != "" && err != nil {
			return fault.New(fault.Usage, "read --secret", err).Hint("it names a place, and never the password; if that was one, it is in the history of your shell now")
		}
		return nil
	}
	return c.oneCmd(o, cmd, creds.AdoptKind, func(container string) any {
		return creds.AdoptRequest{Container: container, Login: o.login, Secret: o.secret}
	})
}
