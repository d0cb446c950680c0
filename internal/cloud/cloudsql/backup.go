package cloudsql

import (
	"cmp"
	"context"
	"slices"
	"strconv"

	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/cloud"
	"dbops/internal/cloud/gcpclient"
	"dbops/internal/fault"
)

const ready = "SUCCESSFUL"

// Backups lists the backup runs of an instance, newest first. They are gone with it: that is a fault.NotFound.
func (p *Provider) Backups(ctx context.Context, name string) ([]cloud.Backup, error) {
	ask, r, err := p.begin(ctx, p.question(p.op("list the backups of", name), "cloudsql.backupRuns.list"), name)
	if err != nil {
		return nil, err
	}
	defer r.end()
	var all []cloud.Backup
	for token, more := "", true; more; more = token != "" {
		var page *sqladmin.BackupRunsListResponse
		err := gcpclient.Read(ask, func(ctx context.Context) (err error) {
			call := r.api.BackupRuns.List(p.project, name).Context(ctx)
			if token != "" {
				call = call.PageToken(token)
			}
			page, err = call.Do()
			return err
		})
		if err != nil {
			return nil, r.fault(ask, err)
		}
		for _, run := range page.Items {
			all = append(all, backup(run))
		}
		token = page.NextPageToken
	}
	slices.SortStableFunc(all, func(a, b cloud.Backup) int { return b.Started.Compare(a.Started) })
	return all, nil
}

// backup is a run in the words of the model.
func backup(run *sqladmin.BackupRun) cloud.Backup {
	b := cloud.Backup{
		ID: strconv.FormatInt(run.Id, 10), Instance: run.Instance, Kind: "automatic", State: run.Status, Ready: run.Status == ready,
		Started: parseTime(cmp.Or(run.StartTime, run.EnqueuedTime)), Ended: parseTime(run.EndTime), Text: run.Description,
		GiB: (run.MaxChargeableBytes + 1<<30 - 1) >> 30,
	}
	if run.Type == "ON_DEMAND" {
		b.Kind = "manual"
	}
	return b
}

// CreateBackup starts a backup with the label as its description.
func (p *Provider) CreateBackup(ctx context.Context, name, label string) (cloud.Receipt, error) {
	ask, r, err := p.begin(ctx, p.changing(p.op("back up", name), "cloudsql.backupRuns.create", editorRole), name)
	if err != nil {
		return cloud.Receipt{}, err
	}
	defer r.end()
	o, err := r.api.BackupRuns.Insert(p.project, name, &sqladmin.BackupRun{Description: label}).Context(ask).Do()
	if err != nil {
		return cloud.Receipt{}, r.refused(ask, err)
	}
	made, err := receipt(changeBackup, name, o, want{})
	if o.BackupContext != nil {
		made.Backup = strconv.FormatInt(o.BackupContext.BackupId, 10)
	}
	return made, err
}

// backedUp tells whether the backup is complete, and the instance at rest again.
func (f *follow) backedUp(ctx context.Context) (cloud.Progress, error) {
	id := f.receipt.Backup
	if id == "" && f.o.BackupContext != nil {
		id = strconv.FormatInt(f.o.BackupContext.BackupId, 10)
	}
	if id != "" {
		run, err := f.run(ctx, f.receipt.Instance, id)
		if err != nil {
			return cloud.Progress{}, err
		}
		if run.Status != ready {
			return cloud.Progress{Status: "backup " + run.Status}, nil
		}
	}
	return f.settled(ctx)
}

// run is a backup of an instance.
func (r *request) run(ctx context.Context, instance, id string) (run *sqladmin.BackupRun, err error) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return nil, fault.Newf(fault.NotFound, r.q.Op, "%q is not the number of a backup", id)
	}
	err = gcpclient.Read(ctx, func(ctx context.Context) (err error) {
		run, err = r.api.BackupRuns.Get(r.p.project, instance, n).Context(ctx).Do()
		return err
	})
	if err != nil {
		q := r.q
		q.Permission, q.Role = "cloudsql.backupRuns.get", viewerRole
		return nil, r.p.google.Fault(ctx, q, err)
	}
	return run, nil
}

// DeleteBackup starts the removal of a backup that was made by hand. Until it is gone the instance is busy.
func (p *Provider) DeleteBackup(ctx context.Context, name, id string) error {
	q := p.changing(p.op("delete backup "+id+" of", name), "cloudsql.backupRuns.delete", adminRole)
	ask, r, err := p.begin(ctx, q, name)
	if err != nil {
		return err
	}
	defer r.end()
	run, err := r.run(ask, name, id)
	if err != nil {
		return err
	}
	if backup(run).Kind != "manual" {
		return fault.Newf(fault.Invalid, q.Op, "it is automatic: Cloud SQL removes it when newer ones take its place")
	}
	if _, err := r.api.BackupRuns.Delete(p.project, name, run.Id).Context(ask).Do(); err != nil {
		return r.refused(ask, err)
	}
	return nil
}
