// Package text turns values into words that fit a terminal cell grid.
//
// Everything that came from a database, a provider or a client passes [Clean] before it is drawn, so that no byte of it can move
// the cursor, change a colour or reorder a line. Widths are counted in cells, never in bytes; nothing here wraps.
package text

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean returns s as one line that is safe to draw. White space becomes a space. Control characters, escapes, characters that
// reorder text, emoji (terminals disagree on their width) and invalid bytes become '?'. Joiners and variation selectors are
// left out.
func Clean(s string) string {
	if plain(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			b.WriteByte('?')
		case r == '\n' || r == '\t' || r == '\r' || r == '\u2028' || r == '\u2029':
			b.WriteByte(' ')
		case unicode.IsControl(r), reorders(r), r >= 0x1F000 && r <= 0x1FAFF:
			b.WriteByte('?')
		case invisible(r):
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// plain tells whether s is printable ASCII, which is nearly always so.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// reorders tells whether r changes the direction of the text around it.
func reorders(r rune) bool {
	return r >= 0x202A && r <= 0x202E || r >= 0x2066 && r <= 0x2069 || r == 0x200E || r == 0x200F || r == 0x061C
}

// invisible tells whether r only changes the glyph beside it.
func invisible(r rune) bool {
	return r >= 0x200B && r <= 0x200D || r == 0x2060 || r == 0xFEFF || r >= 0xFE00 && r <= 0xFE0F || r == 0x00AD ||
		r >= 0xE0000 && r <= 0xE01EF
}
