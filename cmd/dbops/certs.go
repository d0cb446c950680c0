package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/certs"
	"dbops/internal/fault"
	"dbops/internal/op"
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
}

func newCertsListCmd(c *cli) *cobra.Command {
	o := &certsOptions{}
	cmd := &cobra.Command{
		Use: "list [INSTANCE]", Short: "List certificates: of servers, their CAs and clients", Args: cobra.MaximumNArgs(1),
		Long: `List the server certificate, its CAs and the client certificates of every instance, with their ends: what the provider tells, and what
the server shows in a handshake.

Exit status: 0 every instance was listed; 1 at least one was not; 2 usage or configuration.`,
		Example: "  dbops certs list\n  dbops certs list -e prod main\n  dbops certs list -e prod -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.instance = first(args)
			return runCertsList(cmd.Context(), c, o)
		},
	}
	environmentFlag(cmd, &o.env, false)
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
	all, err := a.Certificates(ctx, o.env, o.instance, "", o.offline)
	if err != nil {
		return err
	}
	failed := false
	rows := make([][]string, 0, len(all))
	out := make([]instanceCertsJSON, 0, len(all))
	var notes bytes.Buffer
	for _, i := range all {
		one := certsObject(c, i)
		out = append(out, one)
		for _, r := range one.Certificates {
			rows = append(rows, certsRow(i, r, time.Now()))
		}
		switch problem := problemOf(i); {
		case problem != nil:
			failed = true
			printProblem(&notes, i, problem)
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
			_, err = notes.WriteTo(c.out)
		}
	}
	if err == nil && failed {
		return &exitStatus{1}
	}
	return err
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

func newCertsCheckCmd(c *cli) *cobra.Command {
	o := &certsOptions{}
	cmd := &cobra.Command{
		Use: "check [INSTANCE]", Short: "Check certificates in live handshakes", Args: cobra.MaximumNArgs(1),
		Long: `Make a handshake with each server and hold what it shows against what the provider says: the chain to a trusted CA, the host's or the
instance's name, the ends of all certificates, the protocol. Nobody logs in. --within also finds what ends soon.

Exit status: 0 all is well; 1 a server could not be looked at; 2 usage or configuration; 5 findings.`,
		Example: `  dbops certs check
  dbops certs check -e prod --within 30d
  dbops certs check -e prod billing --ca-file office-ca.pem -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.instance = first(args)
			return runCertsCheck(cmd.Context(), c, o)
		},
	}
	environmentFlag(cmd, &o.env, false)
	cmd.Flags().StringVar(&o.within, "within", "0d", "find what ends within that time: 30d, 12h")
	cmd.Flags().StringVar(&o.caFile, "ca-file", "", "trust the CAs in this file, in place of those that dbops.yaml or the provider names")
	return cmd
}

// parseWithin reads 30d or a duration.
func parseWithin(s string) (time.Duration, error) {
	if n, ok := strings.CutSuffix(s, "d"); ok {
		if d, err := strconv.Atoi(n); err == nil && d >= 0 && d <= 36500 {
			return time.Duration(d) * 24 * time.Hour, nil
		}
	} else if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return d, nil
	}
	return 0, fault.Newf(fault.Usage, "read the flags", "--within %q is no length of time", s).Hint("write it as in 30d or 12h")
}

func runCertsCheck(ctx context.Context, c *cli, o *certsOptions) error {
	within, err := parseWithin(o.within)
	if err != nil {
		return err
	}
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	all, err := a.Certificates(ctx, o.env, o.instance, o.caFile, false)
	if err != nil {
		return err
	}
	failed, bad := 0, 0
	var text bytes.Buffer
	out := make([]instanceCertsJSON, 0, len(all))
	for _, i := range all {
		one := certsObject(c, i)
		findings := []op.Finding{}
		if i.Survey != nil {
			findings = append(findings, i.Survey.Check(time.Now(), within)...)
		}
		if certs.Bad(findings) {
			bad++
		}
		one.Findings = findings
		out = append(out, one)
		if c.printCheck(&text, i, findings) {
			failed++
		}
	}
	if c.json() {
		err = printJSON(c.out, struct {
			Schema    string              `json:"schema"`
			Within    string              `json:"within"`
			Instances []instanceCertsJSON `json:"instances"`
		}{"dbops/certs-check/v1", within.String(), out})
	} else {
		_, err = text.WriteTo(c.out)
	}
	switch {
	case err != nil:
		return err
	case failed > 0:
		return &exitStatus{1}
	case bad > 0:
		return &exitStatus{5}
	}
	return nil
}

// printCheck tells what was found of one instance, and whether its server could not be looked at.
func (c *cli) printCheck(w io.Writer, i app.Certs, findings []op.Finding) (failed bool) {
	name := i.Environment + "/" + i.Name
	problem := problemOf(i)
	if problem != nil && !certs.Bad(findings) { // else the finding says it
		printProblem(w, i, problem)
		failed = true
	} else if s := seenOf(i); s != nil {
		mark := "ok"
		if certs.Bad(findings) {
			mark = "!"
		}
		fmt.Fprintf(w, "\n%s %s  %s at %s, until %s, trusted by %s\n", mark, name, tls.VersionName(s.Version), s.HostPort,
			s.Chain[0].NotAfter.UTC().Format(time.DateOnly), oneBlock(i.Survey.RootsFrom))
	} else {
		fmt.Fprintf(w, "\n- %s\n", name)
	}
	for _, f := range findings {
		mark := "!"
		if f.Severity == op.Info {
			mark = "i"
		}
		fmt.Fprintf(w, "  %s %s: %s\n", mark, f.Check, oneBlock(f.Text))
		if f.Evidence != "" && f.Severity != op.Info {
			fmt.Fprintf(w, "    seen: %s\n", oneBlock(f.Evidence))
		}
		if f.Remedy != "" {
			fmt.Fprintf(w, "    next: %s\n", oneBlock(f.Remedy))
		}
	}
	return failed
}

func seenOf(i app.Certs) *certs.Seen {
	if i.Survey == nil {
		return nil
	}
	return i.Survey.Seen
}
