package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/fault"
	"dbops/internal/migrate/lint"
	"dbops/internal/migrate/source"
)

type migrateLintOptions struct {
	args          []string
	env           string
	connect, all  bool
	changedSince  string
	serverVersion int
	format        string
	failOn        string
	notes, rules  bool

	app *app.App // once dbops.yaml was needed
}

const migrateLintLong = `Read migrations with PostgreSQL's own grammar and say of each dangerous statement which lock it takes, whom that blocks and for how long, why,
and the safe way to write it. Nothing is run.

FILES and FOLDERS are judged as they are named. Without any, or with the names of databases after -e, it is the folders that dbops.yaml
names. Old files are read in either case, for what they made.

Which of a folder's files are judged:
  all of them                 without one of the next two: each file meets the tables of those before it
  --changed-since GITREF      those that git does not have at GITREF, or has otherwise: for CI
  -e ENV DATABASE --connect   those that the database does not have yet; --all judges all

With --connect the real tables decide: what rewrites 40 GB is an error, what rewrites an empty table is a note; and the server parses each
statement. Without it --server-version says for which PostgreSQL it is; else the advice holds for 14 to 18.

A comment above a statement accepts a finding:  -- dbops:allow RULE reason

Exit status: 0 nothing found; 1 a database could not be looked at; 2 usage or configuration; 5 findings (see --fail-on).`

// migrateLint is dbops migrate lint.
func (c *cli) migrateLint() *cobra.Command {
	o := &migrateLintOptions{}
	cmd := &cobra.Command{
		Use:   "lint [FILES|FOLDERS|DATABASES...]",
		Short: "Find what is dangerous in migrations, before they run",
		Long:  migrateLintLong,
		Example: `  dbops migrate lint
  dbops migrate lint migrations/000012_orders.up.sql
  dbops migrate lint --changed-since origin/main --format github
  dbops migrate lint -e prod shop --connect
  dbops migrate lint --format sarif > lint.sarif
  dbops migrate lint --rules`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.args = args
			return runMigrateLint(cmd.Context(), c, o)
		},
	}
	environmentFlag(cmd, &o.env, false)
	fs := cmd.Flags()
	fs.BoolVar(&o.connect, "connect", false, "with -e: look at the real tables, and judge what the database does not have yet")
	fs.BoolVar(&o.all, "all", false, "with --connect: judge also what the database has already")
	fs.StringVar(&o.changedSince, "changed-since", "", "judge files that are new or changed since this commit, branch or tag of git")
	fs.IntVar(&o.serverVersion, "server-version", 0, "the major version of PostgreSQL to judge for, 14 to 18 (with --connect it is the server's)")
	fs.StringVar(&o.format, "format", "", "text, json, github (annotations) or sarif (default: as -o says)")
	fs.StringVar(&o.failOn, "fail-on", "warn", "exit with 5 on findings of this severity and worse: error, warn, info, or none")
	fs.BoolVar(&o.notes, "notes", false, "show findings of severity info too")
	fs.BoolVar(&o.rules, "rules", false, "show all rules and stop")
	return cmd
}

func (o *migrateLintOptions) check(c *cli) error {
	bad := func(format string, args ...any) *fault.Error {
		return fault.Newf(fault.Usage, "read the flags", format, args...)
	}
	switch {
	case o.format == "":
		o.format = c.output
	case c.json() && o.format != "json":
		return bad("-o json and --format %s contradict each other", o.format)
	}
	switch {
	case !slices.Contains([]string{"text", "json", "github", "sarif"}, o.format):
		return bad("unknown format %q", o.format).Hint("want --format text, json, github or sarif")
	case !slices.Contains([]string{"error", "warn", "info", "none"}, o.failOn):
		return bad("unknown severity %q", o.failOn).Hint("want --fail-on error, warn, info or none")
	case o.serverVersion != 0 && (o.serverVersion < 14 || o.serverVersion > 18):
		return bad("PostgreSQL %d is not supported", o.serverVersion).Hint("want --server-version 14, 15, 16, 17 or 18")
	case o.connect && o.serverVersion != 0:
		return bad("--connect asks the server for its version").Hint("leave --server-version out")
	case o.connect && o.env == "":
		return bad("--connect needs to know where to").Hint("dbops migrate lint -e ENV DATABASE --connect")
	case o.all && !o.connect:
		return bad("--all is for --connect").Hint("without --connect all files of a folder are judged, unless --changed-since picks some")
	case o.all && o.changedSince != "":
		return bad("--all and --changed-since contradict each other")
	case strings.HasPrefix(o.changedSince, "-"):
		return bad("--changed-since %q is no name of a commit", o.changedSince)
	}
	if o.failOn == "info" {
		o.notes = true
	}
	return nil
}

func runMigrateLint(ctx context.Context, c *cli, o *migrateLintOptions) error {
	if err := o.check(c); err != nil {
		return err
	}
	if o.rules {
		return printLintRules(c, o)
	}
	groups, err := c.lintGroups(ctx, o)
	if o.app != nil {
		defer o.app.Close()
	}
	if err != nil {
		return err
	}
	var findings []lint.Finding
	judged, rest := 0, 0
	for _, g := range groups {
		found, err := g.check(ctx)
		if err != nil {
			return err
		}
		findings = append(findings, found...)
		for _, in := range g.inputs {
			if in.Old {
				rest++
			} else {
				judged++
			}
		}
	}
	for i := range findings {
		findings[i].File = relative(findings[i].File)
	}
	r := lint.NewReport(judged, findings, o.notes)
	if err := c.printLint(o, r, rest); err != nil {
		return err
	}
	if o.failOn != "none" && r.Fails(lint.Severity(o.failOn)) {
		return &exitStatus{5}
	}
	return nil
}

func (c *cli) printLint(o *migrateLintOptions, r *lint.Report, rest int) error {
	if o.format != "github" && c.getenv("GITHUB_ACTIONS") == "true" {
		fmt.Fprint(c.err, r.GitHub())
	}
	switch o.format {
	case "json":
		return printJSON(c.out, r)
	case "sarif":
		return printJSON(c.out, r.SARIF(version()))
	case "github":
		_, err := io.WriteString(c.out, r.GitHub())
		fmt.Fprintln(c.err, r.Summary())
		return err
	}
	s := r.Summary()
	if r.Notes > 0 && !o.notes {
		s += " (--notes shows them)"
	}
	if rest > 0 {
		s += fmt.Sprintf("; %d older not judged", rest)
	} else if r.Fails(lint.Warn) && r.Files > 20 && o.changedSince == "" {
		s += "\nold files too were judged: --changed-since GITREF, or -e ENV DATABASE --connect, judges new ones"
	}
	_, err := fmt.Fprintf(c.out, "%s%s\n", r.Text(), s)
	return err
}

func printLintRules(c *cli, o *migrateLintOptions) error {
	if o.format == "json" {
		type rule struct {
			ID       string        `json:"id"`
			Severity lint.Severity `json:"severity"`
			Lock     string        `json:"lock,omitempty"`
			Title    string        `json:"title"`
			Why      string        `json:"why"`
			Rewrite  string        `json:"rewrite,omitempty"`
			Since    string        `json:"since,omitempty"`
		}
		var all []rule
		for _, r := range lint.Rules() {
			all = append(all, rule{r.ID, r.Severity, r.Lock, r.Title, r.Why, r.Rewrite, r.Since})
		}
		return printJSON(c.out, struct {
			Schema string `json:"schema"`
			Rules  []rule `json:"rules"`
		}{"dbops/migrate-lint-rules/v1", all})
	}
	_, err := io.WriteString(c.out, lint.RulesMarkdown())
	return err
}

// lintGroup is a folder, or files of one, that are judged together.
type lintGroup struct {
	folder  *source.Folder // nil for files that are no migrations
	inputs  []lint.Input
	linter  *lint.Linter
	offline lint.Offline
	// connect returns the catalog in place of offline, and what ends it.
	connect func(context.Context) (lint.Catalog, func(), error)
	whole   bool // what is wrong with the folder is told
}

func (g *lintGroup) check(ctx context.Context) ([]lint.Finding, error) {
	var catalog lint.Catalog = g.offline
	if g.connect != nil {
		live, end, err := g.connect(ctx)
		if err != nil {
			return nil, err
		}
		defer end()
		catalog = live
	}
	judged := map[string]bool{}
	var marked []string
	for _, in := range g.inputs {
		if in.Old {
			continue
		}
		judged[in.Path] = true
		if b, err := os.ReadFile(in.Path); err == nil && bytes.HasPrefix(b, []byte("\xef\xbb\xbf")) {
			marked = append(marked, in.Path)
		}
	}
	found, err := g.linter.Check(ctx, g.inputs, catalog)
	if err != nil {
		return nil, err
	}
	if g.folder != nil {
		for _, f := range lint.FolderFindings(g.folder) {
			if g.whole || judged[f.File] {
				found = append(found, f)
			}
		}
	}
	return append(found, lint.Marked(marked)...), nil
}

// lintGroups are what the command line names.
func (c *cli) lintGroups(ctx context.Context, o *migrateLintOptions) ([]*lintGroup, error) {
	paths, names := o.args, []string(nil)
	if o.env != "" {
		paths = nil
		for _, arg := range o.args {
			if _, err := os.Stat(arg); err == nil && strings.ContainsAny(arg, "/.") {
				paths = append(paths, arg)
			} else {
				names = append(names, arg)
			}
		}
	}
	if o.env == "" && len(paths) > 0 {
		return o.pathGroups(ctx, paths, nil)
	}
	a, err := c.app()
	if err != nil {
		return nil, err
	}
	o.app = a
	folders, err := a.LintFolders(app.MigrationPick{Environment: o.env, Names: names})
	if err != nil {
		return nil, err
	}
	if o.connect {
		return o.connected(ctx, folders, paths)
	}
	if len(paths) > 0 {
		return o.pathGroups(ctx, paths, folders)
	}
	var out []*lintGroup
	for _, f := range folders {
		g, err := o.folderGroup(ctx, f.Path, f.Provider)
		if err != nil {
			return nil, err
		}
		out = append(out, g)
	}
	return out, nil
}

// connected is the group of the one database that is looked at.
func (o *migrateLintOptions) connected(ctx context.Context, folders []app.LintFolder, paths []string) ([]*lintGroup, error) {
	if len(folders) != 1 || len(folders[0].Sets) != 1 {
		var names []string
		for _, f := range folders {
			for _, s := range f.Sets {
				names = append(names, s.Set.String())
			}
		}
		return nil, fault.Newf(fault.Usage, "read the flags", "--connect is for one database").Hint("name one: %s", strings.Join(names, ", "))
	}
	one := folders[0].Sets[0]
	var out []*lintGroup
	var err error
	switch {
	case len(paths) > 0:
		out, err = o.pathGroups(ctx, paths, folders)
	default:
		var g *lintGroup
		g, err = o.folderGroup(ctx, folders[0].Path, "")
		out = []*lintGroup{g}
	}
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 && !o.all && o.changedSince == "" {
		waiting, err := o.app.Waiting(ctx, one)
		if err != nil {
			return nil, err
		}
		for i := range out[0].inputs {
			in := &out[0].inputs[i]
			in.Old = !waiting[in.Migration.String()]
		}
		out[0].linter.Apart, out[0].whole = false, true
	}
	for _, g := range out {
		g.connect = func(ctx context.Context) (lint.Catalog, func(), error) {
			live, conn, err := o.app.LintCatalog(ctx, one)
			if err != nil {
				return nil, nil, err
			}
			return live, func() { _ = conn.Close(context.WithoutCancel(ctx)) }, nil
		}
	}
	return out, nil
}

// relative is a path as seen from here, if it is below.
func relative(path string) string {
	if !filepath.IsAbs(path) {
		return path
	}
	cwd, err := os.Getwd()
	if err != nil {
		return path
	}
	if r, err := filepath.Rel(cwd, path); err == nil && filepath.IsLocal(r) {
		return r
	}
	return path
}
