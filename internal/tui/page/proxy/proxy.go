// Package proxy is the page of an environment's proxy: start and stop it, copy its URIs, watch its clients.
//
// The proxy itself belongs to the program, not to this page, and keeps serving while the page is closed. The page shows its
// state as the sessions keep it, and asks before it cuts anybody off, or opens a protected environment for changes.
package proxy

import (
	"fmt"
	"strconv"
	"strings"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	"dbops/internal/config"
	"dbops/internal/tui/component"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/sessions"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
	"dbops/internal/tui/work"
)

type pane uint8

const (
	paneDatabases pane = iota
	paneConnections
	paneEvents
	panes
)

// Page is the proxy of one environment. It is a [screen.Page].
type Page struct {
	scope  work.Scope
	env    string
	access config.Access // chosen for the next start
	pane   pane

	databases   component.Table
	connections component.Table
	order       order
	back        int // lines of events between the newest and the last one shown; 0 follows
}

// New returns the page of an environment's proxy.
func New(pool *work.Pool, env string) Page {
	return Page{
		scope: pool.Scope(), env: env, access: config.Read,
		databases: component.Table{
			Columns: []component.Column{
				{Title: "DATABASE", Min: 10, Max: 32},
				{Title: "INSTANCE", Min: 8, Max: 24, Leave: 1},
				{Title: "URI", Min: 44},
			},
			Empty: "no database is configured for this environment",
		},
		connections: component.Table{
			Columns: []component.Column{
				{Title: "APPLICATION", Min: 12, Max: 24},
				{Title: "CLIENT", Min: 15, Max: 24, Leave: 8},
				{Title: "DATABASE", Min: 8, Max: 20, Leave: 2},
				{Title: "USER", Min: 9, Max: 24, Leave: 7},
				{Title: "STATE", Min: 16, Max: 20},
				{Title: "SINCE", Right: true, Min: 5, Leave: 3},
				{Title: "SENT", Right: true, Min: 7, Leave: 4},
				{Title: "RECV", Right: true, Min: 7, Leave: 5},
				{Title: "SENT/S", Right: true, Min: 7, Leave: 9},
				{Title: "RECV/S", Right: true, Min: 7, Leave: 6},
				{Title: "QUIET", Right: true, Min: 5, Leave: 10},
				{Title: "ID", Right: true, Min: 3, Leave: 11},
			},
			Empty: "no client is connected",
		},
	}
}

// ID implements [screen.Page].
func (p Page) ID() work.ID { return p.scope.ID }

// Close implements [screen.Page]. The proxy goes on.
func (p Page) Close() { p.scope.Close() }

// Captures implements [screen.Page].
func (p Page) Captures() bool { return false }

// Init implements [screen.Page].
func (p Page) Init(s screen.Scene) (screen.Page, screen.Out) {
	if st := p.state(s); st.Access != "" {
		p.access = st.Access
	}
	return p.sync(s), screen.Out{}
}

// Update implements [screen.Page].
func (p Page) Update(msg tea.Msg, s screen.Scene) (screen.Page, screen.Out) {
	if m, ok := msg.(chosen); ok {
		p.access = m.access
	}
	return p.sync(s), screen.Out{}
}

// chosen is the answer of the menu of accesses.
type chosen struct {
	to     work.ID
	access config.Access
}

// Addressee is the page that asked.
func (m chosen) Addressee() work.ID { return m.to }

// state is the proxy as it is.
func (p Page) state(s screen.Scene) sessions.State { return s.Proxies[p.env] }

// effective is the access of the proxy while there is one, else the one chosen for the next.
func (p Page) effective(st sessions.State) config.Access {
	if st.Open() || st.Phase == sessions.Starting {
		return st.Access
	}
	return p.access
}

// options are those of the next start.
func (p Page) options(st sessions.State) app.ProxyOptions {
	return app.ProxyOptions{Environment: p.env, Access: p.effective(st)}
}

// sync puts the proxy's state into the tables.
func (p Page) sync(s screen.Scene) Page {
	st := p.state(s)
	p.databases = p.databases.WithRows(databaseRows(p.env, st, s))
	p.connections = p.connections.WithRows(connectionRows(st, p.order, s))
	p.back = min(p.back, max(0, len(st.Events)-1))
	return p
}

// CLI implements [screen.Page].
func (p Page) CLI(s screen.Scene) []string { return screen.CLIProxy(p.options(p.state(s))) }

// Header implements [screen.Page].
func (p Page) Header(s screen.Scene) screen.Header {
	st := p.state(s)
	h := screen.Header{
		Environment: p.env,
		Title:       []string{"proxy"},
		Facts:       phaseWord(st),
		Mode:        screen.ModeOf(p.effective(st)),
		Tabs:        []screen.Tab{{Key: "1", Name: "Databases"}, {Key: "2", Name: "Connections"}, {Key: "3", Name: "Events"}},
		Active:      int(p.pane),
		Cursor:      -1,
	}
	if st.Open() {
		h.Fresh.At = st.Sampled
		h.Facts = st.Addr
		h.Tabs[paneConnections].Badge = strconv.Itoa(st.Live())
	}
	return h
}

func phaseWord(st sessions.State) string {
	switch st.Phase {
	case sessions.Starting:
		return "starting"
	case sessions.Running:
		return "listening"
	case sessions.Stopping:
		return "draining"
	case sessions.Ended:
		return "ended"
	default:
		return "not started"
	}
}

// selectedURI is the database under the cursor.
func (p Page) selectedURI(st sessions.State) (sessions.URI, bool) {
	for _, u := range st.URIs {
		if u.Database == p.databases.Selected() {
			return u, true
		}
	}
	return sessions.URI{}, false
}

// summary is the two or three lines above the panes.
func (p Page) summary(s screen.Scene) []string {
	st, th := p.state(s), s.Theme
	line := func(label, value string) string {
		return " " + th.Paint(theme.Muted, text.Left(label, 12, "")) + " " + value
	}
	paint := func(r theme.Role, v string) string { return th.Paint(r, v) }
	since := text.Age(s.Now.Sub(st.Since))
	switch st.Phase {
	case sessions.Running, sessions.Stopping:
		status := paint(theme.OK, "listening")
		if st.Phase == sessions.Stopping {
			status = paint(theme.Pending, "~ draining for "+since)
		}
		t := st.Totals
		return []string{
			line("proxy", status+paint(theme.Text, " on ")+paint(theme.Strong, text.Clean(st.Addr))+
				paint(theme.Text, roomy(s, fmt.Sprintf(" since %s (%s), access %s", text.Clock(st.Since), since, st.Access), " for "+since))),
			line("traffic", p.traffic(s, st)),
			line("totals", paint(theme.Text, fmt.Sprintf("%d open, %d accepted, %d refused", t.Open, t.Accepted, t.Refused)+
				roomy(s, fmt.Sprintf("; %s sent, %s received", text.Bytes(t.FromClient), text.Bytes(t.ToClient)), ""))),
		}
	case sessions.Starting:
		return []string{line("proxy", paint(theme.Pending, "~ starting for "+since)+paint(theme.Muted, "   t cancels"))}
	case sessions.Ended:
		out := wrapped(line, s, "proxy", theme.Danger, "x "+errText(st.Err))
		if h := hint(st.Err); h != "" {
			out = append(out, wrapped(line, s, "next", theme.Text, h)...)
		}
		return append(out, line("", paint(theme.Focus, "t")+paint(theme.Muted, " starts it again with access "+string(p.access))))
	default:
		return []string{
			line("proxy", paint(theme.Text, "not started")),
			line("", paint(theme.Focus, "t")+paint(theme.Muted, " starts it with access ")+paint(theme.Text, string(p.access))+
				paint(theme.Muted, ", ")+paint(theme.Focus, "c")+paint(theme.Muted, " chooses another access")),
		}
	}
}

// wrapped is a value in as many lines as it needs, at most three.
func wrapped(line func(label, value string) string, s screen.Scene, label string, role theme.Role, value string) []string {
	var out []string
	for _, l := range text.Wrap(text.Clean(value), s.Area.W-15) {
		if len(out) == 3 {
			break
		}
		out = append(out, line(label, s.Theme.Paint(role, l)))
		label = ""
	}
	return out
}

// roomy is long where it fits, which is from 80 columns on, else short.
func roomy(s screen.Scene, long, short string) string {
	if s.Area.W >= 80 {
		return long
	}
	return short
}

// traffic is a graph in each direction with the number beside it; on a narrow screen the number alone.
func (p Page) traffic(s screen.Scene, st sessions.State) string {
	const fixed = 55 // label, words and numbers
	w := min(60, max(5, (s.Area.W-fixed)/2))
	r := st.Rate()
	part := func(word string, samples []int64, v int64) string {
		if s.Area.W < 80 {
			return s.Theme.Paint(theme.Muted, word+" ") + s.Theme.Paint(theme.Text, text.Left(text.Rate(v), 11, ""))
		}
		return s.Theme.Paint(theme.Muted, word+" ") + s.Theme.Paint(theme.OK, component.Spark(s.Theme, samples, w)) +
			" " + s.Theme.Paint(theme.Text, text.Left(text.Rate(v), 11, ""))
	}
	return part("sent", st.Sent, r.Sent) + "  " + strings.TrimRight(part("received", st.Recv, r.Recv), " ")
}
