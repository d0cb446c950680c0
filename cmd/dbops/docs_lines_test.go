package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"mvdan.cc/sh/v3/syntax"
)

// A block of a page is run by TestPagesCanBeFollowed, or its fence says why it is not: no command stands on a page that nobody looks after.
func TestCommandsOfPagesAreRunOrSaidWhyNot(t *testing.T) {
	for _, page := range pages(t) {
		for _, b := range page.blocks {
			if b.language == "sh" && b.run == "" && b.why == "" && len(commands(t, b.text)) > 0 {
				t.Errorf("%s:%d: a block with commands of dbops: fence it as \"```sh run\", or as \"```sh not run: REASON\"", page.path, b.line)
			}
		}
	}
}

// Every command line on a page is one that dbops takes: the command is there, and so are its flags; the arguments fit. Words in
// capitals, <in brackets> and … stand for arguments.
func TestCommandsOfPagesAreThere(t *testing.T) {
	n := 0
	for _, page := range pages(t) {
		for _, b := range page.blocks {
			if b.language != "sh" {
				continue
			}
			for _, c := range commands(t, b.text) {
				n++
				if err := accepts(c, true); err != nil {
					t.Errorf("%s:%d: %s: %v", page.path, b.line, strings.Join(c, " "), err)
				}
			}
		}
		for _, s := range page.spans {
			if !strings.HasPrefix(s.text, "dbops ") {
				continue
			}
			for _, c := range commands(t, s.text) {
				n++
				if err := accepts(c, false); err != nil {
					t.Errorf("%s:%d: %s: %v", page.path, s.line, s.text, err)
				}
			}
		}
	}
	if n < 200 {
		t.Errorf("only %d commands were found", n)
	}
}

func TestExamplesOfHelpAreThere(t *testing.T) {
	n := 0
	var look func(*cobra.Command)
	look = func(cmd *cobra.Command) {
		for line := range strings.Lines(cmd.Example) {
			line, _, _ = strings.Cut(strings.TrimSpace(line), "   ") // what it does stands beside it
			for _, c := range commands(t, line) {
				n++
				if err := accepts(c, true); err != nil {
					t.Errorf("%s --help: %s: %v", cmd.CommandPath(), line, err)
				}
			}
		}
		for _, sub := range cmd.Commands() {
			look(sub)
		}
	}
	look(nobody())
	if n < 60 {
		t.Errorf("only %d examples were found", n)
	}
}

// A flag that stands alone in the text is a flag of some command.
func TestFlagsOfPagesAreThere(t *testing.T) {
	known := map[string]bool{}
	var collect func(*cobra.Command)
	collect = func(cmd *cobra.Command) {
		cmd.InheritedFlags() // merges those of the parents into Flags
		for name := range strings.FieldsSeq(cmd.Flags().FlagUsages()) {
			known[strings.TrimSuffix(name, ",")] = true
		}
		for _, sub := range cmd.Commands() {
			collect(sub)
		}
	}
	collect(nobody())
	n := 0
	for _, page := range pages(t) {
		for _, s := range page.spans {
			if flag := aFlag.FindString(s.text); flag != "" {
				n++
				if !known[flag] {
					t.Errorf("%s:%d: no command has the flag %s", page.path, s.line, s.text)
				}
			}
		}
	}
	if n < 50 {
		t.Errorf("only %d flags were found", n)
	}
}

var aFlag = regexp.MustCompile(`^--[a-z][a-z-]*`)

// nobody is the tree of commands, for looking at.
func nobody() *cobra.Command {
	return newRootCmd(&cli{in: strings.NewReader(""), out: io.Discard, err: io.Discard, getenv: func(string) string { return "" }})
}

// accepts tells whether dbops accepts these words, the first of which is dbops. All of a line has to be there; of a command that a text
// names only what is there has to be right.
func accepts(words []string, all bool) error {
	root := nobody()
	root.InitDefaultCompletionCmd(words[1:]...)
	cmd, rest, err := root.Find(words[1:])
	if err != nil {
		return err
	}
	if err := cmd.ParseFlags(rest); errors.Is(err, pflag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	args := cmd.Flags().Args()
	if !all {
		if dash := cmd.ArgsLenAtDash(); dash >= 0 {
			args = args[:dash] // what follows is another program's
		}
		if cmd.HasSubCommands() && len(args) > 0 {
			return fmt.Errorf("%s has no %s", cmd.CommandPath(), args[0])
		}
		return nil
	}
	if cmd.HasSubCommands() && cmd.Run == nil && cmd.RunE == nil {
		return fmt.Errorf("%s is no command by itself", cmd.CommandPath())
	}
	if err := cmd.ValidateArgs(args); err != nil {
		return err
	}
	return cmd.ValidateRequiredFlags()
}

// commands are the commands of dbops in a piece of shell, in pipes and substitutions as well, each as its words without quotes.
func commands(t *testing.T, text string) [][]string {
	t.Helper()
	if !strings.Contains(text, "dbops") {
		return nil
	}
	text = placeholder.ReplaceAllString(text, "PLACE")
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), "")
	if err != nil {
		t.Errorf("this is no shell: %v\n%s", err, text)
		return nil
	}
	var found [][]string
	syntax.Walk(file, func(n syntax.Node) bool {
		call, ok := n.(*syntax.CallExpr)
		if !ok {
			return true
		}
		words := make([]string, len(call.Args))
		for i, w := range call.Args {
			if words[i] = w.Lit(); words[i] == "" {
				words[i] = unquoted(w)
			}
		}
		for i, w := range words { // also what another program is told to run: nohup dbops ...
			if w == "dbops" || w == "./dbops" {
				found = append(found, words[i:])
				break
			}
			if w == "--" || i > 0 && words[0] != "exec" && words[0] != "nohup" && words[0] != "timeout" {
				break
			}
		}
		return true
	})
	return found
}

var placeholder = regexp.MustCompile(`<[A-Za-z][A-Za-z -]*>`)

// unquoted is a word without its quotes, and with a number for what only a shell knows.
func unquoted(w *syntax.Word) string {
	var b strings.Builder
	var add func([]syntax.WordPart)
	add = func(parts []syntax.WordPart) {
		for _, p := range parts {
			switch p := p.(type) {
			case *syntax.Lit:
				b.WriteString(p.Value)
			case *syntax.SglQuoted:
				b.WriteString(p.Value)
			case *syntax.DblQuoted:
				add(p.Parts)
			default:
				b.WriteString("1")
			}
		}
	}
	add(w.Parts)
	return b.String()
}

// page is one of the documentation: its fenced blocks, and what stands in backquotes between them.
type page struct {
	path   string // as in docs/bi.md
	blocks []block
	spans  []span
}

// block is a fenced piece of a page. Its fence says what becomes of it.
type block struct {
	line     int
	language string
	text     string
	run      string // "run", "run alone", "run from nothing", or empty: see [TestPagesCanBeFollowed]
	why      string // "sh not run: why"
}

type span struct {
	line int
	text string
}

var (
	fenced = regexp.MustCompile("(?ms)^```([a-z]*)(?: ([^\n]*))?\n(.*?)^```$")
	quoted = regexp.MustCompile("`([^`]+)`")
)

func pages(t *testing.T) []page {
	t.Helper()
	const root = "../.."
	paths, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	var all []page
	for _, path := range append(paths, filepath.Join(root, "README.md"), filepath.Join(root, "CONTRIBUTING.md")) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		p, err := parsePage(strings.TrimPrefix(filepath.ToSlash(path), root+"/"), string(text))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

func parsePage(path, text string) (page, error) {
	p := page{path: path}
	at := func(i int) int { return 1 + strings.Count(text[:i], "\n") }
	prose := []byte(text)
	for _, m := range fenced.FindAllStringSubmatchIndex(text, -1) {
		b := block{line: at(m[0]), language: text[m[2]:m[3]], text: text[m[6]:m[7]]}
		word := ""
		if m[4] >= 0 {
			word = text[m[4]:m[5]]
		}
		why, notRun := strings.CutPrefix(word, "not run: ")
		switch {
		case word == "", b.language != "sh" && b.language != "text":
		case word == "run", b.language == "sh" && (word == "run alone" || word == "run from nothing"):
			b.run = word
		case notRun && why != "":
			b.why = why
		default:
			return page{}, fmt.Errorf("%s:%d: a fence says %q: want run, run alone, run from nothing, or not run: REASON", path, b.line, word)
		}
		p.blocks = append(p.blocks, b)
		for i := m[0]; i < m[1]; i++ {
			if prose[i] != '\n' {
				prose[i] = ' '
			}
		}
	}
	for _, m := range quoted.FindAllSubmatchIndex(prose, -1) {
		s := strings.Join(strings.Fields(string(prose[m[2]:m[3]])), " ") // a span may go over a line's end
		p.spans = append(p.spans, span{line: at(m[0]), text: s})
	}
	return p, nil
}
