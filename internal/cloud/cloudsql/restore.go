package cloudsql

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"time"

	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/cloud"
	"dbops/internal/fault"
)

// Restore makes a new instance: to a time by a clone, which has the source's settings and none of r's, see [Provider.Conform]; from
// a backup by making an instance like the source and overwriting it, which [Provider.Progress] does.
func (p *Provider) Restore(ctx context.Context, r cloud.Restore) (cloud.Receipt, error) {
	q := p.changing(p.op("restore "+r.Source+" to the new", r.Target), "cloudsql.instances.clone", adminRole)
	if r.Backup != "" && !r.Time.IsZero() {
		return cloud.Receipt{}, fault.Newf(fault.Invalid, q.Op, "both a backup and a time are named")
	}
	if r.Backup != "" {
		q.Permission = "cloudsql.instances.create"
	}
	ask, req, err := p.begin(ctx, q, r.Source, r.Target)
	if err != nil {
		return cloud.Receipt{}, err
	}
	defer req.end()
	if r.Backup != "" {
		return req.make(ask, r)
	}
	to := &sqladmin.CloneContext{DestinationInstanceName: r.Target}
	if !r.Time.IsZero() {
		to.PointInTime = r.Time.UTC().Format(time.RFC3339Nano)
	}
	o, err := req.api.Instances.Clone(p.project, r.Source, &sqladmin.InstancesCloneRequest{CloneContext: to}).Context(ask).Do()
	if err != nil {
		return cloud.Receipt{}, req.refused(ask, err)
	}
	return receipt(changeRestore, r.Target, o, want{})
}

// make begins a restore from a backup with an instance like the source.
func (r *request) make(ctx context.Context, restore cloud.Restore) (cloud.Receipt, error) {
	source, err := r.describe(ctx, restore.Source)
	if err != nil {
		return cloud.Receipt{}, err
	}
	run, err := r.run(ctx, restore.Source, restore.Backup)
	if err != nil {
		return cloud.Receipt{}, err
	}
	if run.Status != ready {
		return cloud.Receipt{}, fault.Newf(fault.Invalid, r.q.Op, "backup %s is %s", restore.Backup, run.Status)
	}
	in, err := like(source, restore)
	if err != nil {
		return cloud.Receipt{}, fault.New(fault.Internal, r.q.Op, err)
	}
	if run.DatabaseVersion != "" { // from before an upgrade it can only be restored to an instance of its version
		in.DatabaseVersion = run.DatabaseVersion
	}
	o, err := r.api.Instances.Insert(r.p.project, in).Context(ctx).Do()
	if err != nil {
		return cloud.Receipt{}, r.refused(ctx, err)
	}
	return receipt(changeRestore, restore.Target, o, want{Source: restore.Source, Run: run.Id})
}

// like asks for a new instance with the settings of another one. What only the service sets it ignores.
func like(source *sqladmin.DatabaseInstance, r cloud.Restore) (*sqladmin.DatabaseInstance, error) {
	b, err := json.Marshal(source.Settings)
	if err != nil {
		return nil, err
	}
	set := &sqladmin.Settings{}
	if err := json.Unmarshal(b, set); err != nil {
		return nil, err
	}
	set.SettingsVersion = 0
	set.ActivationPolicy = "ALWAYS" // a stopped one cannot be restored to
	set.DeletionProtectionEnabled = set.DeletionProtectionEnabled && !r.Unprotected
	labels := maps.Clone(set.UserLabels)
	if labels == nil {
		labels = map[string]string{}
	}
	delete(labels, cloud.LeaseLabel)
	maps.Copy(labels, r.Labels)
	set.UserLabels = labels
	if set.IpConfiguration != nil {
		set.IpConfiguration.ForceSendFields = []string{"Ipv4Enabled"} // which is true by default
	}
	if set.StorageAutoResize == nil {
		set.StorageAutoResize = new(false)
	}
	return &sqladmin.DatabaseInstance{
		Name: r.Target, Region: source.Region, DatabaseVersion: source.DatabaseVersion, Settings: set,
		DiskEncryptionConfiguration: source.DiskEncryptionConfiguration,
	}, nil
}

// fill overwrites the instance that was made with the backup. Whether that has begun, the operations tell: nothing has to be
// remembered from one look to the next, and no two begin it.
func (f *follow) fill(ctx context.Context) (cloud.Progress, error) {
	var second *sqladmin.Operation
	made := parseTime(f.o.InsertTime)
	err := f.operations(ctx, f.receipt.Instance, func(o *sqladmin.Operation) bool {
		if parseTime(o.InsertTime).Before(made) {
			return false // of an earlier instance of that name
		}
		if slices.Contains([]string{"RESTORE_VOLUME", "RESTORE"}, o.OperationType) {
			second = o
		}
		return second == nil
	})
	switch {
	case err != nil:
		return cloud.Progress{}, err
	case second == nil:
		return f.overwrite(ctx)
	case second.Status != done:
		return cloud.Progress{Status: status(second)}, nil
	}
	if err := f.failure(second); err != nil {
		return cloud.Progress{}, err
	}
	f.o = second
	return f.settled(ctx)
}

// overwrite begins the second half. The service takes a first backup of the new instance itself, and is busy meanwhile.
func (f *follow) overwrite(ctx context.Context) (cloud.Progress, error) {
	f.q.Permission, f.q.Role = "cloudsql.instances.restoreBackup", adminRole
	o, err := f.api.Instances.RestoreBackup(f.p.project, f.receipt.Instance, &sqladmin.InstancesRestoreBackupRequest{
		RestoreBackupContext: &sqladmin.RestoreBackupContext{BackupRunId: f.want.Run, InstanceId: f.want.Source, Project: f.p.project},
	}).Context(ctx).Do()
	if err == nil {
		return cloud.Progress{Status: status(o)}, nil
	}
	err = f.refused(ctx, err)
	if refusal, ok := errors.AsType[*fault.Error](err); ok && refusal.Kind == fault.Busy {
		return cloud.Progress{Status: "made, and to be filled from backup " + strconv.FormatInt(f.want.Run, 10), Detail: refusal.Err.Error()}, nil
	}
	return cloud.Progress{}, err
}
