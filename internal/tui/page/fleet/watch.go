package fleet

import (
	"cmp"
	"maps"
	"time"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	"dbops/internal/drift"
	"dbops/internal/tui/core"
	"dbops/internal/tui/overview"
	"dbops/internal/tui/reading"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/work"
)

// How often what stands beside the status is read. The clouds measure once a minute, and take money for each figure; who looks for drift asks
// them for everything, and who looks at credentials asks each secret store.
const (
	loadEvery   = time.Minute
	seldomEvery = 10 * time.Minute

	// statusAlone is how long what is read seldom leaves the first reading of the status alone.
	statusAlone = 3 * time.Second
)

// watch reads what stands beside the status of instances, each part in its own time. It is a value.
type watch struct {
	loads reading.Many[app.InstanceLoad]
	ages  reading.One[[]app.CredentialAge]
	drift reading.One[*drift.Report]
	some  reading.One[someDrift] // of the marked instances, when it was asked for

	// An instance answers that did not: what could not be read of it can be now.
	agesAgain, driftAgain bool
}

func newWatch(c core.Core, scope work.Scope) watch {
	return watch{
		loads: reading.Loads(c, scope), ages: reading.NewOne(scope, c.CredentialAges), drift: reading.NewOne(scope, c.Drifts),
		some: reading.NewOne[someDrift](scope, nil),
	}
}

// start reads everything now.
func (w watch) start(now time.Time) (watch, tea.Cmd) {
	var cmds [3]tea.Cmd
	w.loads, cmds[0] = w.loads.Start(now)
	w.ages, cmds[1] = w.ages.Start(now)
	w.drift, cmds[2] = w.drift.Start(now)
	return w, tea.Batch(cmds[:]...)
}

// due reads what it is time for; what is read seldom only when there is room for it.
func (w watch) due(now time.Time, room bool) (watch, tea.Cmd) {
	var cmds [3]tea.Cmd
	if !w.loads.Loading() && now.Sub(w.loads.Began()) >= loadEvery {
		w.loads, cmds[0] = w.loads.Start(now)
	}
	if !room {
		return w, cmds[0]
	}
	every := func(again bool) time.Duration {
		if again {
			return loadEvery
		}
		return seldomEvery
	}
	if !w.ages.Loading() && now.Sub(w.ages.Began()) >= every(w.agesAgain) {
		w.ages, cmds[1] = w.ages.Start(now)
		w.agesAgain = false
	}
	if !w.drift.Loading() && now.Sub(w.drift.Began()) >= every(w.driftAgain) {
		w.drift, cmds[2] = w.drift.Start(now)
		w.driftAgain = false
	}
	return w, tea.Batch(cmds[:]...)
}

func (w watch) loading() bool {
	return w.loads.Loading() || w.ages.Loading() || w.drift.Loading() || w.some.Loading()
}

func (w watch) cancel() watch {
	w.loads, w.ages, w.drift, w.some = w.loads.Cancel(), w.ages.Cancel(), w.drift.Cancel(), w.some.Cancel()
	return w
}

// watched takes what such a reading brought.
func (p Page) watched(msg tea.Msg, s screen.Scene) (screen.Page, screen.Out) {
	if loads, cmd, got, ok := p.watch.loads.Update(msg); ok {
		p.watch.loads = loads
		return p.measured(got, s).sync(s), screen.Run(cmd)
	}
	if ages, ok := p.watch.ages.Update(msg); ok {
		first, before := !answered(p.watch.ages), p.found
		p.watch.ages = ages
		p = p.aged(s).sync(s)
		if first {
			return p, p.tell(partAges, ages.Err(), before, s)
		}
		return p, screen.Out{}
	}
	if compared, ok := p.watch.drift.Update(msg); ok {
		first, before := !answered(p.watch.drift), p.found
		p.watch.drift = compared
		if err := compared.Err(); err != nil {
			p = p.notCompared(err, s)
		} else {
			r, _ := compared.Value()
			p = p.compared(r, compared.At())
		}
		p = p.sync(s)
		if first {
			return p, p.tell(partDrift, compared.Err(), before, s)
		}
		return p, screen.Out{}
	}
	if some, ok := p.watch.some.Update(msg); ok {
		p.watch.some = some
		if err := some.Err(); err != nil {
			return p, screen.Say(screen.Notice{Text: "the marked instances were not compared", Err: err})
		}
		r, _ := some.Value()
		return p.compared(r.Report, some.At()).sync(s), screen.Say(screen.Notice{Text: r.text()})
	}
	return p, screen.Out{}
}

// each changes what is known of every instance.
func (p Page) each(s screen.Scene, change func(k overview.Known) overview.Known) Page {
	p.known = maps.Clone(p.known)
	for _, i := range s.Instances {
		key := overview.Key(i.Environment, i.Name)
		p.known[key] = change(p.known[key])
	}
	return p
}

func (p Page) measured(got reading.Got[app.InstanceLoad], s screen.Scene) Page {
	p.known = maps.Clone(p.known)
	for _, l := range got.Answers {
		key := overview.Key(l.Environment, l.Name)
		p.known[key] = p.known[key].Measured(l)
	}
	why := cmp.Or(got.Err, got.Silent)
	if !got.Done || why == nil {
		return p
	}
	return p.each(s, func(k overview.Known) overview.Known {
		if got.Err != nil || k.Load.Value == nil { // of the others it is not known which did not answer: their age tells
			k.Load.Err = cmp.Or(k.Load.Err, why)
		}
		return k
	})
}

func (p Page) aged(s screen.Scene) Page {
	if err := p.watch.ages.Err(); err != nil {
		return p.each(s, func(k overview.Known) overview.Known {
			k.Creds.Err = err
			return k
		})
	}
	all, _ := p.watch.ages.Value()
	found := map[string]app.CredentialAge{}
	for _, c := range all {
		found[overview.Key(c.Environment, c.Instance)] = c
	}
	at := p.watch.ages.At()
	p.known = maps.Clone(p.known)
	for _, i := range s.Instances {
		key := overview.Key(i.Environment, i.Name)
		k := p.known[key]
		if c, ok := found[key]; ok {
			k = k.Aged(c, at)
		} else {
			k.Creds = overview.Reading[app.CredentialAge]{} // it has no containers
		}
		p.known[key] = k
	}
	return p
}

func (p Page) notCompared(err error, s screen.Scene) Page {
	return p.each(s, func(k overview.Known) overview.Known {
		k.Drift.Err = err
		return k
	})
}

func (p Page) compared(r *drift.Report, at time.Time) Page {
	rows := map[string][]drift.Row{}
	for _, row := range r.Rows {
		key := overview.Key(row.Environment, row.Instance)
		rows[key] = append(rows[key], row)
	}
	p.known = maps.Clone(p.known)
	for _, l := range r.Instances {
		key := overview.Key(l.Environment, l.Instance)
		p.known[key] = p.known[key].Compared(l, rows[key], at)
	}
	return p
}
