package proxy

import (
	"fmt"
	"strconv"

	"dbops/internal/app"
	"dbops/internal/config"
	"dbops/internal/proxy"
	"dbops/internal/tui/dialog"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/sessions"
	"dbops/internal/tui/text"
)

// The ids of the page's actions.
const (
	actStart   = "proxy.start"
	actStop    = "proxy.stop"
	actAccess  = "proxy.access"
	actCopy    = "proxy.copy-uri"
	actKill    = "connection.kill"
	actPane    = "pane.next"
	actBack    = "pane.previous"
	actSort    = "list.sort"
	actPaneNth = "pane." // and its number
)

// Actions implements [screen.Page].
func (p Page) Actions(s screen.Scene) []screen.Action {
	st := p.state(s)
	line := p.CLI(s)
	start, stop, access := s.NoProxy(), "", s.NoProxy()
	switch st.Phase {
	case sessions.Starting:
		start, access = "it is starting", "it is starting"
	case sessions.Running:
		start, access = "it is open already", "stop the proxy first (t): its clients were promised this access"
	case sessions.Stopping:
		start, stop, access = "it is draining", "it is draining", "it is draining"
	default:
		stop = "no proxy is open"
	}
	stopTitle := "stop the proxy"
	if st.Phase == sessions.Starting {
		stopTitle = "cancel the start"
	}
	copyOff, copyCLI := "", []string(nil)
	if u, ok := p.selectedURI(st); ok {
		copyCLI = screen.CLIURI(p.env, u.Database)
	} else {
		copyOff = "the proxy is not open"
	}
	_, connected := p.selectedConnection(st)
	kill := ""
	switch {
	case p.pane != paneConnections:
		kill = "go to the connections first (l)"
	case !connected:
		kill = "no connection is selected"
	}
	sortOff := ""
	if p.pane != paneConnections {
		sortOff = "only connections can be sorted"
	}
	out := []screen.Action{
		{ID: actStart, Title: "start the proxy with access " + string(p.access), Short: "start", Key: screen.Keys("t"), Write: true, CLI: line, Off: start},
		{ID: actStop, Title: stopTitle, Short: "stop", Key: screen.Keys("t"), Write: true, Off: stop},
		{ID: actCopy, Title: "copy the selected URI with its password", Short: "copy URI", Key: screen.Keys("y"), CLI: copyCLI, Off: copyOff},
		{ID: actPane, Title: "next list", Short: "lists", Key: screen.ShownAs(screen.Keys("l", "tab", "]"), "l tab"), Group: screen.GroupMove},
		{ID: actKill, Title: "cut the selected connection", Short: "cut", Key: screen.Keys("x"), Write: true, Off: kill},
		{ID: actAccess, Title: "choose the access: read, write, admin", Short: "access", Key: screen.Keys("c"), Off: access},
		{ID: actSort, Title: "sort connections by " + p.order.next().String(), Short: "sort", Key: screen.Keys("s"), Off: sortOff},
		{ID: actBack, Title: "list before", Key: screen.ShownAs(screen.Keys("L", "shift+tab", "["), "L shift+tab"), Group: screen.GroupMove},
	}
	for i, name := range []string{"databases", "connections", "events"} {
		out = append(out, screen.Action{ID: actPaneNth + name, Title: name, Key: screen.Keys(strconv.Itoa(i + 1)), Group: screen.GroupMove})
	}
	return screen.Grouped(append(out, screen.Moves()...))
}

// selectedConnection is the client under the cursor.
func (p Page) selectedConnection(st sessions.State) (proxy.Connection, bool) {
	for _, c := range st.Connections {
		if strconv.FormatUint(c.ID, 10) == p.connections.Selected() {
			return c, true
		}
	}
	return proxy.Connection{}, false
}

// Do implements [screen.Page].
func (p Page) Do(id string, s screen.Scene) (screen.Page, screen.Out) {
	p = p.sync(s)
	st := p.state(s)
	if step, ok := screen.Step(id, p.plan(s).of(p.pane)); ok {
		return p.move(step, st), screen.Out{}
	}
	switch id {
	case actStart:
		return p, p.start(s)
	case actStop:
		return p, p.stop(s)
	case actAccess:
		return p, screen.Say(screen.Show{Dialog: p.accessMenu(s)})
	case actCopy:
		u, _ := p.selectedURI(st)
		return p, screen.Say(screen.Copy{What: "URI of " + u.Database + " (with its password)", Secret: u.Full})
	case actKill:
		return p, p.kill(s)
	case actSort:
		p.order = p.order.next()
		return p.sync(s), screen.Out{}
	case actPane:
		p.pane = (p.pane + 1) % panes
	case actBack:
		p.pane = (p.pane + panes - 1) % panes
	case actPaneNth + "databases":
		p.pane = paneDatabases
	case actPaneNth + "connections":
		p.pane = paneConnections
	case actPaneNth + "events":
		p.pane = paneEvents
	}
	return p, screen.Out{}
}

func (p Page) move(step int, st sessions.State) Page {
	switch p.pane {
	case paneConnections:
		p.connections = p.connections.Move(step)
	case paneEvents:
		p.back = min(max(0, p.back-step), max(0, len(st.Events)-1))
	default:
		p.databases = p.databases.Move(step)
	}
	return p
}

// start asks first when a protected environment would be opened for changes: why, and whether.
func (p Page) start(s screen.Scene) screen.Out {
	o := p.options(p.state(s))
	if o.Access == config.Read || !s.Protected(p.env) {
		return screen.Say(screen.StartProxy{Options: o})
	}
	title := fmt.Sprintf("Open %s for %s", p.env, o.Access)
	body := fmt.Sprintf("%s is protected. Why is it opened for %s? The audit log keeps the reason.", p.env, o.Access)
	return screen.Say(screen.Show{Dialog: dialog.NewAsk(title, p.env, true, body, func(reason string) screen.Dialog {
		o.Reason = reason
		return dialog.Confirm{
			Title: title, Environment: p.env, Protected: true, Alarm: true,
			Body: []string{
				fmt.Sprintf("%s is protected. Every client of this proxy will be able to change its data: access %s.", p.env, o.Access),
				fmt.Sprintf("It ends by itself after %d minutes. Close it as soon as the work is done.", int(app.GuardedFor.Minutes())),
			},
			CLI: screen.CLIProxy(o), Yes: "open it", No: "leave it closed", Then: screen.StartProxy{Options: o},
		}
	})})
}

// stop asks first when somebody would be cut off.
func (p Page) stop(s screen.Scene) screen.Out {
	st := p.state(s)
	msg := screen.StopProxy{Environment: p.env}
	if st.Live() == 0 {
		return screen.Say(msg)
	}
	return screen.Say(screen.Show{Dialog: dialog.Confirm{
		Title: "Stop the proxy of " + p.env, Environment: p.env, Protected: s.Protected(p.env), Alarm: true,
		Body: []string{
			fmt.Sprintf("%s still connected. New clients are refused at once; sessions in a transaction may finish it, then all are cut.",
				plural(st.Live())),
		},
		Yes: "stop it", No: "keep it open", Then: msg,
	}})
}

func plural(n int) string {
	if n == 1 {
		return "1 client is"
	}
	return text.Count(n, "client") + " are"
}

func (p Page) kill(s screen.Scene) screen.Out {
	c, ok := p.selectedConnection(p.state(s))
	if !ok {
		return screen.Say(screen.Notice{Text: "cut the connection", Err: errGone})
	}
	return screen.Say(screen.Show{Dialog: dialog.Confirm{
		Title: fmt.Sprintf("Cut connection %d", c.ID), Environment: p.env, Protected: s.Protected(p.env), Alarm: true,
		Body: []string{describe(c, s), "What it has not committed is rolled back. The client may connect again."},
		Yes:  "cut it", No: "keep it", Then: screen.KillConnection{Environment: p.env, ID: c.ID},
	}})
}

// accessMenu offers the accesses; the one in effect is selected.
func (p Page) accessMenu(s screen.Scene) screen.Dialog {
	item := func(k string, a config.Access, note string) dialog.Item {
		if a != config.Read && s.ReadOnly != "" {
			return dialog.Item{Title: string(a), Key: k, Note: s.ReadOnly, Off: s.NoChange()}
		}
		o := p.options(p.state(s))
		o.Access = a
		return dialog.Item{Title: string(a), Key: k, Note: note, CLI: screen.CLIProxy(o), Then: chosen{to: p.scope.ID, access: a}}
	}
	accesses := []config.Access{config.Read, config.Write, config.Admin}
	at := 0
	for i, a := range accesses {
		if a == p.access {
			at = i
		}
	}
	return dialog.NewMenu("Access of the next proxy", p.env, s.Protected(p.env), []dialog.Item{
		item("r", config.Read, "sessions start read-only"),
		item("w", config.Write, "clients can change data"),
		item("m", config.Admin, "clients can change data and structure"),
	}).At(at)
}
