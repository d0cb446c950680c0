package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"dbops/internal/config"
	"dbops/internal/fault"
)

// errorJSON is dbops/error/v1.
type errorJSON struct {
	Schema     string     `json:"schema"`
	Code       fault.Kind `json:"code"`
	Message    string     `json:"message"`
	Hint       string     `json:"hint,omitempty"`
	Permission string     `json:"permission,omitempty"`
	Causes     []string   `json:"causes,omitempty"`   // with -v
	Problems   []problem  `json:"problems,omitempty"` // of a dbops.yaml
}

// problem is one mistake in a file.
type problem struct {
	File       string `json:"file"`
	Line       int    `json:"line,omitempty"`
	Column     int    `json:"column,omitempty"`
	Path       string `json:"path,omitempty"`
	Message    string `json:"message"`
	Suggestion string `json:"suggestion,omitempty"`
}

func errorObject(err error, verbose bool) errorJSON {
	e := errorJSON{
		Schema: "dbops/error/v1", Code: fault.KindOf(err), Message: err.Error(),
		Hint: fault.HintOf(err), Permission: fault.PermissionOf(err),
	}
	if mistakes, ok := errors.AsType[*config.Error](err); ok {
		for _, p := range mistakes.Problems {
			e.Problems = append(e.Problems, problem{p.File, p.Line, p.Column, p.Path, p.Message, p.Suggestion})
		}
	}
	if verbose {
		e.Causes = causes(err)
	}
	return e
}

// printError says on standard error what failed and what to do next.
func (c *cli) printError(err error) {
	if c.json() {
		_ = printJSON(c.err, errorObject(err, c.verbose))
		return
	}
	fmt.Fprintf(c.err, "dbops: error: %s\n", oneBlock(err.Error()))
	if hint := fault.HintOf(err); hint != "" {
		fmt.Fprintf(c.err, "dbops: hint: %s\n", oneBlock(hint))
	}
	if !c.verbose {
		return
	}
	for _, cause := range causes(err) {
		fmt.Fprintf(c.err, "dbops: cause: %s\n", oneBlock(cause))
	}
}

// causes are the types and texts of an error's chain, outermost first.
func causes(err error) []string {
	var out []string
	for err != nil {
		out = append(out, fmt.Sprintf("%T: %s", err, err))
		if many, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range many.Unwrap() {
				out = append(out, causes(e)...)
			}
			return out
		}
		err = errors.Unwrap(err)
	}
	return out
}

// oneBlock keeps line breaks, indented, and drops what could steer a terminal: error texts come from servers too.
func oneBlock(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || (r >= ' ' && r != 0x7f) {
			return r
		}
		return -1
	}, ansi.Strip(s))
	return strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n  ")
}

// printJSON writes one object on one line.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// printTable writes rows under a header, columns padded by what a terminal shows, two spaces apart.
func printTable(w io.Writer, header []string, rows [][]string) error {
	widths := make([]int, len(header))
	all := append([][]string{header}, rows...)
	for _, row := range all {
		for i, cell := range row {
			widths[i] = max(widths[i], ansi.StringWidth(cell))
		}
	}
	var text strings.Builder
	for _, row := range all {
		var b strings.Builder
		for i, cell := range row {
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-ansi.StringWidth(cell)+2))
			}
		}
		text.WriteString(strings.TrimRight(b.String(), " ") + "\n")
	}
	_, err := io.WriteString(w, text.String())
	return err
}
