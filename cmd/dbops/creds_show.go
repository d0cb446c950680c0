package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"dbops/internal/creds"
	"dbops/internal/fault"
)

type showOptions struct {
	env, format, name string
	reveal            bool
}

func newCredsShowCmd(c *cli) *cobra.Command {
	o := &showOptions{}
	cmd := &cobra.Command{
		Use: "show -e ENV CONTAINER", Short: "Show a container's credential; its password only with --reveal", Args: takes("CONTAINER"),
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
	if s.Amiss != "" {
		fmt.Fprintf(c.err, "%s: %s; %s\n", s.Place, oneBlock(s.Amiss), oneBlock(s.Next))
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
		if instance, err := a.ContainerInstance(o.env, container); err == nil && s.NeedsCA(o.format) {
			fmt.Fprintf(c.err, "the server's CA goes with it, as sslrootcert or PGSSLROOTCERT: dbops certs fetch -e %s %s\n", o.env, instance)
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
