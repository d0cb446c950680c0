package encore

import (
	"bytes"
	"regexp"
	"strings"
)

// What is looked for in TypeScript: it is read as text, not understood.
var (
	tsImport     = regexp.MustCompile(`import\s*\{([^}]*)\}\s*from\s*["']` + regexp.QuoteMeta(sqldbPackage) + `["']`)
	tsString     = regexp.MustCompile("^(?:\"([^\"\\\\\n]*)\"|'([^'\\\\\n]*)'|`([^`\\\\$]*)`)")
	tsMigrations = regexp.MustCompile(`\bmigrations["']?\s*:\s*`)
	tsPath       = regexp.MustCompile(`\bpath["']?\s*:\s*`)
	tsSource     = regexp.MustCompile(`\bsource["']?\s*:\s*`)
)

// tsSource takes every new SQLDatabase("name", {migrations: "folder"}) of a file, also with {path: "folder", source: "..."}.
func (a *App) tsSource(file string, text []byte) {
	text = withoutComments(text)
	for _, class := range tsClasses(text) {
		made := regexp.MustCompile(`\bnew\s+` + regexp.QuoteMeta(class) + `\s*\(\s*`)
		for _, m := range made.FindAllIndex(text, -1) {
			a.tsDatabase(file, 1+bytes.Count(text[:m[0]], []byte("\n")), text[m[1]:])
		}
	}
}

// tsClasses are the names by which a file knows SQLDatabase.
func tsClasses(text []byte) []string {
	var out []string
	for _, m := range tsImport.FindAllSubmatch(text, -1) {
		for name := range strings.SplitSeq(string(m[1]), ",") {
			switch words := strings.Fields(strings.TrimPrefix(strings.TrimSpace(name), "type ")); {
			case len(words) == 1 && words[0] == "SQLDatabase":
				out = append(out, words[0])
			case len(words) == 3 && words[0] == "SQLDatabase" && words[1] == "as":
				out = append(out, words[2])
			}
		}
	}
	return out
}

// tsDatabase reads the arguments that args begins with.
func (a *App) tsDatabase(file string, line int, args []byte) {
	name, n := tsLiteral(args)
	if name == "" {
		a.unknown(file, line, "the name of this database is not a literal")
		return
	}
	config := args[n:][:closing(args[n:])]
	migrations, source := "", ""
	if at := tsMigrations.FindIndex(config); at != nil {
		value := config[at[1]:]
		if folder, n := tsLiteral(value); n > 0 {
			migrations = folder
		} else if bytes.HasPrefix(value, []byte("{")) {
			migrations, source = tsField(value, tsPath), tsField(value, tsSource)
		}
		if migrations == "" {
			a.unknown(file, line, "which folder of migrations the database %q has is not a literal", name)
		}
	} else if !onlyEnd(config) && !bytes.Contains(config, []byte("{")) {
		a.unknown(file, line, "the configuration of the database %q is not a literal", name)
	}
	a.declare(file, line, name, migrations, source)
}

// onlyEnd tells whether nothing but a comma stands between the name and the closing bracket.
func onlyEnd(config []byte) bool { return len(bytes.Trim(config, " \t\r\n,")) == 0 }

func tsField(value []byte, key *regexp.Regexp) string {
	at := key.FindIndex(value[:closing(value[1:])+1])
	if at == nil {
		return ""
	}
	s, _ := tsLiteral(value[at[1]:])
	return s
}

// tsLiteral is the string literal that text begins with, and its length there.
func tsLiteral(text []byte) (string, int) {
	m := tsString.FindSubmatch(text)
	if m == nil {
		return "", 0
	}
	return string(m[1]) + string(m[2]) + string(m[3]), len(m[0])
}

// closing is the place of the bracket that closes what was opened before text, or its end.
func closing(text []byte) int {
	open := 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '(', '{', '[':
			open++
		case ')', '}', ']':
			if open--; open < 0 {
				return i
			}
		case '"', '\'', '`':
			i = stringEnd(text, i)
		}
	}
	return len(text)
}

// stringEnd is the place of the quote that ends the string beginning at i.
func stringEnd(text []byte, i int) int {
	quote := text[i]
	for i++; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case quote:
			return i
		case '\n':
			if quote != '`' { // not a string after all: an apostrophe in a regular expression, say
				return i
			}
		}
	}
	return len(text)
}

// withoutComments is text with spaces in place of comments; line numbers stay.
func withoutComments(text []byte) []byte {
	out := bytes.Clone(text)
	for i := 0; i < len(out); i++ {
		var end int
		switch {
		case out[i] == '"' || out[i] == '\'' || out[i] == '`':
			i = stringEnd(out, i)
			continue
		case bytes.HasPrefix(out[i:], []byte("//")):
			end = after(out, i, "\n")
		case bytes.HasPrefix(out[i:], []byte("/*")):
			end = after(out, i+2, "*/") + 1
		default:
			continue
		}
		for ; i < min(end, len(out)); i++ {
			if out[i] != '\n' {
				out[i] = ' '
			}
		}
		i--
	}
	return out
}
