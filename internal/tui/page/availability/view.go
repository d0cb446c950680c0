package availability

import (
	"strings"

	"dbops/internal/app"
	room "dbops/internal/availability"
	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/tui/component"
	"dbops/internal/tui/page/internal/sheet"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

func (p Page) lines(s screen.Scene) []string {
	return p.Lines(s, func(v *app.Availability) []string {
		all := []component.Block{p.zones(v), p.maintenance(v), before(v, s), told(v, s)}
		if nobody(v.OtherPlan) {
			return sheet.Blocks(s, append(all, change("CANNOT BE SWITCHED", v.OtherPlan)))
		}
		if v.Other != "" {
			all = append(all, change("z  MAKE IT "+strings.ToUpper(string(v.Other)), v.OtherPlan))
		}
		return sheet.Blocks(s, append(all, change("f  FAIL OVER TO THE STANDBY", v.FailoverPlan), clouds(v.Provider)))
	})
}

// nobody tells that no change can be made by dbops at all.
func nobody(plan op.Draft) bool {
	return len(plan.Findings) > 0 && (plan.Findings[0].Check == "provider" || plan.Findings[0].Check == "cluster")
}

// zones are where it runs now.
func (p Page) zones(v *app.Availability) component.Block {
	b := component.Block{Title: "ZONES", Wrap: true}
	add := func(label, value string, r theme.Role) {
		if value != "" {
			b.Facts = append(b.Facts, component.Fact{Label: label, Value: value, Role: r})
		}
	}
	switch v.Availability {
	case cloud.Regional:
		add("is", "regional: "+native(v.Provider, v.Availability), theme.OK)
	case cloud.Zonal:
		role, mark := theme.Text, ""
		if p.At.Protected {
			role, mark = theme.Warn, "! "
		}
		add("is", mark+"zonal: "+native(v.Provider, v.Availability), role)
	default:
		add("is", "not told by who manages it", theme.Muted)
	}
	add("primary in", v.Zones.Primary, theme.Text)
	switch {
	case v.Zones.Standby != "":
		add("standby in", v.Zones.Standby, theme.Text)
	case v.Availability == cloud.Regional:
		add("standby in", "a zone that the provider does not name", theme.Muted)
	case v.Availability == cloud.Zonal:
		add("standby", "none: it is down as long as its zone is", theme.Text)
	}
	if v.Pending != "" {
		add("pending", "~ "+string(v.Pending)+", in the maintenance window", theme.Pending)
	}
	if v.State != cloud.Available {
		add("state", "~ "+string(v.State), theme.Pending)
	}
	add("replicas", strings.Join(v.Replicas, ", "), theme.Text)
	add("replica of", v.ReplicaOf, theme.Text)
	return b
}

// native is an availability in the provider's words.
func native(k cloud.Kind, a cloud.Availability) string {
	return map[cloud.Kind]map[cloud.Availability]string{
		cloud.RDS:      {cloud.Regional: "Multi-AZ on RDS", cloud.Zonal: "Single-AZ on RDS"},
		cloud.CloudSQL: {cloud.Regional: "REGIONAL on Cloud SQL", cloud.Zonal: "ZONAL on Cloud SQL"},
	}[k][a]
}

func (p Page) maintenance(v *app.Availability) component.Block {
	b := component.Block{Title: "MAINTENANCE", Wrap: true}
	if v.Provider == cloud.Postgres {
		return b
	}
	window := v.Window
	if window == "" {
		window = "not set: whenever the provider likes"
	} else {
		window += " UTC"
	}
	b.Facts = append(b.Facts, component.Fact{Label: "window", Value: window})
	for _, m := range v.Maintenance {
		b.Facts = append(b.Facts, component.Fact{Label: "announced", Value: "! " + m, Role: theme.Warn})
	}
	if len(v.Maintenance) == 0 {
		b.Facts = append(b.Facts, component.Fact{Label: "announced", Value: "nothing", Role: theme.Muted})
	}
	return b
}

// before is what dbops did, with what it measured.
func before(v *app.Availability, s screen.Scene) component.Block {
	b := component.Block{Title: "LAST BY DBOPS", Wrap: true}
	for _, c := range v.Changes {
		what := "switched"
		if c.Run.Kind == room.FailoverKind {
			what = "failover"
		}
		role := theme.Text
		if c.Run.State != state.Done {
			what, role = "! "+what+" "+string(c.Run.State), theme.Warn
		}
		if c.Report != nil {
			what += " to " + c.Report.After.String() + "; " + c.Report.String()
		}
		b.Facts = append(b.Facts, component.Fact{Label: text.Age(s.Now.Sub(c.Run.Created)) + " ago", Value: what + " (" + c.Run.Requester + ")", Role: role})
	}
	switch {
	case v.PastErr != nil:
		b.Facts = append(b.Facts, component.Fact{Label: "not known", Value: "! " + fault.Reason(v.PastErr), Role: theme.Warn})
	case len(v.Changes) == 0 && v.FailoverReady:
		b.Facts = append(b.Facts, component.Fact{Label: "nothing", Value: "a failover that was never tried is a hope: f drills it", Role: theme.Muted})
	}
	return b
}

// told is what the provider tells of failovers.
func told(v *app.Availability, s screen.Scene) component.Block {
	b := component.Block{Title: "TOLD BY THE PROVIDER", Wrap: true}
	for _, e := range v.Events[:min(4, len(v.Events))] {
		b.Facts = append(b.Facts, component.Fact{Label: text.Age(s.Now.Sub(e.At)) + " ago", Value: e.Text})
	}
	if v.EventsErr != nil && v.Provider != cloud.Postgres {
		b.Facts = append(b.Facts, component.Fact{Label: "not known", Value: "! " + fault.Reason(v.EventsErr), Role: theme.Warn})
	}
	return b
}

// change is what a change would bring.
func change(title string, plan op.Draft) component.Block {
	b := component.Block{Title: title, Wrap: true}
	add := func(label, value string, r theme.Role) {
		if value != "" {
			b.Facts = append(b.Facts, component.Fact{Label: label, Value: value, Role: r})
		}
	}
	for _, severity := range []op.Severity{op.Block, op.Warn} {
		role := map[op.Severity]theme.Role{op.Block: theme.Danger, op.Warn: theme.Warn}[severity]
		for _, f := range plan.Findings {
			if f.Severity == severity {
				add(theme.Mark(role)+" "+map[op.Severity]string{op.Block: "blocked", op.Warn: "warning"}[severity], f.Text, role)
				add("next", f.Remedy, theme.Text)
				b.Alarm = b.Alarm || severity == op.Block
			}
		}
	}
	if b.Alarm {
		return b
	}
	role := theme.Warn
	if plan.Downtime.Expected == "none" {
		role = theme.OK
	}
	add("downtime", strings.TrimPrefix(plan.Downtime.Expected+": "+plan.Downtime.Text, "none: none, "), role)
	add("cost", strings.TrimPrefix(plan.Cost, "unchanged"), theme.Text)
	add("way back", plan.Back, theme.Muted)
	return b
}

// clouds says how the two differ.
func clouds(k cloud.Kind) component.Block {
	b := component.Block{Title: "THE CLOUDS DIFFER", Wrap: true}
	for _, c := range []struct {
		kind        cloud.Kind
		name, words string
	}{
		{cloud.RDS, "RDS", "Multi-AZ. Switching now applies everything that is pending; the window leaves it. A failover is a reboot: the host name gets a new address," +
			" which clients must look up, and one too soon after another is given up."},
		{cloud.CloudSQL, "Cloud SQL", "REGIONAL. Switching needs backups and point-in-time recovery, happens at once and may restart. A failover keeps the address; no time is promised."},
	} {
		role := theme.Muted
		if c.kind == k {
			role = theme.Text
		}
		b.Facts = append(b.Facts, component.Fact{Label: c.name, Value: c.words, Role: role})
	}
	return b
}
