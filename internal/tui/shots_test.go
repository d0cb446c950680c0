package tui

import (
	"fmt"
	"testing"

	"github.com/charmbracelet/x/exp/golden"
)

// shots compares screens with their golden files, on three sizes and without colour.
func shots(t *testing.T, all map[string]func(*stage)) {
	t.Helper()
	for name, there := range all {
		for _, one := range []struct {
			w, h int
			o    Options
			kind string
		}{{80, 24, Options{}, ""}, {120, 40, Options{}, ""}, {200, 60, Options{}, ""}, {80, 24, Options{NoColor: true}, "_no_color"}} {
			t.Run(fmt.Sprintf("%s_%dx%d%s", name, one.w, one.h, one.kind), func(t *testing.T) {
				play(t, one.w, one.h, one.o, mend, func(s *stage) {
					there(s)
					golden.RequireEqual(t, s.Frame())
				})
			})
		}
	}
}
