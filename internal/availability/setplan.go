package availability

import (
	"fmt"
	"strings"

	"dbops/internal/cloud"
	"dbops/internal/op"
)

// planSet works out what setting an availability means.
func planSet(t op.Target, r SetRequest, f Facts) op.Draft {
	d := op.Draft{Title: fmt.Sprintf("set the availability of %s to %s", t, r.Want), Downtime: op.Downtime{Expected: "none", Text: "nothing changes"}}
	if r.InWindow {
		d.Title += " in its maintenance window"
	}
	pending := waiting(f.Pending)
	switch {
	case f.Availability == r.Want && pending == "":
		d.Notes = []string{fmt.Sprintf("%s is %s already", t, r.Want)}
		return d
	case r.InWindow && pending == r.Want:
		d.Notes = []string{fmt.Sprintf("%s has accepted it already, for the window %s", title(f.Provider), orNone(f.Window))}
		return d
	}
	found, more := managed(t, f)
	d.Findings = found
	if !more {
		d.Downtime = op.Downtime{Expected: "unknown", Text: "dbops cannot make the change"}
		return d
	}
	d.Findings = append(d.Findings, possible(t, r, f)...)
	d.Findings = append(d.Findings, consequences(t, r, f)...)
	d.Findings = append(d.Findings, announced(f)...)
	d.Changes = setChanges(r, f)
	d.Downtime = setDowntime(r, f)
	d.Cost = setCost(r, f)
	if f.Availability != r.Want {
		d.Back = command("availability set "+string(f.Availability), t)
	}
	return d
}

// takesBack tells whether all that is asked for is to drop a change that waits for the window. It is dropped at once, and what else
// waits goes on waiting.
func takesBack(r SetRequest, f Facts) bool {
	return f.Availability == r.Want && waiting(f.Pending) != ""
}

// along are the modifications that are applied with the availability.
func along(r SetRequest, f Facts) []cloud.Change {
	if f.Provider != cloud.RDS || r.InWindow || takesBack(r, f) {
		return nil
	}
	return others(f.Pending)
}

// possible are the findings about what the provider would refuse.
func possible(t op.Target, r SetRequest, f Facts) (all []op.Finding) {
	if r.Want == cloud.Regional && f.Provider == cloud.RDS && len(f.NetworkZones) == 1 {
		all = append(all, op.Finding{
			Severity: op.Block, Check: "network-zones", Text: "its DB subnet group covers one zone, and a standby needs a second",
			Evidence: "zones " + strings.Join(f.NetworkZones, ", "), Remedy: "add a subnet in another zone to its DB subnet group, then plan again",
		})
	}
	if r.Want == cloud.Regional && f.Provider == cloud.CloudSQL && (!f.Backups || !f.PITR) {
		all = append(all, op.Finding{
			Severity: op.Block, Check: "backups", Text: "Cloud SQL makes a standby only with automatic backups and point-in-time recovery",
			Evidence: fmt.Sprintf("backups %t, point-in-time recovery %t", f.Backups, f.PITR),
			Remedy:   command("backup configure", t) + ": switch both on; the recovery's switch restarts the database",
		})
	}
	if r.InWindow && f.Provider == cloud.CloudSQL {
		all = append(all, op.Finding{
			Severity: op.Block, Check: "window", Text: "Cloud SQL makes a change at once, never in the maintenance window",
			Remedy: "leave --in-window out, and run it when a restart hurts least",
		})
	}
	return all
}

// consequences are the findings about what else comes with the change.
func consequences(t op.Target, r SetRequest, f Facts) (all []op.Finding) {
	for _, c := range along(r, f) {
		all = append(all, op.Finding{
			Severity: op.Warn, Check: "pending-modification", Text: "RDS applies it along, because it applies everything that is pending: " + told(c),
			Evidence: c.Setting + " waits for the window " + orNone(f.Window), Remedy: "--in-window leaves all of it to the window",
		})
	}
	if r.Want == cloud.Zonal && f.Availability == cloud.Regional {
		all = append(all, op.Finding{
			Severity: op.Warn, Check: "standby-lost", Text: fmt.Sprintf("without its standby %s is down as long as zone %s is, and a failed disk means a restore", t, orNone(f.Zone)),
			Evidence: "standby in " + orNone(f.SecondaryZone), Remedy: "keep it regional if others depend on it",
		})
	}
	return all
}

func setChanges(r SetRequest, f Facts) []op.Change {
	if takesBack(r, f) {
		return []op.Change{{Setting: settingAvailability, From: string(waiting(f.Pending)) + " (pending)", To: string(r.Want)}}
	}
	zone := op.Change{Setting: "secondary_zone", From: orNone(f.SecondaryZone), To: "none"}
	if r.Want == cloud.Regional {
		zone.To = "a second zone, which " + title(f.Provider) + " chooses"
	}
	all := []op.Change{{Setting: settingAvailability, From: string(f.Availability), To: string(r.Want)}, zone}
	for _, c := range along(r, f) {
		all = append(all, op.Change{Setting: c.Setting, From: c.From, To: c.To})
	}
	return all
}

// setDowntime says what the clouds say of themselves. It is no number of ours.
func setDowntime(r SetRequest, f Facts) op.Downtime {
	if takesBack(r, f) {
		return op.Downtime{Expected: "none", Text: "what waits for the window is dropped; nothing else changes"}
	}
	if f.Provider == cloud.CloudSQL {
		return op.Downtime{Expected: "unknown", Text: "Google promises nothing for this change: expect a restart, which cuts every session; dbops measures it"}
	}
	d := op.Downtime{Expected: "none", Text: "by Amazon's documentation of ModifyDBInstance (MultiAZ: the change results in no outage)"}
	if r.Want == cloud.Regional {
		d.Text += "; while the standby is built from a snapshot, and for some time after, writes are slower"
	}
	if r.InWindow {
		return op.Downtime{Expected: d.Expected, Text: d.Text + "; it happens in the window " + orNone(f.Window) + " (UTC), when nobody measures it"}
	}
	d.Text += "; dbops measures it"
	if c := along(r, f); len(c) > 0 {
		names := make([]string, len(c))
		for i := range c {
			names[i] = c[i].Setting
		}
		d = op.Downtime{Expected: "unknown", Text: d.Text + ". What is applied along may well restart the database: " + strings.Join(names, ", ")}
	}
	return d
}

func setCost(r SetRequest, f Facts) string {
	switch {
	case takesBack(r, f):
		return "unchanged"
	case r.Want == cloud.Regional:
		return fmt.Sprintf("up: %s bills the standby, a second instance of class %s with its own copy of the storage", title(f.Provider), orNone(f.Class))
	default:
		return "down: " + title(f.Provider) + " no longer bills a standby and its copy of the storage"
	}
}
