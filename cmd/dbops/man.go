package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
)

// newManCmd is for those who make packages; who installs one has the pages.
func newManCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the man pages into a folder, one for each command",
		Long: `Write the man pages into a folder, one for each command. They bear the version of dbops, and the date of the commit that it was built from;
where that is not known, the date is $SOURCE_DATE_EPOCH, else today.

Exit status: 0 written; 1 failed; 2 usage.`,
		Example: "  dbops man ./man && man ./man/dbops-proxy.1",
		Args:    cobra.ExactArgs(1),
		Hidden:  true,
		RunE:    func(cmd *cobra.Command, args []string) error { return runMan(cmd.Root(), args[0]) },
	}
}

// runMan writes the pages of root and of all that is below it, and leaves their texts as markdown.
func runMan(root *cobra.Command, dir string) error {
	header := &doc.GenManHeader{Section: "1", Source: "dbops " + version(), Manual: "dbops"}
	if committed, err := time.Parse(time.RFC3339, built().Committed); err == nil {
		header.Date = &committed
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // pages are for everybody
		return fmt.Errorf("write the man pages: %w", err)
	}
	root.DisableAutoGenTag = true // it has the day on which the page was made
	intoMarkdown(root, map[*pflag.Flag]bool{})
	if err := doc.GenManTree(root, header, dir); err != nil {
		return fmt.Errorf("write the man pages: %w", err)
	}
	return nil
}

// intoMarkdown makes markdown, which is what the library reads, of help texts, which were written for a terminal.
func intoMarkdown(cmd *cobra.Command, done map[*pflag.Flag]bool) {
	cmd.Short, cmd.Long = literally(cmd.Short), markdown(cmd.Long)
	name, arguments, _ := strings.Cut(cmd.Use, " ")
	cmd.Use = strings.TrimSpace(name + " " + literally(arguments))
	flag := func(f *pflag.Flag) {
		if !done[f] {
			f.Usage, done[f] = literally(f.Usage), true
		}
	}
	cmd.Flags().VisitAll(flag)
	cmd.PersistentFlags().VisitAll(flag)
	for _, sub := range cmd.Commands() {
		intoMarkdown(sub, done)
	}
}

// markdown keeps the lines of tables, which are indented, and gives exit statuses a section of their own.
func markdown(help string) string {
	var text, statuses strings.Builder
	for paragraph := range strings.SplitSeq(help, "\n\n") {
		if list, ok := strings.CutPrefix(strings.TrimSpace(paragraph), "Exit status:"); ok {
			statuses.WriteString(exitStatuses(list))
			continue
		}
		table := false
		for line := range strings.Lines(paragraph) {
			line = strings.TrimSuffix(line, "\n")
			if indented := strings.HasPrefix(line, " "); indented != table {
				text.WriteString("\n```\n")
				table = indented
			}
			if !table {
				line = literally(line)
			}
			text.WriteString(line + "\n")
		}
		if table {
			text.WriteString("```\n")
		}
		text.WriteString("\n")
	}
	if statuses.Len() > 0 {
		text.WriteString("# EXIT STATUS\n" + statuses.String())
	}
	return text.String()
}

// oneStatus is where the next of several statuses begins: after a semicolon, with its number.
var oneStatus = regexp.MustCompile(`(?:^|;)\s+(\d+)\b`)

// exitStatuses makes a definition of each status that begins with its number; "in words" stays as it is.
func exitStatuses(list string) string {
	begins := oneStatus.FindAllStringSubmatchIndex(list, -1)
	if len(begins) == 0 || begins[0][0] != 0 {
		return literally(strings.TrimSpace(list)) + "\n\n"
	}
	var out strings.Builder
	for i, at := range begins {
		end := len(list)
		if i+1 < len(begins) {
			end = begins[i+1][0]
		}
		meaning := strings.Join(strings.Fields(list[at[3]:end]), " ")
		if meaning == "" || meaning == "." {
			meaning = "done"
		}
		fmt.Fprintf(&out, "%s\n: %s\n\n", list[at[2]:at[3]], literally(meaning))
	}
	return out.String()
}

var (
	marks       = regexp.MustCompile("[\\\\`*_{}\\[\\]<>#|&~^]")
	openingMark = regexp.MustCompile(`^\s*(?:[-+:=%]|\d+\.)`)
)

// literally takes the meaning from what markdown would take for markup.
func literally(line string) string {
	line = marks.ReplaceAllString(line, `\$0`)
	return openingMark.ReplaceAllStringFunc(line, func(s string) string { return s[:len(s)-1] + `\` + s[len(s)-1:] })
}
