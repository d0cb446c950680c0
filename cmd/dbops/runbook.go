package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/runbook"
)

type runbookOptions struct {
	changeFlags
	runbook.Overrides
	file, from string
}

func newRunbookCmd(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "runbook",
		Short: "Run a sequence of operations with gates as one run",
		Long: `A runbook is a YAML file of operations that dbops has as commands, with gates between them. Its run is journaled, survives its process, and waits at
each gate for a person; each operation is planned when its turn comes, and has a run of its own within it. docs/runbooks.md tells all of it.

Operations: `,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newRunbookLintCmd(c), newRunbookPlanCmd(c), newRunbookRunCmd(c))
	return cmd
}

// namesOperations says in the help of runbook which operations there are.
func namesOperations(root *cobra.Command) {
	if cmd, _, err := root.Find([]string{"runbook"}); err == nil {
		cmd.Long += strings.Join(operationNames(root), ", ") + "."
	}
}

const runbookExample = `  # upgrade.yaml
  schema: dbops/runbook/v1
  title: PostgreSQL 18
  instance: billing
  steps:
    - operation: upgrade rehearse
      with: {to: 18}
    - operation: upgrade run
      with: {to: 18}
    - operation: upgrade cutover
      gate: the rehearsal's report was read, and the window is open
    - operation: upgrade cleanup
      gate: a day has gone by, and nobody wants to go back

`

func (o *runbookOptions) flags(cmd *cobra.Command) {
	environmentFlag(cmd, &o.Environment, false)
	cmd.Flags().StringVarP(&o.Instance, "instance", "i", "", "the instance of the steps that name none (default: that of the file)")
}

func newRunbookLintCmd(c *cli) *cobra.Command {
	o := &runbookOptions{}
	cmd := &cobra.Command{
		Use: "lint FILE...", Short: "Find what is wrong with runbooks, without asking anybody",
		Long: `Check that what runbooks name exists (operations, flags, environments, instances), and that their order can work. Nothing is contacted. -e and -i are for files that name none themselves. Where GITHUB_ACTIONS is "true"
findings are annotations of the job, too.

Exit status: 0 nothing to say; 2 usage, configuration, or a file that cannot be read; 5 findings.`,
		Example: runbookExample + "  dbops runbook lint upgrade.yaml -e staging\n  dbops runbook lint runbooks/*.yaml -e staging",
		Args:    cobra.MinimumNArgs(1),
		RunE:    func(_ *cobra.Command, args []string) error { return runRunbookLint(c, o, args) },
	}
	o.flags(cmd)
	return cmd
}

// runbookLintJSON is dbops/runbook-lint/v1.
type runbookLintJSON struct {
	Schema string            `json:"schema"`
	Files  []runbookFileJSON `json:"files"`
}

type runbookFileJSON struct {
	File     string            `json:"file"`
	Findings []runbook.Finding `json:"findings"`
}

func runRunbookLint(c *cli, o *runbookOptions, files []string) error {
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	if o.Environment != "" {
		if _, err := a.Config().Environment(o.Environment); err != nil {
			return err
		}
	}
	out, found := runbookLintJSON{Schema: "dbops/runbook-lint/v1"}, 0
	var text bytes.Buffer
	var unreadable error
	o.Weak = true
	for _, file := range files {
		b, err := runbook.Read(file, o.Overrides)
		all := runbook.Lint(b, a.House())
		if err != nil { // the others are looked at all the same
			unreadable = cmp.Or(unreadable, err)
			all = []runbook.Finding{{Line: lineOf(err), Severity: op.Block, Text: fault.Reason(err), Remedy: fault.HintOf(err)}}
		}
		found += len(all)
		out.Files = append(out.Files, runbookFileJSON{file, append([]runbook.Finding{}, all...)})
		printRunbookFindings(&text, file, all)
		if c.getenv("GITHUB_ACTIONS") == "true" {
			annotateRunbook(c.err, file, all)
		}
	}
	if c.json() {
		err = printJSON(c.out, out)
	} else {
		_, err = text.WriteTo(c.out)
	}
	switch {
	case err != nil:
		return err
	case unreadable != nil:
		return unreadable
	case found > 0:
		return &exitStatus{fault.ExitStatus(fault.Newf(fault.Findings, "", "findings"))}
	}
	return nil
}

// lineOf is the line that an error names, else the first.
func lineOf(err error) int {
	if m := namesLine.FindStringSubmatch(fault.Reason(err)); m != nil {
		n, _ := strconv.Atoi(m[1])
		return max(n, 1)
	}
	return 1
}

var namesLine = regexp.MustCompile(`^line ([0-9]+)\b`)

func severityWord(s op.Severity) string {
	if s == op.Block {
		return "error"
	}
	return "warning"
}

func printRunbookFindings(w io.Writer, file string, all []runbook.Finding) {
	for _, f := range all {
		fmt.Fprintf(w, "%s:%d: %s: ", file, f.Line, severityWord(f.Severity))
		if f.Step != "" {
			fmt.Fprintf(w, "step %s: ", f.Step)
		}
		fmt.Fprintln(w, oneBlock(f.Text))
		if f.Remedy != "" {
			fmt.Fprintf(w, "  fix: %s\n", oneBlock(f.Remedy))
		}
	}
}

// annotateRunbook shows findings beside the file in a pull request.
func annotateRunbook(w io.Writer, file string, all []runbook.Finding) {
	escape := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	for _, f := range all {
		text := f.Text
		if f.Remedy != "" {
			text += "\nfix: " + f.Remedy
		}
		fmt.Fprintf(w, "::%s file=%s,line=%d,title=dbops runbook::%s\n", severityWord(f.Severity), file, f.Line, escape.Replace(text))
	}
}

// readRunbook reads a file whose findings forbid nothing, and shows those.
func (c *cli) readRunbook(a *app.App, o *runbookOptions) (runbook.Runbook, error) {
	b, err := runbook.Read(o.file, o.Overrides)
	if err != nil {
		return b, err
	}
	all := runbook.Lint(b, a.House())
	if blocks := runbook.Blocks(all); len(blocks) > 0 {
		var text bytes.Buffer
		printRunbookFindings(&text, o.file, all)
		_, _ = text.WriteTo(c.err)
		return b, fault.Newf(fault.Usage, "read the runbook "+o.file, "it cannot be run: %d of the lines above forbid it", len(blocks)).Hint("dbops runbook lint %s", o.file)
	}
	printRunbookFindings(c.err, o.file, all)
	if o.from == "" {
		return b, nil
	}
	rest, ok := b.From(o.from)
	if !ok {
		return b, fault.Newf(fault.Usage, "read the runbook "+o.file, "it has no step %s", o.from).Hint("its steps: %s", strings.Join(b.StepNames(), ", "))
	}
	if blocks := runbook.Blocks(runbook.Lint(rest, a.House())); len(blocks) > 0 {
		return rest, fault.Newf(fault.Usage, "run "+o.file+" from "+o.from, "%s", blocks[0].Text).Hint("%s", blocks[0].Remedy)
	}
	return rest, nil
}

func newRunbookPlanCmd(c *cli) *cobra.Command {
	o := &runbookOptions{}
	cmd := &cobra.Command{
		Use: "plan FILE", Short: "Show what a runbook would do, with the plan of each operation as it is now",
		Long: `Show the steps of a runbook, and plan each of its operations as if its turn were now. Some cannot be planned before others are done, which is said.
Nothing is changed, and no approval is asked for.

Exit status: 0 planned; 1 failed; 2 usage or configuration, in the file too; 3 the first operation is blocked.`,
		Example: runbookExample + "  dbops runbook plan upgrade.yaml -e staging\n  dbops runbook plan upgrade.yaml -e prod -o json | jq '.operations[].problem'",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.file = args[0]
			return runRunbookPlan(cmd.Context(), c, o)
		},
	}
	o.flags(cmd)
	cmd.Flags().StringVar(&o.from, "from", "", "begin with this step")
	addKeyFlag(cmd, &o.key)
	return cmd
}

// runbookPlanJSON is dbops/runbook-plan/v1.
type runbookPlanJSON struct {
	Schema     string                 `json:"schema"`
	Hash       string                 `json:"hash"`
	Plan       *op.Plan               `json:"plan"`
	Operations []runbookOperationJSON `json:"operations"`
}

// runbookOperationJSON is an operation as it would be planned now.
type runbookOperationJSON struct {
	Step      string     `json:"step"`
	Operation string     `json:"operation"`
	Plans     []*op.Plan `json:"plans,omitempty"`
	Problem   string     `json:"problem,omitempty"` // why it cannot be planned now
	Mistake   bool       `json:"mistake,omitempty"` // and why it never can, as it is written

	err error
}

func runRunbookPlan(ctx context.Context, c *cli, o *runbookOptions) error {
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	_, p, all, err := c.planRunbook(ctx, a, o)
	if err != nil {
		return err
	}
	if c.json() {
		err = printJSON(c.out, runbookPlanJSON{"dbops/runbook-plan/v1", p.Hash(), p, all})
	} else {
		c.showPlan(c.out, p)
		c.showOperations(c.out, all)
	}
	if err != nil {
		return err
	}
	return mayBegin(all)
}

// planRunbook plans a runbook, and each of its operations as if its turn were now.
func (c *cli) planRunbook(ctx context.Context, a *app.App, o *runbookOptions) (b runbook.Runbook, p *op.Plan, all []runbookOperationJSON, err error) {
	if b, err = c.readRunbook(a, o); err != nil {
		return b, nil, nil, err
	}
	p, err = a.PlanChange(ctx, app.Change{
		Environment: b.Environment, Instance: b.Instance, Kind: runbook.Kind, Request: runbook.Request{Runbook: b}, Key: c.sshKey(o.key),
	})
	if err == nil {
		all, err = planOperations(ctx, a, b, p.Requester)
	}
	return b, p, all, err
}

// upgradeCleanup needs an upgrade that has been done.
const upgradeCleanup = "upgrade cleanup"

// planOperations plans each operation as if its turn were now. What cannot be planned says why.
func planOperations(ctx context.Context, a *app.App, b runbook.Runbook, by op.Actor) (all []runbookOperationJSON, err error) {
	for _, s := range b.Steps {
		o := s.Operation
		if !o.Is() {
			continue
		}
		one := runbookOperationJSON{Step: s.Name, Operation: o.String()}
		if o.Command == runbook.UpgradeCutover {
			one.Problem = "it goes on with the run that waits at its gate then"
		} else {
			if o.Instance == "" {
				o.Instance = b.Instance
			}
			if one.Plans, err = a.PlanOperation(ctx, b.Environment, o, by); err != nil {
				if ctx.Err() != nil {
					return nil, err
				}
				k := fault.KindOf(err)
				one.Problem, one.err = err.Error(), err
				one.Mistake = (k == fault.Usage || k == fault.Config) && o.Command != upgradeCleanup // of what an earlier step makes
			}
		}
		all = append(all, one)
	}
	return all, nil
}

// showOperations shows the plans of operations.
func (c *cli) showOperations(w io.Writer, all []runbookOperationJSON) {
	for i, one := range all {
		fmt.Fprintf(w, "\n== step %s: %s", one.Step, one.Operation)
		switch {
		case one.Mistake:
			fmt.Fprintf(w, "\nit cannot be run as it is written: %s\n", oneBlock(one.Problem))
			continue
		case one.Problem != "":
			fmt.Fprintf(w, "\nnot planned yet: %s\n", oneBlock(one.Problem))
			continue
		case len(one.Plans) == 0:
			fmt.Fprintln(w, "\nnothing is chosen: there is nothing to do")
			continue
		case i > 0:
			fmt.Fprint(w, " (as things are now, before the steps that come first)")
		}
		fmt.Fprintln(w)
		for _, p := range one.Plans {
			c.showPlan(w, p)
		}
	}
}

// showBriefly shows the plan of the first operation, which comes at once, and a line of each other.
func (c *cli) showBriefly(w io.Writer, file string, all []runbookOperationJSON) {
	if len(all) == 0 {
		return
	}
	c.showOperations(w, all[:1])
	for _, one := range all[1:] {
		fmt.Fprintf(w, "then step %s: %s", one.Step, one.Operation)
		for _, p := range one.Plans {
			fmt.Fprintf(w, "; %s, downtime %s", p.Title, p.Downtime.Expected)
			if b := p.Blocked(); len(b) > 0 {
				fmt.Fprintf(w, "; as things are now it would be blocked: %s", oneBlock(b[0].Text))
			}
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "dbops runbook plan %s shows the plan of each\n\n", file)
}

// mayBegin is why a runbook is not begun: one of its operations can never be run as it is written, or the first one is blocked.
func mayBegin(all []runbookOperationJSON) error {
	for _, one := range all {
		if one.Mistake {
			return fault.New(fault.KindOf(one.err), "step "+one.Step, one.err).Hint("%s", fault.HintOf(one.err))
		}
	}
	if len(all) == 0 {
		return nil
	}
	for _, p := range all[0].Plans {
		if err := blocked(p); err != nil {
			return err
		}
	}
	return nil
}

func newRunbookRunCmd(c *cli) *cobra.Command {
	o := &runbookOptions{}
	cmd := &cobra.Command{
		Use: "run FILE", Short: "Run a runbook, as far as its next gate",
		Long: `Carry out the steps of a runbook in order. At a gate the run waits, whatever becomes of this process: "dbops runs decide RUN continue" goes on, anywhere.
An operation that fails parks its own run and the runbook's; "dbops runs decide RUN retry" tries its step again, or plans it anew where it has ended.
In an environment that asks for approvals each operation's plan waits for its own.
` + changeStatuses,
		Example: runbookExample + `  dbops runbook run upgrade.yaml -e staging --yes
  dbops runs decide r1a2b3c4d5 continue      # through its gate
  dbops runbook run upgrade.yaml -e prod --confirm billing
  dbops runbook run upgrade.yaml -e staging --from upgrade-cleanup`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.file = args[0]
			return runRunbookRun(cmd.Context(), c, o)
		},
	}
	o.flags(cmd)
	cmd.Flags().StringVar(&o.from, "from", "", "begin with this step")
	o.addRun(cmd)
	cmd.Flags().StringVar(&o.queue, "on", "", "leave it to the workers of this queue, near the data: dbops worker --queue NAME")
	return cmd
}

func runRunbookRun(ctx context.Context, c *cli, o *runbookOptions) error {
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	if o.queue != "" {
		if _, err := a.Engine(ctx, app.EngineOptions{Queue: o.queue}); err != nil {
			return err
		}
		o.detach = true
	}
	b, p, all, err := c.planRunbook(ctx, a, o)
	if err != nil {
		return err
	}
	if err := c.present(p); err != nil {
		return err
	}
	if !c.json() {
		c.showBriefly(c.err, o.file, all)
	}
	if err := mayBegin(all); err != nil {
		return err
	}
	if open, ok, err := a.OpenRunbook(ctx, b); err != nil {
		return err
	} else if ok {
		return fault.Newf(fault.Blocked, p.Title, "run %s of the same runbook has not ended: it is %s", open.ID, runWord(open)).
			Hint("dbops runs show %s says how it goes on; dbops runs abandon %s ends it", open.ID, open.ID)
	}
	return c.run(ctx, a, o.changeFlags, p)
}
