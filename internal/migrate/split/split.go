// Package split finds the statements of a migration file, and what no server takes: unclosed quotes, psql's own commands, data of COPY.
//
// It reads tokens as PostgreSQL's scanner does, with standard_conforming_strings on, and knows no grammar. What a statement is for the
// runner (does it end a transaction, can it run in one) is told by its first words.
package split

import (
	"strings"
	"unicode/utf8"
)

// Statement is one statement of a file, without its semicolon and without the comments around it.
type Statement struct {
	Text       string
	Start, End int // bytes in the file
	Line       int // of Start, from 1
	Column     int // of Start, from 1, in characters
	// Words are its bare words outside parentheses, lower case, the first ones; a quoted name is `"`.
	Words []string
}

// Problem is something in a file that cannot be sent to a server.
type Problem struct {
	Line, Column int
	Text         string
	Remedy       string
}

const maxWords = 24

// Split returns the statements of a file, and what is wrong with it. With problems the statements are not to be trusted.
func Split(sql string) ([]Statement, []Problem) {
	s := scanner{sql: sql, start: -1}
	s.run()
	return s.out, s.problems
}

type scanner struct {
	sql      string
	i        int
	start    int // of the statement, -1 between statements
	paren    int
	nested   int  // CASE ... END within a body that BEGIN ATOMIC opened
	atomic   bool // within such a body
	last     string
	words    []string
	out      []Statement
	problems []Problem
	// where the last position was counted to
	at, line, lineStart int
}

// Place returns the line and column, from 1, of a byte of a text.
func Place(sql string, offset int) (line, column int) {
	offset = min(max(offset, 0), len(sql))
	before := sql[:offset]
	line = 1 + strings.Count(before, "\n")
	return line, 1 + utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
}

func (s *scanner) place(offset int) (line, column int) { // offsets grow, but for that of an unclosed quote
	if offset < s.at {
		return Place(s.sql, offset)
	}
	for ; s.at < offset; s.at++ {
		if s.sql[s.at] == '\n' {
			s.line++
			s.lineStart = s.at + 1
		}
	}
	return s.line + 1, 1 + utf8.RuneCountInString(s.sql[s.lineStart:offset])
}

func (s *scanner) problem(offset int, text, remedy string) {
	line, column := s.place(offset)
	s.problems = append(s.problems, Problem{line, column, text, remedy})
}

func (s *scanner) run() {
	for s.i < len(s.sql) {
		s.token()
	}
	s.emit(len(s.sql))
}

// has tells whether text is next.
func (s *scanner) has(text string) bool { return strings.HasPrefix(s.sql[s.i:], text) }

func (s *scanner) mark() {
	if s.start < 0 {
		s.start = s.i
	}
}

func (s *scanner) token() {
	c := s.sql[s.i]
	switch {
	case isSpace(c):
		s.i++
	case s.has("--"):
		s.skipLine()
	case s.has("/*"):
		s.comment()
	case c == ';':
		if s.paren > 0 || s.atomic {
			s.i++
			return
		}
		end := s.i
		s.i++
		copies := s.copiesStdin()
		s.emit(end)
		if copies {
			s.skipCopyData()
		}
	case c == '\\':
		s.meta()
	default:
		s.mark()
		s.solid(c)
	}
}

// solid reads a token that belongs to a statement.
func (s *scanner) solid(c byte) {
	switch {
	case c == '\'':
		s.quoted(s.i, '\'', false)
	case c == '"':
		s.quoted(s.i, '"', false)
		s.word(`"`)
	case c == '$':
		s.dollar()
	case isIdentStart(c):
		s.ident()
	case c == '(':
		s.paren++
		s.last = ""
		s.i++
	case c == ')':
		s.paren = max(0, s.paren-1)
		s.last = ""
		s.i++
	case c >= '0' && c <= '9':
		for s.i < len(s.sql) && (isIdentPart(s.sql[s.i]) || s.sql[s.i] == '.') {
			s.i++
		}
		s.last = ""
	default:
		s.last = ""
		s.i++
	}
}

func (s *scanner) skipLine() {
	for s.i < len(s.sql) && s.sql[s.i] != '\n' && s.sql[s.i] != '\r' {
		s.i++
	}
}

func (s *scanner) comment() {
	from, depth := s.i, 1
	s.i += 2
	for s.i < len(s.sql) && depth > 0 {
		switch {
		case s.has("/*"):
			depth++
			s.i += 2
		case s.has("*/"):
			depth--
			s.i += 2
		default:
			s.i++
		}
	}
	if depth > 0 {
		s.problem(from, "a comment /* is not closed", "close it with */")
	}
}

// quoted reads a string or a quoted name whose quote is next; from is where it began, with its prefix.
func (s *scanner) quoted(from int, quote byte, escapes bool) {
	s.last = ""
	s.i++
	for s.i < len(s.sql) {
		switch c := s.sql[s.i]; {
		case escapes && c == '\\':
			s.i += 2
		case c == quote && s.i+1 < len(s.sql) && s.sql[s.i+1] == quote:
			s.i += 2
		case c == quote:
			s.i++
			return
		default:
			s.i++
		}
	}
	s.i = len(s.sql)
	s.problem(from, "a quote "+string(quote)+" is not closed", "close it; a quote within is written twice")
}

// dollar reads $tag$...$tag$, or a parameter.
func (s *scanner) dollar() {
	s.last = ""
	j := s.i + 1
	for j < len(s.sql) && s.sql[j] != '$' && (isIdentStart(s.sql[j]) || (j > s.i+1 && isDigit(s.sql[j]))) {
		j++
	}
	if j >= len(s.sql) || s.sql[j] != '$' {
		s.i++
		return
	}
	tag := s.sql[s.i : j+1]
	end := strings.Index(s.sql[j+1:], tag)
	if end < 0 {
		s.problem(s.i, "a quote "+tag+" is not closed", "close it with "+tag)
		s.i = len(s.sql)
		return
	}
	s.i = j + 1 + end + len(tag)
}

func (s *scanner) ident() {
	from := s.i
	for s.i < len(s.sql) && isIdentPart(s.sql[s.i]) {
		s.i++
	}
	w := strings.ToLower(s.sql[from:s.i])
	if w == "e" && s.i < len(s.sql) && s.sql[s.i] == '\'' {
		s.quoted(from, '\'', true)
		return
	}
	switch {
	case w == "atomic" && s.last == "begin" && len(s.words) > 0 && s.words[0] == "create":
		s.atomic, s.nested = true, 1
	case s.atomic && w == "case":
		s.nested++
	case s.atomic && w == "end":
		if s.nested--; s.nested == 0 {
			s.atomic = false
		}
	}
	s.last = w
	s.word(w)
}

func (s *scanner) word(w string) {
	if s.paren == 0 && len(s.words) < maxWords {
		s.words = append(s.words, w)
	}
}

// meta reads a backslash, which only psql knows.
func (s *scanner) meta() {
	from := s.i
	s.skipLine()
	text, _, _ := strings.Cut(strings.TrimSpace(s.sql[from:s.i]), " ")
	remedy := "write SQL in its place: a migration is sent to the server, psql does not read it"
	switch text {
	case `\copy`:
		remedy = "load data with INSERT, or outside of migrations"
	case `\i`, `\ir`, `\include`:
		remedy = "put the text of that file here"
	case `\restrict`, `\unrestrict`, `\connect`, `\c`:
		remedy = "remove the line: pg_dump writes it for psql"
	}
	s.problem(from, "psql's command "+text+" is not SQL", remedy)
}

// copiesStdin tells whether the statement so far is COPY ... FROM STDIN.
func (s *scanner) copiesStdin() bool {
	if len(s.words) == 0 || s.words[0] != "copy" {
		return false
	}
	for i := 1; i < len(s.words); i++ {
		if s.words[i] == "stdin" && s.words[i-1] == "from" {
			s.problem(s.start, "COPY ... FROM STDIN needs data from a client", "load the rows with INSERT")
			return true
		}
	}
	return false
}

// skipCopyData passes what follows COPY ... FROM STDIN; to the line that ends it.
func (s *scanner) skipCopyData() {
	end := strings.Index(s.sql[s.i:], "\n\\.")
	if end < 0 {
		s.i = len(s.sql)
		return
	}
	s.i += end + len("\n\\.")
}

func (s *scanner) emit(end int) {
	if s.start >= 0 {
		text := strings.TrimRight(s.sql[s.start:end], " \t\r\n\f\v")
		line, column := s.place(s.start)
		s.out = append(s.out, Statement{text, s.start, s.start + len(text), line, column, s.words})
	}
	s.start, s.paren, s.nested, s.atomic, s.last, s.words = -1, 0, 0, false, "", nil
}

func isSpace(c byte) bool {
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v'
}
func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isIdentStart(c byte) bool {
	return c == '_' || c >= 0x80 || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
}
func isIdentPart(c byte) bool { return isIdentStart(c) || isDigit(c) || c == '$' }
