package lint

import (
	"fmt"
	"strings"
	"unicode"
)

// Schema is the name of a report's JSON.
const Schema = "dbops/migrate-lint/v1"

// Report is what was found, and in how much.
type Report struct {
	Schema string `json:"schema"`
	// Files is how many were judged.
	Files    int       `json:"files"`
	Errors   int       `json:"errors"`
	Warnings int       `json:"warnings"`
	Notes    int       `json:"notes"` // with those that Findings leaves out
	Allowed  int       `json:"allowed"`
	Findings []Finding `json:"findings"`
}

// always are shown though they are notes: silence would be taken for a verdict.
var always = map[string]bool{"not-judged": true}

// NewReport counts. Without notes, findings of severity info are counted and left out, but for what could not be judged and what a comment
// allows.
func NewReport(files int, findings []Finding, notes bool) *Report {
	r := &Report{Schema: Schema, Files: files, Findings: []Finding{}}
	for _, f := range findings {
		switch {
		case f.Allowed != "":
			r.Allowed++
		case f.Severity == Error:
			r.Errors++
		case f.Severity == Warn:
			r.Warnings++
		default:
			r.Notes++
		}
		if notes || f.Severity != Info || f.Allowed != "" || always[f.Rule] {
			r.Findings = append(r.Findings, f)
		}
	}
	return r
}

// Fails tells whether there is a finding as bad as the severity, or worse.
func (r *Report) Fails(on Severity) bool {
	for _, f := range r.Findings {
		if f.Allowed == "" && f.Severity.AtLeast(on) {
			return true
		}
	}
	return false
}

// Summary is the report in one line.
func (r *Report) Summary() string {
	s := fmt.Sprintf("%s: %s, %s", plural(r.Files, "file"), plural(r.Errors, "error"), plural(r.Warnings, "warning"))
	if r.Notes > 0 {
		s += ", " + plural(r.Notes, "note")
	}
	if r.Allowed > 0 {
		s += fmt.Sprintf(", %d allowed", r.Allowed)
	}
	return s
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

var marks = map[Severity]string{Error: "x", Warn: "!", Info: "i"}

// Text is the report for a terminal: of each finding the lock and whom it blocks first, the safe form last.
func (r *Report) Text() string {
	var b strings.Builder
	for _, f := range r.Findings {
		if f.Allowed != "" {
			fmt.Fprintf(&b, "- %s  %s is allowed: %s\n\n", f.Place(), f.Rule, clean(f.Allowed))
			continue
		}
		fmt.Fprintf(&b, "%s %s  %s\n", marks[f.Severity], f.Place(), f.Rule)
		if f.Lock != "" {
			lock := f.Lock
			if f.Object != "" {
				lock += " on " + f.Object
			}
			if f.Blocks != "" {
				lock += ": " + f.Blocks
			}
			line(&b, "lock", lock)
		}
		if f.Seen != "" {
			line(&b, "seen", f.Seen)
		}
		line(&b, "why", f.Title+"; "+f.Why)
		if f.Rewrite != "" {
			line(&b, "do", f.Rewrite)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func line(b *strings.Builder, label, text string) {
	fmt.Fprintf(b, "  %-5s %s\n", label, strings.ReplaceAll(clean(text), "\n", "\n        "))
}

// Place is where it was found: file:line:column.
func (f Finding) Place() string {
	if f.Line == 0 {
		return clean(f.File)
	}
	return fmt.Sprintf("%s:%d:%d", clean(f.File), f.Line, f.Column)
}

// clean drops what could steer a terminal: the text is a file's, or a server's.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.TrimRight(s, "\n"))
}

// message is a finding in one paragraph, with the safe form after it.
func (f Finding) message() string {
	s := f.Title + "; " + f.Why + "."
	if f.Lock != "" {
		lock := f.Lock
		if f.Object != "" {
			lock += " on " + f.Object
		}
		s = strings.TrimSuffix(lock+": "+f.Blocks, ": ") + ". " + s
	}
	if f.Seen != "" {
		s += " " + f.Seen + "."
	}
	if f.Rewrite != "" {
		s += "\n" + f.Rewrite
	}
	return s
}

// GitHub is the report as commands of GitHub Actions, one on each line.
func (r *Report) GitHub() string {
	var b strings.Builder
	level := map[Severity]string{Error: "error", Warn: "warning", Info: "notice"}
	for _, f := range r.Findings {
		if f.Allowed != "" {
			continue
		}
		at := "file=" + escapeProperty(f.File)
		if f.Line > 0 {
			at += fmt.Sprintf(",line=%d,col=%d", f.Line, f.Column)
		}
		fmt.Fprintf(&b, "::%s %s,title=%s::%s\n", level[f.Severity], at, escapeProperty("dbops migrate lint: "+f.Rule), escapeData(f.message()))
	}
	return b.String()
}

// escapeData and escapeProperty keep a text from ending its command, or beginning another.
func escapeData(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s)
}

func escapeProperty(s string) string {
	return strings.NewReplacer(":", "%3A", ",", "%2C").Replace(escapeData(s))
}

// RulesMarkdown is the table of all rules, for the manual: t is the statement's table, c its column, n a name.
func RulesMarkdown() string {
	var b strings.Builder
	b.WriteString("| rule | severity | lock | what it finds, and why | by version |\n| --- | --- | --- | --- | --- |\n")
	generic := strings.NewReplacer("{table}", "`t`", "{names}", "...", "{column}", "`c`", "{name}", "`n`", "{type}", "another type", "|", `\|`)
	for _, r := range Rules() {
		lock := r.Lock
		if lock != "" && lock != shareUpdateExclusive && r.Harm.howLong() != "" {
			lock += ", " + strings.TrimSuffix(r.Harm.howLong(), ", and while it waits behind what runs")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s: %s | %s |\n", r.ID, r.Severity, lock, generic.Replace(r.Title), generic.Replace(r.Why), r.Since)
	}
	return b.String()
}
