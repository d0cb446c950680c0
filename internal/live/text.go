package live

import (
	"regexp"
	"strings"
)

// A statement that sets a password has it as a literal; one that was cut may have its beginning.
var passwords = regexp.MustCompile(`(?is)(\bpassword(?:\s*=\s*|\s+))(?:e|u&)?(?:'(?:[^']|'')*(?:'|$)|\$(\w*)\$.*)`)

// Masked is a statement without the passwords that it sets.
func Masked(query string) string { return passwords.ReplaceAllString(query, "${1}'****'") }

// What is left of a statement when its values go: comments, literals, numbers.
var (
	comments = regexp.MustCompile(`(?s)/\*.*?(?:\*/|$)|--[^\n]*`)
	literals = regexp.MustCompile(`(?is)(?:\b[exbn]|u&)?'(?:[^'\\]|''|\\.)*(?:'|$)|\$\w*\$.*`)
	numbers  = regexp.MustCompile(`\b\d[\w.]*`)
)

// maxShape is enough to know a statement again.
const maxShape = 160

// Shape is a statement without its values and cut short: what may be kept in a plan, where data and secrets have no place.
func Shape(query string) string {
	s := literals.ReplaceAllString(comments.ReplaceAllString(query, " "), "?")
	s = strings.Join(strings.Fields(numbers.ReplaceAllString(s, "?")), " ")
	if r := []rune(s); len(r) > maxShape {
		s = string(r[:maxShape]) + "..."
	}
	return s
}
