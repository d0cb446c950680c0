package component

import (
	"testing"

	"github.com/charmbracelet/x/ansi"

	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

func TestABarIsFullOnlyWhenAllIsDone(t *testing.T) {
	th := theme.New(theme.Options{ASCII: true})
	for part, want := range map[float64]string{
		0: "----------", 0.001: "=---------", 0.5: "=====-----", 0.999: "=========-", 1: "==========", 1.3: "==========", -1: "----------",
	} {
		if got := ansi.Strip(Bar(th, part, 10)); got != want {
			t.Errorf("%v: %q, want %q", part, got, want)
		}
	}
	for _, w := range []int{-1, 0, 1, 2} {
		if got := text.Width(Bar(th, 0.5, w)); got != max(0, w) {
			t.Errorf("%d cells for %d", got, w)
		}
	}
	for part, want := range map[float64]string{0: "  0%", 0.999: " 99%", 1: "100%", 1.4: "100%"} {
		if got := Percent(part); got != want {
			t.Errorf("%v: %q", part, got)
		}
	}
}
