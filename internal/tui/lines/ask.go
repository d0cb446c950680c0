package lines

import (
	"fmt"
	"slices"
	"strings"

	"dbops/internal/tui/dialog"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
)

// ask says the question of the dialog on top, once.
func (h *host) ask(d screen.Dialog) {
	a, ok := d.(dialog.Asker)
	if !ok { // what it shows is said as it comes
		h.update(screen.KeyNamed("esc"))
		return
	}
	if h.asked {
		h.ready()
		return
	}
	q := a.Question()
	if q.Title != h.last.Title || !slices.Equal(q.Body, h.last.Body) || !slices.Equal(q.CLI, h.last.CLI) {
		title := q.Title
		if q.Environment != "" {
			title += ", in environment " + q.Environment
			if q.Protected {
				title += ", " + screen.Protected
			}
		}
		h.print("")
		h.say(title)
		for _, b := range q.Body {
			h.say(words(b))
		}
		h.same(text.Shell(q.CLI))
	}
	if q.Complaint != "" {
		h.say(q.Complaint)
	}
	for i, c := range q.Choices {
		h.print(fmt.Sprintf("%d. %s", i+1, c))
	}
	h.say(q.Asks + "; b to leave it")
	h.asked, h.last = true, q
	h.ready()
}

// answer takes a line for the dialog on top.
func (h *host) answer(d screen.Dialog, line string) {
	a, ok := d.(dialog.Asker)
	if !ok {
		return
	}
	exact := a.Question().Want
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "b", "back", "cancel":
		if exact == "" || line != exact {
			h.cancel("left")
			return
		}
	case "?", "help":
		h.asked, h.last = false, dialog.Question{}
		return
	}
	h.asked = false
	if h.program().Dialog() != nil {
		h.due = true
		h.update(dialog.Answer(line))
		return
	}
	next, out := d.Update(dialog.Answer(line), h.program().Scene())
	h.menu = next
	for _, msg := range out.Say {
		if do, ok := msg.(screen.Do); ok {
			h.actOn(do.ID)
		}
	}
}

// actOn runs an action that was offered.
func (h *host) actOn(id string) {
	p := h.program()
	if a, ok := screen.Find(append(own(p), places(p)...), id); ok {
		h.act(p, a)
		return
	}
	h.say("that cannot be done here any more")
}
