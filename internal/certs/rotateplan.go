package certs

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/op"
)

// waiting is the CA that RDS has accepted and not changed to yet; empty if there is none.
func waiting(pending []cloud.Change) string {
	for _, c := range pending {
		if c.Setting == settingCA {
			return c.To
		}
	}
	return ""
}

// takesBack tells that a rotation asks for the CA that is active, so that another that is pending does not come.
func takesBack(r RotateRequest, f Facts) bool {
	to := wanted(r, f)
	return f.Provider == cloud.RDS && to != nil && to.Role == cloud.CAActive && waiting(f.Pending) != ""
}

// occasion is when what was not asked for at once happens.
func occasion(w cloud.CAWhen) string {
	if w == cloud.CAAtReboot {
		return "the next restart"
	}
	return "the maintenance window"
}

// windowText is a maintenance window as in sun:04:00-sun:04:30, with the day on which it is next.
func windowText(window string, now time.Time) string {
	text := "the maintenance window " + window + " UTC"
	day, clock, _ := strings.Cut(window, ":")
	clock, _, _ = strings.Cut(clock, "-")
	at, err := time.Parse("15:04", clock)
	if err != nil {
		return text
	}
	for n := range 8 {
		d := now.UTC().AddDate(0, 0, n)
		next := time.Date(d.Year(), d.Month(), d.Day(), at.Hour(), at.Minute(), 0, 0, time.UTC)
		if strings.EqualFold(d.Format("Mon"), day) && next.After(now) {
			return text + ", next on " + next.Format(time.DateOnly)
		}
	}
	return text
}

// others are the pending modifications that RDS applies along when it is asked to change the CA now.
func others(pending []cloud.Change) []cloud.Change {
	return slices.DeleteFunc(slices.Clone(pending), func(c cloud.Change) bool {
		return c.Setting == settingCA || c.Setting == "parameter_group" // which waits for a reboot
	})
}

func along(r RotateRequest, f Facts) []cloud.Change {
	if f.Provider != cloud.RDS || r.when() != cloud.CANow {
		return nil
	}
	return others(f.Pending)
}

// planRotate works out what a rotation means.
func planRotate(t op.Target, r RotateRequest, f Facts) op.Draft {
	d := op.Draft{Title: "rotate the CA of " + t.String(), Downtime: op.Downtime{Expected: "none", Text: "nothing changes"}}
	d.Findings = possible(t, r, f)
	active, to := f.ca(cloud.CAActive), wanted(r, f)
	if len(d.Findings) > 0 && (active == nil || to == nil && (f.Provider == cloud.RDS || r.Back)) {
		d.Downtime = op.Downtime{Expected: "unknown", Text: "dbops cannot make the change"}
		return d
	}
	next := "a new CA"
	if to != nil {
		next = to.ID
		d.Title += " to " + name(*to)
	}
	if to != nil && to.Role == cloud.CAActive && waiting(f.Pending) == "" {
		d.Notes = []string{fmt.Sprintf("%s has a certificate of %s already", t, to.ID)}
		if f.Provider == cloud.RDS && r.To == "" {
			d.Findings = append(d.Findings, op.Finding{
				Severity: op.Info, Check: "ca", Text: "its CA is the one of new instances already", Remedy: "name another with --to: " + offered(f, r.Now),
			})
		}
		return d
	}
	if takesBack(r, f) {
		return takeBack(d, t, r, f)
	}
	if r.when() != cloud.CANow {
		d.Title = fmt.Sprintf("ask RDS to rotate the CA of %s to %s at %s", t, next, occasion(r.when()))
		if r.when() == cloud.CAInWindow {
			d.Title = fmt.Sprintf("ask RDS to rotate the CA of %s to %s in the maintenance window", t, next)
		}
	}
	d.Changes = []op.Change{{Setting: settingCA, From: active.ID, To: next}}
	if w := waiting(f.Pending); w != "" && w != next {
		d.Changes = append(d.Changes, op.Change{Setting: settingNextCA, From: w, To: "none"})
	}
	for _, c := range along(r, f) {
		d.Findings = append(d.Findings, alongWarning(c, f))
		d.Changes = append(d.Changes, op.Change{Setting: c.Setting, From: c.From, To: c.To})
	}
	if f.Provider == cloud.RDS {
		rotateRDS(&d, t, r, f)
	} else {
		rotateCloudSQL(&d, t, r)
	}
	return d
}

// takeBack plans that a CA that is pending does not come.
func takeBack(d op.Draft, t op.Target, r RotateRequest, f Facts) op.Draft {
	active, pending := f.ca(cloud.CAActive).ID, waiting(f.Pending)
	d.Title = fmt.Sprintf("take back the rotation of the CA of %s to %s, which is pending", t, pending)
	d.Changes = []op.Change{{Setting: settingNextCA, From: pending, To: "none"}}
	d.Downtime.Text = "the server keeps its certificate of " + active
	for _, c := range along(r, f) {
		d.Findings = append(d.Findings, alongWarning(c, f))
		d.Changes = append(d.Changes, op.Change{Setting: c.Setting, From: c.From, To: c.To})
		d.Downtime = op.Downtime{Expected: "unknown", Text: "what is applied along may well restart the database"}
	}
	d.Back = command("certs rotate-ca", t) + " --to " + pending + " --in-window, or --at-reboot"
	return d
}

func alongWarning(c cloud.Change, f Facts) op.Finding {
	return warn("pending-modification", fmt.Sprintf("RDS applies it along, because it applies everything that is pending: %s to %s", c.Setting, c.To),
		c.Setting+" waits for the window "+f.Window, "--in-window leaves all of it to the window")
}

func name(ca cloud.ServerCA) string {
	if ca.Role == cloud.CAPrevious {
		return "the previous one, " + ca.ID
	}
	return ca.ID
}

// possible are the findings about what forbids a rotation.
func possible(t op.Target, r RotateRequest, f Facts) []op.Finding {
	all := atRest(t, f)
	to := wanted(r, f)
	switch {
	case f.ca(cloud.CAActive) == nil:
		return append(all, block("ca", "which CA signed the server's certificate is not told", "", "look in the provider's console"))
	case f.Provider == cloud.CloudSQL && !f.Own:
		return append(all, block("shared-ca", "its certificate is signed by a CA that is shared with other instances, and is rotated otherwise", "", "gcloud sql ssl server-certs add, then rotate"))
	case f.Provider == cloud.CloudSQL && r.when() != cloud.CANow:
		all = append(all, block("window", "Cloud SQL rotates at once, never in the maintenance window or at a restart", "", "leave the time out"))
	case f.Provider == cloud.CloudSQL && r.To != "":
		all = append(all, block("ca", "Cloud SQL makes the CA itself: none can be named", strings.Join(ids(f), ", "), "leave --to out; --back rotates to the previous CA"))
	case f.Provider == cloud.CloudSQL && r.Back && to == nil:
		all = append(all, block("ca", "it has no previous CA to go back to", strings.Join(ids(f), ", "), "leave --back out for a new CA"))
	case f.Provider == cloud.RDS && r.Back:
		all = append(all, block("ca", "RDS does not remember a CA from before", "", "name it with --to: "+offered(f, r.Now)))
	case f.Provider == cloud.RDS && to == nil:
		id := r.To
		if id == "" {
			id = f.Default
		}
		all = append(all, block("ca", fmt.Sprintf("the region or the engine has no CA %q", id), "", "name one with --to: "+offered(f, r.Now)))
	}
	if to != nil && !to.Until.IsZero() && !to.Until.After(r.Now) {
		all = append(all, block("expired", "the CA "+to.ID+" has expired", "until "+stamp(to.Until), "choose another: "+offered(f, r.Now)))
	}
	return all
}

func ids(f Facts) (all []string) {
	for _, ca := range f.CAs {
		all = append(all, string(ca.Role)+" "+ca.ID)
	}
	return all
}

const year = 366 * 24 * time.Hour

// offered are the CAs that may be chosen and are good at a moment, the one that lasts longest first.
func offered(f Facts, at time.Time) string {
	choice := slices.DeleteFunc(slices.Clone(f.CAs), func(ca cloud.ServerCA) bool {
		return ca.Role != cloud.CAOffered && ca.Role != cloud.CANext || !ca.Until.IsZero() && !ca.Until.After(at)
	})
	slices.SortStableFunc(choice, func(a, b cloud.ServerCA) int { return b.Until.Compare(a.Until) })
	all := make([]string, len(choice))
	for i, ca := range choice {
		all[i] = ca.ID
	}
	return orText(strings.Join(all, ", "), "none is offered")
}

// lasting says which CA to take in place of one that ends soon.
func lasting(f Facts, now time.Time) string {
	active := f.ca(cloud.CAActive)
	switch others := offered(f, now.Add(year)); {
	case others != "none is offered":
		return "choose one that lasts: " + others
	case active.Until.After(now.Add(year)):
		return "stay with " + active.ID + ", which lasts until " + stamp(active.Until)
	}
	return "the region offers none that lasts longer than a year"
}

func rotateRDS(d *op.Draft, t op.Target, r RotateRequest, f Facts) {
	active, to := f.ca(cloud.CAActive), wanted(r, f)
	d.Findings = append(d.Findings, warn("clients", "a client that trusts only "+active.ID+" is locked out; one that has the region's bundle is not",
		"", "give clients the bundle first: "+command("certs fetch", t)))
	if f.Known != nil && !f.Known[to.ID] {
		d.Findings = append(d.Findings, block("unknown-ca", "dbops has no certificate of "+to.ID+", so neither it nor those whom it gave its CAs could verify the server afterwards",
			"SHA-1 "+to.Fingerprint, "dbops certs update, or put it into rds.ca_file"))
	}
	if soon := to.Until.Sub(r.Now); !to.Until.IsZero() && soon > 0 && soon < year {
		d.Findings = append(d.Findings, warn("expiry", "the CA "+to.ID+" ends on "+stamp(to.Until), "", lasting(f, r.Now)))
	}
	evidence := "SupportsCertificateRotationWithoutRestart is true for its engine version"
	switch {
	case f.Untold:
		evidence = "RDS does not tell whether its engine version rotates without a restart"
	case f.Restarts:
		evidence = "SupportsCertificateRotationWithoutRestart is false for its engine version"
	}
	switch {
	case r.when() == cloud.CAAtReboot:
		d.Downtime = op.Downtime{Expected: "none", Text: "the certificate changes when the instance restarts for whatever reason; until then it stays as it is"}
		d.Findings = append(d.Findings, warn("not-yet", "nothing changes before somebody restarts the instance", evidence, "restart it before "+active.ID+" ends on "+stamp(active.Until)))
	case f.Restarts && r.when() == cloud.CAInWindow:
		d.Downtime = op.Downtime{Expected: "brief", Text: "a restart in the window " + f.Window + " (UTC), which cuts every session"}
		d.Findings = append(d.Findings, warn("restart", "the server restarts for it, in the window", evidence, "--at-reboot leaves it to a restart of your own"))
	case f.Restarts:
		d.Downtime = op.Downtime{Expected: "brief", Text: "a restart, which cuts every session; how long it takes Amazon does not promise"}
		d.Findings = append(d.Findings, warn("restart", "the server restarts for it, now", evidence, "--in-window or --at-reboot leaves it to a better time"))
	default:
		d.Findings = append(d.Findings, op.Finding{Severity: op.Info, Check: "restart", Text: "the server does not restart for it", Evidence: evidence})
		d.Downtime = op.Downtime{Expected: "none", Text: "by RDS's own word for this engine version: sessions that are open keep the old certificate, new ones see the new"}
	}
	if c := along(r, f); len(c) > 0 {
		d.Downtime = op.Downtime{Expected: "unknown", Text: d.Downtime.Text + ". What is applied along may well restart the database"}
	}
	d.Back = command("certs rotate-ca", t) + " --to " + active.ID
	if r.when() != cloud.CANow {
		d.Back = fmt.Sprintf("while it is pending: %s --in-window takes it back; afterwards: %s rotates back", d.Back, d.Back)
	}
}

func rotateCloudSQL(d *op.Draft, t op.Target, r RotateRequest) {
	d.Downtime = op.Downtime{Expected: "unknown", Text: "Google documents no restart and promises nothing; from the rotation on, new connections of clients that lack the new CA fail"}
	if r.Back {
		d.Findings = append(d.Findings, warn("clients", "clients that were given only the present CA are locked out; those that have both are not", "", "give clients both first: "+command("certs fetch", t)))
		d.Back = command("certs rotate-ca", t) + ": what is the CA now is then the next one, and no other is added"
		return
	}
	d.Findings = append(d.Findings, op.Finding{
		Severity: op.Info, Check: "clients", Text: "clients that verify the server by a file need both CAs before the rotation; the run waits for that",
		Remedy: "connectors, cloud-sql-proxy and dbops proxy read the CAs themselves",
	})
	d.Notes = append(d.Notes, "a CA that was added cannot be taken away again; it does nothing until the rotation")
	d.Back = command("certs rotate-ca", t) + " --back"
}
