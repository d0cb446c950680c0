package cloudsql

import (
	"context"

	"dbops/internal/cloud"
	"dbops/internal/fault"
)

// Rename is what Cloud SQL cannot do.
func (p *Provider) Rename(_ context.Context, name, to string) (cloud.Receipt, error) {
	return cloud.Receipt{}, unsupported(p.op("rename", name)+" to "+to, "Cloud SQL cannot rename an instance",
		"restore it to a new instance of that name, and move its clients there")
}

// Delete removes an instance with its backups.
func (p *Provider) Delete(ctx context.Context, name string) (cloud.Receipt, error) {
	q := p.changing(p.op("delete", name), "cloudsql.instances.delete", adminRole)
	ask, r, err := p.begin(ctx, q, name)
	if err != nil {
		return cloud.Receipt{}, err
	}
	defer r.end()
	db, err := r.describe(ask, name)
	if err != nil {
		return cloud.Receipt{}, err
	}
	if db.Settings.DeletionProtectionEnabled {
		return cloud.Receipt{}, fault.Newf(fault.Invalid, q.Op, "it has deletion protection").Hint("turn its deletion protection off first")
	}
	o, err := r.api.Instances.Delete(p.project, name).Context(ask).Do()
	if err != nil {
		return cloud.Receipt{}, r.refused(ask, err)
	}
	return receipt(changeDelete, name, o, want{})
}
