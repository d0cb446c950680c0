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

func newCertsCheckCmd(c *cli) *cobra.Command {
	o := &certsOptions{}
	cmd := &cobra.Command{
		Use: "check [INSTANCE]", Short: "Check certificates in live handshakes", Args: cobra.MaximumNArgs(1),
		Long: `Make a handshake with each server and hold what it shows against what the provider says: the chain to a trusted CA, the host's or the
instance's name, the ends of all certificates, the protocol. Nobody logs in. --within also finds what ends soon. Folders that fetch or
create-client has written to, here or named with --dir, are held against it, too.

Exit status: 0 all is well; 1 a server could not be looked at; 2 usage or configuration; 5 findings.`,
		Example: `  dbops certs check
  dbops certs check -e prod --within 30d
  dbops certs check -e prod main --dir /etc/metabase/tls
  dbops certs check -e prod billing --ca-file office-ca.pem -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.instance = first(args)
			return runCertsCheck(cmd.Context(), c, o)
		},
	}
	environmentFlag(cmd, &o.env, false)
	o.dirFlag(cmd)
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
	all, err := a.Certificates(ctx, o.request())
	c.looking.wipe()
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
			findings = append(append(findings, i.Survey.Check(time.Now(), within)...), checkFolders(i)...)
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
			Schema        string              `json:"schema"`
			Within        string              `json:"within"` // as it is given: 30d, 12h
			WithinSeconds int64               `json:"within_seconds"`
			Instances     []instanceCertsJSON `json:"instances"`
		}{"dbops/certs-check/v1", o.within, int64(within.Seconds()), out})
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
	printFindings(w, findings)
	return failed
}

// checkFolders tells which files for clients of an instance are stale.
func checkFolders(i app.Certs) (all []op.Finding) {
	if i.Survey == nil {
		return nil
	}
	for _, f := range i.Folders {
		all = append(all, i.Survey.CheckFolder(f, time.Now())...)
	}
	return all
}

// warnOfFolders tells on standard error which files for clients of an instance, here, are stale.
func (c *cli) warnOfFolders(ctx context.Context, a *app.App, env, instance string) {
	all, err := a.Certificates(ctx, app.CertsRequest{Environment: env, Instance: instance, Offline: true, Below: kits})
	if err == nil {
		err = all[0].Err
	}
	if err != nil {
		fmt.Fprintf(c.err, "the files for clients in %s could not be looked at: %s\n", kits, oneBlock(err.Error()))
		return
	}
	printFindings(c.err, checkFolders(all[0]))
}

func printFindings(w io.Writer, findings []op.Finding) {
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
}

func seenOf(i app.Certs) *certs.Seen {
	if i.Survey == nil {
		return nil
	}
	return i.Survey.Seen
}
