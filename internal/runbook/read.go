package runbook

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"dbops/internal/fault"
)

// maxFile is far more than people write.
const maxFile = 1 << 20

// file is a runbook as it is written.
type file struct {
	Schema      string     `yaml:"schema"`
	Title       string     `yaml:"title"`
	Environment string     `yaml:"environment"`
	Instance    string     `yaml:"instance"`
	Steps       []fileStep `yaml:"steps"`
}

type fileStep struct {
	Name      string           `yaml:"name"`
	Operation string           `yaml:"operation"`
	Instance  string           `yaml:"instance"`
	Args      Words            `yaml:"args"`
	With      map[string]Words `yaml:"with"`
	Gate      string           `yaml:"gate"`
}

// UnmarshalYAML reads one scalar or a list of them, as they are written: 18, 15m, true.
func (w *Words) UnmarshalYAML(n ast.Node) error {
	*w = nil
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		word, err := wordOf(n)
		*w = Words{word}
		return err
	}
	for _, v := range list.Values {
		word, err := wordOf(v)
		if err != nil {
			return err
		}
		*w = append(*w, word)
	}
	return nil
}

func wordOf(n ast.Node) (string, error) {
	switch v := n.(type) {
	case *ast.StringNode:
		return v.Value, nil
	case *ast.LiteralNode:
		return v.Value.Value, nil
	case *ast.BoolNode:
		return strconv.FormatBool(v.Value), nil
	case *ast.IntegerNode, *ast.FloatNode:
		return n.GetToken().Value, nil
	}
	return "", fmt.Errorf("line %d: want text, a number, true or false, or a list of these", n.GetToken().Position.Line)
}

// Overrides are what a caller says in place of the file.
type Overrides struct {
	Environment, Instance string
	// Weak is for many files at once: what a file says itself counts.
	Weak bool
}

// Read reads a runbook. An error is a fault.Usage, with the place in the file; what the file means is for [Lint].
func Read(path string, o Overrides) (Runbook, error) {
	what := "read the runbook " + path
	text, err := read(path)
	if err != nil {
		return Runbook{}, fault.New(fault.Usage, what, err)
	}
	var f file
	if err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(&f); err != nil {
		return Runbook{}, fault.Newf(fault.Usage, what, "%s", problemOf(err)).Hint("docs/runbooks.md shows what a runbook looks like")
	}
	if f.Schema != Schema {
		return Runbook{}, fault.Newf(fault.Usage, what, "its schema is %q, not %q", f.Schema, Schema).Hint("begin it with: schema: %s", Schema)
	}
	if o.Weak {
		o.Environment, o.Instance = cmp.Or(f.Environment, o.Environment), cmp.Or(f.Instance, o.Instance)
	}
	if f.Environment != "" && o.Environment != "" && f.Environment != o.Environment {
		return Runbook{}, fault.Newf(fault.Usage, what, "it is for %s, and --env says %s", f.Environment, o.Environment).
			Hint("leave the key environment out of a runbook for several environments")
	}
	if i := bytes.IndexFunc(text, forbidden); i >= 0 {
		return Runbook{}, fault.Newf(fault.Usage, what, "line %d holds a control character", 1+bytes.Count(text[:i], []byte("\n"))).Hint("write text only")
	}
	for _, words := range f.words() {
		if strings.ContainsFunc(words, forbidden) { // written as an escape
			return Runbook{}, fault.Newf(fault.Usage, what, "%q holds a control character", words).Hint("write text only")
		}
	}
	b := Runbook{
		Title: cmp.Or(strings.Join(strings.Fields(f.Title), " "), path), Environment: cmp.Or(o.Environment, f.Environment), Instance: cmp.Or(o.Instance, f.Instance),
	}
	lines := linesOf(text, len(f.Steps))
	for i, s := range f.Steps {
		step := Step{Name: s.Name, Gate: strings.TrimSpace(s.Gate), Line: lines[i]}
		command := strings.Join(strings.Fields(strings.TrimPrefix(strings.TrimSpace(s.Operation), "dbops ")), " ")
		if command != "" || s.Instance != "" || len(s.Args) > 0 || len(s.With) > 0 {
			step.Operation = Operation{Command: command, Instance: s.Instance, Args: s.Args, With: s.With}
		}
		b.Steps = append(b.Steps, step)
	}
	b.name()
	if b.Instance == "" {
		for _, s := range b.Steps {
			b.Instance = cmp.Or(b.Instance, s.Operation.Instance)
		}
	}
	return b, nil
}

// words are all texts of a file that are shown.
func (f file) words() []string {
	all := []string{f.Title, f.Environment, f.Instance}
	for _, s := range f.Steps {
		all = append(append(all, s.Name, s.Operation, s.Instance, s.Gate), s.Args...)
		for flag, words := range s.With {
			all = append(append(all, flag), words...)
		}
	}
	return all
}

// forbidden are characters that move a terminal's cursor, and worse.
func forbidden(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' && r != '\r' }

func read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, errors.New("it is a folder")
	case info.Size() > maxFile:
		return nil, errors.New("it is far too large for a runbook")
	}
	text, err := os.ReadFile(path)
	if err == nil && len(bytes.TrimSpace(text)) == 0 {
		err = errors.New("it is empty")
	}
	return text, err
}

// problemOf is an error of the YAML library in one line, with its place and without the source around it.
func problemOf(err error) string {
	if errors.Is(err, io.EOF) {
		return "it is empty"
	}
	if e, ok := errors.AsType[yaml.Error](err); ok {
		if t := e.GetToken(); t != nil && t.Position != nil {
			message := e.GetMessage()
			if m := otherKind.FindStringSubmatch(message); m != nil {
				message = "another kind of value is wanted for " + strings.ToLower(m[1])
			}
			return fmt.Sprintf("line %d: %s", t.Position.Line, message)
		}
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	return first
}

// otherKind finds what the library says of a list where a text is wanted, and the like.
var otherKind = regexp.MustCompile(`^cannot unmarshal .* into Go (?:struct field|value of type) (?:[A-Za-z]+\.)?([A-Za-z]+)`)

// linesOf are the lines on which the steps begin.
func linesOf(text []byte, n int) []int {
	lines := make([]int, n)
	doc, err := parser.ParseBytes(text, 0)
	for i := range n {
		if err != nil {
			break
		}
		path, bad := yaml.PathString(fmt.Sprintf("$.steps[%d]", i))
		if bad != nil {
			continue
		}
		if node, bad := path.FilterFile(doc); bad == nil && node.GetToken() != nil {
			lines[i] = node.GetToken().Position.Line
			if m, ok := node.(*ast.MappingNode); ok && len(m.Values) > 0 {
				lines[i] = m.Values[0].Key.GetToken().Position.Line
			}
		}
	}
	return lines
}

var notName = regexp.MustCompile(`[^a-z0-9]+`)

// name gives the steps that have none the name of their operation, with a number where that is taken.
func (b *Runbook) name() {
	taken := b.StepNames()
	for i := range b.Steps {
		s := &b.Steps[i]
		if s.Name != "" {
			continue
		}
		base := cmp.Or(strings.Trim(notName.ReplaceAllString(strings.ToLower(s.Operation.Command), "-"), "-"), "gate")
		name := base
		for n := 2; slices.Contains(taken, name); n++ {
			name = fmt.Sprintf("%s-%d", base, n)
		}
		s.Name = name
		taken = append(taken, name)
	}
}
