package screen

import (
	"slices"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"
)

// Action is what a key, the action menu and the palette all run.
type Action struct {
	ID    string // noun.verb: proxy.start
	Title string // what it does, in the help and the palette
	Short string // the same in a word or two, in the row of keys; empty keeps it out of there
	Key   key.Binding
	Group string   // heading in the help; empty for the page's own
	Write bool     // it changes something outside this screen
	CLI   []string // the command line that does the same; nil when it is about the screen alone
	Off   string   // why it cannot run now; empty when it can
}

// Keys makes the binding of an action: the first of keys is the one that help shows.
func Keys(keys ...string) key.Binding {
	shown := ""
	if len(keys) > 0 {
		shown = keys[0]
	}
	return key.NewBinding(key.WithKeys(keys...), key.WithHelp(shown, ""))
}

// ShownAs is b with another text for its keys in the help.
func ShownAs(b key.Binding, shown string) key.Binding {
	b.SetHelp(shown, "")
	return b
}

// Without is b without some keys.
func Without(b key.Binding, taken []string) key.Binding {
	keys := slices.DeleteFunc(slices.Clone(b.Keys()), func(k string) bool { return slices.Contains(taken, k) })
	if len(keys) == len(b.Keys()) {
		return b
	}
	return Keys(keys...)
}

// Match finds the action of a key. Of several on the same key the first that can run wins; when none can, the first.
func Match(actions []Action, k tea.KeyPressMsg) (Action, bool) {
	var off Action
	found := false
	for _, a := range actions {
		if !key.Matches(k, a.Key) {
			continue
		}
		if a.Off == "" {
			return a, true
		}
		if !found {
			off, found = a, true
		}
	}
	return off, found
}

// Find returns the action of an id.
func Find(actions []Action, id string) (Action, bool) {
	for _, a := range actions {
		if a.ID == id {
			return a, true
		}
	}
	return Action{}, false
}

// The ids of the moves in a list, which [Moves] binds.
const (
	MoveUp       = "list.up"
	MoveDown     = "list.down"
	MoveTop      = "list.top"
	MoveBottom   = "list.bottom"
	MovePageUp   = "list.page-up"
	MovePageDown = "list.page-down"
)

// GroupMove holds what only moves about on the page. The menus leave it out.
const GroupMove = "Move"

// Grouped keeps actions in their order, those that move last.
func Grouped(actions []Action) []Action {
	var own, moves []Action
	for _, a := range actions {
		if a.Group == GroupMove {
			moves = append(moves, a)
		} else {
			own = append(own, a)
		}
	}
	return append(own, moves...)
}

// Moves are the keys of every list.
func Moves() []Action {
	const group = GroupMove
	return []Action{
		{ID: MoveDown, Title: "down", Group: group, Key: ShownAs(Keys("j", "down"), "j down")},
		{ID: MoveUp, Title: "up", Group: group, Key: ShownAs(Keys("k", "up"), "k up")},
		{ID: MoveTop, Title: "first", Group: group, Key: ShownAs(Keys("g", "home"), "g home")},
		{ID: MoveBottom, Title: "last", Group: group, Key: ShownAs(Keys("G", "end"), "G end")},
		{ID: MovePageDown, Title: "half a page down", Group: group, Key: ShownAs(Keys("ctrl+d", "pgdown"), "ctrl+d pgdn")},
		{ID: MovePageUp, Title: "half a page up", Group: group, Key: ShownAs(Keys("ctrl+u", "pgup"), "ctrl+u pgup")},
	}
}

// Step is how far a move goes in a list that shows h rows; ends are far beyond any list. ok is false for another id.
func Step(id string, h int) (step int, ok bool) {
	const end = 1 << 30
	switch id {
	case MoveUp:
		return -1, true
	case MoveDown:
		return 1, true
	case MoveTop:
		return -end, true
	case MoveBottom:
		return end, true
	case MovePageUp:
		return -max(1, h/2), true
	case MovePageDown:
		return max(1, h/2), true
	}
	return 0, false
}
