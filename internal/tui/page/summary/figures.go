package summary

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/live"
	"dbops/internal/tui/component"
	"dbops/internal/tui/core"
	"dbops/internal/tui/overview"
	"dbops/internal/tui/reading"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
	"dbops/internal/tui/work"
)

const (
	figuresPace = 2 * time.Second
	sizesPace   = 5 * time.Minute // each file of a database is looked at for its size
	keepSamples = 120
)

// figures are what the server does, over the last readings. It is a value.
type figures struct {
	one   reading.One[*live.Figures]
	sizes reading.One[[]live.Size]
	began struct{ one, sizes time.Time }

	last  *live.Figures
	rates live.Rates
	rated bool

	connections, transactions, read, hits, longest []int64
}

func newFigures(c core.Core, scope work.Scope, k overview.Known) figures {
	env, name := k.Environment, k.Name
	return figures{
		one: reading.NewOne(scope, func(ctx context.Context) (*live.Figures, error) { return c.LiveFigures(ctx, env, name, live.Want{}) }),
		sizes: reading.NewOne(scope, func(ctx context.Context) ([]live.Size, error) {
			f, err := c.LiveFigures(ctx, env, name, live.Want{Sizes: true})
			if err != nil {
				return nil, err
			}
			return f.Sizes, nil
		}),
	}
}

// keep reads what is due.
func (f figures) keep(s screen.Scene) (figures, tea.Cmd) {
	var one, sizes tea.Cmd
	if !f.one.Loading() && s.Now.Sub(f.began.one) >= figuresPace {
		f.began.one = s.Now
		f.one, one = f.one.Start(s.Now)
	}
	if _, answered := f.one.Value(); answered && !f.sizes.Loading() && s.Now.Sub(f.began.sizes) >= sizesPace {
		f.began.sizes = s.Now
		f.sizes, sizes = f.sizes.Start(s.Now)
	}
	if one == nil && sizes == nil {
		return f, nil
	}
	return f, tea.Batch(one, sizes)
}

// pending tells that the first figures are being read.
func (f figures) pending() bool { return f.last == nil && f.one.Loading() }

// cancel gives up what is being read, to be read again at the next tick.
func (f figures) cancel() figures {
	f.one, f.sizes = f.one.Cancel(), f.sizes.Cancel()
	f.began.one = time.Time{}
	return f
}

func (f figures) update(msg tea.Msg) (figures, bool) {
	if sizes, ok := f.sizes.Update(msg); ok {
		f.sizes = sizes
		return f, true
	}
	one, ok := f.one.Update(msg)
	if !ok {
		return f, false
	}
	f.one = one
	now, known := one.Value()
	if one.Err() != nil || !known {
		return f, true
	}
	f.rates, f.rated = live.Between(f.last, now)
	f.last = now
	f.connections = sampled(f.connections, int64(now.Connections.Total))
	longest := int64(0)
	if now.Query != nil {
		longest = int64(now.Query.Age)
	}
	f.longest = sampled(f.longest, longest)
	if f.rated {
		const permille = 1000
		f.transactions = sampled(f.transactions, int64(f.rates.Transactions))
		f.read = sampled(f.read, int64(f.rates.ReadBytes))
		f.hits = sampled(f.hits, int64(f.rates.Hits*permille))
	}
	return f, true
}

// sampled is a ring of samples with one more: a new one, so that what was drawn from the old one stays.
func sampled(all []int64, v int64) []int64 {
	all = append(slices.Clip(all), v)
	return all[max(0, len(all)-keepSamples):]
}

// lines draw the figures in the page's width.
func (f figures) lines(s screen.Scene) []string {
	d := component.NewDoc(s.Theme, s.Area.W)
	th := s.Theme
	title := "LIVE"
	if f.last != nil && f.one.Err() != nil {
		title += ", as it was " + text.Age(s.Now.Sub(f.one.At())) + " ago"
	}
	out := []string{th.Paint(theme.Heading, title)}
	if th.Aloud() {
		out = []string{component.Rule(th, title, s.Area.W)}
	}
	if err := f.one.Err(); err != nil {
		d.Fact(theme.Danger, "figures", "x "+err.Error())
		if hint := overview.Hint(err); hint != "" {
			d.Fact(theme.Text, "next", hint)
		}
	} else if f.last == nil {
		d.Fact(theme.Muted, "figures", "reading them from the server")
	}
	out = append(out, d.Lines()...)
	if f.last == nil {
		return out
	}
	return append(out, f.values(s)...)
}

func (f figures) values(s screen.Scene) (out []string) {
	th, tail := s.Theme, s.Theme.Glyphs.Tail
	role, graph := theme.Text, theme.OK
	if f.one.Err() != nil {
		role, graph = theme.Muted, theme.Muted
	}
	const label, least, most = 12, 10, 60
	w := min(most, max(least, s.Area.W/2-25))
	add := func(name string, samples []int64, r theme.Role, value string) {
		if value == "" {
			return
		}
		if role == theme.Muted {
			r = role
		}
		room := s.Area.W - label - 4
		line := " " + th.Paint(theme.Muted, text.Left(name, label, tail)) + " "
		if samples != nil {
			line += th.Paint(graph, bars(s, samples, w)) + "  "
			room -= w + 2
		}
		out = append(out, line+th.Paint(r, text.Cut(text.Clean(value), room, tail)))
	}
	c := f.last.Connections
	busy := role
	const nearlyAll = 0.9
	words := fmt.Sprintf("%d of %d", c.Total, c.Max)
	if float64(c.Total) >= nearlyAll*float64(c.Max) {
		busy, words = theme.Danger, "x "+words
	}
	add("connections", f.connections, busy, fmt.Sprintf("%s, %d active, %d in tx", words, c.Active, c.InTx))
	if f.rated {
		r := f.rates
		add("transactions", f.transactions, role, fmt.Sprintf("%s, %.1f%% rolled back", perSecond(r.Transactions), 100*r.RolledBack))
		add("disk reads", f.read, role, text.Rate(int64(r.ReadBytes))+temp(r.TempBytes))
		add("cache hits", f.hits, role, fmt.Sprintf("%.1f%%", 100*r.Hits))
	}
	longest := "no statement runs"
	if q := f.last.Query; q != nil {
		longest = fmt.Sprintf("%s, %d %s", text.Age(q.Age.Duration()), q.PID, q.User)
	}
	add("longest", f.longest, role, longest)
	if x := f.last.Transaction; x != nil && (f.last.Query == nil || x.PID != f.last.Query.PID) {
		add("oldest tx", nil, role, fmt.Sprintf("%s, %d %s %s", text.Age(x.Age.Duration()), x.PID, x.User, x.Application))
	}
	if c.Locked > 0 {
		verb := "wait"
		if c.Locked == 1 {
			verb = "waits"
		}
		add("locks", nil, theme.Warn, fmt.Sprintf("! %s %s for locks: tab Sessions, l", text.Count(c.Locked, "session"), verb))
	}
	if f.rated && f.rates.Deadlocks > 0 {
		add("deadlocks", nil, theme.Warn, fmt.Sprintf("! %d since the reading before", f.rates.Deadlocks))
	}
	add("waits", nil, role, waits(f.last.Waits))
	add("replicas", nil, role, followers(f.last.Followers))
	if f.last.Behind != nil {
		add("replica", nil, role, "replayed up to "+lag(*f.last.Behind)+" ago")
	}
	all, _ := f.sizes.Value()
	add("databases", nil, role, sizes(all))
	for _, m := range f.last.Missing {
		add(m.Part, nil, theme.Warn, strings.TrimSuffix("! "+m.Why+"; "+m.Hint, "; "))
	}
	return out
}

// bars are a graph that keeps off the row above, so that graphs below each other do not run together.
func bars(s screen.Scene, samples []int64, w int) string {
	if s.Theme.Aloud() {
		return ""
	}
	samples = samples[max(0, len(samples)-w):]
	var top int64
	for _, v := range samples {
		top = max(top, v)
	}
	padded := append([]int64{top + top/2 + 1}, make([]int64, w-len(samples))...)
	drawn := []rune(component.Spark(s.Theme, append(padded, samples...), w+1))
	return string(drawn[1:])
}

func perSecond(v float64) string {
	if v < 10 {
		return fmt.Sprintf("%.1f/s", v)
	}
	return fmt.Sprintf("%.0f/s", v)
}

func temp(bytes float64) string {
	if bytes < 1 {
		return ""
	}
	return ", " + text.Rate(int64(bytes)) + " temporary"
}

func waits(all []live.Wait) string {
	words := make([]string, 0, len(all))
	for _, w := range all {
		words = append(words, fmt.Sprintf("%s %s %d", w.Type, w.Event, w.Count))
	}
	return strings.Join(words, ", ")
}

func followers(all []live.Follower) string {
	words := make([]string, 0, len(all))
	for _, one := range all {
		w := strings.TrimSpace(one.Name + " " + one.State)
		if one.Lag != nil {
			w += " " + lag(*one.Lag) + " behind"
		}
		words = append(words, w)
	}
	return strings.Join(words, ", ")
}

// lag is short where it should be: milliseconds.
func lag(s live.Span) string {
	if d := s.Duration(); d < time.Second {
		return fmt.Sprintf("%dms", d.Milliseconds())
	}
	return text.Age(s.Duration())
}

func sizes(all []live.Size) string {
	var words []string
	for _, one := range all {
		if one.Bytes >= 0 {
			words = append(words, one.Database+" "+text.Bytes(one.Bytes))
		}
	}
	return strings.Join(words, ", ")
}
