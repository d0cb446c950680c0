package rds

import (
	"context"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/aws/smithy-go/middleware"

	"dbops/internal/cloud"
	"dbops/internal/cloud/awsclient"
	"dbops/internal/fault"
)

// Modify changes settings. Tags, deletion protection, public access and the backup window change at once, whatever m.When says.
// Tags are changed first: where the rest is then refused, they stay changed. RDS has no revisions, so that any is a fault.Stale.
func (p *Provider) Modify(ctx context.Context, name string, m cloud.Modify) (cloud.Receipt, error) {
	op := p.op("modify", name)
	if err := p.check(op, name); err != nil {
		return cloud.Receipt{}, err
	}
	if err := modifiable(op, m); err != nil {
		return cloud.Receipt{}, err
	}
	ask, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	db, err := p.describe(ask, name)
	if err != nil {
		return cloud.Receipt{}, p.aws.Fault(ctx, op, err)
	}
	live := instance(db, p.aws.Config.Region)
	todo := open(m, live)
	w := want{When: m.When, Settings: &m.Settings, Nothing: todo.Empty()}
	var answer middleware.Metadata
	if labels := todo.Labels; len(labels) > 0 {
		if answer, err = p.tag(ask, db.DBInstanceArn, labels); err != nil {
			return cloud.Receipt{}, p.refused(ctx, op, err)
		}
		todo.Labels = nil
	}
	if !todo.Empty() {
		out, err := p.api.ModifyDBInstance(ask, modification(name, m.When, todo), once)
		if err != nil {
			return cloud.Receipt{}, p.refused(ctx, op, err)
		}
		answer = out.ResultMetadata
	}
	return receipt(changeModify, live.Name, answer, w)
}

// modifiable refuses what RDS would not understand.
func modifiable(op string, m cloud.Modify) error {
	s := m.Settings
	switch {
	case m.Revision != "":
		return fault.Newf(fault.Stale, op, "RDS has no revisions, so revision %s is not that of the instance", m.Revision)
	case m.When != "" && m.When != cloud.Now && m.When != cloud.InWindow:
		return fault.Newf(fault.Invalid, op, "there is no such time of a change: %s", m.When)
	case s.Availability != nil && *s.Availability != cloud.Zonal && *s.Availability != cloud.Regional:
		return fault.Newf(fault.Invalid, op, "there is no such availability: %s", *s.Availability)
	case s.BackupsEnabled != nil:
		return unsupported(op, "RDS has no switch for backups", "set the retention: 0 days mean no backups")
	case s.PITR != nil:
		return unsupported(op, "RDS has no switch for point-in-time recovery", "it comes with the backups: set their retention")
	case s.Retained != nil:
		return unsupported(op, "RDS keeps backups for days, not a number of them", "set the retention in days")
	case s.TLSRequired != nil:
		return unsupported(op, "RDS decides in the parameter group whether TLS is required", "set rds.force_ssl in the parameter group")
	}
	return nil
}

// open is the part of m that RDS must still be asked for. What is pending is asked for again: to apply it now, or to take it back.
func open(m cloud.Modify, live *cloud.Instance) cloud.Settings {
	soon := *live
	if m.When == cloud.InWindow {
		soon = afterWindow(live)
	}
	missing := m.Settings.Missing(&soon)
	return m.Settings.Part(func(setting string) bool {
		return slices.ContainsFunc(missing, func(c cloud.Change) bool { return c.Setting == setting }) ||
			m.When != cloud.InWindow && waits(live, setting)
	})
}

// waits tells whether a change of that setting is pending.
func waits(live *cloud.Instance, setting string) bool {
	return slices.ContainsFunc(live.Pending, func(c cloud.Change) bool { return c.Setting == setting })
}

// afterWindow is the instance as it will be when what is pending is applied, as far as it is in [cloud.Settings].
func afterWindow(live *cloud.Instance) cloud.Instance {
	soon := *live
	for _, c := range live.Pending {
		switch c.Setting {
		case "availability":
			soon.Availability = cloud.Availability(c.To)
		case "backups.retention_days":
			soon.Backups.RetentionDays, _ = strconv.Atoi(c.To) // instance made it of a number
		case "iam_login":
			soon.IAMLogin = c.To == "true"
		case "class":
			soon.Class = c.To
		}
	}
	return soon
}

// modification asks for settings, but tags.
func modification(name string, when cloud.When, s cloud.Settings) *sdk.ModifyDBInstanceInput {
	in := &sdk.ModifyDBInstanceInput{
		DBInstanceIdentifier: &name, ApplyImmediately: aws.Bool(when != cloud.InWindow),
		DeletionProtection: s.DeletionProtection, PreferredBackupWindow: s.BackupWindow, DBInstanceClass: s.Class,
		PubliclyAccessible: s.PublicAccess, EnableIAMDatabaseAuthentication: s.IAMLogin,
	}
	if s.Availability != nil {
		in.MultiAZ = aws.Bool(*s.Availability == cloud.Regional)
	}
	if s.RetentionDays != nil {
		in.BackupRetentionPeriod = aws.Int32(int32(*s.RetentionDays))
	}
	return in
}

// tag sets and removes tags. Each may be asked for again.
func (p *Provider) tag(ctx context.Context, arn *string, labels []cloud.Label) (answer middleware.Metadata, err error) {
	var set []types.Tag
	var gone []string
	for _, l := range labels {
		if l.Remove {
			gone = append(gone, l.Key)
		} else {
			set = append(set, types.Tag{Key: aws.String(l.Key), Value: aws.String(l.Value)})
		}
	}
	if len(set) > 0 {
		out, err := p.api.AddTagsToResource(ctx, &sdk.AddTagsToResourceInput{ResourceName: arn, Tags: set}, once)
		if err != nil {
			return answer, err
		}
		answer = out.ResultMetadata
	}
	if len(gone) > 0 {
		out, err := p.api.RemoveTagsFromResource(ctx, &sdk.RemoveTagsFromResourceInput{ResourceName: arn, TagKeys: gone}, once)
		if err != nil {
			return answer, err
		}
		answer = out.ResultMetadata
	}
	return answer, nil
}
