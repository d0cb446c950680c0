package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestEachCommandHasAManPage looks for what help says in what the page says, whatever the lines.
func TestEachCommandHasAManPage(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "man")
	c := &cli{out: io.Discard, err: io.Discard, getenv: os.Getenv}
	if status := c.execute(t.Context(), []string{"man", dir}); status != 0 {
		t.Fatalf("dbops man: exit status %d", status)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	visible := 0
	var see func(cmd *cobra.Command)
	see = func(cmd *cobra.Command) {
		visible++
		raw, err := os.ReadFile(filepath.Join(dir, strings.ReplaceAll(cmd.CommandPath(), " ", "-")+".1"))
		if err != nil {
			t.Error(err)
			return
		}
		page := words(strings.NewReplacer(`\&`, "", `\\`, `\`, `\fB`, "", `\fP`, "", ".PP", "", ".EX", "", ".EE", "").Replace(string(raw)))
		says := func(what, text string) {
			if !strings.Contains(page, words(text)) {
				t.Errorf("the page of %s does not have its %s: %q", cmd.CommandPath(), what, text)
			}
		}
		says("version", `"dbops `+version()+`" "dbops" `)
		says("use", cmd.UseLine())
		description, statuses, _ := strings.Cut(cmd.Long, "Exit status:")
		says("description", description)
		says("name", strings.ReplaceAll(cmd.CommandPath(), " ", "-")+" - "+cmd.Short)
		for line := range strings.Lines(cmd.Example) {
			if !strings.Contains(strings.ReplaceAll(string(raw), `\\`, `\`), line) {
				t.Errorf("the page of %s does not have its example as it is: %q", cmd.CommandPath(), line)
			}
		}
		for _, status := range regexp.MustCompile(`(?:^|;)\s+(\d+) ([^;]+)`).FindAllStringSubmatch(statuses, -1) {
			says("exit status", ".TP "+status[1]+" "+status[2])
		}
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() && sub.Name() != "help" {
				see(sub)
			}
		}
	}
	see(newRootCmd(&cli{getenv: os.Getenv}))
	if visible != len(files) || visible < 50 {
		t.Errorf("%d visible commands have %d pages", visible, len(files))
	}
}

// words is text without its lines.
func words(text string) string { return strings.Join(strings.Fields(text), " ") }

func TestHelpBecomesMarkdown(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ help, want string }{
		"text":                         {"One_two\n*three* <four>.", "One\\_two\n\\*three\\* \\<four\\>.\n\n"},
		"lines that look like a list":  {"- one\n1. two\n: three", "\\- one\n1\\. two\n\\: three\n\n"},
		"a table below its first line": {"Rules:\n  a_b   c\n  d", "Rules:\n\n```\n  a_b   c\n  d\n```\n\n"},
		"statuses":                     {"Do.\n\nExit status: 0 done; or not; 1 failed,\n5 times.", "Do.\n\n# EXIT STATUS\n0\n: done; or not\n\n1\n: failed, 5 times.\n\n"},
		"a status without a word":      {"Do.\n\nExit status: 0; 1 failed.", "Do.\n\n# EXIT STATUS\n0\n: done\n\n1\n: failed.\n\n"},
		"statuses in words":            {"Exit status: psql's own; before that 1 failed.", "# EXIT STATUS\npsql's own; before that 1 failed.\n\n"},
	} {
		if got := markdown(c.help); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
