package drift

import (
	"strings"
	"testing"

	"dbops/internal/cloud"
	"dbops/internal/op"
)

func TestDerive(t *testing.T) {
	t.Parallel()
	rds, sql := cloud.RDS, cloud.CloudSQL
	for name, c := range map[string]struct {
		kind     cloud.Kind
		live     func(*cloud.Instance)
		facts    func(*facts)
		declared map[string]string
		last     map[string]string // nil: nothing was ever applied
		request  FixRequest
		changes  string
		findings []string // severity, check
		downtime string   // empty: none
		says     string   // somewhere in a finding, its remedy, or the downtime
	}{
		"nothing drifted": {kind: rds},
		"what never was applied": {
			kind: rds, live: func(i *cloud.Instance) { i.Availability, i.DeletionProtection = cloud.Zonal, false },
			changes: "availability zonal>regional; deletion_protection false>true", says: "writes are slower",
		},
		"one of two": {
			kind: sql, live: func(i *cloud.Instance) { i.Availability, i.DeletionProtection = cloud.Zonal, false },
			request: FixRequest{Settings: []string{"deletion_protection"}}, changes: "deletion_protection false>true",
		},
		"availability of Cloud SQL": {
			kind: sql, live: func(i *cloud.Instance) { i.Availability = cloud.Zonal },
			changes: "availability zonal>regional", downtime: "unknown", says: "may restart the instance",
		},
		"recovery of Cloud SQL": {
			kind: sql, live: func(i *cloud.Instance) { i.Backups.PITR = false },
			changes: "pitr false>true", downtime: "brief", says: "restarts the database",
		},
		"backups of RDS, and the recovery that comes with them": {
			kind: rds, live: func(i *cloud.Instance) { i.Backups = cloud.Backups{} },
			changes: "backups_kept_days 0>7", findings: []string{"info comes-along"}, downtime: "brief", says: "suspend I/O",
		},
		"recovery of RDS alone": {
			kind: rds, declared: map[string]string{"pitr": "true"}, live: func(i *cloud.Instance) { i.Backups = cloud.Backups{} },
			findings: []string{"block comes-along"}, says: "declare and fix that",
		},
		"TLS of RDS, and nothing else": {
			kind: rds, live: func(i *cloud.Instance) { i.TLS = cloud.TLS{Mode: "rds.force_ssl=0"} },
			findings: []string{"block not-in-place"}, says: "set rds.force_ssl to 1 in the parameter group shop17",
		},
		"TLS of RDS, in a group that cannot be changed": {
			kind: rds, live: func(i *cloud.Instance) { i.TLS = cloud.TLS{Mode: "rds.force_ssl=0"} },
			facts:    func(f *facts) { f.Group = "default.postgres14" },
			findings: []string{"block not-in-place"}, says: "a parameter group of your own",
		},
		"TLS of RDS, among others": {
			kind: rds, live: func(i *cloud.Instance) {
				i.TLS, i.DeletionProtection = cloud.TLS{Mode: "rds.force_ssl=0"}, false
			},
			changes: "deletion_protection false>true", findings: []string{"warn not-in-place"},
		},
		"TLS of RDS, by name": {
			kind: rds, request: FixRequest{Settings: []string{"tls_required", "deletion_protection"}}, live: func(i *cloud.Instance) {
				i.TLS, i.DeletionProtection = cloud.TLS{Mode: "rds.force_ssl=0"}, false
			},
			changes: "deletion_protection false>true", findings: []string{"block not-in-place"},
		},
		"TLS of Cloud SQL": {
			kind: sql, live: func(i *cloud.Instance) { i.TLS = cloud.TLS{Mode: "ALLOW_UNENCRYPTED_AND_ENCRYPTED"} },
			changes: "tls_required false>true", findings: []string{"warn clients"}, says: "pg_stat_ssl",
		},
		"client certificates of Cloud SQL": {
			kind: sql, declared: map[string]string{"tls_required": "false"}, live: func(i *cloud.Instance) { i.TLS.Mode = "TRUSTED_CLIENT_CERTIFICATE_REQUIRED" },
			changes: "tls_required true>false", findings: []string{"warn weakens", "warn client-certificates"},
		},
		"what the provider does not tell": {
			kind: rds, live: func(i *cloud.Instance) { i.TLS = cloud.TLS{} },
			findings: []string{"block not-told"}, says: "allow rds:DescribeDBParameters",
		},
		"a public address with a private one": {
			kind: sql, live: func(i *cloud.Instance) { i.PublicAccess = true },
			changes: "public_access true>false", findings: []string{"warn clients"},
		},
		"a public address and no other": {
			kind: sql, live: func(i *cloud.Instance) { i.PublicAccess = true }, facts: func(f *facts) { f.Private = false },
			findings: []string{"block no-private-address"}, says: "Private Service Connect first; or declare public_access: true for prod/main in dbops.yaml",
		},
		"a public address and no other, among others": {
			kind: sql, live: func(i *cloud.Instance) { i.PublicAccess, i.DeletionProtection = true, false }, facts: func(f *facts) { f.Private = false },
			changes: "deletion_protection false>true", findings: []string{"warn no-private-address"},
		},
		"changed elsewhere": {
			kind: rds, last: production(), live: func(i *cloud.Instance) { i.Availability, i.DeletionProtection = cloud.Zonal, false },
			request: FixRequest{Overwrite: []string{"availability"}},
			changes: "availability zonal>regional", findings: []string{"warn overwrites", "block changed-elsewhere"},
		},
		"changed elsewhere, and the only one that is chosen": {
			kind: rds, last: production(), live: func(i *cloud.Instance) { i.Availability, i.DeletionProtection = cloud.Zonal, false },
			request: FixRequest{Settings: []string{"availability"}, Overwrite: []string{"availability"}},
			changes: "availability zonal>regional", findings: []string{"warn overwrites"},
		},
		"changed elsewhere, with all the others": {
			kind: sql, last: with(production(), "availability", ""), live: func(i *cloud.Instance) { i.Availability, i.DeletionProtection = cloud.Zonal, false },
			changes: "availability zonal>regional", findings: []string{"block changed-elsewhere"}, downtime: "unknown",
			says: "dbops drift -e prod main --fix --overwrite deletion_protection; or declare deletion_protection: false for prod/main in dbops.yaml",
		},
		"fewer backups than there are": {
			kind: sql, live: func(i *cloud.Instance) { i.Backups.Retained = 30 },
			findings: []string{"block destroys-backups"}, says: "--overwrite backups_kept_days",
		},
		"fewer backups, by name": {
			kind: sql, live: func(i *cloud.Instance) { i.Backups.Retained = 30 }, request: FixRequest{Overwrite: []string{"backups_kept_days"}},
			changes: "backups_kept_days 30>7", findings: []string{"warn destroys-backups"}, says: "undoing does not bring them back",
		},
		"less safe than it is": {
			kind: rds, declared: map[string]string{"deletion_protection": "false", "availability": "zonal"},
			changes: "availability regional>zonal; deletion_protection true>false", findings: []string{"warn weakens", "warn weakens"},
		},
		"what waits for the window and would be applied along": {
			kind: rds, live: func(i *cloud.Instance) {
				i.DeletionProtection, i.Pending = false, []cloud.Change{{Setting: "class", From: "a", To: "b"}, {Setting: "master_password", To: "(redacted)"}}
			},
			changes: "deletion_protection false>true", findings: []string{"warn pending-modifications", "warn pending-modifications"}, downtime: "unknown",
			says: "class from a to b waits for the maintenance window, and is applied along",
		},
		"accepted already": {
			kind: rds, live: func(i *cloud.Instance) {
				i.Availability, i.Pending = cloud.Zonal, []cloud.Change{{Setting: "availability", From: "zonal", To: "regional"}}
			},
			findings: []string{"info accepted-already"}, says: "in the maintenance window sun:03:00-sun:04:00",
		},
		"accepted already, and wanted now": {
			kind: rds, request: FixRequest{Overwrite: []string{"availability"}}, live: func(i *cloud.Instance) {
				i.Availability, i.Pending = cloud.Zonal, []cloud.Change{{Setting: "availability", From: "zonal", To: "regional"}}
			},
			changes: "availability zonal, regional is accepted>regional", findings: []string{"info applied-now"},
		},
		"an instance that is stopped": {
			kind: rds, live: func(i *cloud.Instance) { i.DeletionProtection = false }, facts: func(f *facts) { f.Down = cloud.Stopped },
			changes: "deletion_protection false>true", findings: []string{"block not-available"},
		},
		"a setting that does not exist": {
			kind: rds, request: FixRequest{Settings: []string{"availability_"}}, findings: []string{"block unknown-setting"}, says: "did you mean availability?",
		},
		"a setting of the other cloud": {
			kind: rds, request: FixRequest{Settings: []string{"pitr_days"}}, findings: []string{"block unknown-setting"},
		},
		"a setting that nobody declares": {
			kind: rds, request: FixRequest{Overwrite: []string{"class"}}, findings: []string{"block not-declared"},
		},
		"a setting that is as declared": {
			kind: rds, request: FixRequest{Settings: []string{"availability"}}, findings: []string{"info as-declared"},
		},
		"another class": {
			kind: rds, declared: map[string]string{"class": "db.r6g.xlarge"},
			changes: "class db.r6g.large>db.r6g.xlarge", downtime: "some", says: "restarts the instance on another machine",
		},
		"cloud logins of Cloud SQL": {
			kind: sql, declared: map[string]string{"iam_login": "true"}, changes: "iam_login false>true", downtime: "unknown",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			live := healthy(c.kind)
			if c.live != nil {
				c.live(live)
			}
			if c.declared == nil {
				c.declared = production()
			}
			f := facts{Name: "main", Profile: "production", Waits: live.Pending, TLSMode: live.TLS.Mode, view: viewOf(c.declared, live, baselines(c.last), false)}
			if c.facts != nil {
				c.facts(&f)
			}
			d := derive(target(), c.request, f)
			var changes, findings, all []string
			for _, x := range d.Changes {
				changes = append(changes, x.Setting+" "+x.From+">"+x.To)
			}
			for _, x := range d.Findings {
				findings = append(findings, string(x.Severity)+" "+x.Check)
				all = append(all, x.Text, x.Remedy)
				if x.Severity == op.Block && x.Remedy == "" {
					t.Errorf("a block without a remedy: %+v", x)
				}
			}
			same(t, "changes", strings.Join(changes, "; "), c.changes)
			same(t, "findings", strings.Join(findings, "; "), strings.Join(c.findings, "; "))
			if c.downtime == "" {
				c.downtime = "none"
			}
			same(t, "downtime", d.Downtime.Expected, c.downtime)
			if text := strings.Join(append(all, d.Downtime.Text), "\n"); !strings.Contains(text, c.says) {
				t.Errorf("%q is not said:\n%s", c.says, text)
			}
			if d.Title == "" || d.Downtime.Text == "" || len(d.Changes) > 0 && d.Back == "" {
				t.Errorf("the plan says too little: %+v", d)
			}
			steps := (&Drift{}).steps(target(), c.request, f)
			if (len(steps) > 0) != (len(d.Changes) > 0) {
				t.Errorf("%d steps for %d changes", len(steps), len(d.Changes))
			}
		})
	}
}
