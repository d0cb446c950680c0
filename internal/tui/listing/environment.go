package listing

import (
	"dbops/internal/tui/component"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/theme"
)

// Environment is the heading of the rows of an environment, so that a protected one cannot be taken for another: by word, by name and by colour.
func Environment(name string, protected bool) *component.Heading {
	if protected {
		return &component.Heading{Word: screen.Protected, Name: name, Band: theme.BandProtected}
	}
	return &component.Heading{Word: "environment", Name: name, Band: theme.BandOpen}
}

// Guarded gives a row of a protected environment its edge, which stays where the heading is out of sight.
func Guarded(r component.Row, protected bool) component.Row {
	if protected {
		r.Edge, r.Band = "P", theme.BandProtected
	}
	return r
}
