package overview

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/tui/component"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// level is from what a value on is a warning, and from what a danger.
type level struct{ warn, danger float64 }

var (
	cpuLevel  = level{0.80, 0.95}
	diskLevel = level{0.85, 0.95}
	connLevel = level{0.80, 0.95}
	lagLevel  = level{30, 300} // seconds
)

func (l level) role(v float64) theme.Role {
	switch {
	case v >= l.danger:
		return theme.Danger
	case v >= l.warn:
		return theme.Warn
	}
	return theme.Text
}

// maintenanceSoon is how long before its date the provider's maintenance is a warning.
const maintenanceSoon = 7 * 24 * time.Hour

// unknown stands for what nobody told.
var unknown = component.Cell{Text: "-", Role: theme.Muted}

// leveled is a value with the sign of how bad it is.
func leveled(r theme.Role, s string) component.Cell {
	if theme.Mark(r) == "" {
		return component.Cell{Text: s, Role: r}
	}
	return marked(r, s)
}

// aged is c; muted where it is not what is.
func aged[T any](c component.Cell, r Reading[T], now time.Time, limit time.Duration) component.Cell {
	if old(r, now, limit) {
		c.Role = theme.Muted
	}
	return c
}

// Level is a number to sort by; ok is false where it is not known.
type Level struct {
	V  float64
	OK bool
}

// CPU is the share of the processors that is busy.
func (k Known) CPU() Level {
	if l := k.Load.Value; l != nil && l.CPU != nil {
		return Level{*l.CPU, true}
	}
	return Level{}
}

// Disk is the share of the disk that is used.
func (k Known) Disk() Level {
	used, size := k.disk()
	if size == 0 {
		return Level{}
	}
	return Level{float64(used) / float64(size), true}
}

// disk are the bytes that are used, and all; 0 where they are not known.
func (k Known) disk() (used, size int64) {
	l := k.Load.Value
	if l == nil || l.StorageUsed == nil {
		return 0, 0
	}
	switch {
	case l.StorageFree != nil:
		return *l.StorageUsed, *l.StorageUsed + *l.StorageFree
	case k.Live != nil:
		return *l.StorageUsed, k.Live.Storage.GiB << 30
	}
	return *l.StorageUsed, 0
}

// Connections counts the clients.
func (k Known) Connections() Level {
	switch l := k.Load.Value; {
	case l != nil && l.Connections != nil:
		return Level{float64(*l.Connections), true}
	case k.Live != nil && k.Live.Connections > 0: // a plain server tells it with its status
		return Level{float64(k.Live.Connections), true}
	}
	return Level{}
}

// Lag is how far a replica is behind, in seconds.
func (k Known) Lag() Level {
	if l := k.Load.Value; l != nil && l.ReplicaLag != nil {
		return Level{l.ReplicaLag.Seconds(), true}
	}
	return Level{}
}

// CredentialAge is larger the older the oldest credential is.
func (k Known) CredentialAge() Level {
	if c := k.Creds.Value; c != nil && !c.Created.IsZero() {
		return Level{-float64(c.Created.Unix()), true}
	}
	return Level{}
}

// Drifts counts the settings that drifted.
func (k Known) Drifts() Level {
	if d := k.Drift.Value; d != nil && d.known() {
		return Level{float64(d.Drifted) + float64(d.Pending)/1000, true}
	}
	return Level{}
}

// CPUCell is the share of the processors: "43%".
func (k Known) CPUCell(now time.Time) component.Cell {
	v := k.CPU()
	if !v.OK {
		return unknown
	}
	return aged(leveled(cpuLevel.role(v.V), percent(v.V)), k.Load, now, loadOld)
}

// ConnectionsCell counts the clients, of as many as there may be where that is known: "212/500".
func (k Known) ConnectionsCell(now time.Time) component.Cell {
	v := k.Connections()
	if !v.OK {
		return unknown
	}
	s, role := strconv.Itoa(int(v.V)), theme.Text
	if most := k.mostConnections(); most > 0 {
		s += "/" + strconv.Itoa(most)
		role = connLevel.role(v.V / float64(most))
	}
	if k.Load.Value == nil {
		return leveled(role, s)
	}
	return aged(leveled(role, s), k.Load, now, loadOld)
}

func (k Known) mostConnections() int {
	if k.Live == nil {
		return 0
	}
	return k.Live.MaxConnections
}

// DiskCell is how full the disk is: "62%".
func (k Known) DiskCell(now time.Time) component.Cell {
	v := k.Disk()
	if !v.OK {
		return unknown
	}
	return aged(leveled(diskLevel.role(v.V), percent(v.V)), k.Load, now, loadOld)
}

// LagCell is how far a replica is behind.
func (k Known) LagCell(now time.Time) component.Cell {
	v := k.Lag()
	if !v.OK {
		return unknown
	}
	return aged(leveled(lagLevel.role(v.V), text.Age(*k.Load.Value.ReplicaLag)), k.Load, now, loadOld)
}

// CredsCell is the age of the oldest credential.
func (k Known) CredsCell(now time.Time) component.Cell {
	c := k.Creds.Value
	if c == nil || c.Created.IsZero() {
		return unknown
	}
	role := theme.Text
	if len(c.Over) > 0 {
		role = theme.Warn
	}
	return aged(leveled(role, text.Age(now.Sub(c.Created))), k.Creds, now, seldomOld)
}

// known tells whether anything is declared, and could be compared.
func (d Drifted) known() bool { return d.Drifted+d.Pending+d.InSync+d.Unknown > 0 }

// DriftCell counts what differs from what is declared: "! 2", "~ 1", "in sync", "? 1".
func (k Known) DriftCell(now time.Time) component.Cell {
	d := k.Drift.Value
	if d == nil || !d.known() {
		return unknown
	}
	c := component.Cell{Text: "in sync", Role: theme.OK}
	switch {
	case d.Drifted > 0:
		c = marked(theme.Warn, strconv.Itoa(d.Drifted))
	case d.Pending > 0:
		c = marked(theme.Pending, strconv.Itoa(d.Pending))
	case d.Unknown > 0:
		c = component.Cell{Text: "? " + strconv.Itoa(d.Unknown), Role: theme.Muted}
	}
	return aged(c, k.Drift, now, seldomOld)
}

// due is the earliest date that the provider's pending maintenance names; zero if it names none.
func due(m cloud.Maintenance) (first time.Time) {
	for _, p := range m.Pending {
		for s := range strings.FieldsSeq(p) {
			if len(s) < len(time.DateOnly) || s[4] != '-' {
				continue
			}
			if t, err := time.Parse(time.DateOnly, s[:len(time.DateOnly)]); err == nil && (first.IsZero() || t.Before(first)) {
				first = t
			}
		}
	}
	return first
}

// MaintenanceCell is what the provider wants to do, and by when: "~ 12-01".
func (k Known) MaintenanceCell(now time.Time) component.Cell {
	if k.Live == nil || len(k.Live.Maintenance.Pending) == 0 {
		return unknown
	}
	at := due(k.Live.Maintenance)
	if at.IsZero() {
		return marked(theme.Pending, strconv.Itoa(len(k.Live.Maintenance.Pending)))
	}
	role := theme.Pending
	if at.Sub(now) < maintenanceSoon {
		role = theme.Warn
	}
	return marked(role, at.Format("01-02"))
}

func percent(share float64) string { return fmt.Sprintf("%.0f%%", share*100) }
