package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one mistake in a configuration file.
type Problem struct {
	File       string `json:"file"`
	Line       int    `json:"line,omitempty"`   // from 1; 0: the file as a whole
	Column     int    `json:"column,omitempty"` // from 1, in characters
	Path       string `json:"path,omitempty"`   // environments.prod.instances.main.rds
	Message    string `json:"message"`
	Suggestion string `json:"suggestion,omitempty"` // did you mean "identifier"?
}

// String is the problem on one line, as a compiler prints it.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	for _, part := range []string{p.Path, p.Message} {
		if part != "" {
			b.WriteString(": " + part)
		}
	}
	if p.Suggestion != "" {
		b.WriteString("; " + p.Suggestion)
	}
	return b.String()
}

// Error is every mistake of one file, in the order of the file.
type Error struct {
	Problems []Problem
}

// Error is the problems, one on each line.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// maxProblems is where a report ends: a file with more mistakes than this is not a dbops.yaml.
const maxProblems = 200

// position is a place in the file; zero is the file as a whole.
type position struct{ line, col int }

// report collects problems.
type report struct {
	file     string
	problems []Problem
	dropped  bool
}

func (r *report) add(at position, path, suggestion, format string, args ...any) {
	if len(r.problems) >= maxProblems {
		r.dropped = true
		return
	}
	r.problems = append(r.problems, Problem{
		File: r.file, Line: at.line, Column: at.col, Path: path,
		Message: fmt.Sprintf(format, args...), Suggestion: suggestion,
	})
}

// err is the report as an error, sorted, nil without problems. What an anchor repeats in several places is told once.
func (r *report) err() *Error {
	if len(r.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(r.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	r.problems = slices.CompactFunc(r.problems, func(a, b Problem) bool {
		return a.Line == b.Line && a.Column == b.Column && a.Message == b.Message
	})
	if r.dropped {
		r.problems = append(r.problems, Problem{File: r.file, Message: "there are more problems than these"})
	}
	return &Error{Problems: r.problems}
}
