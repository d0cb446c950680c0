package driver

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/migrate/split"
)

// FileError is a file that failed: where, why, and what that left.
type FileError struct {
	File         string
	Path         string
	What         string // the database: "prod/main/shop"
	Line, Column int    // 0 if the server did not say
	Excerpt      string // the line, and a caret under the place
	Statement    int    // from 1
	Done         int    // statements that stay, of a file that is run stepwise
	Statements   int
	State        string // SQLSTATE
	Message      string
	Detail, Clue string // the server's DETAIL and HINT
	Context      string // where in a function
	Attempt      int
	Took         time.Duration
	Blockers     []Blocker // who kept the lock
	Stepwise     bool      // what ran before it stays
	Lost         bool      // the connection broke, and it was not applied
	Cancelled    bool
	cause        error // of a cancellation
}

// Unwrap returns why it was cancelled, if it was.
func (e *FileError) Unwrap() error { return e.cause }

// Error is one line.
func (e *FileError) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	b.WriteString(": " + e.Message)
	if e.State != "" {
		b.WriteString(" (SQLSTATE " + e.State + ")")
	}
	if e.Detail != "" {
		b.WriteString("; " + e.Detail)
	}
	if e.Clue != "" {
		b.WriteString("; " + e.Clue)
	}
	if len(e.Blockers) > 0 {
		b.WriteString("; the lock was kept by " + blockersText(e.Blockers))
	}
	switch {
	case e.Stepwise && e.Done > 0:
		fmt.Fprintf(&b, "; %d of its %d statements are done and stay", e.Done, e.Statements)
	case e.Stepwise:
		b.WriteString("; none of its statements is done")
	default:
		b.WriteString("; nothing of the file is applied")
	}
	return b.String()
}

// passes tells whether the same file may succeed later: a lock was not to be had, or two sessions waited for each other.
func (e *FileError) passes() bool { return e.State == "55P03" || e.State == "40P01" }

// waited says for what an attempt waited in vain.
func (e *FileError) waited() string {
	if e.State == "40P01" {
		return "it and another session waited for each other"
	}
	s := "no lock"
	if e.Line > 0 {
		s += fmt.Sprintf(" for line %d", e.Line)
	}
	if len(e.Blockers) > 0 {
		s += ", kept by " + blockersText(e.Blockers)
	}
	return s
}

// failure places an error of a message in its file.
func (d *Driver) failure(j Job, err error, attempt int) *FileError {
	f := &FileError{File: j.String(), What: d.o.What, Attempt: attempt, Message: err.Error(), Blockers: d.seen}
	pos := f.server(err)
	if j.file() == nil {
		return f
	}
	f.Path = j.file().Path
	st := j.file().Split().Statements
	f.Statements = len(st)
	var se *sendError
	if !errors.As(err, &se) || se.in >= len(se.m.bodies) {
		return f
	}
	at := se.m.bodies[se.in]
	f.Statement = min(max(se.results-at.results+1, 1), len(st))
	var offset int
	switch {
	case pos > at.from && pos <= at.to:
		offset = byteAt(j.file().SQL, pos-at.from-1) // what is left out of it are as many blanks
		f.Statement = statementAt(st, offset)
	case pos > 0 && pos > at.to, f.Statement == 0:
		f.Statement = 0 // in what dbops adds
		return f
	default:
		offset = st[f.Statement-1].Start
	}
	f.place(j.file().SQL, offset, st[f.Statement-1].Text)
	return f
}

// server takes over what the server said, and returns the place that it named, in characters of what was sent: 0 without one.
func (e *FileError) server(err error) int {
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		return 0
	}
	e.State, e.Message, e.Detail, e.Clue, e.Context = pe.Code, pe.Message, pe.Detail, pe.Hint, pe.Where
	return int(pe.Position)
}

func (e *FileError) place(sql string, offset int, statement string) {
	e.Line, e.Column = split.Place(sql, offset)
	if strings.Contains(strings.ToLower(statement), "password") {
		return // it would be in the journal and the audit log
	}
	e.Excerpt = excerpt(sql, offset, e.Line, e.Column)
}

// byteAt is where a character is.
func byteAt(s string, runes int) int {
	i := 0
	for ; runes > 0 && i < len(s); runes-- {
		_, n := utf8.DecodeRuneInString(s[i:])
		i += n
	}
	return i
}

func statementAt(st []split.Statement, offset int) int {
	for i, s := range st {
		if offset < s.End {
			return i + 1
		}
	}
	return len(st)
}

const maxExcerpt = 100

// excerpt is the line of a place, with a caret under it.
func excerpt(sql string, offset, line, column int) string {
	from := strings.LastIndexByte(sql[:offset], '\n') + 1
	text, _, _ := strings.Cut(sql[from:], "\n")
	text = strings.TrimRight(strings.ReplaceAll(text, "\t", " "), "\r ")
	r := []rune(text)
	if column > maxExcerpt*2/3 { // a long line is shown around the place
		cut := min(column-maxExcerpt/2, len(r))
		r, column = r[cut:], column-cut
	}
	if len(r) > maxExcerpt {
		r = append(r[:maxExcerpt:maxExcerpt], '…')
	}
	number := fmt.Sprintf("%d | ", line)
	return number + string(r) + "\n" + strings.Repeat(" ", len(number)+column-1) + "^"
}
