package rds

import (
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"dbops/internal/cloud"
	"dbops/internal/secret"
)

// pending is what RDS has accepted and not done yet, in the order of its API, then the parameter groups that wait for a reboot.
func pending(db types.DBInstance) []cloud.Change {
	var c changes
	if p := db.PendingModifiedValues; p != nil {
		c.number("storage.gib", db.AllocatedStorage, p.AllocatedStorage)
		c.number("backups.retention_days", db.BackupRetentionPeriod, p.BackupRetentionPeriod)
		c.text("tls.ca", db.CACertificateIdentifier, p.CACertificateIdentifier)
		c.text("class", db.DBInstanceClass, p.DBInstanceClass)
		c.text("name", db.DBInstanceIdentifier, p.DBInstanceIdentifier)
		c.text("subnet_group", subnetGroup(db), p.DBSubnetGroupName)
		c.flag("dedicated_log_volume", db.DedicatedLogVolume, p.DedicatedLogVolume)
		c.text("engine", db.Engine, p.Engine)
		c.text("engine_version", db.EngineVersion, p.EngineVersion)
		c.flag("iam_login", db.IAMDatabaseAuthenticationEnabled, p.IAMDatabaseAuthenticationEnabled)
		c.number("storage.iops", db.Iops, p.Iops)
		c.text("license_model", db.LicenseModel, p.LicenseModel)
		if p.MasterUserPassword != nil {
			c.add("master_password", "", secret.Redacted)
		}
		if p.MultiAZ != nil {
			from := ""
			if db.MultiAZ != nil {
				from = string(availability(*db.MultiAZ))
			}
			c.add("availability", from, string(availability(*p.MultiAZ)))
		}
		if e := p.PendingCloudwatchLogsExports; e != nil {
			c.list("log_exports", "", e.LogTypesToEnable)
			c.list("log_exports_off", "", e.LogTypesToDisable)
		}
		c.number("endpoints.port", port(db), p.Port)
		c.list("processor_features", features(db.ProcessorFeatures), strings.Fields(features(p.ProcessorFeatures)))
		c.number("storage.throughput", db.StorageThroughput, p.StorageThroughput)
		c.text("storage.type", db.StorageType, p.StorageType)
	}
	for _, g := range db.DBParameterGroups {
		if aws.ToString(g.ParameterApplyStatus) == "pending-reboot" {
			c.add("parameter_group", "", aws.ToString(g.DBParameterGroupName)+", after a reboot")
		}
	}
	return c
}

type changes []cloud.Change

func (c *changes) add(setting, from, to string) {
	*c = append(*c, cloud.Change{Setting: setting, From: from, To: to})
}

func (c *changes) text(setting string, from, to *string) {
	if to != nil {
		c.add(setting, aws.ToString(from), *to)
	}
}

func (c *changes) number(setting string, from, to *int32) {
	if to == nil {
		return
	}
	was := ""
	if from != nil {
		was = strconv.Itoa(int(*from))
	}
	c.add(setting, was, strconv.Itoa(int(*to)))
}

func (c *changes) flag(setting string, from, to *bool) {
	if to == nil {
		return
	}
	was := ""
	if from != nil {
		was = strconv.FormatBool(*from)
	}
	c.add(setting, was, strconv.FormatBool(*to))
}

func (c *changes) list(setting, from string, to []string) {
	if len(to) > 0 {
		c.add(setting, from, strings.Join(to, " "))
	}
}

func subnetGroup(db types.DBInstance) *string {
	if db.DBSubnetGroup == nil {
		return nil
	}
	return db.DBSubnetGroup.DBSubnetGroupName
}

func port(db types.DBInstance) *int32 {
	if db.Endpoint == nil {
		return nil
	}
	return db.Endpoint.Port
}

func features(all []types.ProcessorFeature) string {
	words := make([]string, 0, len(all))
	for _, f := range all {
		words = append(words, aws.ToString(f.Name)+"="+aws.ToString(f.Value))
	}
	return strings.Join(words, " ")
}
