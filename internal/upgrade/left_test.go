package upgrade

import (
	"strings"
	"testing"

	"dbops/internal/cloud"
	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/upgrade/quiesce"
)

// What a clean-up says of where clients are is so, and what it removes is nobody's.
func TestWhatACleanupSaysAndRemoves(t *testing.T) {
	t.Parallel()
	const back = RollbackKind + ", run r2"
	for name, c := range map[string]struct {
		edit    func(*past)
		request CleanupRequest
		clients string
		check   string // that blocks; empty: none does
		removes string // the instance
		steps   int
	}{
		"the way back is open": {func(*past) {}, CleanupRequest{}, "clients use next,", "", "", 1},
		"and the old one goes": {func(*past) {}, CleanupRequest{Remove: true}, "clients use next,", "", "shop", 2},
		"not switched yet":     {func(p *past) { p.Switched = false }, CleanupRequest{}, "clients use shop,", "not-switched", "", 1},
		"switched in part":     {func(p *past) { p.Part = true }, CleanupRequest{}, "some clients may use shop, and some next", "switched-in-part", "", 1},
		"abandoned":            {func(p *past) { p.Switched, p.Left = false, true }, CleanupRequest{}, "clients are shut out of shop", "not-switched", "", 1},
		"a rollback was begun": {func(p *past) { p.Begun = "run r2" }, CleanupRequest{}, "some clients may use shop, and some next", "rollback", "", 1},
		"cleaned up":           {func(p *past) { p.After = CleanupKind + ", run r2" }, CleanupRequest{}, "nothing is touched", "ended", "", 0},
		"rolled back":          {rolledBack(func(*past) {}), CleanupRequest{}, "clients use shop,", "", "next", 2},
		"on Cloud SQL": {
			rolledBack(func(p *past) { p.Facts.Source.Provider = cloud.CloudSQL }), CleanupRequest{}, "clients use shop,", "", "next", 1,
		},
		"rolled back, and upgraded again": {
			rolledBack(func(p *past) { p.Remnant.Serves = "other" }), CleanupRequest{}, "clients use other,", "", "next", 2,
		},
		"rolled back: the old one is none's to remove": {rolledBack(func(*past) {}), CleanupRequest{Remove: true}, "clients use shop,", "source-in-use", "", 0},
		"what it left was removed":                     {rolledBack(func(p *past) { p.Remnant, p.Cleared = nil, CleanupKind+", run r3" }), CleanupRequest{}, "nothing is touched", "ended", "", 0},
		"removed in the console":                       {rolledBack(func(p *past) { p.Remnant.Gone = true }), CleanupRequest{}, "clients use shop,", "", "", 0},
		"somebody keeps it":                            {rolledBack(func(p *past) { p.Remnant.Taken = true }), CleanupRequest{}, "clients use shop,", "not-made", "", 0},
		"dbops.yaml names it":                          {rolledBack(func(p *past) { p.Remnant.Serves = "next" }), CleanupRequest{}, "clients use next,", "in-use", "", 0},
		"the old one does not run":                     {rolledBack(func(p *past) { p.Source = "stopped" }), CleanupRequest{}, "clients use shop,", "source", "", 0},
		"one that was there before":                    {rolledBack(func(p *past) { p.Remnant, p.Facts.Target.Server.Declared = nil, true }), CleanupRequest{}, "nothing is touched", "not-made", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := past{Switched: true, Ended: true, Before: &quiesce.Before{}}
			p.Facts.Source.Provider, p.Facts.Source.Server.Name, p.Facts.Target.Server.Name = cloud.RDS, "shop", "next"
			c.edit(&p)
			c.request.Run = "r1"
			d := deriveCleanup(target, c.request, p)
			if !strings.HasPrefix(d.Downtime.Text, c.clients) {
				t.Errorf("it says that %s", d.Downtime.Text)
			}
			blocked, removes := "", ""
			for _, f := range d.Findings {
				if f.Severity == op.Block && blocked == "" {
					blocked = f.Check
				}
			}
			for _, one := range d.Changes {
				if one.To == "removed" {
					removes = one.From
				}
			}
			if blocked != c.check || removes != c.removes {
				t.Errorf("blocked by %q, removes %q: %s", blocked, removes, words2(d))
			}
			if steps := New(Deps{}).cleanupSteps(target, c.request, p); len(steps) != c.steps {
				t.Errorf("%d steps", len(steps))
			}
			if c.steps == 0 && len(d.Changes) > 0 {
				t.Errorf("changes that no step makes: %+v", d.Changes)
			}
		})
	}

	var a After // whichever of the two is told first
	for _, runs := range [][]state.Run{
		{{ID: "r2", Kind: RollbackKind, State: state.Done}, {ID: "r3", Kind: CleanupKind, State: state.Done}},
		{{ID: "r3", Kind: CleanupKind, State: state.Done}, {ID: "r2", Kind: RollbackKind, State: state.Done}},
	} {
		a = After{}
		for _, r := range runs {
			a.Came(r, nil)
		}
		if !a.Back || a.Ended != back || a.Cleared != CleanupKind+", run r3" {
			t.Errorf("%+v", a)
		}
	}
}

// rolledBack is an upgrade whose new instance a rollback left.
func rolledBack(edit func(*past)) func(*past) {
	return func(p *past) {
		p.Back, p.After, p.Source, p.Remnant = true, RollbackKind+", run r2", string(cloud.Available), &remnant{Serves: "shop"}
		edit(p)
	}
}
