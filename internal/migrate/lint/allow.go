package lint

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"dbops/internal/migrate/split"
)

// allow is a comment that accepts a finding: -- dbops:allow RULE reason. It is about the statement after it, or on whose last line it
// stands; before the first statement, or below the last, also about the file as a whole.
type allow struct {
	rule, reason string
	line, column int
	from, to     int // lines it is about
	head         bool
	used         bool
}

const allowWord = "dbops:allow"

// allowsIn finds the comments between statements.
func allowsIn(sql string, statements []split.Statement) []*allow {
	if !strings.Contains(sql, allowWord) {
		return nil
	}
	var out []*allow
	end := 0
	for i := range len(statements) + 1 {
		gapEnd := len(sql)
		if i < len(statements) {
			gapEnd = statements[i].Start
		}
		at := end
		for line := range strings.Lines(sql[end:gapEnd]) {
			if a := parseAllow(line); a != nil {
				a.line, a.column = split.Place(sql, at+strings.Index(line, "--"))
				sameLine := at == end && i > 0
				a.from, a.to = 1, 0
				a.head = i == 0 || (i == len(statements) && !sameLine)
				switch {
				case sameLine:
					a.from, a.to = statements[i-1].Line, a.line
				case i < len(statements):
					a.from = statements[i].Line
					a.to, _ = split.Place(sql, statements[i].End)
				}
				out = append(out, a)
			}
			at += len(line)
		}
		if i < len(statements) {
			end = statements[i].End
		}
	}
	return out
}

func parseAllow(line string) *allow {
	_, text, ok := strings.Cut(line, "--")
	if !ok {
		return nil
	}
	text, ok = strings.CutPrefix(strings.TrimSpace(text), allowWord)
	if !ok || (text != "" && text[0] != ' ' && text[0] != '\t') {
		return nil
	}
	rule, reason, _ := strings.Cut(strings.TrimSpace(text), " ")
	return &allow{rule: rule, reason: strings.TrimSpace(reason)}
}

// allow applies the comments, and finds those that say nothing.
func (r *run) allow() {
	byPath := map[string]*file{}
	for _, f := range r.files {
		byPath[f.Path] = f
	}
	for i := range r.findings {
		f := &r.findings[i]
		file := byPath[f.File]
		if file == nil || f.Rule == "syntax" {
			continue
		}
		for _, a := range file.allows {
			if a.rule != f.Rule || a.reason == "" || !(a.from <= f.Line && f.Line <= a.to || a.head && f.Line == 0) {
				continue
			}
			a.used, f.Allowed, f.Severity = true, a.reason, Info
		}
	}
	for _, f := range r.files {
		if f.Old {
			continue
		}
		for _, a := range f.allows {
			text := ""
			switch {
			case r.rules[a.rule] == nil:
				text = "there is no rule " + strconv.Quote(a.rule)
			case a.reason == "":
				text = "it gives no reason"
			case !a.used:
				text = "there is no finding of " + a.rule + " to allow"
			}
			if text != "" {
				rule := r.rule("allow")
				r.findings = append(r.findings, Finding{
					Rule: rule.ID, Severity: rule.Severity, File: f.Path, Line: a.line, Column: a.column, Title: rule.Title, Why: text, Rewrite: rule.Rewrite, harm: style,
				})
			}
		}
	}
	order := map[string]int{}
	for i, f := range r.files {
		order[f.Path] = i
	}
	slices.SortStableFunc(r.findings, func(a, b Finding) int {
		if a.File != b.File {
			return order[a.File] - order[b.File]
		}
		return cmp.Or(a.Line-b.Line, a.Column-b.Column)
	})
}

func itoa(n int) string { return strconv.Itoa(n) }
