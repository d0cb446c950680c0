// Package summary is the first tab of an instance: all its settings, and the provider's own description of it.
//
// It opens with what the fleet knows already and reads the instance anew at its own pace. When it cannot be read, the
// reason and the remedy stand above the last good values, which are muted and say how old they are.
package summary

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	"dbops/internal/state"
	"dbops/internal/tui/component"
	"dbops/internal/tui/core"
	"dbops/internal/tui/overview"
	"dbops/internal/tui/reading"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
	"dbops/internal/tui/work"
)

type tab uint8

const (
	tabOverview tab = iota
	tabRaw
	tabs
)

// Page is one instance. It is a [screen.Page].
type Page struct {
	scope   work.Scope
	reader  reading.Many[app.Status]
	known   overview.Known
	covered bool
	figures figures
	last    reading.One[*state.Run]

	tab    tab
	scroll [tabs]component.Scroll
	raw    []string // the provider's description, one line each
}

// New returns the page of an instance, of which this much is known already. Init begins a reading.
func New(c core.Core, pool *work.Pool, k overview.Known) Page {
	scope := pool.Scope()
	p := Page{scope: scope, reader: reading.Status(c, scope, k.Environment, k.Name), known: k, figures: newFigures(c, scope, k), last: newLast(c, scope, k)}
	p.raw = indent(k)
	return p
}

// indent is the provider's description as lines, without the two characters of its outer braces' indentation.
func indent(k overview.Known) []string {
	if k.Live == nil || len(k.Live.Raw) == 0 {
		return nil
	}
	var b bytes.Buffer
	if err := json.Indent(&b, k.Live.Raw, "", "  "); err != nil {
		return []string{string(k.Live.Raw)}
	}
	return strings.Split(b.String(), "\n")
}

// ID implements [screen.Page].
func (p Page) ID() work.ID { return p.scope.ID }

// Close implements [screen.Page].
func (p Page) Close() { p.scope.Close() }

// Captures implements [screen.Page].
func (p Page) Captures() bool { return false }

// Init implements [screen.Page].
func (p Page) Init(s screen.Scene) (screen.Page, screen.Out) {
	p, out := p.read(s)
	return p.look(out, s)
}

// look reads the figures, if it is time for them.
func (p Page) look(out screen.Out, s screen.Scene) (Page, screen.Out) {
	var cmd tea.Cmd
	if p.figures, cmd = p.figures.keep(s); cmd != nil {
		out.Cmd = tea.Batch(out.Cmd, cmd)
	}
	return p, out
}

func (p Page) read(s screen.Scene) (Page, screen.Out) {
	var cmd tea.Cmd
	p.reader, cmd = p.reader.Start(s.Now)
	var last tea.Cmd
	p.last, last = p.last.Start(s.Now)
	return p, screen.Run(tea.Batch(cmd, last))
}

// Update implements [screen.Page].
func (p Page) Update(msg tea.Msg, s screen.Scene) (screen.Page, screen.Out) {
	switch msg := msg.(type) {
	case screen.Tick:
		if p.covered {
			return p, screen.Out{}
		}
		var out screen.Out
		if p.due(s) {
			p, out = p.read(s)
		}
		return p.look(out, s)
	case screen.Covered:
		p.covered = true
		return p, screen.Out{}
	case screen.Resumed:
		p.covered = false
		var out screen.Out
		if p.due(s) {
			p, out = p.read(s)
		}
		return p.look(out, s)
	case screen.Cancel:
		p.figures, p.last = p.figures.cancel(), p.last.Cancel()
		if p.reader.Loading() {
			p.reader = p.reader.Cancel()
			return p, screen.Say(screen.Notice{Text: "reading cancelled"})
		}
		return p, screen.Out{}
	default:
		if f, ok := p.figures.update(msg); ok {
			p.figures = f
			return p, screen.Out{}
		}
		if last, ok := p.last.Update(msg); ok {
			p.last = last
			return p, screen.Out{}
		}
		return p.answer(msg, s)
	}
}

func (p Page) due(s screen.Scene) bool {
	return !p.reader.Loading() && s.Now.Sub(p.reader.Began()) >= s.Refresh
}

func (p Page) answer(msg tea.Msg, s screen.Scene) (screen.Page, screen.Out) {
	r, cmd, res, ok := p.reader.Update(msg)
	if !ok {
		return p, screen.Out{}
	}
	p.reader = r
	for _, st := range res.Answers {
		p.known = p.known.With(st)
	}
	if len(res.Answers) > 0 {
		p.raw = indent(p.known)
	}
	if res.Silent != nil {
		p.known = p.known.Unheard(r.Began(), s.Now, res.Silent)
	}
	out := screen.Run(cmd)
	if res.Err != nil {
		out = out.And(screen.Notice{Text: p.known.Key() + " was not read", Err: res.Err})
	}
	return p, out
}

// lines are those of the tab, in a width of w.
func (p Page) lines(s screen.Scene) []string {
	if p.tab == tabRaw {
		if p.raw == nil {
			return []string{"", "  " + s.Theme.Paint(theme.Muted, "the provider has not described it yet")}
		}
		out := make([]string, len(p.raw))
		for i, l := range p.raw {
			out[i] = " " + paintJSON(s.Theme, l)
		}
		return out
	}
	columns := 1
	switch {
	case s.Area.Wide():
		columns = 3
	case !s.Area.Compact():
		columns = 2
	}
	var out []string
	if b := overview.Failure(p.known, s.Now); len(b.Facts) > 0 {
		out = append(component.Blocks(s.Theme, []component.Block{b}, 1, s.Area.W-2), "")
	}
	out = append(append(out, p.figures.lines(s)...), "")
	blocks := slices.Insert(overview.Blocks(p.known, s.Now), 1, lastRun(p.last, s))
	out = append(out, component.Blocks(s.Theme, blocks, columns, s.Area.W-2)...)
	for i := range out {
		out[i] = " " + out[i]
	}
	if s.Area.Tall() {
		out = append([]string{""}, out...)
	}
	return out
}

// paintJSON mutes the name of a field, so that values stand out.
func paintJSON(th theme.Theme, line string) string {
	line = text.Clean(line)
	trimmed := strings.TrimLeft(line, " ")
	if end := strings.Index(trimmed, `": `); strings.HasPrefix(trimmed, `"`) && end > 0 {
		lead := line[:len(line)-len(trimmed)]
		return lead + th.Paint(theme.Muted, trimmed[:end+2]) + th.Paint(theme.Text, trimmed[end+2:])
	}
	return th.Paint(theme.Text, line)
}

// View implements [screen.Page].
func (p Page) View(s screen.Scene) string {
	return p.scroll[p.tab].View(s.Theme, p.lines(s), s.Area.W, s.Area.H)
}

// Header implements [screen.Page].
func (p Page) Header(s screen.Scene) screen.Header {
	h := screen.Header{
		Environment: p.known.Environment,
		Title:       []string{p.known.Name},
		Facts:       p.known.Engine(),
		Cursor:      -1,
		Fresh:       screen.Fresh{At: p.known.At, Loading: p.reader.Loading()},
	}
	if s.Area.Aloud && p.figures.pending() { // nobody sees them come
		h.Fresh = screen.Fresh{Loading: true}
	}
	if p.known.Live != nil && p.known.Live.Region != "" {
		h.Facts += " " + p.known.Live.Region
	}
	if p.known.Err != nil {
		h.Fresh.Err = strings.TrimLeft(p.known.StateCell().Text, "x ")
	}
	return h
}

// CLI implements [screen.Page].
func (p Page) CLI(screen.Scene) []string {
	if p.tab == tabRaw {
		return screen.CLIInstanceJSON(p.known.Environment, p.known.Name)
	}
	return screen.CLIInstance(p.known.Environment, p.known.Name)
}

// The ids of the page's actions.
const (
	actTab     = "instance.tab"
	actProxy   = "proxy.show"
	actRefresh = "instance.refresh"
	actRun     = "instance.run"
	actCopy    = "instance.copy"
	actLeft    = "lines.left"
	actRight   = "lines.right"
)

// Actions implements [screen.Page].
func (p Page) Actions(s screen.Scene) []screen.Action {
	env, name := p.known.Environment, p.known.Name
	loading, notRaw, nothing, none, run := "", "", "", "", ""
	if r, _ := p.last.Value(); r != nil {
		run = r.ID
	} else {
		none = "no run of it is known"
	}
	if p.reader.Loading() {
		loading = "it is being read since " + text.Age(s.Now.Sub(p.reader.Began()))
	}
	what := "the address"
	if p.tab == tabRaw {
		what = "the JSON"
	} else {
		notRaw = "only the JSON is wider than the screen"
	}
	if p.tab == tabRaw && p.raw == nil {
		nothing = "there is nothing to copy yet"
	}
	out := []screen.Action{
		{ID: actTab, Title: "overview, or the provider's JSON", Short: "JSON", Key: screen.Keys("o"), CLI: screen.CLIInstanceJSON(env, name)},
		{
			ID: actProxy, Title: "proxy of " + env, Short: "proxy", Key: screen.Keys("p"),
			CLI: screen.CLIProxy(app.ProxyOptions{Environment: env}),
		},
		{ID: actRun, Title: "open the last run", Short: "last run", Key: screen.Keys("enter"), Off: none, CLI: []string{"dbops", "runs", "show", run}},
		{ID: actCopy, Title: "copy " + what, Short: "copy " + strings.TrimPrefix(what, "the "), Key: screen.Keys("y"), Off: nothing},
		{ID: actRefresh, Title: "read it now", Short: "refresh", Key: screen.Keys("r"), Off: loading, CLI: screen.CLIInstance(env, name)},
		{ID: actLeft, Title: "left", Group: screen.GroupMove, Key: screen.Keys("left", "h"), Off: notRaw},
		{ID: actRight, Title: "right", Group: screen.GroupMove, Key: screen.Keys("right", "l"), Off: notRaw},
	}
	if p.tab == tabRaw {
		out[0].Short = "overview"
	}
	return append(out, screen.Moves()...)
}

// Do implements [screen.Page].
func (p Page) Do(id string, s screen.Scene) (screen.Page, screen.Out) {
	if step, ok := screen.Step(id, s.Area.H); ok {
		p.scroll[p.tab] = p.scroll[p.tab].By(step, len(p.lines(s)), s.Area.H)
		return p, screen.Out{}
	}
	switch id {
	case actTab:
		p.tab = (p.tab + 1) % tabs
	case actLeft:
		p.scroll[p.tab] = p.scroll[p.tab].Aside(-8)
	case actRight:
		p.scroll[p.tab] = p.scroll[p.tab].Aside(8)
	case actRun:
		r, _ := p.last.Value()
		return p, screen.Say(screen.OpenRun{ID: r.ID})
	case actProxy:
		return p, screen.Say(screen.OpenTab{Instance: p.known.Instance, Tab: "Proxy"})
	case actRefresh:
		p.figures = p.figures.cancel()
		p, out := p.read(s)
		return p.look(out, s)
	case actCopy:
		return p, screen.Say(p.copied())
	}
	return p, screen.Out{}
}

func (p Page) copied() screen.Copy {
	switch {
	case p.tab == tabRaw:
		return screen.Copy{What: "JSON of " + p.known.Key(), Text: strings.Join(p.raw, "\n")}
	case p.known.Endpoint() != "":
		return screen.Copy{What: "address of " + p.known.Key(), Text: p.known.Endpoint()}
	default:
		return screen.Copy{What: "coordinates of " + p.known.Key(), Text: p.known.Coordinates}
	}
}
