package text

import (
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// Width is the number of cells s takes. Styles in s take none.
func Width(s string) int {
	if plain(s) { // to find the clusters of characters takes long
		return len(s)
	}
	return ansi.StringWidth(s)
}

// Cut shortens s to at most w cells, the last of them being tail when something was left out. Styles in s are kept.
func Cut(s string, w int, tail string) string {
	if w <= 0 {
		return ""
	}
	if Width(s) <= w {
		return s
	}
	if Width(tail) > w {
		tail = ""
	}
	return ansi.Truncate(s, w, tail)
}

// Left is s in exactly w cells, starting at the left.
func Left(s string, w int, tail string) string {
	s = Cut(s, w, tail)
	return s + Spaces(w-Width(s))
}

// Right is s in exactly w cells, ending at the right.
func Right(s string, w int, tail string) string {
	s = Cut(s, w, tail)
	return Spaces(w-Width(s)) + s
}

// Spread is left and right at the two ends of exactly w cells. When both do not fit, right keeps its place and left is cut; a
// right that alone is too wide is dropped.
func Spread(left, right string, w int, tail string) string {
	if right == "" {
		return Left(left, w, tail)
	}
	room := w - Width(right) - 1
	if room < min(8, Width(left)) {
		return Left(left, w, tail)
	}
	return Left(left, room, tail) + " " + right
}

// Spaces is n spaces, none for a negative n.
func Spaces(n int) string { return strings.Repeat(" ", max(0, n)) }

// Box is lines in exactly h lines of exactly w cells: longer ones are cut, missing ones are blank.
func Box(lines []string, w, h int, tail string) string {
	out := make([]string, max(0, h))
	for i := range out {
		if i < len(lines) {
			out[i] = Left(lines[i], w, tail)
		} else {
			out[i] = Spaces(w)
		}
	}
	return strings.Join(out, "\n")
}

// Wrap breaks s between words into lines of at most w cells; a longer word is broken. Only dialogs and hints wrap.
func Wrap(s string, w int) []string {
	if w <= 0 || s == "" {
		return nil
	}
	var out []string
	for l := range strings.SplitSeq(ansi.Wrap(s, w, " "), "\n") {
		if Width(l) > w { // it lets a blank before a word of full width pass
			out = append(out, strings.Split(ansi.Hardwrap(l, w, false), "\n")...)
			continue
		}
		out = append(out, l)
	}
	return out
}
