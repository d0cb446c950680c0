package upgrade

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"dbops/internal/app"
	"dbops/internal/cloud"
	"dbops/internal/upgrade"
)

// way is how an instance gets to its new major.
type way string

const (
	copying   way = "copy"
	catchUp   way = "copy, catch-up"
	dump      way = "copy by dump"
	blueGreen way = "blue/green"
	inPlace   way = "in place"
)

// words are what is known of a way before anybody looks at the instance.
type words struct {
	way
	shut, back                      string // in a word or two
	does, clients, after, need, pay string
}

var ways = []words{
	{
		copying, "while rows are copied", "as at the cut-over",
		"a new instance is made beside the old one; all rows go over when writers are shut out",
		"while all rows are copied and compared", "to the old instance, as it was at the cut-over", "nothing special", "one more instance, until the old one is removed",
	},
	{
		catchUp, "for seconds", "with later writes",
		"a new instance is filled while clients write to the old one, and follows it until the cut-over",
		"for the last writes and their own restart: seconds", "to the old instance, with what was written since", "logical replication, and a primary key in each table",
		"one more instance, until the old one is removed; the old one keeps its log while it is followed",
	},
	{
		dump, "while rows are copied", "as at the cut-over",
		"as copy, by pg_dump and pg_restore by way of a folder",
		"while all rows are copied and compared, longer than by copy", "to the old instance, as it was at the cut-over",
		"pg_dump and pg_restore of the new major where the run is worked on, and room on its disk", "one more instance, until the old one is removed",
	},
	{
		blueGreen, "about a minute", "without later writes",
		"RDS makes a copy that follows, and swaps the two: name and address stay",
		"the switchover, by Amazon's word usually under a minute", "to the old instance, without what was written since",
		"RDS, with rds.logical_replication and backups", "one more instance, until the old one is removed",
	},
	{
		inPlace, "minutes to an hour", "none but a backup",
		"the cloud upgrades the instance itself: name and address stay",
		"as long as the cloud needs: it says nothing beforehand", "none but a backup, which is restored as a new instance of the old major",
		"RDS or Cloud SQL", "nothing: it stays one instance",
	},
}

// said is what is known of a way with the options that change it.
func (w want) said(one words) words {
	if one.way == catchUp && w.noWayBack {
		one.back, one.after = "without later writes", "to the old instance, without what was written since"
	}
	if one.way == catchUp && w.fullIdentity {
		one.need = "logical replication; tables without a primary key are followed slowly"
	}
	return one
}

// own tells whether the cloud does it by itself.
func (w way) own() bool { return w == blueGreen || w == inPlace }

// want is what somebody chose.
type want struct {
	way        way
	to         int    // the major; 0: none was chosen
	name, into string // of a new instance, or of one that is there
	parameters string
	verify     string
	jobs       int
	// As in the request: none of either is a nanosecond, and 0 is the default.
	grace, observe time.Duration
	// Of a catch-up.
	fullIdentity, noWayBack bool
	unattended              bool
}

// unfit is why an instance cannot go a way, whatever it holds; empty if it can.
func (p Page) unfit(w way) string {
	switch {
	case w == blueGreen && p.At.Provider != cloud.RDS:
		return "blue/green deployments are of RDS"
	case w == inPlace && p.At.Provider == cloud.Postgres:
		return "a plain server has nobody who upgrades it in place"
	}
	return ""
}

// chosen is what is wanted: what somebody picked here, else what the journal says was begun, else the newest major by a copy.
func (p Page) chosen() want {
	w := p.want
	if !p.picked {
		u, _ := p.Value()
		st := standing(u)
		for _, one := range []*app.Upgraded{st.last, st.rehearsal} {
			if one != nil && one.Plan != nil {
				return begun(one)
			}
		}
	}
	if f, ok := p.facts.Value(); ok && w.to == 0 {
		for _, o := range f.offers {
			w.to = max(w.to, o.Major)
		}
	}
	return w
}

// begun is what a run was asked for.
func begun(u *app.Upgraded) (w want) {
	w.way = copying
	if u.Plan.Kind == upgrade.InPlaceKind {
		var q upgrade.InPlaceRequest
		if json.Unmarshal(u.Plan.Request, &q) == nil {
			w.way, w.to, w.parameters, w.unattended = inPlace, q.To, q.Parameters, q.Unattended
			if q.BlueGreen {
				w.way = blueGreen
			}
		}
		return w
	}
	var q upgrade.Request
	if json.Unmarshal(u.Plan.Request, &q) == nil {
		w.to, w.name, w.into, w.verify, w.jobs, w.unattended = q.To, q.Name, q.Into, q.Verify, q.Jobs, q.Unattended
		w.fullIdentity, w.noWayBack = q.FullIdentity, q.NoWayBack
		w.grace, w.observe = unless(q.Grace, upgrade.DefaultGrace), unless(q.Observe, upgrade.DefaultObserve)
		switch {
		case q.CatchUp:
			w.way = catchUp
		case q.Engine == upgrade.EngineDump:
			w.way = dump
		}
	}
	return w
}

// unless is a time where it is not the default.
func unless(d, usual time.Duration) time.Duration {
	if d == usual {
		return 0
	}
	return d
}

// spoken is a time as flags take it.
func spoken(d time.Duration) string {
	switch {
	case d == 0:
		return ""
	case d <= time.Nanosecond:
		return "0s"
	}
	return strings.Replace(d.String(), "m0s", "m", 1)
}

// request is what the engine is asked for.
func (w want) request() any {
	if w.way.own() {
		return upgrade.InPlaceRequest{To: w.to, BlueGreen: w.way == blueGreen, Parameters: w.parameters, Unattended: w.unattended}
	}
	return w.copies()
}

func (w want) copies() upgrade.Request {
	follows := w.way == catchUp
	q := upgrade.Request{
		To: w.to, Name: w.name, Into: w.into, CatchUp: follows, FullIdentity: follows && w.fullIdentity, NoWayBack: follows && w.noWayBack,
		Verify: w.verify, Jobs: w.jobs, Grace: w.grace, Observe: w.observe, Unattended: w.unattended,
	}
	if w.way == dump {
		q.Engine = upgrade.EngineDump
	}
	return q
}

func (w want) kind() string {
	if w.way.own() {
		return upgrade.InPlaceKind
	}
	return upgrade.RunKind
}

// flags are those of the command line that asks for the same.
func (w want) flags(rehearsal bool) (out []string) {
	major := "MAJOR"
	if w.to > 0 {
		major = strconv.Itoa(w.to)
	}
	out = []string{"--to", major}
	add := func(flag, value string) {
		if value != "" {
			out = append(out, flag, value)
		}
	}
	switch w.way {
	case catchUp:
		out = append(out, "--catch-up")
		if w.fullIdentity {
			out = append(out, "--full-identity")
		}
		if w.noWayBack {
			out = append(out, "--no-way-back")
		}
	case dump:
		add("--engine", upgrade.EngineDump)
	case blueGreen:
		out = append(out, "--blue-green")
	case inPlace:
		out = append(out, "--in-place")
	case copying:
	}
	if w.way.own() {
		add("--parameter-group", w.parameters)
	} else {
		add("--name", w.name)
		add("--into", w.into)
		if w.verify != upgrade.VerifyFull {
			add("--verify", w.verify)
		}
		if w.jobs > 0 {
			add("--jobs", fmt.Sprint(w.jobs))
		}
		add("--grace", spoken(w.grace))
		add("--observe", spoken(w.observe))
	}
	if w.unattended && !rehearsal {
		out = append(out, "--unattended")
	}
	return out
}

// change is the run that is wanted.
func (p Page) change(w want) app.Change {
	return app.Change{Environment: p.At.Environment, Instance: p.At.Name, Kind: w.kind(), Request: w.request()}
}

func (p Page) cliRun(w want) []string {
	return p.Sheet.CLI([]string{"upgrade", "run"}, w.flags(false)...)
}

func (p Page) cliRehearse(w want) []string {
	return p.Sheet.CLI([]string{"upgrade", "rehearse"}, w.flags(true)...)
}
