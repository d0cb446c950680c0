package tui

import (
	"fmt"
	"testing"
	"time"

	"github.com/charmbracelet/x/exp/golden"

	"dbops/internal/op"
	"dbops/internal/tui/internal/fake"
	"dbops/internal/upgrade"
)

const (
	rehearsal = "r0ab966c996"
	upgraded  = "r5be0d21c44"
)

// rehearsed has a rehearsal that came to its end an hour ago.
func rehearsed(c *fake.Core) {
	v := c.UpgradeAt(rehearsal, upgrade.RehearseKind, "")
	hour := time.Hour
	v.Run.Created, v.Run.Started, v.Run.Ended = v.Run.Created.Add(-hour), v.Run.Started.Add(-hour), v.Run.Ended.Add(-hour)
	c.Put(v)
}

// upgrading has an upgrade at a step.
func upgrading(step string) func(*fake.Core) {
	return func(c *fake.Core) {
		mend(c)
		rehearsed(c)
		c.Put(c.UpgradeAt(upgraded, upgrade.RunKind, step))
	}
}

var upgradeScenes = map[string]struct {
	setup func(*fake.Core)
	then  func(*stage)
}{
	"choose":   {mend, func(*stage) {}},
	"weighed":  {func(c *fake.Core) { mend(c); c.EditPlans(blocksInPlace) }, func(s *stage) { s.Press("v") }},
	"rehearse": {mend, func(s *stage) { s.Press("enter") }},
	"report":   {func(c *fake.Core) { mend(c); rehearsed(c) }, func(*stage) {}},
	"run":      {func(c *fake.Core) { mend(c); rehearsed(c) }, func(s *stage) { s.Press("right") }},
	"cutover":  {upgrading("cutover"), func(*stage) {}},
	"shut_out": {upgrading("copy orders"), func(*stage) {}},
	"observe":  {upgrading(""), func(*stage) {}},
	"end":      {upgrading(""), func(s *stage) { s.Press("v", "right") }},
}

// blocksInPlace has every plan warn, and those of what the cloud does by itself refuse.
func blocksInPlace(p *op.Plan) {
	if p.Kind == upgrade.InPlaceKind {
		p.Findings = append(p.Findings, op.Finding{Severity: op.Block, Text: "the cloud does not upgrade this instance to PostgreSQL 18 in one step", Remedy: "choose one that it offers in place: 17"})
	}
}

func TestFramesOfAnUpgrade(t *testing.T) {
	for name, c := range upgradeScenes {
		begin := func(s *stage) {
			s.tab("staging", "orders-main", "Upgrade")
			c.then(s)
		}
		for _, size := range sizes[1:] {
			t.Run(fmt.Sprintf("%s_%dx%d", name, size.w, size.h), func(t *testing.T) {
				play(t, size.w, size.h, Options{}, c.setup, func(s *stage) {
					begin(s)
					golden.RequireEqual(t, s.Frame())
				})
			})
		}
		t.Run(name+"_no_color_80x24", func(t *testing.T) {
			play(t, 80, 24, Options{NoColor: true}, c.setup, func(s *stage) {
				begin(s)
				golden.RequireEqual(t, s.Frame())
			})
		})
		t.Run(name+"_every_size", func(t *testing.T) {
			play(t, 80, 24, Options{ASCII: true}, c.setup, func(s *stage) {
				begin(s)
				for w := 60; w <= 210; w += 15 {
					for _, h := range []int{15, 19, 30, 47} {
						s.Resize(w, h)
						s.Frame()
					}
				}
			})
		})
	}
}
