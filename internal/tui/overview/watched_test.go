package overview

import (
	"errors"
	"strings"
	"testing"
	"time"

	"dbops/internal/app"
	"dbops/internal/cloud"
	"dbops/internal/drift"
	"dbops/internal/fault"
	"dbops/internal/tui/component"
	"dbops/internal/tui/theme"
)

// loaded is an instance that was measured two minutes ago.
func loaded(change func(*cloud.Load)) Known {
	cpu, n, used, free := 0.5, 90, int64(50<<30), int64(50<<30)
	l := cloud.Load{At: now.Add(-2 * time.Minute), CPU: &cpu, Connections: &n, StorageUsed: &used, StorageFree: &free}
	if change != nil {
		change(&l)
	}
	k := Known{Instance: app.Instance{Environment: "prod", Protected: true, Name: "main"}, Live: healthy(), At: now}
	k.Live.MaxConnections = 100
	return k.Measured(app.InstanceLoad{Load: &l})
}

func TestLevels(t *testing.T) {
	day := 24 * time.Hour
	for name, c := range map[string]struct {
		cell  component.Cell
		want  string
		muted bool
	}{
		"half of the processors":         {loaded(nil).CPUCell(now), "50%", false},
		"four fifths":                    {loaded(func(l *cloud.Load) { *l.CPU = 0.8 }).CPUCell(now), "! 80%", false},
		"nearly all, and more":           {loaded(func(l *cloud.Load) { *l.CPU = 1.2 }).CPUCell(now), "x 120%", false},
		"measured long ago":              {loaded(func(l *cloud.Load) { l.At = now.Add(-time.Hour) }).CPUCell(now), "50%", true},
		"not told":                       {loaded(func(l *cloud.Load) { l.CPU = nil }).CPUCell(now), "-", true},
		"connections near the limit":     {loaded(nil).ConnectionsCell(now), "! 90/100", false},
		"of no known limit":              {func() component.Cell { k := loaded(nil); k.Live.MaxConnections = 0; return k.ConnectionsCell(now) }(), "90", false},
		"of a plain server":              {Known{Live: &cloud.Instance{Connections: 99, MaxConnections: 100}}.ConnectionsCell(now), "x 99/100", false},
		"a disk that is half full":       {loaded(nil).DiskCell(now), "50%", false},
		"one that is nearly full":        {loaded(func(l *cloud.Load) { *l.StorageFree = 1 << 30 }).DiskCell(now), "x 98%", false},
		"one whose free space is unsaid": {loaded(func(l *cloud.Load) { l.StorageFree = nil }).DiskCell(now), "-", true},
		"no replica":                     {loaded(nil).LagCell(now), "-", true},
		"a replica":                      {loaded(func(l *cloud.Load) { l.ReplicaLag = new(3 * time.Second) }).LagCell(now), "3s", false},
		"one that is behind":             {loaded(func(l *cloud.Load) { l.ReplicaLag = new(10 * time.Minute) }).LagCell(now), "x 10m", false},
		"credentials": {
			Known{}.Aged(app.CredentialAge{Container: "api", Created: now.Add(-40 * day)}, now).CredsCell(now), "40d", false,
		},
		"old ones": {
			Known{}.Aged(app.CredentialAge{Container: "api", Created: now.Add(-100 * day), Over: []string{"api"}}, now).CredsCell(now), "! 100d", false,
		},
		"ones that were looked at long ago": {
			Known{}.Aged(app.CredentialAge{Container: "api", Created: now.Add(-40 * day)}, now.Add(-day)).CredsCell(now), "40d", true,
		},
		"ones of which some could not be asked": {
			Known{}.Aged(app.CredentialAge{Container: "api", Created: now.Add(-40 * day), Err: errors.New("x")}, now).CredsCell(now), "40d", true,
		},
		"in sync":         {compared(nil, drift.InSync).DriftCell(now), "in sync", false},
		"drifted":         {compared(nil, drift.InSync, drift.Drifted, drift.Pending, drift.Drifted).DriftCell(now), "! 2", false},
		"pending":         {compared(nil, drift.InSync, drift.Pending).DriftCell(now), "~ 1", false},
		"not told, drift": {compared(nil, drift.Unknown).DriftCell(now), "? 1", true},
		"not declared":    {compared(nil, drift.Unmanaged).DriftCell(now), "-", true},
		"not reached":     {compared(errors.New("no route"), drift.Unknown).DriftCell(now), "-", true},
		"no maintenance":  {loaded(nil).MaintenanceCell(now), "-", true},
		"by a date":       {upkeep("system-update by 2026-12-01"), "~ 12-01", false},
		"soon":            {upkeep("maintenance on 2026-12-20 02:00 UTC", "patch by 2026-11-24"), "! 11-24", false},
		"without a date":  {upkeep("maintenance version X is available"), "~ 1", false},
	} {
		t.Run(name, func(t *testing.T) {
			if c.cell.Text != c.want || (c.cell.Role == theme.Muted) != c.muted {
				t.Errorf("got %+v, want %q, muted %v", c.cell, c.want, c.muted)
			}
		})
	}
}

func upkeep(pending ...string) component.Cell {
	k := loaded(nil)
	k.Live.Maintenance.Pending = pending
	return k.MaintenanceCell(now)
}

// compared is an instance with one setting of each status.
func compared(err error, all ...drift.Status) Known {
	k := loaded(nil)
	k.Live.MaxConnections = 0
	rows := make([]drift.Row, len(all))
	for i, s := range all {
		rows[i] = drift.Row{Setting: "s" + string(rune('0'+i)), Status: s}
	}
	return k.Compared(drift.Looked{Err: err}, rows, now)
}

func TestAReadingThatFailsKeepsTheLastValue(t *testing.T) {
	k := compared(nil, drift.Drifted)
	k = k.Compared(drift.Looked{Err: errors.New("no route")}, []drift.Row{{Status: drift.Unknown}}, now.Add(time.Minute))
	if c := k.DriftCell(now); c.Text != "! 1" || c.Role != theme.Muted {
		t.Errorf("got %+v", c)
	}
	k = loaded(nil).Measured(app.InstanceLoad{Err: fault.New(fault.Denied, "measure", errors.New("no")).Missing("cloudwatch:GetMetricData")})
	if c := k.CPUCell(now); c.Text != "50%" || c.Role != theme.Muted {
		t.Errorf("got %+v", c)
	}
	var said []string
	for _, b := range Now(k, now) {
		for _, f := range b.Facts {
			said = append(said, f.Label+" "+f.Value)
		}
	}
	if all := strings.Join(said, "; "); !strings.HasPrefix(all, "not read no; next the permission cloudwatch:GetMetricData is missing; CPU 50%") || !strings.Contains(all, "as of ! 2m ago") {
		t.Errorf("the details say %q", all)
	}
	k = k.Measured(app.InstanceLoad{Err: cloud.Because("a plain server", cloud.ErrUnsupported)})
	if k.Load.Value != nil || k.Load.Err != nil {
		t.Errorf("what nobody measures is a failure: %+v", k.Load)
	}
}

func TestFindingsOfWhatIsRead(t *testing.T) {
	all := loaded(func(l *cloud.Load) {
		*l.CPU, *l.StorageFree, l.ReplicaLag = 0.99, 1<<30, new(time.Minute)
	})
	all.Live.Maintenance.Pending = []string{"patch by 2026-11-24"}
	all = all.Compared(drift.Looked{}, []drift.Row{{Setting: "class", Status: drift.Drifted}}, now)
	all = all.Aged(app.CredentialAge{Container: "api", Created: now.Add(-100 * 24 * time.Hour), Limit: 90 * 24 * time.Hour, Over: []string{"api", "web"}}, now)
	past := loaded(func(l *cloud.Load) { *l.CPU, l.At = 0.99, now.Add(-time.Hour) })
	for name, c := range map[string]struct {
		k    Known
		want []string
	}{
		"nothing": {compared(nil, drift.InSync), nil},
		"all": {all, []string{
			"x the disk is 98% full: 50 GiB of 51 GiB", "x the processors are 99% busy", "! the replica is 1m behind", "! 90 of 100 connections are in use",
			"! 2 credentials older than 90 days, the oldest 100d: api, web", "! 1 setting drifted: class", "! maintenance is due by 2026-11-24: patch by 2026-11-24",
		}},
		"what was measured long ago": {past, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, f := range Findings([]Known{c.k}, now) {
				got = append(got, theme.Mark(f.Role)+" "+f.Text)
				if strings.Contains(f.Hint, "sets it back") {
					t.Errorf("%q is promised, which only its plan can", f.Hint)
				}
			}
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
