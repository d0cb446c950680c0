package tui

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/fault"
	"dbops/internal/tui/dialog"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
)

// The ids of what works on every page.
const (
	actHelp      = "help.show"
	actPalette   = "palette.show"
	actMenu      = "menu.show"
	actMessages  = "messages.show"
	actBack      = "page.back"
	actLeave     = "page.leave"
	actInterrupt = "program.interrupt"
	actSuspend   = "program.suspend"
	actRedraw    = "screen.redraw"
	actCLI       = "cli.copy"
)

// again is how long a second ctrl+c counts as the second.
const again = 2 * time.Second

// clipboardLimit is what every terminal takes: 74 994 bytes of base64.
const clipboardLimit = 56_000

// globals are the actions of every page.
func (m model) globals() []screen.Action {
	const group = "Everywhere"
	first := len(m.stack) == 1
	noBack, leave := "", "back"
	if first {
		noBack, leave = "this is the first page", "quit"
	}
	noSuspend := ""
	if open, clients := m.proxies.Open(); open > 0 {
		noSuspend = "it would freeze " + openText(open, clients)
	}
	if m.opts.Terminal != nil {
		noSuspend = "it would stop the server, for everybody"
	}
	return append(m.sectionActions(), []screen.Action{
		{ID: actMenu, Title: "actions of this page", Short: "actions", Key: screen.Keys("a"), Group: group},
		{ID: actPalette, Title: "command palette: go to a page, run an action", Short: "command", Key: screen.ShownAs(screen.Keys(":", "ctrl+p"), ": ctrl+p"), Group: group},
		{ID: actCLI, Title: "copy the command line that shows this page", Key: screen.Keys("Y"), Group: group},
		{ID: actMessages, Title: "messages", Key: screen.Keys("M"), Group: group},
		{ID: actBack, Title: "close the message, go back", Key: screen.Keys("esc"), Group: group, Off: noBack},
		{ID: actRedraw, Title: "draw the screen again", Key: screen.Keys("ctrl+l"), Group: group},
		{ID: actSuspend, Title: "suspend", Key: screen.Keys("ctrl+z"), Group: group, Off: noSuspend},
		{ID: actInterrupt, Title: "cancel; twice: quit", Key: screen.Keys("ctrl+c"), Group: group},
		{ID: actHelp, Title: "this help", Short: "help", Key: screen.Keys("?"), Group: group},
		{ID: actLeave, Title: leave, Short: leave, Key: screen.Keys("q"), Group: group},
	}...)
}

// pressed routes a key: interrupts, then the dialog on top, then an input of the page, then actions.
func (m model) pressed(k tea.KeyPressMsg) (model, tea.Cmd) {
	switch k.String() {
	case "ctrl+c":
		return m.interrupt()
	case "ctrl+l":
		return m.do(actRedraw)
	case "ctrl+z":
		return m.doGlobal(actSuspend)
	}
	if m.leaving || m.tooSmall() {
		return m, nil
	}
	m.interrupted = time.Time{}
	m.meant = nil // something else is done
	if n := len(m.dialogs); n > 0 {
		return m.dialogUpdate(k)
	}
	if m.top().Captures() {
		return m.updatePage(len(m.stack)-1, k)
	}
	local, isLocal := screen.Match(m.top().Actions(m.scene()), k)
	if isLocal && local.Off == "" {
		return m.do(local.ID)
	}
	if k.String() == "esc" { // a message stands in front of the page
		if next, ok := m.notes.dismiss(); ok {
			m.notes = next
			return m, nil
		}
	}
	if g, ok := screen.Match(m.globals(), k); ok {
		if g.ID == actLeave && len(m.stack) > 1 { // q goes back as esc does: out of a part of the page first
			if esc, ok := screen.Match(m.top().Actions(m.scene()), tea.KeyPressMsg{Code: tea.KeyEscape}); ok && esc.Off == "" {
				return m.do(esc.ID)
			}
		}
		return m.doGlobal(g.ID)
	}
	if isLocal {
		return m.refuse(local)
	}
	return m, nil
}

// pasted gives a paste to whoever takes typing.
func (m model) pasted(msg tea.PasteMsg) (model, tea.Cmd) {
	if m.tooSmall() {
		return m, nil
	}
	if len(m.dialogs) > 0 {
		return m.dialogUpdate(msg)
	}
	if m.top().Captures() {
		return m.updatePage(len(m.stack)-1, msg)
	}
	return m, nil
}

func (m model) dialogUpdate(msg tea.Msg) (model, tea.Cmd) {
	n := len(m.dialogs)
	d, out := m.dialogs[n-1].Update(msg, m.scene())
	m.dialogs = append([]screen.Dialog{}, m.dialogs[:n-1]...)
	if d != nil {
		m.dialogs = append(m.dialogs, d)
	}
	return m.obey(out)
}

// do runs an action of the page on top, or a global one.
func (m model) do(id string) (model, tea.Cmd) {
	if a, ok := screen.Find(m.top().Actions(m.scene()), id); ok {
		if a.Off != "" {
			return m.refuse(a)
		}
		p, out := m.top().Do(id, m.scene())
		return m.setPage(len(m.stack)-1, p).obey(out)
	}
	return m.doGlobal(id)
}

// refuse says why an action cannot run now.
func (m model) refuse(a screen.Action) (model, tea.Cmd) {
	m.notes = m.notes.add(m.now, cmp.Or(a.Short, a.Title)+": "+a.Off, nil)
	return m, nil
}

func (m model) doGlobal(id string) (model, tea.Cmd) {
	if a, ok := screen.Find(m.globals(), id); ok && a.Off != "" && (id != actBack || m.opts.Lines != nil) {
		return m.refuse(a)
	}
	if next, cmd, ok := m.doSection(id); ok {
		return next, cmd
	}
	s := m.scene()
	switch id {
	case actHelp:
		return m.show(dialog.NewHelp("Keys of "+m.where(), "dbops "+m.opts.Version, append(m.top().Actions(s), m.globals()...)))
	case actPalette:
		return m.show(dialog.NewPalette("Command", m.offers()))
	case actMenu:
		h := m.top().Header(s)
		return m.show(dialog.NewMenu("Actions", h.Environment, h.Environment != "" && s.Protected(h.Environment), actionItems(m.top().Actions(s))))
	case actMessages:
		m.notes, _ = m.notes.dismiss()
		return m.show(dialog.NewHistory(m.notes.all))
	case actCLI:
		return m.copy(screen.Copy{What: "command line", Text: text.Shell(m.top().CLI(s))})
	case actBack:
		return m.back()
	case actLeave:
		if len(m.stack) > 1 {
			return m.back()
		}
		return m.askLeave()
	case actRedraw:
		return m, tea.ClearScreen
	case actSuspend:
		return m, m.suspend()
	case actInterrupt:
		return m.interrupt()
	}
	return m, nil
}

func (m model) show(d screen.Dialog) (model, tea.Cmd) {
	m.dialogs = append(m.dialogs[:len(m.dialogs):len(m.dialogs)], d)
	return m, nil
}

// askLeave quits, after a question when somebody would be cut off.
func (m model) askLeave() (model, tea.Cmd) {
	open, clients := m.proxies.Open()
	if open == 0 {
		return m, tea.Quit
	}
	return m.show(dialog.Confirm{
		Title: "Quit dbops", Alarm: clients > 0,
		Body: []string{"This closes " + openText(open, clients) + ". Sessions in a transaction may finish it, then all are cut."},
		Yes:  "close and quit", No: "stay", Then: leaveMsg{},
	})
}

// interrupt is ctrl+c: the first closes dialogs and cancels what is being read, the second leaves, a third does not wait for
// proxies to drain.
func (m model) interrupt() (model, tea.Cmd) {
	if m.leaving {
		m.hurried = true
		return m, tea.Quit
	}
	if !m.interrupted.IsZero() && m.now.Sub(m.interrupted) <= again {
		return m.leave()
	}
	m.interrupted = m.now
	m.dialogs = nil
	m, cmd := m.updatePage(len(m.stack)-1, screen.Cancel{})
	what := "ctrl+c again quits"
	if open, clients := m.proxies.Open(); open > 0 {
		what += " and closes " + openText(open, clients)
	}
	m.notes = m.notes.add(m.now, what, nil)
	return m, cmd
}

func openText(open, clients int) string {
	out := "1 proxy"
	if open != 1 {
		out = fmt.Sprintf("%d proxies", open)
	}
	return out + " with " + text.Count(clients, "client")
}

// inTmux tells that tmux stands between dbops and the terminal. As it comes it keeps the clipboard to itself.
func (m model) inTmux() bool {
	return getenv(m.opts.Env, "TMUX") != "" || strings.HasPrefix(getenv(m.opts.Env, "TERM"), "tmux")
}

// copy puts text on the terminal's clipboard by OSC 52. Whether the terminal took it, nobody can know, so a value that is no
// secret is shown as well.
func (m model) copy(c screen.Copy) (model, tea.Cmd) {
	if m.opts.Lines != nil {
		return m.write(c)
	}
	value := c.Text
	if !c.Secret.IsZero() {
		value = c.Secret.Reveal()
	}
	if len(value) > clipboardLimit {
		err := fault.Newf(fault.Usage, "copy "+c.What, "%s is more than a terminal's clipboard takes", text.Bytes(int64(len(value)))).
			Hint("%s", text.Shell(m.top().CLI(m.scene())))
		m.notes = m.notes.add(m.now, "nothing was copied", err)
		return m, nil
	}
	said := "copied the " + c.What
	if c.Secret.IsZero() && len(value) < 200 {
		said += ": " + value
	}
	if !c.Secret.IsZero() && m.inTmux() {
		said += ", if tmux lets it through: set -g set-clipboard on"
	}
	m.notes = m.notes.add(m.now, said, nil)
	return m, tea.SetClipboard(value)
}
