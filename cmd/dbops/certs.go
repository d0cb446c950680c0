package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/certs"
	"dbops/internal/fault"
)

func newCertsCmd(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "certs",
		Short: "List, check, hand out and rotate certificates",
		Long: `Certificates of the servers, the CAs that sign them, and the certificates of clients: what is there, whether it is right and for how long,
what clients need to verify a server, and changing it without locking anybody out.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCertsListCmd(c), newCertsCheckCmd(c), newCertsFetchCmd(c), newCertsUpdateCmd(c),
		newCertsCreateClientCmd(c), newCertsRevokeClientCmd(c), newCertsRotateCmd(c))
	return cmd
}

type certsOptions struct {
	env, instance string
	caFile        string
	within        string
	offline       bool
	dirs          []string
}

const kits = app.KitsDir

func (o *certsOptions) request() app.CertsRequest {
	return app.CertsRequest{Environment: o.env, Instance: o.instance, CAFile: o.caFile, Offline: o.offline, Folders: o.dirs, Below: kits}
}

func (o *certsOptions) dirFlag(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&o.dirs, "dir", nil, "a folder that fetch or create-client has written to; those in "+kits+", here, are looked at anyway")
}

func newCertsListCmd(c *cli) *cobra.Command {
	o := &certsOptions{}
	cmd := &cobra.Command{
		Use: "list [INSTANCE]", Short: "List certificates: of servers, their CAs and clients", Args: cobra.MaximumNArgs(1),
		Long: `List the server certificate, its CAs and the client certificates of every instance, with their ends: what the provider tells, and what
the server shows in a handshake. No provider vouches for a plain server: what it shows is all there is to list. A folder that fetch or
create-client has written to, here or named with --dir, is told where its clients cannot verify the server, or will not after a rotation.

Exit status: 0 every instance was listed; 1 at least one was not; 2 usage or configuration; 130 interrupted, what was seen is shown.`,
		Example: "  dbops certs list\n  dbops certs list -e prod main\n  dbops certs list -e prod -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.instance = first(args)
			return runCertsList(cmd.Context(), c, o)
		},
	}
	environmentFlag(cmd, &o.env, false)
	o.dirFlag(cmd)
	cmd.Flags().BoolVar(&o.offline, "no-handshake", false, "ask the providers only, and no server")
	return cmd
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// instanceCertsJSON is one instance in dbops/certs-list/v1 and dbops/certs-check/v1.
type instanceCertsJSON struct {
	Environment  string      `json:"environment"`
	Instance     string      `json:"instance"`
	Provider     string      `json:"provider"`
	Server       *serverJSON `json:"server,omitempty"`
	Trusted      string      `json:"trusted,omitempty"`
	Certificates []certs.Row `json:"certificates,omitempty"`
	Findings     any         `json:"findings,omitempty"`
	Error        *errorJSON  `json:"error,omitempty"`
}

// serverJSON is what a server showed.
type serverJSON struct {
	Address  string   `json:"address"`
	Protocol string   `json:"protocol"`
	Cipher   string   `json:"cipher"`
	Names    []string `json:"names,omitempty"`
}

func certsObject(c *cli, i app.Certs) instanceCertsJSON {
	out := instanceCertsJSON{Environment: i.Environment, Instance: i.Name, Provider: string(i.Provider)}
	err := i.Err
	if i.Survey != nil {
		out.Certificates, out.Trusted, err = i.Survey.Rows(), i.Survey.RootsFrom, i.Survey.Unseen
		if s := i.Survey.Seen; s != nil {
			out.Server = &serverJSON{s.HostPort, tls.VersionName(s.Version), s.Cipher, s.Chain[0].DNSNames}
		}
	}
	if err != nil {
		e := errorObject(err, c.verbose)
		out.Error = &e
	}
	return out
}

func runCertsList(ctx context.Context, c *cli, o *certsOptions) error {
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	all, cut := a.Certificates(ctx, o.request())
	c.looking.wipe()
	if cut != nil && fault.KindOf(cut) != fault.Interrupted {
		return cut
	}
	var failed problems
	rows := make([][]string, 0, len(all))
	out := make([]instanceCertsJSON, 0, len(all))
	var notes bytes.Buffer
	for _, i := range all {
		one := certsObject(c, i)
		if stale := checkFolders(i); len(stale) > 0 {
			one.Findings = stale
			fmt.Fprintf(&notes, "\n! %s/%s\n", i.Environment, i.Name)
			printFindings(&notes, stale)
		}
		if i.Survey != nil && i.Survey.Told == nil && len(one.Certificates) > 0 {
			fmt.Fprintf(&notes, "\ni %s/%s  %s\n", i.Environment, i.Name, certs.Unvouched)
		}
		out = append(out, one)
		for _, r := range one.Certificates {
			rows = append(rows, certsRow(i, r, time.Now()))
		}
		switch problem := problemOf(i); {
		case problem != nil:
			failed.add(i.Environment+"/"+i.Name, problem)
		case len(one.Certificates) == 0 && i.Survey.Socket:
			rows = append(rows, []string{i.Environment, i.Name, certs.RowServer, "on a socket of this machine, without TLS", "-", "-", "-"})
		}
	}
	if c.json() {
		err = printJSON(c.out, struct {
			Schema    string              `json:"schema"`
			Instances []instanceCertsJSON `json:"instances"`
		}{"dbops/certs-list/v1", out})
	} else {
		err = printTable(c.out, []string{"ENVIRONMENT", "INSTANCE", "CERTIFICATE", "NAME", "ID", "UNTIL", "LEFT"}, rows)
		if err == nil {
			failed.print(&notes)
			_, err = notes.WriteTo(c.out)
		}
	}
	switch {
	case err != nil:
		return err
	case cut != nil:
		return cutShort(cut, all, problemOf)
	case len(failed.texts) > 0:
		return &exitStatus{1}
	}
	return nil
}

// problemOf is why an instance could not be looked at, wholly or at all.
func problemOf(i app.Certs) error {
	if i.Survey != nil {
		return i.Survey.Unseen
	}
	return i.Err
}

func printProblem(w io.Writer, i app.Certs, err error) {
	fmt.Fprintf(w, "\nx %s/%s  %s\n", i.Environment, i.Name, oneBlock(err.Error()))
	if hint := fault.HintOf(err); hint != "" {
		fmt.Fprintf(w, "  next: %s\n", oneBlock(hint))
	}
}

func certsRow(i app.Certs, r certs.Row, now time.Time) []string {
	sort := r.Sort
	if r.Role != "" {
		sort = r.Role + " " + sort
	}
	id := r.ID
	if id == "" {
		id = r.Fingerprint
	}
	if len(id) > 20 {
		id = id[:12]
	}
	until := "-"
	if !r.Until.IsZero() {
		until = r.Until.UTC().Format(time.DateOnly)
	}
	return []string{i.Environment, i.Name, sort, oneBlock(r.Name), orText(id, "-"), until, expiryWord(r.Until, now)}
}
