package cloudsql

import (
	"context"
	"maps"
	"slices"

	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/cloud"
	"dbops/internal/fault"
)

// Modify changes settings, those of one revision: somebody else's change in between is a fault.Stale, also when m names none.
func (p *Provider) Modify(ctx context.Context, name string, m cloud.Modify) (cloud.Receipt, error) {
	q := p.changing(p.op("modify", name), "cloudsql.instances.update", editorRole)
	ask, r, err := p.begin(ctx, q, name)
	if err != nil {
		return cloud.Receipt{}, err
	}
	defer r.end()
	if err := modifiable(q.Op, m); err != nil {
		return cloud.Receipt{}, err
	}
	db, err := r.describe(ask, name)
	if err != nil {
		return cloud.Receipt{}, err
	}
	live := instance(db, p.project)
	if m.Revision != "" && m.Revision != live.Revision {
		return cloud.Receipt{}, fault.Newf(fault.Stale, q.Op, "its settings have revision %s, not %s", live.Revision, m.Revision).
			Hint("read it again, then repeat")
	}
	w := want{Settings: &m.Settings}
	missing := m.Settings.Missing(live)
	if len(missing) == 0 {
		w.Nothing = true
		return receipt(changeModify, name, nil, w)
	}
	todo := m.Settings.Part(func(setting string) bool {
		return slices.ContainsFunc(missing, func(c cloud.Change) bool { return c.Setting == setting })
	})
	o, err := r.api.Instances.Patch(p.project, name, &sqladmin.DatabaseInstance{Settings: patch(db.Settings, todo)}).Context(ask).Do()
	if err != nil {
		return cloud.Receipt{}, r.refused(ask, err)
	}
	return receipt(changeModify, name, o, w)
}

// modifiable refuses what Cloud SQL would not understand.
func modifiable(op string, m cloud.Modify) error {
	switch {
	case m.When == cloud.InWindow:
		return unsupported(op, "Cloud SQL makes a change at once or not at all, never in the maintenance window", "ask for it now")
	case m.When != "" && m.When != cloud.Now:
		return fault.Newf(fault.Invalid, op, "there is no such time of a change: %s", m.When)
	case m.Settings.Availability != nil && *m.Settings.Availability != cloud.Zonal && *m.Settings.Availability != cloud.Regional:
		return fault.Newf(fault.Invalid, op, "there is no such availability: %s", *m.Settings.Availability)
	}
	return nil
}

// patch asks for settings. The API merges objects and replaces lists; a false that matters has to be named, or the SDK leaves it
// out.
func patch(live *sqladmin.Settings, s cloud.Settings) *sqladmin.Settings {
	out := &sqladmin.Settings{SettingsVersion: live.SettingsVersion, BackupConfiguration: patchBackups(live.BackupConfiguration, s)}
	if s.Availability != nil {
		out.AvailabilityType = map[cloud.Availability]string{cloud.Zonal: "ZONAL", cloud.Regional: "REGIONAL"}[*s.Availability]
	}
	if s.DeletionProtection != nil {
		out.DeletionProtectionEnabled = *s.DeletionProtection
		out.ForceSendFields = append(out.ForceSendFields, "DeletionProtectionEnabled")
	}
	if s.Class != nil {
		out.Tier = *s.Class
	}
	if s.IAMLogin != nil {
		out.DatabaseFlags = withFlag(live.DatabaseFlags, flagIAM, map[bool]string{true: "on", false: "off"}[*s.IAMLogin])
	}
	out.IpConfiguration = patchNetwork(live.IpConfiguration, s)
	patchLabels(out, live.UserLabels, s.Labels)
	return out
}

// patchBackups is the whole configuration of the backups, as gcloud sends it, and nil if nothing of it changes.
func patchBackups(live *sqladmin.BackupConfiguration, s cloud.Settings) *sqladmin.BackupConfiguration {
	if s.BackupsEnabled == nil && s.RetentionDays == nil && s.Retained == nil && s.BackupWindow == nil && s.PITR == nil {
		return nil
	}
	out := &sqladmin.BackupConfiguration{ForceSendFields: []string{"Enabled", "PointInTimeRecoveryEnabled"}}
	if live != nil {
		out.Enabled, out.PointInTimeRecoveryEnabled, out.StartTime = live.Enabled, live.PointInTimeRecoveryEnabled, live.StartTime
		out.TransactionLogRetentionDays, out.Location = live.TransactionLogRetentionDays, live.Location
		if kept := live.BackupRetentionSettings; kept != nil {
			out.BackupRetentionSettings = &sqladmin.BackupRetentionSettings{RetainedBackups: kept.RetainedBackups, RetentionUnit: kept.RetentionUnit}
		}
	}
	if s.BackupsEnabled != nil {
		out.Enabled = *s.BackupsEnabled
	}
	if s.PITR != nil {
		out.PointInTimeRecoveryEnabled = *s.PITR
	}
	if s.BackupWindow != nil {
		out.StartTime = *s.BackupWindow
	}
	if s.RetentionDays != nil {
		out.TransactionLogRetentionDays = int64(*s.RetentionDays)
		out.ForceSendFields = append(out.ForceSendFields, "TransactionLogRetentionDays")
	}
	if s.Retained != nil {
		out.BackupRetentionSettings = &sqladmin.BackupRetentionSettings{
			RetainedBackups: int64(*s.Retained), RetentionUnit: "COUNT", ForceSendFields: []string{"RetainedBackups"},
		}
	}
	return out
}

func patchNetwork(live *sqladmin.IpConfiguration, s cloud.Settings) *sqladmin.IpConfiguration {
	if s.TLSRequired == nil && s.PublicAccess == nil {
		return nil
	}
	out := &sqladmin.IpConfiguration{}
	if s.TLSRequired != nil {
		out.SslMode = map[bool]string{true: "ENCRYPTED_ONLY", false: "ALLOW_UNENCRYPTED_AND_ENCRYPTED"}[*s.TLSRequired]
		if live != nil && live.RequireSsl { // the older setting must not contradict
			out.ForceSendFields = append(out.ForceSendFields, "RequireSsl")
		}
	}
	if s.PublicAccess != nil {
		out.Ipv4Enabled = *s.PublicAccess
		out.ForceSendFields = append(out.ForceSendFields, "Ipv4Enabled")
	}
	return out
}

// patchLabels names every label: whether the API merges the map or replaces it, the outcome is the same.
func patchLabels(out *sqladmin.Settings, live map[string]string, labels []cloud.Label) {
	if len(labels) == 0 {
		return
	}
	out.UserLabels = maps.Clone(live)
	if out.UserLabels == nil {
		out.UserLabels = map[string]string{}
	}
	for _, l := range labels {
		if l.Remove {
			delete(out.UserLabels, l.Key)
			out.NullFields = append(out.NullFields, "UserLabels."+l.Key)
			continue
		}
		out.UserLabels[l.Key] = l.Value
	}
	out.ForceSendFields = append(out.ForceSendFields, "UserLabels")
}

// withFlag is all the flags with one of them set.
func withFlag(live []*sqladmin.DatabaseFlags, name, value string) []*sqladmin.DatabaseFlags {
	out := make([]*sqladmin.DatabaseFlags, 0, len(live)+1)
	for _, f := range live {
		if f.Name != name {
			out = append(out, f)
		}
	}
	return append(out, &sqladmin.DatabaseFlags{Name: name, Value: value})
}
