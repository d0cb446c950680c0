package creds

import (
	"encoding/json"
	"slices"
	"strings"

	"dbops/internal/tui/screen"
	"dbops/internal/tui/theme"
	"dbops/internal/tui/underway"
)

// containers are those that a change works on; none where that is not known.
func containers(c underway.Change) []string {
	var r struct {
		Container  string   `json:"container"`
		Containers []string `json:"containers"`
	}
	if json.Unmarshal(c.Request, &r) != nil {
		return nil
	}
	if r.Container != "" {
		return []string{r.Container}
	}
	return r.Containers
}

func line(c underway.Change, s screen.Scene) (string, theme.Role) {
	return c.Line(strings.Join(containers(c), ", "), s)
}

// of is the change that works on a container.
func (l listed) of(container string) (underway.Change, bool) {
	for _, c := range l.changes {
		if slices.Contains(containers(c), container) {
			return c, true
		}
	}
	return underway.Change{}, false
}
