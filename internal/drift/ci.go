package drift

import (
	"fmt"
	"strings"
)

// Annotations are the report as commands of GitHub Actions, one on each line, for standard output: an error for each setting that
// drifted, a warning for what is not known, a notice for what is pending. It is empty if all is as declared.
func (r *Report) Annotations() string {
	var b strings.Builder
	for _, row := range r.Rows {
		level := ""
		switch row.Status {
		case Drifted:
			level = "error"
		case Pending:
			level = "notice"
		case Unknown:
			if row.Cause != Unreachable { // said once, of the instance
				level = "warning"
			}
		case InSync, Unmanaged:
		}
		if level != "" {
			annotate(&b, level, "Drift: "+row.Environment+"/"+row.Instance+" "+row.Setting, row.text())
		}
	}
	for _, i := range r.Instances {
		if i.Problem != "" {
			annotate(&b, "warning", "Drift: "+i.Environment+"/"+i.Instance, sentence(i.Problem, i.Hint))
		}
	}
	return b.String()
}

func annotate(b *strings.Builder, level, title, text string) {
	fmt.Fprintf(b, "::%s title=%s::%s\n", level, escapeProperty(title), escapeData(text))
}

// escapeData and escapeProperty keep a text from ending its command, or beginning another.
func escapeData(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s)
}

func escapeProperty(s string) string {
	return strings.NewReplacer(":", "%3A", ",", "%2C").Replace(escapeData(s))
}

// text is the row in one sentence.
func (r Row) text() string {
	out := r.Setting
	switch {
	case r.Status == Unknown:
		out += " is not known"
	case r.Status == Unmanaged:
		out += " is " + r.Live + ", and nobody declares it"
	case r.Live == r.Declared:
		out += " is " + r.Live + " as declared"
	default:
		out += " is " + r.Live + ", declared " + r.Declared
	}
	if r.Detail != "" {
		out += ": " + r.Detail
	}
	return sentence(out, r.Remedy)
}

func sentence(text, remedy string) string {
	if remedy == "" {
		return text
	}
	return strings.TrimSuffix(text, ".") + ". " + remedy
}

// Summary is the report in Markdown, for the summary of a job of GitHub Actions: a table of what is not in sync.
func (r *Report) Summary() string {
	var b strings.Builder
	b.WriteString("## Drift\n\n")
	fmt.Fprintf(&b, "%s looked at: %s in sync, %d drifted, %d pending, %d unknown.\n",
		plural(len(r.Instances), "instance"), plural(r.Count(InSync), "setting"), r.Count(Drifted), r.Count(Pending), r.Count(Unknown))
	header := false
	for _, row := range r.Rows {
		if row.Status == InSync {
			continue
		}
		if !header {
			header = true
			b.WriteString("\n| instance | setting | status | declared | live | last applied | why | what to do |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n")
		}
		for _, cell := range []string{
			row.Environment + "/" + row.Instance, row.Setting, string(row.Status), row.Declared, row.Live, row.LastApplied, row.Detail, row.Remedy,
		} {
			b.WriteString("| " + escapeCell(cell) + " ")
		}
		b.WriteString("|\n")
	}
	return b.String()
}

// escapeCell keeps a text one cell of a table, and plain.
func escapeCell(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n' || r == '\r':
			b.WriteByte(' ')
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case r == '&':
			b.WriteString("&amp;")
		case r == '@': // else somebody of that name would be mentioned
			b.WriteString("&#64;")
		case strings.ContainsRune("\\`*_{}[]()#+!|~", r):
			b.WriteByte('\\')
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
