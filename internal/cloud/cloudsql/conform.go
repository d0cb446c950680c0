package cloudsql

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	"dbops/internal/cloud"
)

// Conform compares a restored instance to its source. Nothing is asked of Cloud SQL.
func (p *Provider) Conform(_ context.Context, source, target *cloud.Instance, r cloud.Restore) (left cloud.Settings, ok bool, lost []string) {
	b := source.Backups
	wish := cloud.Settings{
		BackupsEnabled: &b.Enabled, RetentionDays: &b.RetentionDays, Retained: &b.Retained, BackupWindow: &b.Window, PITR: &b.PITR,
		DeletionProtection: new(source.DeletionProtection && !r.Unprotected), TLSRequired: &source.TLS.Required,
		PublicAccess: &source.PublicAccess, IAMLogin: &source.IAMLogin, Class: &source.Class,
	}
	if source.Availability != "" {
		wish.Availability = &source.Availability
	}
	labels := maps.Clone(source.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	delete(labels, cloud.LeaseLabel)
	maps.Copy(labels, r.Labels)
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		wish.Labels = append(wish.Labels, cloud.Label{Key: k, Value: labels[k]})
	}
	missing := wish.Missing(target)
	left = wish.Part(func(setting string) bool {
		return slices.ContainsFunc(missing, func(c cloud.Change) bool { return c.Setting == setting })
	})
	return left, left.Empty(), differences(source, target)
}

// differences are in what a modification of dbops cannot change. The server CA is always another one.
func differences(source, target *cloud.Instance) []string {
	lost := []string{"server CA: an instance has its own; clients that check it need the new one, and new client certificates"}
	a, b := aspects(source), aspects(target)
	for _, name := range slices.Sorted(maps.Keys(a)) {
		if a[name] != b[name] {
			lost = append(lost, name+": "+b[name]+", not "+a[name])
		}
	}
	return lost
}

// aspects are what Cloud SQL may have decided itself for a restored instance, as JSON.
func aspects(live *cloud.Instance) map[string]string {
	var db struct {
		Settings struct {
			DatabaseFlags     []struct{ Name, Value string } `json:"databaseFlags"`
			MaintenanceWindow *struct{ Day, Hour int }       `json:"maintenanceWindow"`
			DataDiskType      string                         `json:"dataDiskType"`
			Edition           string                         `json:"edition"`
			IPConfiguration   struct {
				PrivateNetwork     string                   `json:"privateNetwork"`
				AuthorizedNetworks []struct{ Value string } `json:"authorizedNetworks"`
			} `json:"ipConfiguration"`
		} `json:"settings"`
	}
	_ = json.Unmarshal(live.Raw, &db) // what cannot be read is not compared
	s := db.Settings
	flags := slices.DeleteFunc(s.DatabaseFlags, func(f struct{ Name, Value string }) bool { return f.Name == flagIAM })
	out := map[string]string{}
	for name, v := range map[string]any{
		"database flags": flags, "maintenance window": s.MaintenanceWindow, "disk type": s.DataDiskType, "edition": s.Edition,
		"private network": s.IPConfiguration.PrivateNetwork, "authorized networks": s.IPConfiguration.AuthorizedNetworks,
	} {
		if b, err := json.Marshal(v); err == nil {
			out[name] = string(b)
		}
	}
	return out
}
