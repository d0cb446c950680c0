package overview

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/tui/component"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// Failure is the block that says why an instance could not be read, and how old what follows is. It is empty when it could.
func Failure(k Known, now time.Time) component.Block {
	b := component.Block{Title: "x CANNOT BE READ", Alarm: true, Wrap: true}
	if k.Err == nil {
		return b
	}
	b.Facts = append(b.Facts, component.Fact{Label: "why", Value: k.Err.Error(), Role: theme.Danger})
	if h := Hint(k.Err); h != "" {
		b.Facts = append(b.Facts, component.Fact{Label: "next", Value: h})
	}
	if k.Live != nil {
		b.Facts = append(b.Facts, component.Fact{Label: "shown", Value: "as it was " + text.Age(now.Sub(k.At)) + " ago", Role: theme.Warn})
	}
	return b
}

// facts collects values, leaving out what a provider does not tell.
type facts []component.Fact

func (f *facts) add(label, value string) { f.role(label, value, theme.Text) }

func (f *facts) role(label, value string, r theme.Role) {
	if value != "" {
		*f = append(*f, component.Fact{Label: label, Value: value, Role: r})
	}
}

// Blocks are all settings of an instance in groups, the ones that matter most at night first.
func Blocks(k Known, now time.Time) []component.Block {
	if k.Live == nil {
		return []component.Block{configured(k)}
	}
	i := k.Live
	all := []component.Block{
		state(k), endpoints(i), backups(k, now), tls(k, now), availability(i), storage(i), maintenance(i), pending(i), configured(k), labels(i),
	}
	if k.Err != nil { // last known values are muted
		for b := range all {
			if all[b].Title == titleConfigured {
				continue
			}
			for f := range all[b].Facts {
				all[b].Facts[f].Role = theme.Muted
			}
		}
	}
	return all
}

// titleConfigured heads what comes from dbops.yaml, which is never old.
const titleConfigured = "CONFIGURED"

func configured(k Known) component.Block {
	var f facts
	f.add("environment", k.Environment)
	f.add("instance", k.Name)
	f.add("provider", string(k.Provider))
	f.add("found at", k.Coordinates)
	f.add("databases", strings.Join(k.Databases, ", "))
	return component.Block{Title: titleConfigured, Facts: f}
}

func state(k Known) component.Block {
	i := k.Live
	var f facts
	c := liveState(i.State)
	f.role("state", c.Text+rawState(i), c.Role)
	f.add("engine", "PostgreSQL "+version(i.EngineVersion))
	f.add("class", i.Class)
	f.add("name", i.Name)
	f.add("account", i.Project)
	f.add("region", i.Region)
	f.add("IAM login", onOff(i.IAMLogin))
	if told(i) {
		g := k.GuardCell()
		f.role("deletion", map[bool]string{true: "protected", false: "not protected"}[i.DeletionProtection], g.Role)
	}
	if !i.Created.IsZero() {
		f.add("created", text.Date(i.Created))
	}
	return component.Block{Title: "INSTANCE", Facts: f}
}

func endpoints(i *cloud.Instance) component.Block {
	var f facts
	for _, e := range i.Endpoints {
		f.add(string(e.Kind), address(e))
	}
	return component.Block{Title: "ENDPOINTS", Facts: f, Wrap: true} // half an address is none
}

func backups(k Known, now time.Time) component.Block {
	i := k.Live
	if !told(i) {
		return component.Block{}
	}
	var f facts
	c := k.BackupCell()
	auto := component.Cell{Text: onOff(i.Backups.Enabled)}
	if !i.Backups.Enabled {
		auto = component.Cell{Text: c.Text, Role: c.Role}
	}
	f.role("automatic", auto.Text, auto.Role)
	f.add("PITR", onOff(i.Backups.PITR))
	if t := i.Backups.LatestRestorable; !t.IsZero() {
		f.add("latest", fmt.Sprintf("%s (%s ago)", text.Stamp(t), text.Age(now.Sub(t))))
	}
	if from := i.RestorableFrom(now); !from.IsZero() {
		back := text.Age(now.Sub(from))
		if days := i.Backups.RetentionDays; from.After(now.AddDate(0, 0, -days)) { // it is young
			back += " of " + text.Count(days, "day")
		}
		f.add("reaches back", back)
	} else if i.Backups.RetentionDays > 0 {
		f.add("kept", text.Count(i.Backups.RetentionDays, "day"))
	}
	if i.Backups.Retained > 0 {
		f.add("kept", text.Count(i.Backups.Retained, "backup"))
	}
	if i.Backups.Window != "" {
		f.add("window", i.Backups.Window+" UTC")
	}
	return component.Block{Title: "BACKUPS", Facts: f}
}

func tls(k Known, now time.Time) component.Block {
	i := k.Live
	var f facts
	if i.TLS.Required {
		f.add("encryption", "required")
	} else {
		f.role("encryption", "! not required", theme.Warn)
	}
	f.add("mode", i.TLS.Mode)
	f.add("CA", i.TLS.CA)
	if !i.TLS.Expires.IsZero() {
		c := k.CertCell(now)
		f.role("expires", c.Text+", "+text.Date(i.TLS.Expires), c.Role)
	}
	return component.Block{Title: "TLS", Facts: f}
}

func availability(i *cloud.Instance) component.Block {
	var f facts
	f.add("mode", string(i.Availability))
	f.add("zone", i.Zone)
	f.add("standby", i.SecondaryZone)
	return component.Block{Title: "AVAILABILITY", Facts: f}
}

func storage(i *cloud.Instance) component.Block {
	if i.Storage.GiB == 0 {
		return component.Block{}
	}
	var f facts
	f.add("disk", strings.TrimSpace(Disk(i)+" "+i.Storage.Type))
	grow := onOff(i.Storage.AutoGrow)
	if i.Storage.AutoGrow && i.Storage.MaxGiB > 0 {
		grow += ", up to " + text.Bytes(i.Storage.MaxGiB<<30)
	}
	f.add("grows", grow)
	return component.Block{Title: "STORAGE", Facts: f}
}

func maintenance(i *cloud.Instance) component.Block {
	var f facts
	f.add("window", i.Maintenance.Window)
	for n, p := range i.Maintenance.Pending {
		label := "waiting"
		if n > 0 {
			label = " "
		}
		f.role(label, theme.Mark(theme.Pending)+" "+p, theme.Pending)
	}
	return component.Block{Title: "MAINTENANCE", Facts: f}
}

func pending(i *cloud.Instance) component.Block {
	var f facts
	for _, c := range i.Pending {
		to := c.To
		if c.From != "" {
			to = c.From + " -> " + c.To
		}
		f.role(c.Setting, theme.Mark(theme.Pending)+" "+to, theme.Pending)
	}
	return component.Block{Title: "PENDING CHANGES", Facts: f}
}

func labels(i *cloud.Instance) component.Block {
	var f facts
	for _, name := range slices.Sorted(maps.Keys(i.Labels)) {
		value := i.Labels[name]
		if value == "" {
			value = "-"
		}
		f.add(name, value)
	}
	return component.Block{Title: "LABELS", Facts: f}
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}
