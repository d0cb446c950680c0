package rds

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"dbops/internal/cloud"
)

// Conform compares a restored instance to its source. Nothing is asked of RDS.
func (p *Provider) Conform(_ context.Context, source, target *cloud.Instance, r cloud.Restore) (left cloud.Settings, ok bool, lost []string) {
	like := cloud.Settings{
		Availability: availabilityOf(source), RetentionDays: &source.Backups.RetentionDays, BackupWindow: &source.Backups.Window,
		DeletionProtection: new(source.DeletionProtection && !r.Unprotected), PublicAccess: &source.PublicAccess, IAMLogin: &source.IAMLogin,
		Class: &source.Class,
	}
	wanted := maps.Clone(source.Labels)
	if wanted == nil {
		wanted = map[string]string{}
	}
	delete(wanted, cloud.LeaseLabel)
	maps.Copy(wanted, r.Labels)
	for _, k := range slices.Sorted(maps.Keys(wanted)) {
		if reserved(k) {
			lost = append(lost, "tag "+k+": only AWS can set it")
			continue
		}
		like.Labels = append(like.Labels, cloud.Label{Key: k, Value: wanted[k]})
	}
	missing := like.Missing(target)
	left = like.Part(func(setting string) bool {
		return slices.ContainsFunc(missing, func(c cloud.Change) bool { return c.Setting == setting })
	})
	return left, left.Empty(), append(lost, differences(source, target)...)
}

func availabilityOf(live *cloud.Instance) *cloud.Availability {
	if live.Availability == "" {
		return nil
	}
	return new(live.Availability)
}

// differences are in what a modification of dbops cannot change.
func differences(source, target *cloud.Instance) (lost []string) {
	a, b := aspects(source), aspects(target)
	for _, name := range slices.Sorted(maps.Keys(a)) {
		if a[name] != b[name] {
			lost = append(lost, fmt.Sprintf("%s: %s, not %s", name, or(b[name]), or(a[name])))
		}
	}
	return lost
}

func or(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// aspects are what RDS may have decided itself for a restored instance.
func aspects(live *cloud.Instance) map[string]string {
	var db struct {
		DBParameterGroups []struct{ DBParameterGroupName string }
		DBSubnetGroup     struct{ DBSubnetGroupName string }
		VpcSecurityGroups []struct{ VpcSecurityGroupId string }

		MonitoringInterval         int
		PerformanceInsightsEnabled bool
		CopyTagsToSnapshot         bool
		AutoMinorVersionUpgrade    bool

		MasterUserSecret *struct{}
	}
	_ = json.Unmarshal(live.Raw, &db) // what cannot be read is not compared
	var parameters, security []string
	for _, g := range db.DBParameterGroups {
		parameters = append(parameters, g.DBParameterGroupName)
	}
	for _, g := range db.VpcSecurityGroups {
		security = append(security, g.VpcSecurityGroupId)
	}
	slices.Sort(security)
	return map[string]string{
		"master password in Secrets Manager": fmt.Sprint(db.MasterUserSecret != nil),
		"CA":                                 live.TLS.CA,
		"parameter group":                    strings.Join(parameters, " "),
		"subnet group":                       db.DBSubnetGroup.DBSubnetGroupName,
		"security groups":                    strings.Join(security, " "),
		"maintenance window":                 live.Maintenance.Window,
		"storage type":                       live.Storage.Type,
		"storage may grow to (GiB)":          fmt.Sprint(live.Storage.MaxGiB),
		"enhanced monitoring (s)":            fmt.Sprint(db.MonitoringInterval),
		"Performance Insights":               fmt.Sprint(db.PerformanceInsightsEnabled),
		"tags are copied to backups":         fmt.Sprint(db.CopyTagsToSnapshot),
		"automatic minor upgrades":           fmt.Sprint(db.AutoMinorVersionUpgrade),
	}
}
