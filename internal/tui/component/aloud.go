package component

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"dbops/internal/tui/text"
)

// A view that is read out is lines of text without layout. These characters, which no value can hold (see [text.Clean]), say what a line is.
const (
	AloudRow      = '\x1e' // a row that can be chosen begins: its key, the same character, its words
	AloudSelected = '\x1d' // the row that is chosen begins, in place of the first
	AloudAbout    = '\x1f' // a line of its own: what follows is about the row that is chosen
)

// signs are what stands before a text in place of a colour, and the words for it.
var signs = []struct{ sign, word string }{{"x", "problem"}, {"!", "warning"}, {"~", "under way"}, {"*", "active"}, {"<", "undone"}}

// Words says the sign before a text in words.
func Words(s string) string {
	for _, m := range signs {
		if s == m.sign {
			return m.word
		}
		if rest, ok := strings.CutPrefix(s, m.sign+" "); ok {
			return m.word + ": " + strings.TrimLeft(rest, " ")
		}
	}
	return s
}

// caption is a title for the ear: capital letters would be spelt.
func caption(title string) string {
	title = strings.TrimSpace(text.Clean(title))
	if title == "" {
		return ""
	}
	if k, rest, ok := strings.Cut(title, "  "); ok && len(k) == 1 { // behind its key
		title = strings.TrimSpace(rest)
	}
	const acronym = 3
	if len(title) > acronym && title == strings.ToUpper(title) {
		title = strings.ToLower(title)
	}
	if strings.ContainsAny(title, "._/@") { // the name of something
		return title + ":"
	}
	first, size := utf8.DecodeRuneInString(title)
	return string(unicode.ToUpper(first)) + title[size:] + ":"
}

// aloud are the rows as sentences. Only those of a table in front can be chosen.
func (t Table) aloud(focus bool) (out []string) {
	if len(t.shown) == 0 {
		return []string{text.Clean(t.Empty)}
	}
	for _, r := range t.shown {
		switch {
		case r.Heading != nil:
			words := strings.TrimSpace(r.Heading.Word + " " + r.Heading.Name)
			if r.Heading.Note != "" {
				words += ", " + r.Heading.Note
			}
			out = append(out, text.Clean(words)+":")
		case !focus:
			out = append(out, t.sentence(r))
		case r.Key == t.key:
			out = append(out, string(AloudSelected)+text.Clean(r.Key)+string(AloudRow)+t.sentence(r))
		default:
			out = append(out, string(AloudRow)+text.Clean(r.Key)+string(AloudRow)+t.sentence(r))
		}
	}
	if focus {
		out = append(out, string(AloudAbout))
	}
	return out
}

// sentence is a row with the titles of its columns; what is not there is left out.
func (t Table) sentence(r Row) string {
	var parts []string
	for i, c := range r.Cells {
		value := strings.TrimSpace(Words(strings.TrimSpace(text.Clean(c.Text))))
		switch {
		case value == "" || value == "-":
		case len(parts) == 0 || i >= len(t.Columns) || t.Columns[i].Title == "":
			parts = append(parts, value)
			if r.Marked {
				parts = append(parts, "marked")
			}
		default:
			parts = append(parts, strings.ToLower(t.Columns[i].Title)+" "+value)
		}
	}
	return strings.Join(parts, ", ")
}

func aloudBlocks(blocks []Block) (out []string) {
	for _, b := range blocks {
		if len(b.Facts) == 0 {
			continue
		}
		title := caption(b.Title)
		if b.Alarm {
			title = "Problem: " + title
		}
		out = append(out, title)
		for _, f := range b.Facts {
			out = append(out, f.aloud())
		}
	}
	return out
}

func (f Fact) aloud() string {
	value := Words(text.Clean(f.Value))
	if label := Words(strings.TrimSpace(text.Clean(f.Label))); label != "" {
		return label + ": " + value
	}
	return value
}

func aloudChange(setting, was, will string) string {
	line := text.Clean(setting) + ": "
	if was != "" {
		line += "from " + text.Clean(was) + " "
	}
	return line + "to " + text.Clean(will)
}
