package cloudsql

import (
	"context"

	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/cloud"
	"dbops/internal/fault"
)

// Failover lets the standby take over. The address stays.
func (p *Provider) Failover(ctx context.Context, name string) (cloud.Receipt, error) {
	q := p.changing(p.op("fail over", name), "cloudsql.instances.failover", editorRole)
	ask, r, err := p.begin(ctx, q, name)
	if err != nil {
		return cloud.Receipt{}, err
	}
	defer r.end()
	db, err := r.describe(ask, name)
	if err != nil {
		return cloud.Receipt{}, err
	}
	if availability(db.Settings.AvailabilityType) != cloud.Regional {
		return cloud.Receipt{}, fault.Newf(fault.Invalid, q.Op, "it has no standby").Hint("make its availability regional first")
	}
	o, err := r.api.Instances.Failover(p.project, name, &sqladmin.InstancesFailoverRequest{
		FailoverContext: &sqladmin.FailoverContext{SettingsVersion: db.Settings.SettingsVersion},
	}).Context(ask).Do()
	if err != nil {
		return cloud.Receipt{}, r.refused(ask, err)
	}
	return receipt(changeFailover, name, o, want{Zone: db.SecondaryGceZone})
}
