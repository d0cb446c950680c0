package rehearse

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/migrate/split"
)

func itoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// failure places a server's error in a file.
func (p *player) failure(r *playing, at int, pe *pgconn.PgError) *Failure {
	f := &Failure{State: pe.Code, Message: pe.Message, Detail: pe.Detail, Hint: pe.Hint, Context: pe.Where}
	f.Rights = pe.Code == "42501"
	if at >= len(r.file.Statements) {
		return f
	}
	f.Statement = at + 1
	s := r.file.Statements[at]
	sql := r.job.Migration.File(r.job.Direction).SQL
	offset := s.Start
	if pe.Position > 0 {
		offset += min(byteAt(s.Text, int(pe.Position)-1), len(s.Text))
	}
	f.Line, f.Column = split.Place(sql, offset)
	f.Excerpt = excerpt(sql, offset, f.Line, f.Column)
	return f
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

const mostShown = 100 // characters

// excerpt is the line of a place with a caret under it, "" for one that may hold a secret.
func excerpt(sql string, offset, line, column int) string {
	text, _, _ := strings.Cut(sql[strings.LastIndexByte(sql[:offset], '\n')+1:], "\n")
	text = strings.TrimRight(strings.ReplaceAll(text, "\t", " "), "\r ")
	if strings.Contains(strings.ToLower(text), "password") {
		return ""
	}
	r := []rune(text)
	if column > mostShown*2/3 {
		cut := min(column-mostShown/2, len(r))
		r, column = r[cut:], column-cut
	}
	if len(r) > mostShown {
		r = append(r[:mostShown:mostShown], '…')
	}
	number := fmt.Sprintf("%d | ", line)
	return number + string(r) + "\n" + strings.Repeat(" ", len(number)+column-1) + "^"
}

// String is the failure without its file.
func (f *Failure) String() string {
	s := f.Message
	if f.State != "" {
		s += " (SQLSTATE " + f.State + ")"
	}
	for _, more := range []string{f.Detail, f.Hint} {
		if more != "" {
			s += "; " + more
		}
	}
	return s
}

// Place is where a file fails: "000012_x.up.sql:3:5".
func (f File) Place() string {
	if f.Failure == nil || f.Failure.Line == 0 {
		return f.Name
	}
	return fmt.Sprintf("%s:%d:%d", f.Name, f.Failure.Line, f.Failure.Column)
}

const longest = 110 // characters of a statement

// brief is a statement on one line. Literals are left out: a report is kept, and one may be a secret. So are the rows of statements about data.
func brief(s split.Statement) string {
	if data(s) && s.Words[0] != "with" {
		n := min(len(s.Words), 3)
		if s.Words[0] == "do" || s.Words[0] == "select" {
			n = 1
		}
		return strings.ReplaceAll(strings.ToUpper(s.Words[0])+" "+strings.Join(append(s.Words[1:n:n], "…"), " "), `"`, "…")
	}
	return cut(strings.Join(strings.Fields(withoutLiterals(s.Text)), " "))
}

// withoutLiterals leaves out strings and comments. It ends where a quoted body begins: what follows that is of less interest.
func withoutLiterals(sql string) string {
	var b strings.Builder
	for i := 0; i < len(sql); {
		switch c := sql[i]; {
		case c == '\'':
			escapes := i > 0 && (sql[i-1] == 'e' || sql[i-1] == 'E')
			i = afterQuote(sql, i+1, c, escapes)
			b.WriteString("'…'")
		case c == '"':
			end := afterQuote(sql, i+1, c, false)
			b.WriteString(sql[i:end])
			i = end
		case strings.HasPrefix(sql[i:], "--"):
			end := strings.IndexByte(sql[i:], '\n')
			if end < 0 {
				return b.String()
			}
			i += end
		case strings.HasPrefix(sql[i:], "/*"):
			end := strings.Index(sql[i:], "*/")
			if end < 0 {
				return b.String()
			}
			i += end + len("*/")
		case c == '$' && (i == 0 || !partOfName(sql[i-1])):
			return b.String() + "$…"
		default:
			b.WriteByte(c)
			i++
		}
	}
	return b.String()
}

func partOfName(c byte) bool {
	return c == '_' || c == '$' || c >= 0x80 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
}

// afterQuote is where a quote has ended that began before i.
func afterQuote(sql string, i int, quote byte, escapes bool) int {
	for ; i < len(sql); i++ {
		switch {
		case escapes && sql[i] == '\\':
			i++
		case sql[i] == quote && i+1 < len(sql) && sql[i+1] == quote:
			i++
		case sql[i] == quote:
			return i + 1
		}
	}
	return len(sql)
}

func cut(s string) string {
	r := []rune(s)
	if len(r) > longest {
		return string(r[:longest]) + "…"
	}
	return s
}
