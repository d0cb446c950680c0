package availability

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"dbops/internal/cloud"
	"dbops/internal/op"
)

var prod = op.Target{Environment: "prod", Instance: "main"}

func onRDS(change ...func(*Facts)) Facts {
	f := Facts{
		Provider: cloud.RDS, EngineVersion: "17.5", Class: "db.r6g.large", State: cloud.Available, Availability: cloud.Zonal, Zone: "eu-west-1a",
		Backups: true, PITR: true, NetworkZones: []string{"eu-west-1a", "eu-west-1b"}, Window: "sun:03:00-sun:04:00",
	}
	for _, c := range change {
		c(&f)
	}
	return f
}

func onCloudSQL(change ...func(*Facts)) Facts {
	f := Facts{
		Provider: cloud.CloudSQL, EngineVersion: "17.5", Class: "db-custom-2-7680", State: cloud.Available, Availability: cloud.Zonal,
		Zone: "europe-west1-b", Backups: true, PITR: true, Window: "sun:03:00-sun:04:00",
	}
	for _, c := range change {
		c(&f)
	}
	return f
}

func regional(f *Facts) {
	f.Availability = cloud.Regional
	f.SecondaryZone = map[cloud.Kind]string{cloud.RDS: "eu-west-1b", cloud.CloudSQL: "europe-west1-c"}[f.Provider]
}

func pending(c ...cloud.Change) func(*Facts) {
	return func(f *Facts) { f.Pending = append(f.Pending, c...) }
}

func doing(s cloud.State) func(*Facts) { return func(f *Facts) { f.State = s } }

var (
	toRegional = cloud.Change{Setting: "availability", From: "zonal", To: "regional"}
	toZonal    = cloud.Change{Setting: "availability", From: "regional", To: "zonal"}
	bigger     = cloud.Change{Setting: "class", From: "db.r6g.large", To: "db.r6g.xlarge"}
	parameters = cloud.Change{Setting: "parameter_group", To: "orders, after a reboot"}
)

// expected is what a test wants of a draft. Texts are parts of what must be there.
type expected struct {
	findings []string // "severity check"
	changes  []string // "setting: from -> to"
	downtime string
	texts    []string
}

func check(t *testing.T, d op.Draft, want expected) {
	t.Helper()
	var findings, changes []string
	for _, f := range d.Findings {
		findings = append(findings, string(f.Severity)+" "+f.Check)
		if f.Text == "" || f.Severity == op.Block && f.Remedy == "" {
			t.Errorf("a finding without a text or a remedy: %+v", f)
		}
	}
	for _, c := range d.Changes {
		changes = append(changes, c.Setting+": "+c.From+" -> "+c.To)
	}
	if !slices.Equal(findings, want.findings) {
		t.Errorf("findings %q, want %q", findings, want.findings)
	}
	if !slices.Equal(changes, want.changes) {
		t.Errorf("changes %q, want %q", changes, want.changes)
	}
	if d.Downtime.Expected != want.downtime || d.Downtime.Text == "" {
		t.Errorf("downtime %+v, want %s", d.Downtime, want.downtime)
	}
	all, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range want.texts {
		if !strings.Contains(string(all), text) {
			t.Errorf("there is no %q in %s", text, all)
		}
	}
}

func TestWhatSettingAnAvailabilityMeans(t *testing.T) {
	const rdsNew, sqlNew = "secondary_zone: none -> a second zone, which RDS chooses", "secondary_zone: none -> a second zone, which Cloud SQL chooses"
	for name, c := range map[string]struct {
		r    SetRequest
		f    Facts
		want expected
	}{
		"on RDS regional comes without an outage, slower, and costs": {
			SetRequest{Want: cloud.Regional},
			onRDS(),
			expected{nil, []string{"availability: zonal -> regional", rdsNew}, "none", []string{"Amazon's documentation", "slower", `"cost":"up`, "db.r6g.large", "dbops availability set zonal -e prod main"}},
		},
		"on RDS zonal loses the standby": {
			SetRequest{Want: cloud.Zonal},
			onRDS(regional),
			expected{[]string{"warn standby-lost"}, []string{"availability: regional -> zonal", "secondary_zone: eu-west-1b -> none"}, "none", []string{`"cost":"down`, "dbops availability set regional -e prod main"}},
		},
		"on Cloud SQL nothing is promised": {
			SetRequest{Want: cloud.Regional},
			onCloudSQL(),
			expected{nil, []string{"availability: zonal -> regional", sqlNew}, "unknown", []string{"promises nothing", "restart", "measures"}},
		},
		"on Cloud SQL zonal loses the standby": {
			SetRequest{Want: cloud.Zonal},
			onCloudSQL(regional),
			expected{[]string{"warn standby-lost"}, []string{"availability: regional -> zonal", "secondary_zone: europe-west1-c -> none"}, "unknown", nil},
		},
		"what is so already needs nothing, whatever the state": {
			SetRequest{Want: cloud.Regional},
			onRDS(regional, doing(cloud.Modifying), pending(bigger)),
			expected{nil, nil, "none", []string{"regional already"}},
		},
		"RDS applies along what is pending": {
			SetRequest{Want: cloud.Regional},
			onRDS(pending(bigger, parameters)),
			expected{[]string{"warn pending-modification"}, []string{"availability: zonal -> regional", rdsNew, "class: db.r6g.large -> db.r6g.xlarge"}, "unknown", []string{"class from db.r6g.large to db.r6g.xlarge", "--in-window"}},
		},
		"in the window nothing is applied now": {
			SetRequest{Want: cloud.Regional, InWindow: true},
			onRDS(pending(bigger)),
			expected{nil, []string{"availability: zonal -> regional", rdsNew}, "none", []string{"sun:03:00-sun:04:00", "in its maintenance window"}},
		},
		"what waits for the window can be had now": {
			SetRequest{Want: cloud.Regional},
			onRDS(pending(toRegional)),
			expected{nil, []string{"availability: zonal -> regional", rdsNew}, "none", nil},
		},
		"what waits for the window already needs nothing": {
			SetRequest{Want: cloud.Regional, InWindow: true}, onRDS(pending(toRegional)), expected{nil, nil, "none", []string{"accepted it already"}},
		},
		"what waits for the window is taken back, alone": {
			SetRequest{Want: cloud.Zonal},
			onRDS(pending(toRegional, bigger)),
			expected{nil, []string{"availability: regional (pending) -> zonal"}, "none", []string{`"cost":"unchanged"`}},
		},
		"Cloud SQL knows no window": {
			SetRequest{Want: cloud.Zonal, InWindow: true},
			onCloudSQL(regional),
			expected{[]string{"block window", "warn standby-lost"}, []string{"availability: regional -> zonal", "secondary_zone: europe-west1-c -> none"}, "unknown", []string{"--in-window"}},
		},
		"one zone is too few for a standby": {
			SetRequest{Want: cloud.Regional},
			onRDS(func(f *Facts) { f.NetworkZones = f.NetworkZones[:1] }),
			expected{[]string{"block network-zones"}, []string{"availability: zonal -> regional", rdsNew}, "none", []string{"subnet group", "zones eu-west-1a"}},
		},
		"a network that says no zones has all of them": {
			SetRequest{Want: cloud.Regional},
			onRDS(func(f *Facts) { f.NetworkZones = nil }),
			expected{nil, []string{"availability: zonal -> regional", rdsNew}, "none", nil},
		},
		"one zone is enough for zonal": {
			SetRequest{Want: cloud.Zonal},
			onRDS(regional, func(f *Facts) { f.NetworkZones = f.NetworkZones[:1] }),
			expected{[]string{"warn standby-lost"}, []string{"availability: regional -> zonal", "secondary_zone: eu-west-1b -> none"}, "none", nil},
		},
		"Cloud SQL wants backups for a standby": {
			SetRequest{Want: cloud.Regional},
			onCloudSQL(func(f *Facts) { f.Backups, f.PITR = false, false }),
			expected{[]string{"block backups"}, []string{"availability: zonal -> regional", sqlNew}, "unknown", []string{"dbops backup configure -e prod main", "restarts"}},
		},
		"and point-in-time recovery": {
			SetRequest{Want: cloud.Regional},
			onCloudSQL(func(f *Facts) { f.PITR = false }),
			expected{[]string{"block backups"}, []string{"availability: zonal -> regional", sqlNew}, "unknown", []string{"recovery false"}},
		},
		"RDS wants no backups for a standby": {
			SetRequest{Want: cloud.Regional},
			onRDS(func(f *Facts) { f.Backups, f.PITR = false, false }),
			expected{nil, []string{"availability: zonal -> regional", rdsNew}, "none", nil},
		},
		"an instance that is busy is left alone": {
			SetRequest{Want: cloud.Regional},
			onCloudSQL(doing(cloud.Modifying)),
			expected{[]string{"block state"}, []string{"availability: zonal -> regional", sqlNew}, "unknown", []string{"dbops status -e prod main"}},
		},
		"one that is stopped has to be started": {
			SetRequest{Want: cloud.Regional},
			onRDS(doing(cloud.Stopped)),
			expected{[]string{"block state"}, []string{"availability: zonal -> regional", rdsNew}, "none", []string{"start it"}},
		},
		"one that failed has to be mended": {
			SetRequest{Want: cloud.Regional},
			onRDS(doing(cloud.Failed)),
			expected{[]string{"block state"}, []string{"availability: zonal -> regional", rdsNew}, "none", []string{"mend it"}},
		},
		"maintenance is told": {
			SetRequest{Want: cloud.Regional},
			onRDS(func(f *Facts) { f.Maintenance = []string{"system-update by 2026-12-01"} }),
			expected{[]string{"info maintenance"}, []string{"availability: zonal -> regional", rdsNew}, "none", []string{"system-update by 2026-12-01"}},
		},
		"a plain server has nobody to ask": {
			SetRequest{Want: cloud.Regional},
			Facts{Provider: cloud.Postgres, State: cloud.Available},
			expected{[]string{"block provider"}, nil, "unknown", nil},
		},
		"a member of a cluster is left to it": {
			SetRequest{Want: cloud.Regional},
			onRDS(func(f *Facts) { f.Availability = "" }),
			expected{[]string{"block cluster"}, nil, "unknown", nil},
		},
	} {
		t.Run(name, func(t *testing.T) { check(t, planSet(prod, c.r, c.f), c.want) })
	}
}

func TestWhatAFailoverMeans(t *testing.T) {
	rdsSwap := []string{"zone: eu-west-1a -> eu-west-1b", "secondary_zone: eu-west-1b -> eu-west-1a"}
	sqlSwap := []string{"zone: europe-west1-b -> europe-west1-c", "secondary_zone: europe-west1-c -> europe-west1-b"}
	for name, c := range map[string]struct {
		f    Facts
		want expected
	}{
		"on RDS it has the downtime that Amazon calls typical": {
			onRDS(regional), expected{nil, rdsSwap, "some", []string{"Amazon's user guide", "new address", "dbops failover -e prod main", "too soon"}},
		},
		"on Cloud SQL nobody says how long": {onCloudSQL(regional), expected{nil, sqlSwap, "some", []string{"promises no time", "the address stays"}}},
		"without a standby there is none": {
			onRDS(), expected{[]string{"block standby"}, []string{"zone: eu-west-1a -> none", "secondary_zone: none -> eu-west-1a"}, "some", []string{"dbops availability set regional -e prod main"}},
		},
		"a standby that is being made cannot take over": {
			onRDS(regional, func(f *Facts) { f.SecondaryZone = "" }),
			expected{[]string{"block standby"}, []string{"zone: eu-west-1a -> none", "secondary_zone: none -> eu-west-1a"}, "some", []string{"dbops status -e prod main"}},
		},
		"one that is about to go should not": {onRDS(regional, pending(toZonal)), expected{[]string{"block standby"}, rdsSwap, "some", nil}},
		"Cloud SQL may keep the standby's zone to itself": {
			onCloudSQL(regional, func(f *Facts) { f.SecondaryZone = "" }),
			expected{[]string{"warn standby-zone"}, []string{"zone: europe-west1-b -> none", "secondary_zone: none -> europe-west1-b"}, "some", nil},
		},
		"an instance that is busy is left alone": {onCloudSQL(regional, doing(cloud.Modifying)), expected{[]string{"block state"}, sqlSwap, "some", nil}},
		"on RDS it is a reboot, which parameters wait for": {
			onRDS(regional, pending(parameters, bigger)), expected{[]string{"warn pending-reboot"}, rdsSwap, "some", []string{"parameter_group to orders"}},
		},
		"a plain server has nobody to ask": {Facts{Provider: cloud.Postgres, State: cloud.Available}, expected{[]string{"block provider"}, nil, "unknown", nil}},
	} {
		t.Run(name, func(t *testing.T) { check(t, planFailover(prod, FailoverRequest{}, c.f), c.want) })
	}
}

func TestStepsDependOnThePlanAlone(t *testing.T) {
	for _, k := range New(Deps{}) {
		request := `{"want":"regional"}`
		facts, err := json.Marshal(onRDS())
		if err != nil {
			t.Fatal(err)
		}
		var names [2][]op.Step
		for i := range names {
			if names[i], err = k.Steps(prod, json.RawMessage(request), facts); err != nil {
				t.Fatal(err)
			}
		}
		for i, s := range names[0] {
			if again := names[1][i]; s.Name != again.Name || s.Title != again.Title || s.UndoTitle != again.UndoTitle || (s.Undo == nil) != (s.UndoTitle == "") {
				t.Errorf("%s: %+v and %+v", k.Name(), s, again)
			}
		}
	}
}

func TestWhatIsShown(t *testing.T) {
	for name, c := range map[string]struct {
		live  cloud.Instance
		other cloud.Availability
		ready bool
	}{
		"a regional instance can fail over": {
			cloud.Instance{Provider: cloud.RDS, State: cloud.Available, Availability: cloud.Regional, Zone: "a", SecondaryZone: "b"}, cloud.Zonal, true,
		},
		"a zonal one cannot":         {cloud.Instance{Provider: cloud.CloudSQL, State: cloud.Available, Availability: cloud.Zonal, Zone: "b"}, cloud.Regional, false},
		"a plain server neither nor": {cloud.Instance{Provider: cloud.Postgres, State: cloud.Available}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			r := Show(prod, &c.live)
			if r.Other != c.other || r.FailoverReady != c.ready || r.Zones != zonesOf(&c.live) || r.Instance != "main" || r.Environment != "prod" {
				t.Errorf("got %+v", r)
			}
		})
	}
}
