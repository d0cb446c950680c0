package tui

import (
	"slices"

	"dbops/internal/app"
	"dbops/internal/tui/dialog"
	"dbops/internal/tui/overview"
	"dbops/internal/tui/screen"
)

// actionItems are the actions of a page as choices; moves in a list are none.
func actionItems(actions []screen.Action) []dialog.Item {
	var out []dialog.Item
	for _, a := range actions {
		if a.Group == screen.GroupMove {
			continue
		}
		note := ""
		if a.Write {
			note = "asks first where it can do harm"
		}
		out = append(out, dialog.Item{Title: a.Title, Note: note, Key: a.Key.Help().Key, Off: a.Off, CLI: a.CLI, Then: screen.Do{ID: a.ID}})
	}
	return out
}

// offers are everything the palette has: what can be done here, where to go, the commands of the CLI, and what is under way.
func (m model) offers() []dialog.Item {
	out := actionItems(m.top().Actions(m.scene()))
	out = append(out, sectionItems()...)
	seen := map[string]bool{}
	for _, i := range m.instances {
		if !seen[i.Environment] {
			seen[i.Environment] = true
			out = append(out, dialog.Item{
				Title: "go to proxy " + i.Environment, Note: protectedNote(i.Protected),
				Then: screen.OpenProxy{Environment: i.Environment},
			})
		}
		out = append(out, dialog.Item{
			Title: "go to " + overview.Key(i.Environment, i.Name), Note: protectedNote(i.Protected),
			CLI:  screen.CLIInstance(i.Environment, i.Name),
			Then: screen.OpenInstance{Known: overview.Known{Instance: i}},
		})
	}
	out = append(out, m.commandItems()...)
	out = append(out, m.waitingItems()...)
	if m.opts.Lines != nil { // the rest is about the screen
		return out
	}
	return append(append(out, themeItems()...), actionItems(m.globals())...)
}

func protectedNote(protected bool) string {
	if protected {
		return screen.Protected
	}
	return ""
}

// environments are the names in the order of the instances.
func environments(all []app.Instance) []string {
	var out []string
	for _, i := range all {
		if !slices.Contains(out, i.Environment) {
			out = append(out, i.Environment)
		}
	}
	return out
}
