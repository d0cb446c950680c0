package backup

import (
	"context"
	"fmt"
	"regexp"
	"slices"

	"dbops/internal/cloud"
	"dbops/internal/op"
)

// ConfigureRequest asks for settings of the automatic backups; nil leaves one as it is.
type ConfigureRequest struct {
	Enabled       *bool   `json:"enabled,omitempty"`        // on rds it is the retention: false is 0 days
	RetentionDays *int    `json:"retention_days,omitempty"` // rds: of backups and point-in-time recovery; cloudsql: of transaction logs
	Retained      *int    `json:"retained,omitempty"`       // cloudsql: number of backups kept
	Window        *string `json:"window,omitempty"`         // UTC: "03:00-04:00" (rds), "03:00" (cloudsql)
	PITR          *bool   `json:"pitr,omitempty"`           // cloudsql; on rds it comes with the backups
}

type configureFacts struct {
	Source cloud.Instance `json:"source"`
}

var (
	windowRDS      = regexp.MustCompile(`^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$`)
	windowCloudSQL = regexp.MustCompile(`^([01]\d|2[0-3]):00$`)
)

func (r *Room) configure() op.Operation[ConfigureRequest, configureFacts] {
	return op.Operation[ConfigureRequest, configureFacts]{
		Kind: ConfigureKind, Words: words(),
		Observe: func(ctx context.Context, t op.Target, _ ConfigureRequest) (f configureFacts, err error) {
			_, live, err := r.look(ctx, t)
			if err != nil {
				return f, err
			}
			return configureFacts{seen(live)}, nil
		},
		Derive: deriveConfigure,
		Steps: func(t op.Target, q ConfigureRequest, f configureFacts) []op.Step {
			want := q.settings(f.Source)
			set := func(settings cloud.Settings) func(context.Context, *op.Session) (op.Result, error) {
				return func(ctx context.Context, s *op.Session) (op.Result, error) {
					c, err := r.cloudOf(ctx, s)
					if err != nil {
						return op.Result{}, err
					}
					return r.modify(ctx, s, c, f.Source.Name, settings)
				}
			}
			return []op.Step{{
				Name: "configure", Title: "set the backups of " + t.String(), Do: set(want),
				Undo: set(before(want, f.Source)), UndoTitle: "set the backups back",
			}}
		},
	}
}

// settings are what the provider is asked for.
func (q ConfigureRequest) settings(live cloud.Instance) cloud.Settings {
	s := cloud.Settings{RetentionDays: q.RetentionDays, BackupWindow: q.Window}
	if live.Provider == cloud.RDS {
		if q.Enabled != nil && !*q.Enabled {
			s.RetentionDays = new(0)
		}
		return s
	}
	s.BackupsEnabled, s.PITR, s.Retained = q.Enabled, q.PITR, q.Retained
	return s
}

// before is what a change of settings is undone with.
func before(want cloud.Settings, live cloud.Instance) cloud.Settings {
	b := live.Backups
	was := cloud.Settings{BackupsEnabled: &b.Enabled, RetentionDays: &b.RetentionDays, Retained: &b.Retained, BackupWindow: &b.Window, PITR: &b.PITR}
	var changed []string
	for _, m := range want.Missing(&live) {
		changed = append(changed, m.Setting)
	}
	return was.Part(func(setting string) bool { return slices.Contains(changed, setting) })
}

func deriveConfigure(t op.Target, q ConfigureRequest, f configureFacts) op.Draft {
	live := f.Source
	d := op.Draft{Title: "configure the backups of " + t.String(), Findings: usable(live), Downtime: op.Downtime{Expected: "none", Text: "the databases can be used meanwhile"}}
	for _, m := range q.settings(live).Missing(&live) {
		d.Changes = append(d.Changes, op.Change{Setting: m.Setting, From: m.From, To: m.To})
		d.Back += fmt.Sprintf("set %s to %s; ", m.Setting, m.From)
	}
	if d.Back != "" {
		d.Back += "what was removed meanwhile does not come back"
	}
	if live.Provider == cloud.RDS {
		rdsBackups(&d, q, live)
	} else {
		cloudsqlBackups(&d, q, live)
	}
	lose(&d, t, q.settings(live), live)
	return d
}

func rdsBackups(d *op.Draft, q ConfigureRequest, live cloud.Instance) {
	days := live.Backups.RetentionDays
	if want := q.settings(live).RetentionDays; want != nil {
		days = *want
	}
	switch {
	case q.Retained != nil:
		d.Findings = append(d.Findings, block("retained", "set the retention in days", "RDS keeps backups for days, not a number of them"))
	case q.PITR != nil && *q.PITR != (days > 0):
		d.Findings = append(d.Findings, block("pitr", "set the retention: 0 days mean no backups", "on RDS point-in-time recovery comes and goes with the backups"))
	case q.Enabled != nil && *q.Enabled != (days > 0):
		d.Findings = append(d.Findings, block("retention", "give retention days as well, from 1 to 35", "RDS has no switch for backups: their retention says whether there are any"))
	case days < 0 || days > 35:
		d.Findings = append(d.Findings, block("retention", "choose 0 to 35", "RDS keeps backups for 0 to 35 days"))
	}
	if q.Window != nil && !windowRDS.MatchString(*q.Window) {
		d.Findings = append(d.Findings, block("window", "write it as in 03:00-04:00", "this is no backup window of RDS: "+*q.Window))
	}
	if (days > 0) != (live.Backups.RetentionDays > 0) {
		d.Downtime = op.Downtime{Expected: "brief", Text: "RDS may suspend I/O while backups are turned on or off"}
		d.Findings = append(d.Findings, warn("io", "choose a quiet hour", "RDS may suspend I/O for a while when the retention goes from 0 to more, or back"))
	}
	d.Cost = way(days, live.Backups.RetentionDays, "days of backups are kept")
	alongside(d, q, live)
}

// alongside are the modifications that RDS makes with any other that is made at once.
func alongside(d *op.Draft, q ConfigureRequest, live cloud.Instance) {
	asked := q.settings(live).Missing(&live)
	for _, p := range live.Pending {
		if slices.ContainsFunc(asked, func(c cloud.Change) bool { return c.Setting == p.Setting }) {
			continue
		}
		d.Findings = append(d.Findings, op.Finding{
			Severity: op.Warn, Check: "pending-modifications", Text: "RDS applies what is pending along with this change: " + p.Setting + " to " + p.To,
			Evidence: p.Setting + ": " + p.From + " -> " + p.To, Remedy: "take it back first if it must wait for the maintenance window",
		})
		if len(d.Changes) > 0 {
			d.Changes = append(d.Changes, op.Change{Setting: p.Setting, From: p.From, To: p.To + " (was pending)"})
			d.Downtime = op.Downtime{Expected: "unknown", Text: "depends on what is pending: a new class or engine restarts the database"}
		}
	}
}

func cloudsqlBackups(d *op.Draft, q ConfigureRequest, live cloud.Instance) {
	b := live.Backups
	enabled, pitr := b.Enabled, b.PITR
	if q.Enabled != nil {
		enabled = *q.Enabled
	}
	if q.PITR != nil {
		pitr = *q.PITR
	}
	if pitr && !enabled {
		d.Findings = append(d.Findings, block("pitr", "turn both on, or both off", "point-in-time recovery of Cloud SQL needs the backups"))
	}
	if live.Availability == cloud.Regional && (!enabled || !pitr) {
		d.Findings = append(d.Findings, block("regional", "make it zonal first", "a regional instance needs backups and point-in-time recovery"))
	}
	if q.Window != nil && !windowCloudSQL.MatchString(*q.Window) {
		d.Findings = append(d.Findings, block("window", "write the hour at which it begins, as in 03:00", "this is no backup window of Cloud SQL: "+*q.Window))
	}
	if n := q.RetentionDays; n != nil && (*n < 1 || *n > 35) {
		d.Findings = append(d.Findings, block("retention", "choose 1 to 7, with Enterprise Plus up to 35", "Cloud SQL keeps transaction logs for 1 to 35 days"))
	} else if n != nil && *n > 7 {
		d.Findings = append(d.Findings, warn("retention", "", "more than 7 days of transaction logs need the Enterprise Plus edition: others are refused"))
	}
	if n := q.Retained; n != nil && (*n < 1 || *n > 365) {
		d.Findings = append(d.Findings, block("retained", "choose 1 to 365", "Cloud SQL keeps 1 to 365 backups"))
	}
	if pitr && !b.PITR {
		d.Downtime = op.Downtime{Expected: "brief", Text: "Cloud SQL restarts the database to turn point-in-time recovery on"}
		d.Findings = append(d.Findings, warn("restart", "choose a quiet hour", "turning point-in-time recovery on restarts the database: every session ends"))
	}
	kept := b.Retained
	if q.Retained != nil {
		kept = *q.Retained
	}
	d.Cost = way(kept, b.Retained, "backups are kept")
}

func way(to, from int, what string) string {
	switch {
	case to > from:
		return fmt.Sprintf("up: %d %s, not %d", to, what, from)
	case to < from:
		return fmt.Sprintf("down: %d %s, not %d", to, what, from)
	}
	return ""
}

// lose says which ways back to an earlier state the change takes away. Taking all of them is blocked where the environment is protected.
func lose(d *op.Draft, t op.Target, want cloud.Settings, live cloud.Instance) {
	b := live.Backups
	off := func(was bool, to *bool) bool { return was && to != nil && !*to }
	noBackups := off(b.Enabled, want.BackupsEnabled) || live.Provider == cloud.RDS && b.RetentionDays > 0 && want.RetentionDays != nil && *want.RetentionDays == 0
	for check, text := range map[string]string{
		"lose-backups": "the automatic backups are turned off: those that exist are lost, and with them every point in time",
		"lose-pitr":    "point-in-time recovery is turned off: the transaction logs are lost, and only whole backups can be restored",
	} {
		if check == "lose-backups" && !noBackups || check == "lose-pitr" && (noBackups || !off(b.PITR, want.PITR)) {
			continue
		}
		f := warn(check, "make a backup first: dbops backup create", text)
		if t.Protected {
			f = block(check, "it is not done in a protected environment: say in dbops.yaml that "+t.Environment+" is not, and have that reviewed", text)
		}
		d.Findings = append(d.Findings, f)
	}
	less := func(was int, to *int) bool { return to != nil && *to > 0 && *to < was }
	if less(b.RetentionDays, want.RetentionDays) || less(b.Retained, want.Retained) {
		d.Findings = append(d.Findings, warn("lose-older", "", "what is older than the new retention is removed, and does not come back"))
	}
}
