package backups

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"dbops/internal/app"
	"dbops/internal/backup"
	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/state"
	"dbops/internal/tui/component"
	"dbops/internal/tui/page/internal/sheet"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// pace is how often the list is read: a backup takes minutes.
const pace = time.Minute

// drillOld is after how long a drill proves little.
const drillOld = 30 * 24 * time.Hour

// View implements [screen.Page].
func (p Page) View(s screen.Scene) string {
	above := p.above(s)
	if v, ok := p.Value(); !ok || v.Unmanaged {
		return p.Sheet.View(s, above)
	}
	p = p.sync(s.Now)
	return p.List(s, above, p.list.Table, nil)
}

// Click implements [screen.Clicker].
func (p Page) Click(_, y int, s screen.Scene) (next screen.Page, hit bool) {
	p = p.sync(s.Now)
	p.list.Table, hit = sheet.Pick(p.list.Table, y, s, len(p.above(s)), 0)
	return p, hit
}

// sync puts what is known into the list.
func (p Page) sync(now time.Time) Page {
	p.list = p.list.Rows(p.rows(now), "there is no backup")
	return p
}

// above is all but the list.
func (p Page) above(s screen.Scene) []string {
	return p.Lines(s, func(v *app.Recovery) []string {
		if v.Unmanaged {
			d := component.NewDoc(s.Theme, s.Area.W)
			d.Add(theme.Text, 0, "No cloud makes backups of "+p.At.Name+": it is a plain PostgreSQL server, and its backups are arranged outside of dbops.")
			return d.Lines()
		}
		blocks := []component.Block{p.recovery(v, s.Now), automatic(v.Live), drill(v, s.Now, s.Area.Compact())}
		if s.Area.Compact() {
			all := component.Block{Title: "RECOVERY"}
			for _, b := range blocks {
				all.Facts = append(all.Facts, b.Facts...)
			}
			blocks = []component.Block{all}
		}
		return append(sheet.Blocks(s, blocks), "")
	})
}

// recovery is to what moments it can be restored, and whether somebody could delete it.
func (p Page) recovery(v *app.Recovery, now time.Time) component.Block {
	b := v.Live.Backups
	out := component.Block{Title: "RECOVERY", Wrap: true}
	pitr := component.Fact{Label: "to a moment", Value: "! no: only what a backup holds can be restored", Role: theme.Warn}
	if b.PITR {
		latest := "now, or nearly"
		if !b.LatestRestorable.IsZero() {
			latest = text.Age(now.Sub(b.LatestRestorable)) + " ago"
		}
		pitr.Value = "! not yet: there is no automatic backup to begin with"
		if from := v.Live.RestorableFromAny(v.Backups, now); !from.IsZero() {
			pitr.Value, pitr.Role = "from "+text.Age(now.Sub(from))+" back to "+latest, theme.OK
		}
	}
	guard := component.Fact{Label: "deletion", Value: "protected"}
	if !v.Live.DeletionProtection {
		guard = component.Fact{Label: "deletion", Value: "not protected"}
		if p.At.Protected {
			guard = component.Fact{Label: "deletion", Value: "! not protected", Role: theme.Warn}
		}
	}
	out.Facts = append(out.Facts, pitr, guard)
	return out
}

// automatic is how backups are made.
func automatic(i *cloud.Instance) component.Block {
	out := component.Block{Title: "AUTOMATIC BACKUPS", Wrap: true}
	b := i.Backups
	if !b.Enabled {
		out.Facts = append(out.Facts, component.Fact{Label: "automatic", Value: "! off", Role: theme.Warn})
		return out
	}
	parts := []string{"on"}
	if b.Window != "" {
		parts = append(parts, b.Window+" UTC")
	}
	if b.Retained > 0 {
		parts = append(parts, fmt.Sprintf("%d are kept", b.Retained))
	} else if b.RetentionDays > 0 {
		parts = append(parts, "kept "+text.Count(b.RetentionDays, "day"))
	}
	out.Facts = append(out.Facts, component.Fact{Label: "automatic", Value: strings.Join(parts, ", ")})
	return out
}

// drill is what the last proof of a restore was like, against the targets.
func drill(v *app.Recovery, now time.Time, short bool) component.Block {
	out := component.Block{Title: "LAST RESTORE DRILL", Wrap: true}
	add := func(label, value string, r theme.Role) {
		out.Facts = append(out.Facts, component.Fact{Label: label, Value: value, Role: r})
	}
	switch {
	case v.PastErr != nil:
		add("drill", "! not known: "+fault.Reason(v.PastErr), theme.Warn)
		return out
	case len(v.Drills) == 0:
		add("drill", "! never by dbops: a backup that was never restored is a hope", theme.Warn)
		return out
	}
	d := v.Drills[0]
	ago := text.Age(now.Sub(d.Run.Created)) + " ago"
	switch {
	case d.Report == nil:
		role := theme.Warn
		if !d.Run.State.Ended() || d.Run.State == state.Gate {
			role = theme.Pending
		}
		add("drill", theme.Mark(role)+" "+string(d.Run.State)+", "+ago, role)
		return out
	case !d.Report.Met:
		add("drill", "x "+ago+", "+d.Report.Text, theme.Danger)
	case now.Sub(d.Run.Created) > drillOld:
		add("drill", "! "+ago+", "+d.Report.Text, theme.Warn)
	default:
		add("drill", ago+", "+d.Report.Text, theme.OK)
	}
	if !short {
		measured(add, "took", d.Report.RTO, v.Targets.RTO)
		measured(add, "could lose", d.Report.RPO, v.Targets.RPO)
	}
	return out
}

// measured is a figure against its target.
func measured(add func(label, value string, r theme.Role), label string, got, want backup.Span) {
	switch {
	case want == 0:
		add(label, got.String()+" (dbops.yaml has no target)", theme.Text)
	case got > want:
		add(label, "x "+got.String()+", the target is "+want.String(), theme.Danger)
	default:
		add(label, got.String()+", within the target of "+want.String(), theme.OK)
	}
}

// rank is 0 for a backup that is not ready.
func rank(b cloud.Backup) int {
	if b.Ready {
		return 1
	}
	return 0
}

// rows are the backups, newest first unless another order was chosen.
func (p Page) rows(now time.Time) (out []component.Row) {
	v, ok := p.Value()
	if !ok {
		return nil
	}
	all := slices.Clone(v.Backups)
	slices.SortStableFunc(all, func(a, b cloud.Backup) int {
		switch p.list.Order() {
		case 1: // what is not ready first
			return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a.State, b.State))
		case 2:
			return cmp.Compare(b.GiB, a.GiB)
		case 3:
			return strings.Compare(a.ID, b.ID)
		}
		return 0
	})
	for _, b := range all {
		status := component.Cell{Text: "ready", Role: theme.OK}
		if !b.Ready {
			status = component.Cell{Text: "~ " + strings.ToLower(b.State), Role: theme.Pending}
			if strings.Contains(strings.ToLower(b.State), "fail") {
				status = component.Cell{Text: "x " + strings.ToLower(b.State), Role: theme.Danger}
			}
		}
		age, started, took, size := "-", "-", "-", "-"
		if !b.Started.IsZero() {
			age, started = text.Age(now.Sub(b.Started)), text.Stamp(b.Started)
			if b.Ended.After(b.Started) {
				took = text.Age(b.Ended.Sub(b.Started))
			}
		}
		if b.GiB > 0 {
			size = text.Bytes(b.GiB << 30)
		}
		out = append(out, component.Row{Key: b.ID, Cells: []component.Cell{
			{Text: b.ID, Role: theme.Strong},
			{Text: age},
			status,
			{Text: b.Kind},
			{Text: size},
			{Text: started, Role: theme.Muted},
			{Text: took, Role: theme.Muted},
			{Text: b.Text},
		}})
	}
	return out
}
