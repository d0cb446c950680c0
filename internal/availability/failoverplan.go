package availability

import (
	"fmt"

	"dbops/internal/cloud"
	"dbops/internal/op"
)

// planFailover works out what a failover means.
func planFailover(t op.Target, _ FailoverRequest, f Facts) op.Draft {
	d := op.Draft{Title: "fail over " + t.String() + " to its standby", Downtime: op.Downtime{Expected: "unknown", Text: "dbops cannot make the change"}}
	found, more := managed(t, f)
	d.Findings = found
	if !more {
		return d
	}
	d.Findings = append(d.Findings, standby(t, f)...)
	d.Findings = append(d.Findings, atReboot(f)...)
	d.Findings = append(d.Findings, announced(f)...)
	d.Changes = []op.Change{
		{Setting: "zone", From: orNone(f.Zone), To: orNone(f.SecondaryZone)},
		{Setting: "secondary_zone", From: orNone(f.SecondaryZone), To: orNone(f.Zone)},
	}
	d.Downtime = failoverDowntime(f)
	d.Cost = "unchanged"
	d.Back = command("failover", t) + ": the primary moves back, after as much downtime"
	if f.Provider == cloud.RDS {
		d.Notes = append(d.Notes, "RDS gives a failover up that comes too soon after another: wait some minutes before going back")
	}
	return d
}

// standby are the findings about who is to take over.
func standby(t op.Target, f Facts) []op.Finding {
	switch {
	case f.Availability != cloud.Regional:
		return []op.Finding{{
			Severity: op.Block, Check: "standby", Text: t.String() + " has no standby: it is " + string(f.Availability),
			Remedy: "make it regional first: " + command("availability set regional", t),
		}}
	case waiting(f.Pending) == cloud.Zonal:
		return []op.Finding{{
			Severity: op.Block, Check: "standby", Text: "its standby is about to be dropped: zonal is pending",
			Evidence: "window " + orNone(f.Window), Remedy: "take that back first: " + command("availability set regional", t),
		}}
	case f.SecondaryZone == "" && f.Provider == cloud.RDS:
		return []op.Finding{{
			Severity: op.Block, Check: "standby", Text: "its standby is not there yet: RDS names no second zone",
			Remedy: "wait until it does: " + command("status", t),
		}}
	case f.SecondaryZone == "":
		return []op.Finding{{
			Severity: op.Warn, Check: "standby-zone", Text: "Cloud SQL does not name the standby's zone, so that its operation alone proves the failover",
		}}
	}
	return nil
}

// atReboot are the pending changes that an RDS failover brings about, because it is a reboot.
func atReboot(f Facts) (all []op.Finding) {
	for _, c := range f.Pending {
		if c.Setting == settingParameters || c.Setting == settingCA {
			all = append(all, op.Finding{
				Severity: op.Warn, Check: "pending-reboot", Text: "it waits for a reboot, which this is: " + told(c),
				Remedy: "look whether it is wanted now",
			})
		}
	}
	return all
}

// failoverDowntime says what the clouds say of themselves. It is no number of ours.
func failoverDowntime(f Facts) op.Downtime {
	if f.Provider == cloud.RDS {
		return op.Downtime{Expected: "some", Text: "every session is cut; Amazon's user guide calls 60 to 120 seconds typical, more with large transactions" +
			" or a long recovery; the host name gets a new address, which clients must look up again; dbops measures it"}
	}
	return op.Downtime{Expected: "some", Text: fmt.Sprintf("every session is cut; Google promises no time; the address stays; dbops measures it (primary in %s)", orNone(f.Zone))}
}
