package drift

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/config"
	"dbops/internal/state"
)

// healthy is an instance as the profile production has it.
func healthy(kind cloud.Kind) *cloud.Instance {
	i := &cloud.Instance{
		Provider: kind, Name: "main", State: cloud.Available, Availability: cloud.Regional, SecondaryZone: "b", Class: "db.r6g.large",
		Backups:            cloud.Backups{Enabled: true, RetentionDays: 7, PITR: true, Window: "03:00-04:00", LatestRestorable: time.Now()},
		DeletionProtection: true, TLS: cloud.TLS{Mode: "rds.force_ssl=1", Required: true},
		Maintenance: cloud.Maintenance{Window: "sun:03:00-sun:04:00"},
		Raw:         json.RawMessage(`{"DBParameterGroups":[{"DBParameterGroupName":"shop17"}]}`),
	}
	if kind == cloud.CloudSQL {
		i.Backups.Retained, i.Backups.Window, i.TLS.Mode, i.Class, i.Revision, i.Raw = 7, "03:00", "ENCRYPTED_ONLY", "db-custom-2-7680", "12", nil
		i.Endpoints = []cloud.Endpoint{{Kind: cloud.EndpointPrivate, Host: "10.0.0.3", Port: 5432}}
	}
	return i
}

// production is what the built-in profile says, without pitr_days.
func production() map[string]string {
	return map[string]string{
		"availability": "regional", "backups_kept_days": "7", "deletion_protection": "true", "pitr": "true", "public_access": "false", "tls_required": "true",
	}
}

func baselines(values map[string]string) (all []state.Baseline) {
	for k, v := range values {
		all = append(all, state.Baseline{Environment: "prod", Instance: "main", Setting: k, Value: v})
	}
	return all
}

func with(m map[string]string, more ...string) map[string]string {
	for i := 0; i < len(more); i += 2 {
		if m[more[i]] = more[i+1]; more[i+1] == "" {
			delete(m, more[i])
		}
	}
	return m
}

func TestTheComparisonIsThreeWay(t *testing.T) {
	t.Parallel()
	both := []cloud.Kind{cloud.RDS, cloud.CloudSQL}
	for name, c := range map[string]struct {
		kinds    []cloud.Kind
		live     func(*cloud.Instance)
		declared map[string]string // nil: production
		last     map[string]string // nil: production
		want     string
	}{
		"all as declared":                    {kinds: both},
		"all as declared, and never applied": {kinds: both, last: map[string]string{}},
		"changed in the console": {
			kinds: both, live: func(i *cloud.Instance) { i.DeletionProtection = false },
			want: "deletion_protection drifted console true/false/true",
		},
		"declared anew, and not applied": {
			kinds: both, declared: with(production(), "availability", "zonal"),
			want: "availability drifted declaration zonal/regional/regional",
		},
		"changed and declared anew": {
			kinds: both, declared: with(production(), "backups_kept_days", "14"),
			live: func(i *cloud.Instance) { i.Backups.RetentionDays, i.Backups.Retained = 3, 3 },
			want: "backups_kept_days drifted both 14/3/7",
		},
		"never applied": {
			kinds: both, last: map[string]string{}, live: func(i *cloud.Instance) { i.PublicAccess = true },
			want: "public_access drifted never_applied false/true/",
		},
		"changed in the console, and adopted": {
			kinds: both, declared: with(production(), "availability", "zonal"), live: func(i *cloud.Instance) { i.Availability = cloud.Zonal },
		},
		"accepted for the window": {
			kinds: []cloud.Kind{cloud.RDS}, last: map[string]string{}, live: func(i *cloud.Instance) {
				i.Availability, i.Pending = cloud.Zonal, []cloud.Change{{Setting: "availability", From: "zonal", To: "regional"}}
			},
			want: "availability pending regional/zonal/",
		},
		"about to be changed": {
			kinds: []cloud.Kind{cloud.RDS}, live: func(i *cloud.Instance) {
				i.Pending = []cloud.Change{{Setting: "availability", From: "regional", To: "zonal"}}
			},
			want: "availability drifted pending_change regional/regional/regional",
		},
		"another value is accepted than the declared one": {
			kinds: []cloud.Kind{cloud.RDS}, declared: with(production(), "backups_kept_days", "14"), live: func(i *cloud.Instance) {
				i.Pending = []cloud.Change{{Setting: "backups.retention_days", From: "7", To: "3"}}
			},
			want: "backups_kept_days drifted declaration 14/7/7",
		},
		"backups are about to end": {
			kinds: []cloud.Kind{cloud.RDS}, live: func(i *cloud.Instance) {
				i.Pending = []cloud.Change{{Setting: "backups.retention_days", From: "7", To: "0"}}
			},
			want: "backups_kept_days drifted pending_change 7/7/7; pitr drifted pending_change true/true/true",
		},
		"what is pending and nobody declares": {
			kinds: []cloud.Kind{cloud.RDS}, live: func(i *cloud.Instance) {
				i.Pending = []cloud.Change{{Setting: "class", From: "a", To: "b"}, {Setting: "tls.ca", To: "x"}}
			},
		},
		"no backups on RDS": {
			kinds: []cloud.Kind{cloud.RDS}, live: func(i *cloud.Instance) { i.Backups = cloud.Backups{} },
			want: "backups_kept_days drifted console 7/0/7; pitr drifted console true/false/true",
		},
		"no backups on Cloud SQL, whatever number it would keep": {
			kinds: []cloud.Kind{cloud.CloudSQL}, live: func(i *cloud.Instance) { i.Backups.Enabled, i.Backups.PITR = false, false },
			want: "backups_kept_days drifted console 7/0/7; pitr drifted console true/false/true",
		},
		"logs for other days than declared": {
			kinds: []cloud.Kind{cloud.CloudSQL}, declared: with(production(), "pitr_days", "3"), last: with(production(), "pitr_days", "3"),
			want: "pitr_days drifted console 3/7/3",
		},
		"what the provider does not tell": {
			kinds: both, live: func(i *cloud.Instance) { i.TLS, i.Availability = cloud.TLS{}, "" },
			want: "availability unknown not_told regional//regional; tls_required unknown not_told true//true",
		},
		"backups of which the number is not told": {
			kinds: []cloud.Kind{cloud.CloudSQL}, live: func(i *cloud.Instance) { i.Backups.Retained = 0 },
			want: "backups_kept_days unknown not_told 7//7",
		},
	} {
		for _, kind := range c.kinds {
			t.Run(name+" on "+string(kind), func(t *testing.T) {
				t.Parallel()
				live := healthy(kind)
				if c.live != nil {
					c.live(live)
				}
				declared, last := c.declared, c.last
				if declared == nil {
					declared = production()
				}
				if last == nil {
					last = production()
				}
				var got []string
				for _, j := range viewOf(declared, live, baselines(last), false).compare() {
					if j.Status != InSync {
						got = append(got, strings.Join(strings.Fields(j.name+" "+string(j.Status)+" "+string(j.Cause)+" "+j.Declared+"/"+j.Live+"/"+j.Last), " "))
					}
				}
				same(t, "verdicts", strings.Join(got, "; "), c.want)
			})
		}
	}
}

func TestWhatNobodyDeclaresIsListedOnRequest(t *testing.T) {
	t.Parallel()
	for kind, want := range map[cloud.Kind]string{
		cloud.RDS:      "backup_window=03:00-04:00 iam_login=false class=db.r6g.large",
		cloud.CloudSQL: "backup_window=03:00 pitr_days=7 iam_login=false class=db-custom-2-7680",
	} {
		v := viewOf(production(), healthy(kind), nil, true)
		var got []string
		for _, j := range v.compare() {
			if j.Status == Unmanaged {
				got = append(got, j.name+"="+j.Live)
			}
		}
		same(t, string(kind), strings.Join(got, " "), want)
	}
}

// What changes by itself would make every plan stale.
func TestAViewHoldsNothingThatChangesByItself(t *testing.T) {
	t.Parallel()
	for _, kind := range []cloud.Kind{cloud.RDS, cloud.CloudSQL} {
		one := healthy(kind)
		two := healthy(kind)
		two.Revision, two.Labels, two.RawState, two.State = "13", map[string]string{"a": "b"}, "backing-up", cloud.Modifying
		two.Backups.EarliestRestorable = time.Now()
		two.Backups.LatestRestorable, two.TLS.Expires, two.EngineVersion, two.Storage.GiB = time.Now().Add(time.Hour), time.Now(), "17.5", 200
		two.Zone, two.SecondaryZone, two.Class, two.IAMLogin = "b", "a", "other", true // nobody declares them
		x, err := json.Marshal(viewOf(production(), one, nil, false))
		must(t, err)
		y, err := json.Marshal(viewOf(production(), two, nil, false))
		must(t, err)
		same(t, string(kind), string(y), string(x))
	}
}

// Every setting that can be declared is compared, and asks for what it compares.
func TestEverySettingIsKnownOnEachCloud(t *testing.T) {
	t.Parallel()
	values := map[string]string{
		"backups_kept_days": "3", "backup_window": "05:00", "pitr": "false", "pitr_days": "5", "availability": "zonal", "public_access": "true",
		"tls_required": "false", "deletion_protection": "false", "iam_login": "true", "class": "other",
	}
	for _, kind := range []cloud.Kind{cloud.RDS, cloud.CloudSQL} {
		var names []string
		for _, s := range settingsOf(kind) {
			names = append(names, s.name)
			if s.want == nil {
				continue
			}
			want, err := asking(kind, map[string]string{s.name: values[s.name]})
			must(t, err)
			live := healthy(kind)
			missing := want.Missing(live)
			if len(missing) == 0 || !slices.ContainsFunc(missing, func(c cloud.Change) bool { return c.Setting == s.path && c.To == values[s.name] }) {
				t.Errorf("%s: %s asks for %+v", kind, s.name, missing)
			}
		}
		if !slices.Equal(names, config.SettingKeys(kind)) {
			t.Errorf("%s: %v", kind, names)
		}
	}
	if len(settingsOf(cloud.Postgres)) != 0 {
		t.Error("a plain server has settings")
	}
	for _, wrong := range []map[string]string{{"backups_kept_days": "many"}, {"public_access": "perhaps"}, {"colour": "red"}, {"pitr_days": "1"}} {
		if _, err := asking(cloud.RDS, wrong); err == nil {
			t.Errorf("%v is asked for", wrong)
		}
	}
}

// What cannot be set back is said where it is listed, before anybody plans.
func TestARowSaysThatItIsNotSetBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		kind    cloud.Kind
		live    func(*cloud.Instance)
		private bool
		setting string
		stays   string
	}{
		"a public address and no other":           {cloud.CloudSQL, func(i *cloud.Instance) { i.PublicAccess = true }, false, "public_access", cannotReach},
		"a public address with a private one":     {cloud.CloudSQL, func(i *cloud.Instance) { i.PublicAccess = true }, true, "public_access", ""},
		"a parameter group":                       {cloud.RDS, func(i *cloud.Instance) { i.TLS = cloud.TLS{Mode: "rds.force_ssl=0"} }, true, "tls_required", cannotInPlace},
		"as declared, in a parameter group":       {cloud.RDS, func(*cloud.Instance) {}, true, "tls_required", ""},
		"changed elsewhere: set back if one asks": {cloud.RDS, func(i *cloud.Instance) { i.DeletionProtection = false }, true, "deletion_protection", ""},
	} {
		live := healthy(c.kind)
		c.live(live)
		v := viewOf(production(), live, baselines(production()), false)
		v.Private = c.private
		for _, j := range v.compare() {
			if j.name != c.setting {
				continue
			}
			r := v.row("prod", "main", j)
			same(t, name, r.Stays, c.stays)
			if strings.Contains(r.Detail, "it is not set back: "+cannotReach) != (c.stays == cannotReach) {
				t.Errorf("%s: %q", name, r.Detail)
			}
		}
	}
}
