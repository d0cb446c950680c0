package backup

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/op"
)

func onRDS(change ...func(*cloud.Instance)) cloud.Instance {
	i := cloud.Instance{
		Provider: cloud.RDS, Name: "main", State: cloud.Available, Availability: cloud.Regional, DeletionProtection: true,
		Backups: cloud.Backups{Enabled: true, RetentionDays: 7, Window: "03:00-04:00", PITR: true},
	}
	for _, c := range change {
		c(&i)
	}
	return i
}

func onCloudSQL(change ...func(*cloud.Instance)) cloud.Instance {
	i := cloud.Instance{
		Provider: cloud.CloudSQL, Name: "main", State: cloud.Available, Availability: cloud.Zonal, DeletionProtection: true,
		Backups: cloud.Backups{Enabled: true, RetentionDays: 7, Retained: 7, Window: "03:00", PITR: true},
	}
	for _, c := range change {
		c(&i)
	}
	return i
}

var safe = op.Target{Environment: "prod", Instance: "shop", Protected: true}

// found are the findings of a draft: "block check".
func found(d op.Draft) []string {
	var out []string
	for _, f := range d.Findings {
		if f.Severity != op.Info {
			out = append(out, string(f.Severity)+" "+f.Check)
		}
	}
	return out
}

// changed are its changes.
func changed(d op.Draft) string {
	var out []string
	for _, c := range d.Changes {
		out = append(out, fmt.Sprintf("%s %s->%s", c.Setting, c.From, c.To))
	}
	return strings.Join(out, "; ")
}

func TestThePlanOfConfiguringBackups(t *testing.T) {
	t.Parallel()
	none := func(i *cloud.Instance) { i.Backups = cloud.Backups{Window: i.Backups.Window} }
	for name, c := range map[string]struct {
		live     cloud.Instance
		q        ConfigureRequest
		t        op.Target
		findings []string
		changes  string
		downtime string
	}{
		"rds: more days":                        {onRDS(), ConfigureRequest{RetentionDays: new(14)}, safe, nil, "backups.retention_days 7->14", "none"},
		"rds: fewer days lose the older":        {onRDS(), ConfigureRequest{RetentionDays: new(3)}, safe, []string{"warn lose-older"}, "backups.retention_days 7->3", "none"},
		"rds: the same":                         {onRDS(), ConfigureRequest{RetentionDays: new(7)}, safe, nil, "", "none"},
		"rds: off, protected":                   {onRDS(), ConfigureRequest{RetentionDays: new(0)}, safe, []string{"warn io", "block lose-backups"}, "backups.retention_days 7->0", "brief"},
		"rds: off by its switch, not protected": {onRDS(), ConfigureRequest{Enabled: new(false)}, target, []string{"warn io", "warn lose-backups"}, "backups.retention_days 7->0", "brief"},
		"rds: on":                               {onRDS(none), ConfigureRequest{RetentionDays: new(7)}, safe, []string{"warn io"}, "backups.retention_days 0->7", "brief"},
		"rds: on without days":                  {onRDS(none), ConfigureRequest{Enabled: new(true)}, safe, []string{"block retention"}, "", "none"},
		"rds: on with no days":                  {onRDS(), ConfigureRequest{Enabled: new(true), RetentionDays: new(0)}, target, []string{"block retention", "warn io", "warn lose-backups"}, "backups.retention_days 7->0", "brief"},
		"rds: a number of backups":              {onRDS(), ConfigureRequest{Retained: new(7)}, safe, []string{"block retained"}, "", "none"},
		"rds: no recovery":                      {onRDS(), ConfigureRequest{PITR: new(false)}, safe, []string{"block pitr"}, "", "none"},
		"rds: recovery as it is":                {onRDS(), ConfigureRequest{PITR: new(true)}, safe, nil, "", "none"},
		"rds: too many days":                    {onRDS(), ConfigureRequest{RetentionDays: new(36)}, safe, []string{"block retention"}, "backups.retention_days 7->36", "none"},
		"rds: an hour of Cloud SQL":             {onRDS(), ConfigureRequest{Window: new("03:00")}, safe, []string{"block window"}, "backups.window 03:00-04:00->03:00", "none"},
		"rds: what is pending comes along": {
			onRDS(func(i *cloud.Instance) {
				i.Pending = []cloud.Change{{Setting: "class", From: "db.t3.medium", To: "db.r6g.large"}}
			}),
			ConfigureRequest{RetentionDays: new(14)},
			safe,
			[]string{"warn pending-modifications"},
			"backups.retention_days 7->14; class db.t3.medium->db.r6g.large (was pending)", "unknown",
		},
		"rds: stopped": {onRDS(func(i *cloud.Instance) { i.State = cloud.Stopped }), ConfigureRequest{RetentionDays: new(14)}, safe, []string{"block state"}, "backups.retention_days 7->14", "none"},

		"cloudsql: recovery on restarts": {
			onCloudSQL(func(i *cloud.Instance) { i.Backups.PITR = false }), ConfigureRequest{PITR: new(true)}, safe, []string{"warn restart"}, "backups.pitr false->true", "brief",
		},
		"cloudsql: recovery off, protected": {onCloudSQL(), ConfigureRequest{PITR: new(false)}, safe, []string{"block lose-pitr"}, "backups.pitr true->false", "none"},
		"cloudsql: recovery off":            {onCloudSQL(), ConfigureRequest{PITR: new(false)}, target, []string{"warn lose-pitr"}, "backups.pitr true->false", "none"},
		"cloudsql: backups off alone":       {onCloudSQL(), ConfigureRequest{Enabled: new(false)}, target, []string{"block pitr", "warn lose-backups"}, "backups.enabled true->false", "none"},
		"cloudsql: both off, regional": {
			onCloudSQL(func(i *cloud.Instance) { i.Availability = cloud.Regional }),
			ConfigureRequest{Enabled: new(false), PITR: new(false)},
			safe,
			[]string{"block regional", "block lose-backups"},
			"backups.enabled true->false; backups.pitr true->false", "none",
		},
		"cloudsql: more of both":   {onCloudSQL(), ConfigureRequest{Retained: new(30), RetentionDays: new(14)}, safe, []string{"warn retention"}, "backups.retention_days 7->14; backups.retained 7->30", "none"},
		"cloudsql: fewer backups":  {onCloudSQL(), ConfigureRequest{Retained: new(3)}, safe, []string{"warn lose-older"}, "backups.retained 7->3", "none"},
		"cloudsql: no logs at all": {onCloudSQL(), ConfigureRequest{RetentionDays: new(0)}, safe, []string{"block retention"}, "backups.retention_days 7->0", "none"},
		"cloudsql: no backups":     {onCloudSQL(), ConfigureRequest{Retained: new(0)}, safe, []string{"block retained"}, "backups.retained 7->0", "none"},
		"cloudsql: a window":       {onCloudSQL(), ConfigureRequest{Window: new("03:30")}, safe, []string{"block window"}, "backups.window 03:00->03:30", "none"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := deriveConfigure(c.t, c.q, configureFacts{c.live})
			if got := found(d); !slices.Equal(got, c.findings) {
				t.Errorf("findings %q, want %q", got, c.findings)
			}
			if got := changed(d); got != c.changes {
				t.Errorf("changes %q, want %q", got, c.changes)
			}
			if d.Downtime.Expected != c.downtime {
				t.Errorf("downtime %+v, want %s", d.Downtime, c.downtime)
			}
		})
	}
}

func TestThePlanOfARestore(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		q        RestoreRequest
		f        restoreFacts
		findings []string
	}{
		"to the latest":              {RestoreRequest{Latest: true, To: "copy"}, restoreFacts{Source: onRDS()}, nil},
		"from a backup":              {RestoreRequest{Backup: "b1", To: "copy"}, restoreFacts{Source: onCloudSQL(), Backup: "ready"}, nil},
		"from nothing":               {RestoreRequest{To: "copy"}, restoreFacts{Source: onRDS()}, []string{"block source"}},
		"from two things":            {RestoreRequest{Time: at, Latest: true, To: "copy"}, restoreFacts{Source: onRDS()}, []string{"block source"}},
		"from a backup that is gone": {RestoreRequest{Backup: "b1", To: "copy"}, restoreFacts{Source: onRDS(), Backup: "missing"}, []string{"block backup"}},
		"to a time too late":         {RestoreRequest{Time: at, To: "copy"}, restoreFacts{Source: onRDS(), Reach: notYet}, []string{"block time"}},
		"to a time too early":        {RestoreRequest{Time: at, To: "copy"}, restoreFacts{Source: onRDS(), Reach: tooEarly}, []string{"block time"}},
		"to the future":              {RestoreRequest{Time: at, To: "copy"}, restoreFacts{Source: onRDS(), Reach: future}, []string{"block time"}},
		"without recovery":           {RestoreRequest{Time: at, To: "copy"}, restoreFacts{Source: onRDS(), Reach: noPITR}, []string{"block pitr"}},
		"to a name that is taken":    {RestoreRequest{Latest: true, To: "copy"}, restoreFacts{Source: onRDS(), Taken: true}, []string{"block name-taken"}},
		"to a name in capitals":      {RestoreRequest{Latest: true, To: "Copy"}, restoreFacts{Source: onRDS()}, []string{"block name"}},
		"to no name":                 {RestoreRequest{Latest: true}, restoreFacts{Source: onCloudSQL()}, []string{"block name"}},
		"to a name with two hyphens": {RestoreRequest{Latest: true, To: "a--b"}, restoreFacts{Source: onRDS()}, []string{"block name"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := deriveRestore(safe, c.q, c.f)
			if got := found(d); !slices.Equal(got, c.findings) {
				t.Errorf("findings %q, want %q", got, c.findings)
			}
			if want := "prod/" + c.q.To; len(d.Also) != 1 || d.Also[0] != want || len(d.Changes) != 1 || d.Changes[0].Target != want {
				t.Errorf("also %q, changes %+v", d.Also, d.Changes)
			}
		})
	}
}

func TestThePlanOfADrill(t *testing.T) {
	t.Parallel()
	d := deriveDrill(safe, DrillRequest{Keep: true}, drillFacts{Source: onCloudSQL(), Reach: noPITR})
	if got := found(d); !slices.Equal(got, []string{"block pitr", "warn kept"}) {
		t.Errorf("findings %q", got)
	}
	if d.Downtime.Expected != "none" || len(d.Changes) != 1 {
		t.Errorf("got %+v", d)
	}
}

func TestThePlanOfABackup(t *testing.T) {
	t.Parallel()
	for label, want := range map[string][]string{
		"": nil, "before-release": nil, "Before-Release": nil, "a--b": {"block label"}, "1st": {"block label"}, "ä": {"block label"}, strings.Repeat("a", 61): {"block label"},
	} {
		if got := found(deriveCreate(safe, CreateRequest{label}, createFacts{onCloudSQL()})); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", label, got, want)
		}
	}
	if d := deriveCreate(safe, CreateRequest{}, createFacts{onRDS(func(i *cloud.Instance) { i.Availability = cloud.Zonal })}); d.Downtime.Expected != "brief" {
		t.Errorf("without a standby: %+v", d.Downtime)
	}
}

func TestThePlanOfANewName(t *testing.T) {
	t.Parallel()
	q := RenameRequest{To: "shop-main", Names: []string{"dbops.yaml: prod.instances.shop.rds.identifier"}}
	d := deriveRename(safe, q, renameFacts{Source: onRDS()})
	if got := found(d); !slices.Equal(got, []string{"warn repoint", "warn reboot", "warn address"}) || changed(d) != "name main->shop-main" {
		t.Errorf("rds: %q, %q", got, changed(d))
	}
	d = deriveRename(safe, q, renameFacts{Source: onCloudSQL()})
	if got := found(d); !slices.Equal(got, []string{"warn repoint", "warn clone"}) || changed(d) != "instance ->a clone of main" {
		t.Errorf("cloudsql: %q, %q", got, changed(d))
	}
	if d = deriveRename(safe, RenameRequest{To: "main"}, renameFacts{Source: onRDS()}); len(d.Changes) > 0 {
		t.Errorf("its own name: %+v", d)
	}
	if got := found(deriveRename(safe, q, renameFacts{Source: onCloudSQL(), Taken: true})); !slices.Contains(got, "block name-taken") {
		t.Errorf("a name that is taken: %q", got)
	}
	if d = deriveRename(safe, q, renameFacts{Source: onRDS(func(i *cloud.Instance) {
		i.Pending = []cloud.Change{{Setting: "class", To: "db.r6g.large"}}
	})}); !slices.Contains(found(d), "warn pending-modifications") {
		t.Errorf("what is pending: %q", found(d))
	}
}

// The facts are the same as long as the world is: nothing in them changes by itself.
func TestFactsDoNotMoveByThemselves(t *testing.T) {
	t.Parallel()
	a := &cloud.Instance{Provider: cloud.RDS, Name: "main", State: cloud.Available, Created: time.Unix(1, 0)}
	b := *a
	b.State, b.Zone, b.Revision, b.Labels = cloud.Modifying, "b", "9", map[string]string{"dbops-lease": "x"}
	b.Backups.EarliestRestorable = time.Unix(1, 0)
	b.Backups.LatestRestorable, b.Storage.GiB = time.Unix(2, 0), 50
	x, _ := json.Marshal(seen(a))
	y, _ := json.Marshal(seen(&b))
	if string(x) != string(y) {
		t.Errorf("%s\n%s", x, y)
	}
}
