package run

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/dustin/go-humanize"

	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/tui/component"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// copySchema is the schema of what an upgrade tells of a copy beside its words.
const copySchema = "dbops/upgrade-progress/v1"

// copying is how the copy of one database goes.
type copying struct {
	Schema   string        `json:"schema"`
	Database string        `json:"database"`
	Phase    string        `json:"phase"`
	What     string        `json:"what"` // the table or item that moved last
	Done     int           `json:"done"`
	Of       int           `json:"of"`
	Rows     int64         `json:"rows"`
	Bytes    int64         `json:"bytes"`
	Total    int64         `json:"total"`
	Rate     float64       `json:"rate"`
	Left     time.Duration `json:"left_ns"`
	Table    struct {
		Rows  int64 `json:"rows"`
		Bytes int64 `json:"bytes"`
		Total int64 `json:"total"`
		In    bool  `json:"in"`
	} `json:"table"`
}

// tally is the last word of a copy, and what was told of its tables.
type tally struct {
	copying
	at     time.Time
	tables []table
}

// table is one whose rows move, or moved a moment ago.
type table struct {
	name               string
	rows, bytes, total int64
	in                 bool
	at, since          time.Time // of the last word and the first
	from               int64     // bytes at the first
}

// rate is bytes a second, as far as this page saw them; 0 while that says nothing.
func (t table) rate() float64 {
	const enough = 2 * time.Second
	if d := t.at.Sub(t.since); d >= enough {
		return float64(t.bytes-t.from) / d.Seconds()
	}
	return 0
}

// keepIn is how many complete tables stay in sight.
const keepIn = 3

// heard takes an event into what is known of copies, by their steps. A step that begins anew has told nothing yet.
func heard(all map[string]tally, e state.Event) map[string]tally {
	if e.Kind == op.EventStep {
		all = maps.Clone(all)
		delete(all, e.Step)
		return all
	}
	var c copying
	if e.Kind != op.EventProgress || len(e.Detail) == 0 || json.Unmarshal(e.Detail, &c) != nil || c.Schema != copySchema {
		return all
	}
	next := all[e.Step]
	if next.Phase != c.Phase {
		next.tables = nil
	}
	next.copying, next.at = c, e.At
	if c.Table.In || c.Table.Bytes > 0 || c.Table.Rows > 0 {
		next.tables = moved(next.tables, c, e.At)
	}
	if all = maps.Clone(all); all == nil {
		all = map[string]tally{}
	}
	all[e.Step] = next
	return all
}

func moved(tables []table, c copying, at time.Time) []table {
	out := slices.Clone(tables)
	i := slices.IndexFunc(out, func(t table) bool { return t.name == c.What })
	if i < 0 {
		out = append(out, table{name: c.What, since: at, from: c.Table.Bytes})
		i = len(out) - 1
	}
	t := &out[i]
	t.rows, t.bytes, t.total, t.in, t.at = c.Table.Rows, c.Table.Bytes, c.Table.Total, c.Table.In, at
	complete := 0
	for _, t := range out {
		if t.in {
			complete++
		}
	}
	return slices.DeleteFunc(out, func(t table) bool {
		if t.in && complete > keepIn {
			complete--
			return true
		}
		return false
	})
}

// share is how much of a whole is done.
func share(bytes, total int64, done, of int) float64 {
	switch {
	case of > 0 && done >= of:
		return 1
	case total > 0:
		return min(float64(bytes)/float64(total), 0.99) // what is on disk is about what moves
	case of > 0:
		return float64(done) / float64(of)
	}
	return 0
}

// silent is how long after its last word a copy is said to say nothing.
const silent = 5 * time.Second

// lines draw a copy in a width of w.
func (t tally) lines(th theme.Theme, w int, now time.Time) []string {
	part := share(t.Bytes, t.Total, t.Done, t.Of)
	sum := t.Phase
	if t.Total > 0 {
		sum = text.Bytes(t.Bytes) + " of about " + text.Bytes(t.Total)
	}
	bar := min(40, max(10, w-6-2-text.Width(text.Clean(sum))))
	out := []string{component.Bar(th, part, bar) + " " + component.Percent(part) + "  " + th.Paint(theme.Strong, text.Clean(sum))}
	facts := ""
	add := func(s string) {
		if facts != "" {
			facts += "  "
		}
		facts += s
	}
	if t.Total > 0 {
		add(t.Phase)
	}
	if t.Of > 0 {
		noun := "items"
		if t.Phase == "data" {
			noun = "tables"
		}
		add(humanize.Comma(int64(t.Done)) + " of " + humanize.Comma(int64(t.Of)) + " " + noun)
	}
	if t.Rows > 0 {
		add(humanize.Comma(t.Rows) + " rows")
	}
	switch quiet := now.Sub(t.at); {
	case quiet > silent:
		add("nothing heard for " + text.Age(quiet))
	default:
		if t.Rate > 0 {
			add(text.Rate(int64(t.Rate)))
		}
		if t.Left > 0 {
			add("about " + seconds(t.Left) + " left")
		}
	}
	if len(t.tables) == 0 && t.What != "" {
		add(t.What)
	}
	if facts != "" {
		out = append(out, th.Paint(theme.Text, text.Cut(text.Clean(facts), w, th.Glyphs.Tail)))
	}
	return append(out, t.rows(th, w)...)
}

// rows are the tables: name, bar, bytes, and as far as there is room rows, rate and time left.
func (t tally) rows(th theme.Theme, w int) (out []string) {
	tail, name := th.Glyphs.Tail, 0
	for _, one := range t.tables {
		name = max(name, text.Width(text.Clean(one.name)))
	}
	name = min(name, max(12, w-48))
	bar := min(24, max(8, w-name-46))
	tables := slices.Clone(t.tables)
	slices.SortStableFunc(tables, func(a, b table) int { // those that move come first
		if a.in == b.in {
			return 0
		}
		if a.in {
			return 1
		}
		return -1
	})
	for _, one := range tables {
		part := share(one.bytes, one.total, 0, 0)
		size := text.Bytes(one.bytes)
		if one.in {
			part = 1
		} else if one.total > 0 {
			size += " of " + text.Bytes(one.total)
		}
		line := th.Paint(theme.Muted, text.Left(text.Clean(one.name), name, tail)) + "  " + component.Bar(th, part, bar) + " " + component.Percent(part) +
			"  " + text.Right(size, 18, tail)
		cells := []string{text.Right(humanize.Comma(one.rows)+" rows", 16, tail)}
		if rate := one.rate(); rate > 0 && !one.in {
			left := ""
			if rest := float64(one.total - one.bytes); rest > 0 {
				left = seconds(time.Duration(rest/rate*float64(time.Second))) + " left"
			}
			cells = append(cells, text.Right(text.Rate(int64(rate)), 11, tail), left)
		}
		for _, c := range cells {
			if text.Width(line)+2+text.Width(c) <= w && c != "" {
				line += "  " + c
			}
		}
		out = append(out, line)
	}
	return out
}

// seconds is a length of time to the second: 42s, 1m42s, 2h03m10s.
func seconds(d time.Duration) string { return max(0, d).Truncate(time.Second).String() }
