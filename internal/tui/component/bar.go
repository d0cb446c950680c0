package component

import (
	"fmt"
	"strings"

	"dbops/internal/tui/theme"
)

// Bar draws how much of something is done, from 0 to 1, in w cells. Only what is complete fills it, and only what has not begun leaves it empty.
func Bar(th theme.Theme, part float64, w int) string {
	if w <= 0 || th.Aloud() {
		return ""
	}
	n := int(part * float64(w))
	switch {
	case part >= 1:
		n = w
	case part > 0:
		n = min(max(1, n), w-1)
	default:
		n = 0
	}
	return th.Paint(theme.Focus, strings.Repeat(th.Glyphs.Bar, n)) + th.Paint(theme.Muted, strings.Repeat(th.Glyphs.Track, w-n))
}

// Percent is the number that stands beside a [Bar], four cells wide.
func Percent(part float64) string { return fmt.Sprintf("%3d%%", int(min(max(part, 0), 1)*100)) }
