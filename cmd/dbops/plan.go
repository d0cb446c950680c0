package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"dbops/internal/op"
)

// showPlan says what a plan will do, in the words of whoever reads it at night.
func (c *cli) showPlan(w io.Writer, p *op.Plan) {
	fmt.Fprintf(w, "PLAN  %s\n", p.Title)
	guard := ""
	if p.Protected {
		guard = "  PROTECTED"
	}
	fmt.Fprintf(w, "      %s%s, asked for by %s\n\n", p.Target, guard, p.Requester)
	for _, f := range p.Findings {
		fmt.Fprintf(w, "  %s %s: %s\n", severityMark(f.Severity), f.Severity, oneBlock(f.Text))
		if f.Evidence != "" {
			fmt.Fprintf(w, "      seen: %s\n", oneBlock(f.Evidence))
		}
		if f.Remedy != "" {
			fmt.Fprintf(w, "      next: %s\n", oneBlock(f.Remedy))
		}
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, change := range p.Changes {
		from := orText(change.From, "-")
		setting := change.Setting
		if change.Target != "" && change.Target != p.Target.String() {
			setting = change.Target + " " + setting
		}
		fmt.Fprintf(t, "  change\t%s\t%s -> %s\n", setting, from, orText(change.To, "-"))
	}
	_ = t.Flush()
	switch {
	case p.Nothing() && len(p.Blocked()) > 0:
		fmt.Fprintln(w, "  blocked   nothing would be changed while that stands")
		return
	case p.Nothing():
		fmt.Fprintln(w, "  nothing changes")
		return
	}
	fmt.Fprintf(w, "  downtime  %s: %s\n", p.Downtime.Expected, oneBlock(p.Downtime.Text))
	if p.Cost != "" {
		fmt.Fprintf(w, "  cost      %s\n", oneBlock(p.Cost))
	}
	for _, n := range p.Notes {
		fmt.Fprintf(w, "  note      %s\n", oneBlock(n))
	}
	fmt.Fprintln(w, "\n  steps")
	for i, s := range p.Steps {
		line := fmt.Sprintf("  %2d  %s", i+1, s.Title)
		if s.Gate {
			line += "  (waits for a person)"
		}
		fmt.Fprintln(w, line)
		if s.Undo != "" {
			fmt.Fprintf(w, "      undo: %s\n", s.Undo)
		}
	}
	if p.Back != "" {
		fmt.Fprintf(w, "\n  back      %s\n", p.Back)
	}
	if len(p.Blocked()) > 0 {
		fmt.Fprintln(w, "  blocked   it cannot be run")
		return
	}
	fmt.Fprintf(w, "  needs     %s\n", needs(p))
	fmt.Fprintf(w, "  plan      %s, good until %s\n", p.Hash()[:12], stamp(p.Expires))
}

func severityMark(s op.Severity) string {
	switch s {
	case op.Block:
		return "x"
	case op.Warn:
		return "!"
	default:
		return "i"
	}
}

func needs(p *op.Plan) string {
	var all []string
	switch {
	case p.Approvals == 1:
		all = append(all, "the approval of somebody else")
	case p.Approvals > 1:
		all = append(all, fmt.Sprintf("the approval of %d others", p.Approvals))
	}
	if p.Protected {
		all = append(all, "the name "+p.Instance+" typed, or --confirm "+p.Instance)
	}
	if len(all) == 0 {
		return "a yes"
	}
	return strings.Join(all, ", and ")
}
