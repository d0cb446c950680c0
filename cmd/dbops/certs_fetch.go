package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/certs"
	"dbops/internal/certs/bundle"
	"dbops/internal/fault"
)

type certsFetchOptions struct {
	app.KitRequest
	tools []string
}

func newCertsFetchCmd(c *cli) *cobra.Command {
	o := &certsFetchOptions{}
	cmd := &cobra.Command{
		Use: "fetch -e ENV INSTANCE", Short: "Write the files that clients need to verify a server", Args: takes("INSTANCE"),
		Long: `Write the CAs of an instance as PEM and as a Java trust store, and an entry for pg_service.conf; print the settings for each tool. Cloud SQL
tells its CAs; those of RDS are the region's bundle, which is part of dbops (dbops certs update brings newer ones), or ca_file. Before
anything is written, the CAs must verify the live server; where it cannot be reached, that is said. Written to a folder of its own again, it
renews the CAs there, and keeps the database and the user unless others are named. Files of others are never overwritten; entries of others in
a pg_service.conf stay.

Exit status: 0 written; 1 failed, and nothing was written; 2 usage or configuration.`,
		Example: `  dbops certs fetch -e prod main
  dbops certs fetch -e prod billing --dir ~/.dbops/billing --user analyst --for jdbc,node
  dbops certs fetch -e prod main --for all -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Instance = args[0]
			return runCertsFetch(cmd.Context(), c, o)
		},
	}
	environmentFlag(cmd, &o.Environment, true)
	fs := cmd.Flags()
	fs.StringVar(&o.Dir, "dir", "", "the folder to write to (default: certs/ENV-INSTANCE, here)")
	fs.StringVar(&o.Database, "database", "", "for the settings (default: that of the folder, else the only one, else one is chosen and told)")
	fs.StringVar(&o.User, "user", "", "for the settings (default: that of the folder, else the read login's)")
	fs.StringSliceVar(&o.tools, "for", []string{"psql", "service"}, "print the settings for: all, or "+strings.Join(certs.Tools(), ", "))
	fs.StringVar(&o.CAFile, "ca-file", "", "the CAs in this file, in place of those that dbops.yaml or the provider names")
	fs.BoolVar(&o.Offline, "no-handshake", false, "do not look whether they verify the server")
	return cmd
}

// tools checks the names after --for.
func tools(names []string) ([]string, error) {
	if slices.Contains(names, "all") {
		return nil, nil
	}
	for _, n := range names {
		if !slices.Contains(certs.Tools(), n) {
			return nil, fault.Newf(fault.Usage, "read the flags", "there are no settings for %q", n).Hint("want all, or %s", strings.Join(certs.Tools(), ", "))
		}
	}
	return names, nil
}

// kitJSON is dbops/certs-fetch/v1.
type kitJSON struct {
	Schema      string          `json:"schema"`
	Environment string          `json:"environment"`
	Instance    string          `json:"instance"`
	Dir         string          `json:"dir"`
	Files       []string        `json:"files"`
	Host        string          `json:"host"`
	HostAddr    string          `json:"hostaddr,omitempty"`
	Port        string          `json:"port"`
	Database    string          `json:"database"`
	User        string          `json:"user,omitempty"`
	SSLMode     string          `json:"sslmode"`
	Verified    bool            `json:"verified"` // in a handshake now
	Unverified  string          `json:"unverified,omitempty"`
	CAs         []caJSON        `json:"cas"`
	Settings    []certs.Setting `json:"settings"`
	Notes       []string        `json:"notes,omitempty"`
}

type caJSON struct {
	Name        string    `json:"name"`
	Fingerprint string    `json:"fingerprint"`
	Until       time.Time `json:"until"`
	PEM         string    `json:"pem"`
}

func caObject(c *x509.Certificate) caJSON {
	return caJSON{bundle.Name(c), bundle.Fingerprint(c), c.NotAfter.UTC(), certs.PEM(c)}
}

func runCertsFetch(ctx context.Context, c *cli, o *certsFetchOptions) error {
	names, err := tools(o.tools)
	if err != nil {
		return err
	}
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	o.Dir = app.KitDir(o.Dir, o.Environment, o.Instance)
	k, err := a.FetchKit(ctx, o.KitRequest)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(c.out, kitObject(k, o, names))
	}
	return c.printKit(k, names)
}

func kitObject(k *app.Kit, o *certsFetchOptions, names []string) kitJSON {
	out := kitJSON{
		Schema: "dbops/certs-fetch/v1", Environment: o.Environment, Instance: o.Instance, Dir: k.Dir, Files: k.Files, Host: k.Host, HostAddr: k.HostAddr,
		Port: k.Port, Database: k.Database, User: k.User, SSLMode: k.Mode, Verified: k.Seen != nil, CAs: []caJSON{},
		Settings: k.Settings(names...), Notes: k.Notes,
	}
	if k.Seen == nil {
		out.Unverified = unverifiedText(k)
	}
	for _, cert := range k.Certs {
		out.CAs = append(out.CAs, caObject(cert))
	}
	return out
}

func unverifiedText(k *app.Kit) string {
	if k.Unseen != nil {
		return oneBlock(k.Unseen.Error())
	}
	return "not asked for"
}

func (c *cli) printKit(k *app.Kit, names []string) error {
	var b strings.Builder
	for _, cert := range k.Certs {
		fmt.Fprintf(&b, "CA %s, until %s\n   SHA-256 %s\n", bundle.Name(cert), cert.NotAfter.UTC().Format(time.DateOnly), bundle.Fingerprint(cert))
	}
	fmt.Fprintf(&b, "from %s\n", orText(k.RootsFrom, "the machine's own CAs"))
	if k.Seen != nil {
		fmt.Fprintf(&b, "verified: the server at %s proves itself by them\n", k.Seen.HostPort)
	}
	fmt.Fprintf(&b, "written: %s\n", strings.Join(k.Files, " "))
	for _, n := range k.Notes {
		fmt.Fprintf(&b, "note: %s\n", oneBlock(n))
	}
	for _, s := range k.Settings(names...) {
		fmt.Fprintf(&b, "\n%s (%s)\n", s.Title, s.Verifies)
		if s.Text != "" {
			fmt.Fprintf(&b, "  %s\n", oneBlock(s.Text))
		}
		if s.Note != "" {
			fmt.Fprintf(&b, "  note: %s\n", oneBlock(s.Note))
		}
	}
	if _, err := fmt.Fprint(c.out, b.String()); err != nil {
		return err
	}
	if k.Seen == nil {
		fmt.Fprintf(c.err, "NOT VERIFIED against the live server: %s\n", unverifiedText(k))
	}
	return nil
}

type certsUpdateOptions struct {
	regions    []string
	from       string
	check, yes bool
}

func newCertsUpdateCmd(c *cli) *cobra.Command {
	o := &certsUpdateOptions{}
	cmd := &cobra.Command{
		Use: "update", Short: "Bring the CAs that Amazon publishes for RDS", Args: cobra.NoArgs,
		Long: `Download the CAs of RDS for the regions that dbops.yaml names, over verified TLS; show what is new and what is gone, by fingerprint; and, after a
yes, keep them as this user's copy, which goes before the one that is part of dbops. The way back: remove that copy, and the one that is part of
dbops holds again; the copy of before is beside it, as REGION.pem.previous.

Exit status: 0 as published; 1 failed; 2 usage or configuration; 4 nobody said yes; 5 with --check: there is a difference.`,
		Example: "  dbops certs update --check\n  dbops certs update\n  dbops certs update --region us-gov-west-1 --yes",
		RunE:    func(cmd *cobra.Command, _ []string) error { return runCertsUpdate(cmd.Context(), c, o) },
	}
	fs := cmd.Flags()
	fs.StringSliceVar(&o.regions, "region", nil, "only this region (may be repeated)")
	fs.StringVar(&o.from, "from", "", "an https address that keeps Amazon's paths, in place of Amazon's")
	fs.BoolVar(&o.check, "check", false, "show the difference, and keep nothing")
	fs.BoolVar(&o.yes, "yes", false, "do not ask")
	return cmd
}

// updateJSON is one region in dbops/certs-update/v1.
type updateJSON struct {
	Region  string   `json:"region"`
	URL     string   `json:"url"`
	Before  string   `json:"before,omitempty"`
	Added   []caJSON `json:"added"`
	Removed []caJSON `json:"removed"`
	Same    int      `json:"same"`
	Expired int      `json:"expired"` // published, and left out
	File    string   `json:"file,omitempty"`
}

func runCertsUpdate(ctx context.Context, c *cli, o *certsUpdateOptions) error {
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	regions := o.regions
	if len(regions) == 0 {
		regions = a.RDSRegions()
	}
	if len(regions) == 0 {
		return fault.Newf(fault.Usage, "bring the CAs of RDS", "dbops.yaml names no instance of RDS").Hint("name a region with --region")
	}
	all := make([]*app.Update, 0, len(regions))
	for _, r := range regions { // all of them, before anything is kept
		u, err := a.CheckUpdate(ctx, r, o.from)
		if err != nil {
			return err
		}
		all = append(all, u)
	}
	differs := false
	for _, u := range all {
		differs = differs || u.Any()
		if !c.json() {
			c.printUpdate(u)
		}
	}
	files := map[string]string{}
	var verdict error
	switch {
	case !differs:
	case o.check:
		verdict = &exitStatus{5}
	default:
		if verdict = c.agreed(ctx, o.yes, "keep the CAs of RDS"); verdict == nil {
			verdict = c.keep(a, all, files)
		}
	}
	if c.json() {
		if err := printJSON(c.out, updateObject(all, files)); err != nil {
			return errors.Join(verdict, err)
		}
	}
	return verdict
}

func (c *cli) keep(a *app.App, all []*app.Update, files map[string]string) error {
	for _, u := range all {
		if !u.Any() {
			continue
		}
		file, err := a.SaveUpdate(u)
		if err != nil {
			return err
		}
		files[u.Region] = file
		if !c.json() {
			fmt.Fprintf(c.out, "kept: %s\nback: %s\n", file, u.Back(file))
		}
	}
	return nil
}

// agreed asks for a yes.
func (c *cli) agreed(ctx context.Context, yes bool, what string) error {
	if yes {
		return nil
	}
	if !terminal(c.in) || !terminal(c.err) {
		return fault.Newf(fault.Unapproved, what, "nobody is there to say yes").Hint("in a script give --yes")
	}
	fmt.Fprint(c.err, "Type yes to trust these from now on: ")
	answer, err := readLine(ctx, c.in)
	if err != nil {
		return fault.New(fault.Interrupted, what, err).Hint("nothing was changed")
	}
	if answer != "yes" {
		return fault.Newf(fault.Unapproved, what, "%q is not \"yes\"", answer).Hint("nothing was changed")
	}
	return nil
}

func (c *cli) printUpdate(u *app.Update) {
	before := "nothing"
	if u.Current != nil {
		before = u.Current.From()
	}
	fmt.Fprintf(c.out, "%s: %s, against %s\n", u.Region, u.URL, before)
	for _, cert := range u.Removed {
		fmt.Fprintf(c.out, "  - %s  %s, until %s\n", bundle.Fingerprint(cert), bundle.Name(cert), cert.NotAfter.UTC().Format(time.DateOnly))
	}
	for _, cert := range u.Added {
		fmt.Fprintf(c.out, "  + %s  %s, until %s\n", bundle.Fingerprint(cert), bundle.Name(cert), cert.NotAfter.UTC().Format(time.DateOnly))
	}
	fmt.Fprintf(c.out, "  %d the same", len(u.Same))
	if n := len(u.Fetched.Expired); n > 0 {
		fmt.Fprintf(c.out, "; %d published ones have expired and are left out", n)
	}
	fmt.Fprintln(c.out)
}

func updateObject(all []*app.Update, files map[string]string) any {
	out := make([]updateJSON, 0, len(all))
	for _, u := range all {
		one := updateJSON{
			Region: u.Region, URL: u.URL, Added: []caJSON{}, Removed: []caJSON{}, Same: len(u.Same), Expired: len(u.Fetched.Expired), File: files[u.Region],
		}
		if u.Current != nil {
			one.Before = u.Current.From()
		}
		for _, cert := range u.Added {
			one.Added = append(one.Added, caObject(cert))
		}
		for _, cert := range u.Removed {
			one.Removed = append(one.Removed, caObject(cert))
		}
		out = append(out, one)
	}
	return struct {
		Schema  string       `json:"schema"`
		Regions []updateJSON `json:"regions"`
	}{"dbops/certs-update/v1", out}
}
