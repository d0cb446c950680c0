package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/config"
	"dbops/internal/encore"
	"dbops/internal/fault"
)

func newEncoreCmd(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "encore",
		Short: "Leave Encore, or run it self-hosted",
		Long: `Read, patch and write what an Encore app is told about its databases: infra.config.json, ENCORE_RUNTIME_CONFIG and ENCORE_APP_SECRETS.
docs/encore.md says what cannot be known.`,
		Example: "  dbops encore import ../shop --out dbops.yaml\n  dbops encore show infra.config.json\n" +
			"  dbops encore export infra.config.json --database orders --user orders_b --password-from file:new.password",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newEncoreImportCmd(c), newEncoreShowCmd(c), newEncoreExportCmd(c))
	return cmd
}

type encoreImportOptions struct {
	app.EncoreImport
	lang, out string
}

func newEncoreImportCmd(c *cli) *cobra.Command {
	o := &encoreImportOptions{}
	cmd := &cobra.Command{
		Use:   "import DIR",
		Short: "Make a dbops.yaml from an Encore app",
		Long: `Read the source and the infra config of the Encore app in DIR, and print a dbops.yaml: instances from the hosts, databases with their
migrations folders, and the container. No password is read into it. What cannot be known stands in comments. Nothing is contacted.

Exit status: 0 printed or written; 2 the app or its config cannot be read, usage, or the file exists.`,
		Example: `  dbops encore import ../shop
  dbops encore import ../shop --infra-config deploy/prod.json --out dbops.yaml
  dbops encore import . --lang ts --env staging`,
		Args: takes("DIR"),
		RunE: func(_ *cobra.Command, args []string) error {
			o.Dir = args[0]
			return runEncoreImport(c, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.InfraPath, "infra-config", "", "the app's infra config (default: infra.config.json or infra-config.json in DIR)")
	f.StringVar(&o.lang, "lang", "", "go or ts (default: as encore.app says)")
	f.StringVarP(&o.Environment, "env", "e", "", "name of the environment to write (default: as the infra config says)")
	f.StringVar(&o.out, "out", "", "file to write; it must not exist")
	return cmd
}

// encoreImportJSON is dbops/encore-import/v1.
type encoreImportJSON struct {
	Schema string `json:"schema"`
	app.EncoreImported
	Written string `json:"written,omitempty"`
}

func runEncoreImport(c *cli, o *encoreImportOptions) error {
	if err := misread(c); err != nil {
		return err
	}
	var err error
	if o.Language, err = parseLanguage(o.lang); err != nil {
		return err
	}
	if o.OutDir = "."; o.out != "" {
		o.OutDir = filepath.Dir(o.out)
		if err := mayMake(o.out); err != nil {
			return err
		}
	}
	made, err := app.ImportEncore(o.EncoreImport)
	if err != nil {
		return err
	}
	out := encoreImportJSON{Schema: "dbops/encore-import/v1", EncoreImported: made}
	if o.out != "" {
		if err := makeFile(o.out, made.YAML, 0o644); err != nil {
			return err
		}
		out.Written = o.out
	}
	if c.json() {
		return printJSON(c.out, out)
	}
	if o.out == "" {
		if _, err := io.WriteString(c.out, made.YAML); err != nil {
			return fault.New(fault.Internal, "print", err)
		}
	} else {
		fmt.Fprintf(c.err, "wrote %s; next: look at its comments, then dbops config check --config %s\n", o.out, o.out)
	}
	if made.Infra == "" {
		fmt.Fprintln(c.err, "no infra config was found: where the databases are cannot be known; --infra-config FILE names one")
	}
	if n := len(made.Unknown); n > 0 {
		fmt.Fprintf(c.err, "to be looked at: %d, listed at the top of it\n", n)
	}
	return nil
}

type encoreTextOptions struct{ file, lang, as string }

func (o *encoreTextOptions) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.lang, "lang", "", "of an infra config: go or ts (default: as encore.app beside or above FILE says)")
	cmd.Flags().StringVar(&o.as, "as", "", "infra, runtime or secrets (default: found out)")
}

// input reads the text, and what is known of it.
func (o *encoreTextOptions) input(c *cli) (app.EncoreInput, error) {
	in := app.EncoreInput{Lookup: os.LookupEnv}
	var err error
	if err = misread(c); err != nil {
		return in, err
	}
	if o.as != "" {
		if in.As, err = encore.ParseKind(o.as); err != nil {
			return in, err
		}
	}
	if in.Language, err = parseLanguage(o.lang); err != nil {
		return in, err
	}
	from := c.in
	if o.file != "-" {
		f, err := os.Open(o.file)
		if err != nil {
			return in, fault.New(fault.Usage, "", err).Hint("name the file, or - for standard input")
		}
		defer func() { _ = f.Close() }() // only read
		from = f
		if in.Language == "" {
			if in.Language, err = encore.FolderLanguage(filepath.Dir(o.file)); err != nil {
				return in, err
			}
		}
	}
	text, err := io.ReadAll(io.LimitReader(from, encore.MaxText+1))
	if err != nil {
		return in, fault.New(fault.Usage, "read "+o.file, err)
	}
	in.Text = string(text)
	return in, nil
}

// about names the file in an error.
func (o *encoreTextOptions) about(err error) error {
	if o.file == "-" {
		return err
	}
	return fault.New(fault.KindOf(err), o.file, err)
}

// misread helps who means an infra config by --config, as Encore's own command does.
func misread(c *cli) error {
	if filepath.Ext(c.configPath) == ".json" {
		return fault.Newf(fault.Usage, "read the flags", "--config names a dbops.yaml, not a config of Encore").
			Hint("dbops encore show FILE, dbops encore export FILE, dbops encore import DIR --infra-config FILE")
	}
	return nil
}

func parseLanguage(s string) (encore.Language, error) {
	if s == "" {
		return "", nil
	}
	return encore.ParseLanguage(s)
}

func newEncoreShowCmd(c *cli) *cobra.Command {
	o := &encoreTextOptions{}
	cmd := &cobra.Command{
		Use:   "show FILE",
		Short: "Show what a config of Encore holds, without its passwords",
		Long: `Show the databases of an infra.config.json, or of a value of ENCORE_RUNTIME_CONFIG, or the names in a value of ENCORE_APP_SECRETS. FILE may
be - for standard input. Passwords are never shown. The two languages read an infra config differently: say which it is.

Exit status: 0 shown; 2 it cannot be read, or usage.`,
		Example: `  dbops encore show infra.config.json
  printenv ENCORE_RUNTIME_CONFIG | dbops encore show -
  kubectl exec deploy/shop -- printenv ENCORE_APP_SECRETS | dbops encore show - -o json`,
		Args: takes("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			o.file = args[0]
			return runEncoreShow(c, o)
		},
	}
	o.add(cmd)
	return cmd
}

func runEncoreShow(c *cli, o *encoreTextOptions) error {
	in, err := o.input(c)
	if err != nil {
		return err
	}
	shown, err := app.ShowEncore(in)
	if err != nil {
		return o.about(err)
	}
	if c.json() {
		return printJSON(c.out, struct {
			Schema string `json:"schema"`
			app.EncoreText
		}{"dbops/encore-show/v1", shown})
	}
	if shown.Kind == encore.AppSecrets {
		rows := make([][]string, 0, len(shown.Secrets))
		for _, name := range shown.Secrets {
			rows = append(rows, []string{oneBlock(name)})
		}
		return printTable(c.out, []string{"SECRET"}, rows)
	}
	rows := make([][]string, 0, len(shown.Databases))
	for _, d := range shown.Databases {
		rows = append(rows, []string{d.Encore, d.Name, d.Host, d.Username.String(), d.Password.String(), d.TLS})
	}
	if err := printTable(c.out, []string{"IN CODE", "ON THE SERVER", "HOST", "USER", "PASSWORD", "TLS"}, printable(rows)); err != nil {
		return err
	}
	c.warnings(shown.Warnings)
	return nil
}

func printable(rows [][]string) [][]string {
	for _, row := range rows {
		for i := range row {
			row[i] = oneBlock(row[i])
		}
	}
	return rows
}

func (c *cli) warnings(all []string) {
	for _, w := range all {
		fmt.Fprintf(c.err, "warning: %s\n", oneBlock(w))
	}
}

type encoreExportOptions struct {
	encoreTextOptions
	database, secret        string
	user, passwordFrom      string
	host, caFile, out       string
	inline, reveal, inPlace bool
	addSecret               bool
}

func newEncoreExportCmd(c *cli) *cobra.Command {
	o := &encoreExportOptions{}
	cmd := &cobra.Command{
		Use:   "export FILE",
		Short: "Make the config that a container needs after a rotation",
		Long: `Patch a config of Encore, and say step by step how it comes to the container. Only the values that change are written anew, everything else
keeps its bytes; comments go, because no runtime reads them. Where the file takes a value from a variable of the environment ({"$env": NAME}) it
stays as it is, and the steps say which variable to set.

The new text holds passwords: it is printed with --reveal only, written to a new file that nobody else can read with --out, or over FILE with
--in-place, which keeps the text as it was in FILE.before-export (a later one in FILE.before-export.2, and so on). With --inline the text holds user and password itself from then on, and the
variables are not read for them any more. FILE is an infra.config.json, or a value of ENCORE_RUNTIME_CONFIG (--database), or of ENCORE_APP_SECRETS (--secret), or - for standard
input.

Exit status: 0 done, or nothing to do; 1 failed, or a value that the runtime could not use; 2 it cannot be read, or usage.`,
		Example: `  dbops encore export infra.config.json --database orders --user orders_b --password-from aws-sm:prod/orders#password
  dbops encore export infra.config.json --database orders --user orders_b --password-from file:new.password --out new.json
  printenv ENCORE_RUNTIME_CONFIG | dbops encore export - --database orders --password-from env:NEW_PASSWORD --reveal
  printenv ENCORE_APP_SECRETS | dbops encore export - --secret StripeKey --password-from file:stripe.key --reveal`,
		Args: takes("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.file = args[0]
			return runEncoreExport(cmd.Context(), c, o)
		},
	}
	o.add(cmd)
	f := cmd.Flags()
	f.StringVar(&o.database, "database", "", "the database, by its name in the app's code")
	f.StringVar(&o.secret, "secret", "", "of app secrets: the secret, by its name")
	f.BoolVar(&o.addSecret, "add", false, "with --secret: add it, if the text does not have it")
	f.StringVar(&o.user, "user", "", "the new user name")
	f.StringVar(&o.passwordFrom, "password-from", "", "where the new password is: aws-sm:NAME, gcp-sm:projects/P/secrets/S, file:PATH or env:NAME")
	f.StringVar(&o.host, "host", "", "the new host, as in NAME:PORT")
	f.StringVar(&o.caFile, "ca-file", "", "file with the new CA certificates (PEM)")
	f.BoolVar(&o.inline, "inline", false, "write user and password into the text where it names variables, for good")
	f.BoolVar(&o.reveal, "reveal", false, "print the new text, passwords included")
	f.StringVar(&o.out, "out", "", "write the new text to this file, which must not exist")
	f.BoolVar(&o.inPlace, "in-place", false, "replace FILE, an infra config; the text as it was is kept in FILE.before-export, or the next number of it")
	cmd.MarkFlagsOneRequired("database", "secret")
	cmd.MarkFlagsMutuallyExclusive("database", "secret")
	cmd.MarkFlagsOneRequired("user", "password-from", "host", "ca-file")
	cmd.MarkFlagsMutuallyExclusive("reveal", "out", "in-place")
	return cmd
}

// encoreExportJSON is dbops/encore-export/v1.
type encoreExportJSON struct {
	Schema string `json:"schema"`
	app.EncoreExported
	Steps   []string          `json:"steps"`
	Written string            `json:"written,omitempty"` // the file, if one was
	Kept    string            `json:"kept,omitempty"`    // with --in-place: the file with the text as it was
	Text    string            `json:"text,omitempty"`    // with --reveal: the new text
	Values  map[string]string `json:"values,omitempty"`  // with --reveal, of app secrets in several variables: their contents
}

func runEncoreExport(ctx context.Context, c *cli, o *encoreExportOptions) error {
	in, err := o.input(c)
	if err != nil {
		return err
	}
	if err := o.consistent(); err != nil {
		return err
	}
	change, err := o.change(ctx, c)
	if err != nil {
		return err
	}
	made, err := app.ExportEncore(app.EncoreExport{EncoreInput: in, Database: o.database, Secret: o.secret, Add: o.addSecret, Change: change})
	if err != nil {
		return o.about(err)
	}
	out := encoreExportJSON{Schema: "dbops/encore-export/v1", EncoreExported: made}
	how, text := "--reveal prints it, --out FILE writes it", exported(made)
	switch {
	case o.out != "":
		if err := makeFile(o.out, text, 0o600); err != nil {
			return err
		}
		out.Written, how = o.out, o.out
	case o.inPlace:
		if made.Kind != encore.InfraConfig {
			return fault.Newf(fault.Usage, "read the flags", "--in-place is for the file of an infra config")
		}
		if len(made.Changed) > 0 || made.CommentsGone {
			if out.Kept, err = encore.KeepBefore(o.file); err != nil {
				return err
			}
		}
		done, err := encore.Deliver(ctx, o.file, in.Language, encore.Delivery{Database: o.database, Change: change, Variables: true})
		if err != nil {
			return err
		}
		out.Report, how = done.Report, o.file
		if done.Written {
			out.Written = o.file
		}
	case o.reveal:
		how = "as printed"
		if out.Text = text; len(made.Values) > 1 {
			out.Text, out.Values = "", map[string]string{}
			for _, v := range made.Values {
				out.Values[v.Name] = v.Value.Reveal()
			}
		}
	}
	out.Steps = encore.Rotation{
		Kind: made.Kind, Language: made.Language, Report: out.Report, Database: made.Server, Username: o.user, From: o.passwordFrom, Text: how, Kept: out.Kept,
	}.Steps()
	if c.json() {
		out.Changed = append([]string{}, out.Changed...) // a list, also when it is empty
		return printJSON(c.out, out)
	}
	return printExport(c, o, out, text)
}

// printExport prints the text alone where it was asked for, so that it can be piped; else what to do.
func printExport(c *cli, o *encoreExportOptions, out encoreExportJSON, text string) error {
	steps := c.out
	if o.reveal {
		if terminal(c.out) {
			text += "\n"
		}
		if _, err := io.WriteString(c.out, text); err != nil {
			return fault.New(fault.Internal, "print", err)
		}
		steps = c.err
	}
	c.warnings(out.Warnings)
	if out.CommentsGone {
		fmt.Fprintln(c.err, "note: the comments of the file are gone from the new text: no runtime reads them")
	}
	if len(out.Changed) > 0 {
		fmt.Fprintf(steps, "new in the text: %s\n", oneBlock(strings.Join(out.Changed, ", ")))
	}
	n := 0
	for _, s := range out.Steps {
		if n++; strings.HasPrefix(s, " ") { // a command of the step above
			n--
			s = "   " + oneBlock(s)
		} else {
			s = fmt.Sprintf("%d. %s", n, oneBlock(s))
		}
		if _, err := fmt.Fprintln(steps, s); err != nil {
			return fault.New(fault.Internal, "print", err)
		}
	}
	return nil
}

// exported is the new text: of app secrets in several variables, one assignment a line.
func exported(made app.EncoreExported) string {
	if len(made.Values) == 1 {
		return made.Values[0].Value.Reveal()
	}
	text := ""
	for _, v := range made.Values {
		text += v.Name + "=" + v.Value.Reveal() + "\n"
	}
	return text
}

func (o *encoreExportOptions) consistent() error {
	switch {
	case o.secret != "" && (o.passwordFrom == "" || o.user != "" || o.host != "" || o.caFile != ""):
		return fault.Newf(fault.Usage, "read the flags", "an app secret has a value and nothing else").Hint("--secret NAME --password-from REF")
	case o.addSecret && o.secret == "":
		return fault.Newf(fault.Usage, "read the flags", "--add is for an app secret, and needs --secret")
	case o.inPlace && o.file == "-":
		return fault.Newf(fault.Usage, "read the flags", "standard input cannot be replaced")
	case o.out != "":
		return mayMake(o.out)
	}
	return nil
}

// change is what the flags ask for.
func (o *encoreExportOptions) change(ctx context.Context, c *cli) (encore.Change, error) {
	change := encore.Change{Username: o.user, Host: o.host, Inline: o.inline}
	if o.caFile != "" {
		text, err := os.ReadFile(o.caFile)
		if err != nil {
			return change, fault.New(fault.Usage, "", err)
		}
		if change.CA = string(text); change.CA == "" {
			return change, fault.Newf(fault.Usage, "read "+o.caFile, "it is empty")
		}
	}
	if o.passwordFrom == "" {
		return change, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return change, fault.New(fault.Internal, "", err)
	}
	cfg := &config.Config{} // it says where emulated clouds are; there may be none
	if path, err := config.Find(c.configPath, c.getenv, dir); err == nil {
		if cfg, err = config.Load(path); err != nil {
			return change, err
		}
	} else if c.configPath != "" || c.getenv("DBOPS_CONFIG") != "" {
		return change, err
	}
	change.Password, err = app.FindSecret(ctx, cfg, o.passwordFrom, dir)
	return change, err
}

func mayMake(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return fault.Newf(fault.Usage, "write "+path, "it exists").Hint("--out NAME writes another")
	}
	return nil
}

// makeFile writes a file that must not exist; a failure leaves none.
func makeFile(path, text string, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fault.New(fault.Usage, "", err)
	}
	_, err = io.WriteString(f, text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		_ = os.Remove(path)
		return fault.New(fault.Internal, "write "+path, err)
	}
	return nil
}
