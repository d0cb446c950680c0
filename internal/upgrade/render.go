package upgrade

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

//go:embed page/report.html.tmpl
var page string

// HTML writes the report as one page that needs nothing else.
func (r *Report) HTML(w io.Writer) error {
	t, err := template.New("report").Funcs(template.FuncMap{
		"bytes": size, "comma": humanize.Comma, "stamp": stamp, "verdict": r.Verdict, "lower": strings.ToLower,
	}).Parse(page)
	if err != nil {
		return err
	}
	return t.Execute(w, r)
}

func size(n int64) string { return humanize.IBytes(uint64(max(0, n))) }

func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// Verdict is the report in a sentence.
func (r *Report) Verdict() string {
	switch {
	case !r.State.Ended():
		return r.unfinished()
	case len(r.Failures) > 0:
		text := r.Failures[0].String()
		if r.Clients != "" {
			text += "; clients are " + r.Clients
		}
		if r.Next != "" {
			text += "; " + r.Next
		}
		return text
	case r.Kind == RehearseKind && r.State == "done":
		text := "everything worked, and both sides were the same"
		if r.Forecast != nil {
			text += fmt.Sprintf("; clients will be shut out for %s to %s", r.Forecast.Low, r.Forecast.High)
		}
		return text
	case r.Downtime != nil && r.Caution != "":
		return fmt.Sprintf("clients were shut out for %s; %s", r.Downtime.Took, r.Caution)
	case r.Downtime != nil:
		return fmt.Sprintf("clients were shut out for %s", r.Downtime.Took)
	}
	if r.Caution != "" {
		return fmt.Sprintf("it is %s; %s", r.State, r.Caution)
	}
	return "it is " + string(r.State)
}

// Markdown writes the report as text.
func (r *Report) Markdown(w io.Writer) error {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# %s", r.Title)
	line("\n**%s**\n", prose(r.Verdict()))
	line("| | |\n| --- | --- |")
	line("| run | %s, %s |", r.Run, r.State)
	line("| from | %s, PostgreSQL %d |", cell(r.Source.Name), r.Source.Major)
	line("| to | %s, PostgreSQL %d |", cell(r.Target.Name), r.Target.Major)
	line("| began | %s |", stamp(r.Started))
	line("| took | %s |", r.Took)
	if r.Downtime != nil {
		line("| clients shut out | %s, from %s to %s |", r.Downtime.Took, stamp(r.Downtime.From), stamp(r.Downtime.To))
	}
	if r.Forecast != nil {
		line("| forecast of that | %s to %s |", r.Forecast.Low, r.Forecast.High)
	}
	if r.Clients != "" {
		line("| clients are | %s |", cell(r.Clients))
	}
	if r.Next != "" {
		line("| how to go on | %s |", cell(r.Next))
	}
	switch {
	case r.After != "":
		line("| the way back | was ended by %s |", cell(r.After))
		if r.Remnant != "" {
			line("| the new instance | %s is there still, and costs until dbops upgrade cleanup removes it |", cell(r.Remnant))
		}
	case r.Back != "":
		line("| the way back | %s |", cell(r.Back))
	}
	if r.Forecast != nil {
		line("\nThe forecast: %s.", r.Forecast.Rule)
	}
	if len(r.Failures) > 0 {
		line("\n## What failed\n")
		for _, f := range r.Failures {
			if f.Step == "" {
				line("- %s", prose(f.Text))
			} else {
				line("- **%s**: %s", prose(f.Step), prose(f.Text))
			}
			if f.Hint != "" {
				line("  %s", prose(f.Hint))
			}
		}
	}
	line("\n## Phases\n\n| phase | took | tries | clients | |\n| --- | ---: | ---: | --- | --- |")
	for _, p := range r.Phases {
		shut := ""
		if p.Downtime {
			shut = "shut out"
		}
		line("| %s | %s | %d | %s | %s |", cell(p.Title), p.Took, p.Attempts, shut, cell(p.Problem))
	}
	line("\n## Databases\n\n| database | tables | rows | copied | took | compared |\n| --- | ---: | ---: | ---: | ---: | --- |")
	for _, d := range r.Databases {
		line("| %s | %d | %s | %s | %s | %s |", cell(d.Name), d.Tables, humanize.Comma(d.Rows), size(d.Bytes), d.Took, cell(d.verdict()))
	}
	list := func(title string, all []string) {
		if len(all) == 0 {
			return
		}
		line("\n## %s\n", title)
		for _, s := range all {
			line("- %s", prose(s))
		}
	}
	list("What was compared", r.Compared)
	list("What was not", r.Not)
	list("Settings that were not carried over", r.Lost)
	list("Roles and settings that were left out", r.LeftOut)
	list("Sessions that were ended", r.Sessions)
	var findings []string
	for _, f := range r.Findings {
		findings = append(findings, fmt.Sprintf("%s, %s: %s", f.Severity, f.Check, f.Text))
	}
	list("Findings of the plan", findings)
	_, err := io.WriteString(w, b.String())
	return err
}

func (d ReportData) verdict() string {
	if d.Equal {
		return fmt.Sprintf("the same, %d tables", d.Sums)
	}
	if d.Why != "" {
		return d.Why
	}
	return "not compared"
}

// Verdict is how a database came out of the comparison.
func (d ReportData) Verdict() string { return d.verdict() }

// prose keeps text within a line.
func prose(s string) string { return strings.NewReplacer("\n", " ", "\r", " ", "<", "&lt;").Replace(s) }

// cell keeps text within a cell of a table.
func cell(s string) string { return strings.ReplaceAll(prose(s), "|", "\\|") }
