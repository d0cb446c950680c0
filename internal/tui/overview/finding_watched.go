package overview

import (
	"strings"
	"time"

	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// watchedFindings are what is measured, compared and due. What is too old to be so still is none.
func (k Known) watchedFindings(now time.Time, add adder) {
	if !old(k.Load, now, loadOld) {
		k.loadFindings(add)
	}
	if most := k.mostConnections(); most > 0 && k.Connections().OK && (k.Load.Value == nil || !old(k.Load, now, loadOld)) {
		v := k.Connections().V
		if r := connLevel.role(v / float64(most)); r != theme.Text {
			add(r, "its tab Sessions (9) shows who is connected", "%.0f of %d connections are in use", v, most)
		}
	}
	if c := k.Creds.Value; c != nil && len(c.Over) > 0 {
		add(theme.Warn, "dbops creds rotate -e "+k.Environment+" "+strings.Join(c.Over, " "), "%s older than %d days, the oldest %s: %s",
			text.Count(len(c.Over), "credential"), int(c.Limit.Hours()/24), text.Age(now.Sub(c.Created)), strings.Join(c.Over, ", "))
	}
	if d := k.Drift.Value; d != nil && d.Drifted > 0 {
		add(theme.Warn, "its tab Drift (0) shows why", "%s drifted: %s", text.Count(d.Drifted, "setting"), strings.Join(d.Settings, ", "))
	}
	k.maintenanceFindings(now, add)
}

func (k Known) loadFindings(add adder) {
	if v := k.Disk(); v.OK {
		if r := diskLevel.role(v.V); r != theme.Text {
			used, size := k.disk()
			hint := ""
			if k.Live != nil && k.Live.Storage.AutoGrow {
				hint = "it grows by itself" + upTo(k.Live.Storage.MaxGiB)
			}
			add(r, hint, "the disk is %s full: %s of %s", percent(v.V), text.Bytes(used), text.Bytes(size))
		}
	}
	if v := k.CPU(); v.OK {
		if r := cpuLevel.role(v.V); r != theme.Text {
			add(r, "", "the processors are %s busy", percent(v.V))
		}
	}
	if v := k.Lag(); v.OK {
		if r := lagLevel.role(v.V); r != theme.Text {
			add(r, "", "the replica is %s behind", text.Age(*k.Load.Value.ReplicaLag))
		}
	}
}

func upTo(gib int64) string {
	if gib == 0 {
		return ""
	}
	return ", up to " + text.Bytes(gib<<30)
}

func (k Known) maintenanceFindings(now time.Time, add adder) {
	if k.Live == nil {
		return
	}
	if at := due(k.Live.Maintenance); !at.IsZero() {
		hint, role := "", theme.Pending
		if w := k.Live.Maintenance.Window; w != "" {
			hint = "its window is " + w + " UTC"
		}
		if at.Sub(now) < maintenanceSoon {
			role = theme.Warn
		}
		add(role, hint, "maintenance is due by %s: %s", text.Date(at), strings.Join(k.Live.Maintenance.Pending, ", "))
	}
}
