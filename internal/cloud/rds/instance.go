package rds

import (
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"dbops/internal/cloud"
)

// instance is db in the words of the model. A member of a cluster leaves to its cluster what the cluster decides: whether there is
// a standby, and in Aurora the size of the storage.
func instance(db types.DBInstance, region string) *cloud.Instance {
	version := aws.ToString(db.EngineVersion)
	status := aws.ToString(db.DBInstanceStatus)
	days := int(aws.ToInt32(db.BackupRetentionPeriod))
	live := &cloud.Instance{
		Provider: cloud.RDS,
		Name:     aws.ToString(db.DBInstanceIdentifier),
		Region:   region,

		EngineVersion: version,
		Major:         cloud.Major(version),
		Class:         aws.ToString(db.DBInstanceClass),

		State:    state(status),
		RawState: status,

		Zone:          aws.ToString(db.AvailabilityZone),
		SecondaryZone: aws.ToString(db.SecondaryAvailabilityZone),
		Endpoints:     endpoints(db),

		Storage: storage(db),
		Backups: cloud.Backups{
			Enabled: days > 0, RetentionDays: days, PITR: days > 0,
			Window:           aws.ToString(db.PreferredBackupWindow),
			LatestRestorable: utc(db.LatestRestorableTime),
		},
		DeletionProtection: aws.ToBool(db.DeletionProtection),
		TLS:                cloud.TLS{CA: aws.ToString(db.CACertificateIdentifier)},
		IAMLogin:           aws.ToBool(db.IAMDatabaseAuthenticationEnabled),
		PublicAccess:       aws.ToBool(db.PubliclyAccessible),
		NetworkZones:       networkZones(db.DBSubnetGroup),
		Maintenance:        cloud.Maintenance{Window: aws.ToString(db.PreferredMaintenanceWindow)},

		Pending: pending(db),
		Created: utc(db.InstanceCreateTime),
		Raw:     cloud.Raw(db),
	}
	// arn:aws:rds:eu-west-1:123456789012:db:orders-prod
	if arn := strings.SplitN(aws.ToString(db.DBInstanceArn), ":", 7); len(arn) == 7 {
		live.Region, live.Project = arn[3], arn[4]
	}
	if db.DBClusterIdentifier == nil && db.MultiAZ != nil {
		live.Availability = availability(*db.MultiAZ)
	}
	if c := db.CertificateDetails; c != nil {
		live.TLS.Expires = utc(c.ValidTill)
	}
	for _, t := range db.TagList {
		if live.Labels == nil {
			live.Labels = map[string]string{}
		}
		live.Labels[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return live
}

// networkZones are the zones of a subnet group, in order: RDS puts an instance and its standby into two of them.
func networkZones(g *types.DBSubnetGroup) []string {
	if g == nil {
		return nil
	}
	var zones []string
	for _, s := range g.Subnets {
		if z := s.SubnetAvailabilityZone; z != nil && aws.ToString(z.Name) != "" {
			zones = append(zones, *z.Name)
		}
	}
	slices.Sort(zones)
	return slices.Compact(zones)
}

func availability(multiAZ bool) cloud.Availability {
	if multiAZ {
		return cloud.Regional
	}
	return cloud.Zonal
}

// endpoints is the one address of a DB instance; it has none while it is created.
func endpoints(db types.DBInstance) []cloud.Endpoint {
	if db.Endpoint == nil || aws.ToString(db.Endpoint.Address) == "" {
		return nil
	}
	kind := cloud.EndpointPrivate
	if aws.ToBool(db.PubliclyAccessible) {
		kind = cloud.EndpointPublic
	}
	return []cloud.Endpoint{{Kind: kind, Host: *db.Endpoint.Address, Port: int(aws.ToInt32(db.Endpoint.Port))}}
}

func storage(db types.DBInstance) cloud.Storage {
	s := cloud.Storage{Type: aws.ToString(db.StorageType)}
	if aws.ToString(db.Engine) == "aurora-postgresql" {
		return s // RDS says 1 GiB, whatever the cluster's volume holds
	}
	s.GiB = int64(aws.ToInt32(db.AllocatedStorage))
	s.AutoGrow = db.MaxAllocatedStorage != nil
	s.MaxGiB = int64(aws.ToInt32(db.MaxAllocatedStorage))
	return s
}

// maintenanceText is one pending action: "system-update by 2026-12-01".
func maintenanceText(a types.PendingMaintenanceAction) string {
	text := aws.ToString(a.Action)
	for _, d := range []struct {
		word string
		at   *time.Time
	}{{"by", a.ForcedApplyDate}, {"on", a.CurrentApplyDate}, {"after", a.AutoAppliedAfterDate}} {
		if d.at != nil {
			text += " " + d.word + " " + d.at.UTC().Format(time.DateOnly)
			break
		}
	}
	if d := aws.ToString(a.Description); d != "" {
		text += ": " + d
	}
	return text
}

func utc(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}
