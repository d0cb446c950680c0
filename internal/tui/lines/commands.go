package lines

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"dbops/internal/tui/dialog"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
)

// command is a word that works on every page.
type command struct {
	words []string
	does  string
	run   func(h *host)
}

// commands take their letters from the actions of pages, which are said by their names there.
var commands = []command{
	{[]string{"a", "actions"}, "what can be done here", func(h *host) { h.offer("What can be done here", own(h.program())) }},
	{[]string{"g", "go"}, "where to go from here: tabs and sections", (*host).offerPlaces},
	{[]string{"b", "back"}, "back", (*host).back},
	{[]string{"M", "messages"}, "the last messages", (*host).history},
	{[]string{"?", "help"}, "this help", nil},
	{[]string{"q", "quit", "exit"}, "quit", func(h *host) { h.update(Quit{}) }},
}

// reserved tells whether a key of a page is taken by a command.
func reserved(k string) bool {
	return slices.ContainsFunc(commands, func(c command) bool { return slices.Contains(c.words, k) }) || k == ":"
}

// line does what was typed.
func (h *host) line(line string) {
	h.by = ""
	h.prompt = h.prompt && h.o.Echo // whoever typed it in a terminal has ended the line
	if h.o.Echo {
		if h.prompt {
			h.prompt = false
			_, _ = fmt.Fprintln(h.o.Out, text.Clean(line))
		} else {
			h.print("> " + line)
		}
	}
	p := h.program()
	if d := h.dialog(p); d != nil {
		h.answer(d, line)
		return
	}
	line = strings.TrimSpace(line)
	if line == "" {
		if len(h.rest) > 0 {
			h.readOn()
			return
		}
		h.due, h.whole = true, true
		return
	}
	for _, c := range commands {
		if !slices.Contains(c.words, line) {
			continue
		}
		if c.run == nil {
			h.help(p)
			return
		}
		c.run(h)
		return
	}
	if n, err := strconv.Atoi(line); err == nil {
		h.number(p, n)
		return
	}
	if rest, ok := strings.CutPrefix(line, "/"); ok {
		h.filter(p, strings.TrimSpace(rest))
		return
	}
	if rest, ok := strings.CutPrefix(line, ":"); ok {
		h.update(screen.Do{ID: "palette.show"})
		if rest = strings.TrimSpace(rest); rest != "" {
			h.due = true
			h.update(dialog.Answer(rest))
		}
		return
	}
	h.named(p, line)
}

// number chooses a row of what was read out.
func (h *host) number(p Program, n int) {
	switch {
	case len(h.rows) == 0:
		h.say("there is no list here: a says what can be done")
	case n < 1 || n > len(h.rows):
		h.say(fmt.Sprintf("say a number from 1 to %d", len(h.rows)))
	default:
		h.choose(p, h.rows[n-1])
	}
}

// named does what a word means: the key of an action, a place, a row, the name of an action.
func (h *host) named(p Program, line string) {
	actions := own(p)
	k := line
	if line == "open" {
		k = "enter"
	}
	if utf8.RuneCountInString(k) == 1 || k == "enter" {
		if a, ok := screen.Match(actions, screen.KeyNamed(k)); ok {
			h.act(p, a)
			return
		}
	}
	for _, a := range places(p) {
		if strings.EqualFold(a.Title, line) {
			h.act(p, a)
			return
		}
	}
	found := called(h.rows, line)
	switch len(found) {
	case 1:
		h.choose(p, found[0])
		return
	case 0:
	default:
		h.say(fmt.Sprintf("%q may be %s: say the number", line, h.several(found)))
		return
	}
	items := titled(append(actions, places(p)...), line)
	switch len(items) {
	case 1:
		h.act(p, items[0])
	case 0:
		want := "a for what can be done, g for where to go, ? for help"
		if n := len(h.rows); n > 0 {
			want = fmt.Sprintf("a number from 1 to %d, a name, %s", n, want)
		}
		h.say(fmt.Sprintf("%q means nothing here: say %s", line, want))
	default:
		h.offer("Which of these", items)
	}
}

// called are the rows that a name may mean: those of exactly this name, or else those that have it in theirs. Two instances of one name are two.
func called(rows []row, name string) (exact []row) {
	var within []row
	for _, r := range rows {
		switch {
		case r.key == name:
			return []row{r}
		case strings.EqualFold(r.name(), name):
			exact = append(exact, r)
		case strings.Contains(strings.ToLower(r.name()), strings.ToLower(name)):
			within = append(within, r)
		}
	}
	if len(exact) > 0 {
		return exact
	}
	return within
}

func (h *host) several(rows []row) string {
	const most = 5
	var names []string
	for _, r := range rows[:min(most, len(rows))] {
		n := slices.IndexFunc(h.rows, func(o row) bool { return o.key == r.key })
		names = append(names, fmt.Sprintf("%d, %s", n+1, r.name()))
	}
	if more := len(rows) - most; more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, "; ")
}

// titled are the actions that a line may mean: the one that is called so, or else those whose titles hold all its words.
func titled(actions []screen.Action, line string) (out []screen.Action) {
	for _, a := range actions {
		if strings.EqualFold(a.Short, line) || strings.EqualFold(a.Title, line) {
			return []screen.Action{a}
		}
	}
	wanted := strings.Fields(strings.ToLower(line))
	for _, a := range actions {
		title := strings.ToLower(a.Title + " " + a.Short)
		if !slices.ContainsFunc(wanted, func(w string) bool { return !strings.Contains(title, w) }) {
			out = append(out, a)
		}
	}
	return out
}

// own are the actions of the page that do something.
func own(p Program) (out []screen.Action) {
	for _, a := range p.Page().Actions(p.Scene()) {
		if a.Group == screen.GroupMove {
			continue
		}
		if rest, ok := strings.CutPrefix(a.Title, "copy "); ok { // nobody can see where a copy went
			a.Title = "write " + rest
		}
		out = append(out, a)
	}
	return out
}

// places are where one can go from the page.
func places(p Program) (out []screen.Action) {
	for _, a := range append(p.Page().Actions(p.Scene()), p.Sections()...) {
		_, moves := screen.Step(a.ID, 1)
		aside := a.Title == "left" || a.Title == "right"
		if a.Group == screen.GroupMove && !moves && !aside && !slices.ContainsFunc(out, func(b screen.Action) bool { return a.Title == b.Title }) {
			out = append(out, a)
		}
	}
	return out
}

func (h *host) offerPlaces() { h.offer("Where to go", places(h.program())) }

// offer asks which of some actions is meant.
func (h *host) offer(title string, actions []screen.Action) {
	env := h.program().Header().Environment
	var items []dialog.Item
	for _, a := range actions {
		items = append(items, dialog.Item{Title: a.Title, Off: a.Off, CLI: a.CLI, Then: screen.Do{ID: a.ID}})
	}
	h.menu = dialog.NewMenu(title, env, env != "" && h.program().Scene().Protected(env), items)
	h.asked = false
}

// act runs an action.
func (h *host) act(p Program, a screen.Action) {
	if a.Off == "" && h.gone(p, a) {
		return
	}
	place := a.Group == screen.GroupMove // what shows the same stands behind it
	if a.Off == "" && !place {
		h.same(text.Shell(a.CLI))
	}
	h.renew = strings.Contains(a.ID, "refresh") || strings.Contains(a.ID, "again")
	h.due, h.whole = a.Off == "", h.renew || place
	h.update(screen.Do{ID: a.ID})
}

// gone says that the row that was chosen is not selected any more, where the action would be done to another one.
func (h *host) gone(p Program, a screen.Action) bool {
	if h.chosen == "" || !strings.Contains(a.Title, "selected") && h.meant[a.ID] == meaning(a) {
		return false
	}
	rows := parse(p.Page().View(p.Scene())).rows
	if len(rows) == 0 || slices.ContainsFunc(rows, func(r row) bool { return r.selected && r.key == h.chosen }) {
		return false
	}
	h.say("what you chose is not there any more: nothing was done")
	h.chosen, h.due, h.whole = "", true, true
	return true
}

// meaning is what an action would do.
func meaning(a screen.Action) string { return a.Title + "\n" + text.Shell(a.CLI) }

// choose selects a row, and opens it where nothing is said of it here.
func (h *host) choose(p Program, want row) {
	rows := parse(p.Page().View(p.Scene())).rows
	at := slices.IndexFunc(rows, func(r row) bool { return r.selected })
	to := slices.IndexFunc(rows, func(r row) bool { return r.key == want.key })
	if at < 0 || to < 0 {
		h.say(want.name() + " is not there any more")
		h.due, h.whole = true, true
		return
	}
	move := screen.MoveDown
	if to < at {
		move, at, to = screen.MoveUp, to, at
	}
	for range to - at {
		h.update(screen.Do{ID: move})
	}
	p = h.program()
	now := parse(p.Page().View(p.Scene()))
	if !slices.ContainsFunc(now.rows, func(r row) bool { return r.selected && r.key == want.key }) {
		h.say(want.name() + " cannot be chosen now")
		return
	}
	h.chosen, h.rows, h.meant = want.key, now.rows, map[string]string{}
	for _, a := range own(p) {
		h.meant[a.ID] = meaning(a)
	}
	open, ok := screen.Match(own(p), screen.KeyNamed("enter"))
	ok = ok && open.Off == ""
	if ok && len(now.about) == 0 && (strings.HasSuffix(open.ID, ".open") || strings.HasSuffix(open.ID, ".show")) {
		h.act(p, open)
		return
	}
	h.say("chosen: " + now.rows[slices.IndexFunc(now.rows, func(r row) bool { return r.key == want.key })].words)
	for _, l := range now.about {
		h.print(l)
	}
	can := "a says what can be done"
	if ok {
		can = "open: " + open.Title + "; " + can
	}
	h.say(can)
	h.heard = heard(now)
}

// filter narrows the list of the page; without words all of it is there again.
func (h *host) filter(p Program, wanted string) {
	actions := own(p)
	if a, ok := screen.Find(actions, "list.filter-clear"); ok && a.Off == "" {
		h.update(screen.Do{ID: a.ID})
	}
	h.chosen, h.due, h.whole = "", true, true
	if wanted == "" {
		return
	}
	i := slices.IndexFunc(actions, func(a screen.Action) bool { return key.Matches(screen.KeyNamed("/"), a.Key) })
	switch {
	case i < 0:
		h.due = false
		h.say("there is no list to filter here")
	case actions[i].Off != "":
		h.due = false
		h.say("it cannot be filtered now: " + actions[i].Off)
	default:
		h.update(screen.Do{ID: actions[i].ID})
		h.update(tea.PasteMsg{Content: wanted})
		h.update(screen.KeyNamed("enter"))
	}
}

// back closes what was opened last, on the page or above another.
func (h *host) back() {
	p, id := h.program(), "page.back"
	if a, ok := screen.Match(own(p), screen.KeyNamed("esc")); ok && a.Off == "" {
		id = a.ID
	}
	h.due, h.chosen = true, ""
	h.update(screen.Do{ID: id})
}

// history says the last messages again.
func (h *host) history() {
	const most = 10
	all := h.program().Messages()
	if len(all) == 0 {
		h.say("nothing was said yet")
	}
	for _, m := range all[max(0, len(all)-most):] {
		h.say(text.Clock(m.At) + " UTC: " + spoken(m))
	}
}

// help says what can be typed here.
func (h *host) help(p Program) {
	h.print("What you can say:")
	if n := len(h.rows); n > 0 {
		h.say(fmt.Sprintf("a number from 1 to %d, or a name: chooses or opens it", n))
		h.say("open: opens what is chosen")
		h.say("/ and words: only what has them; !word must not be there; / alone: all of it")
	}
	h.say("enter alone: reads on, or the page again")
	for _, c := range commands {
		h.say(strings.Join(c.words, " or ") + ": " + c.does)
	}
	h.say(": and words: finds a page, an action or a command of the CLI, as in :rotate")
	h.say("the name of a place, as g says them, or words of an action, as a says them")
	for _, a := range own(p) {
		k := a.Key.Help().Key
		if a.Off != "" || k == "" || reserved(k) || utf8.RuneCountInString(k) != 1 {
			continue
		}
		h.say(k + ": " + a.Title)
	}
	h.say("in a question: b leaves it, ? asks again; ctrl+c cancels a question, and else quits")
}
