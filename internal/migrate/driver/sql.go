package driver

import (
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
)

type ctxHandler = ctxwatch.Handler

func ident(names ...string) string { return pgx.Identifier(names).Sanitize() }

// literal is a text as SQL, whatever standard_conforming_strings a file has set: it stands in a message of several statements, which takes no
// parameters.
func literal(s string) string {
	s = strings.ReplaceAll(s, "\x00", "")
	return "E'" + strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), "'", "''") + "'"
}

func orNull(s string) string {
	if s == "" {
		return "null"
	}
	return literal(s)
}
