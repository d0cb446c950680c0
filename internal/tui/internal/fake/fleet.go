package fake

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"dbops/internal/app"
	"dbops/internal/cloud"
	"dbops/internal/fault"
)

// Instances are what is configured: protected environments first.
func Instances() []app.Instance {
	in := func(env string, protected bool, name string, kind cloud.Kind, at string, databases ...string) app.Instance {
		return app.Instance{Environment: env, Protected: protected, Name: name, Provider: kind, Coordinates: at, Databases: databases}
	}
	return []app.Instance{
		in("prod", true, "archive", cloud.RDS, "eu-west-1/archive-prod", "archive"),
		in("prod", true, "auth", cloud.RDS, "us-east-1/auth-prod", "auth"),
		in("prod", true, "billing", cloud.CloudSQL, "shop-prod:europe-west1:billing", "billing"),
		in("prod", true, "events", cloud.Postgres, "10.3.4.7:5432", "events"),
		in("prod", true, "ledger", cloud.CloudSQL, "shop-prod:europe-west4:ledger", "ledger"),
		in("prod", true, "orders-main", cloud.RDS, "eu-west-1/orders-prod", "orders", "carts"),
		in("dev", false, "local", cloud.Postgres, "127.0.0.1:5432", "playground"),
		in("dev", false, "sandbox-1", cloud.RDS, "us-east-1/sandbox-1", "sandbox"),
		in("staging", false, "billing", cloud.CloudSQL, "shop-staging:europe-west4:billing", "billing"),
		in("staging", false, "orders-main", cloud.RDS, "eu-west-1/orders-staging", "orders", "carts"),
		in("staging", false, "search", cloud.RDS, "eu-west-1/search-staging", "search"),
	}
}

// failures are those at the start.
func failures() map[string]error {
	return map[string]error{
		"prod/auth": fault.New(fault.Denied, "describe instance prod/auth",
			errors.New("user arn:aws:sts::123456789012:assumed-role/oncall/maria is not authorized to perform: rds:DescribeDBInstances")).
			Missing("rds:DescribeDBInstances").Hint("aws sso login --profile prod-readonly"),
		"prod/events": fault.New(fault.Unavailable, "connect to prod/events", errors.New("dial tcp 10.3.4.7:5432: i/o timeout")).
			Hint("10.3.4.7 is a private address: connect the VPN, or set a bastion in dbops.yaml"),
	}
}

func lives(now time.Time) map[string]*cloud.Instance {
	day := 24 * time.Hour
	out := map[string]*cloud.Instance{
		"prod/orders-main": {
			Provider: cloud.RDS, Name: "orders-prod", Project: "123456789012", Region: "eu-west-1",
			EngineVersion: "16.4", Major: 16, Class: "db.r6g.2xlarge", State: cloud.Available, RawState: "available",
			Availability: cloud.Regional, Zone: "eu-west-1a", SecondaryZone: "eu-west-1b",
			Endpoints: []cloud.Endpoint{{Kind: cloud.EndpointPrivate, Host: "orders-prod.c1x2y3.eu-west-1.rds.amazonaws.com", Port: 5432}},
			Storage:   cloud.Storage{Type: "gp3", GiB: 1200, AutoGrow: true, MaxGiB: 2000},
			Backups: cloud.Backups{
				Enabled: true, RetentionDays: 14, Window: "00:10-00:40", PITR: true, LatestRestorable: now.Add(-5 * time.Minute),
			},
			DeletionProtection: true,
			TLS:                cloud.TLS{Mode: "rds.force_ssl=1", Required: true, CA: "rds-ca-rsa2048-g1", Expires: now.Add(340*day + time.Hour)},
			IAMLogin:           true,
			Maintenance:        cloud.Maintenance{Window: "sun:03:00-sun:04:00", Pending: []string{"system-update by 2026-12-01"}},
			Labels:             map[string]string{"team": "commerce", "tier": "1", "cost-center": "4711"},
			Created:            now.Add(-900 * day),
		},
		"prod/archive": {
			Provider: cloud.RDS, Name: "archive-prod", Project: "123456789012", Region: "eu-west-1",
			EngineVersion: "13.15", Major: 13, Class: "db.m6g.large", State: cloud.Available, RawState: "available",
			Availability: cloud.Zonal, Zone: "eu-west-1c",
			Endpoints: []cloud.Endpoint{{Kind: cloud.EndpointPrivate, Host: "archive-prod.c1x2y3.eu-west-1.rds.amazonaws.com", Port: 5432}},
			Storage:   cloud.Storage{Type: "gp2", GiB: 4000},
			TLS:       cloud.TLS{Mode: "rds.force_ssl=0", CA: "rds-ca-2019", Expires: now.Add(4*day + time.Hour)},
			Created:   now.Add(-2000 * day),
		},
		"prod/auth": {
			Provider: cloud.RDS, Name: "auth-prod", Project: "123456789012", Region: "us-east-1",
			EngineVersion: "14.12", Major: 14, Class: "db.m6g.large", State: cloud.Available, RawState: "available",
			Availability: cloud.Regional, Zone: "us-east-1a", SecondaryZone: "us-east-1d",
			Endpoints:          []cloud.Endpoint{{Kind: cloud.EndpointPrivate, Host: "auth-prod.q9w8e7.us-east-1.rds.amazonaws.com", Port: 5432}},
			Storage:            cloud.Storage{Type: "gp3", GiB: 200, AutoGrow: true, MaxGiB: 1000},
			Backups:            cloud.Backups{Enabled: true, RetentionDays: 7, PITR: true, LatestRestorable: now.Add(-4 * time.Minute)},
			DeletionProtection: true,
			TLS:                cloud.TLS{Mode: "rds.force_ssl=1", Required: true, CA: "rds-ca-rsa2048-g1", Expires: now.Add(200*day + time.Hour)},
		},
		"prod/billing": {
			Provider: cloud.CloudSQL, Name: "billing", Project: "shop-prod", Region: "europe-west1",
			EngineVersion: "POSTGRES_15", Major: 15, Class: "db-custom-4-16384", State: cloud.Modifying, RawState: "RUNNABLE",
			Availability: cloud.Regional, Zone: "europe-west1-b", SecondaryZone: "europe-west1-c",
			Endpoints: []cloud.Endpoint{
				{Kind: cloud.EndpointPublic, Host: "34.76.10.20", Port: 5432},
				{Kind: cloud.EndpointPrivate, Host: "10.20.0.3", Port: 5432},
			},
			Storage:            cloud.Storage{Type: "PD_SSD", GiB: 500, AutoGrow: true},
			Backups:            cloud.Backups{Enabled: true, RetentionDays: 7, Retained: 15, Window: "02:00", PITR: true},
			DeletionProtection: true,
			TLS:                cloud.TLS{Mode: "ENCRYPTED_ONLY", Required: true, CA: "GOOGLE_MANAGED_INTERNAL_CA", Expires: now.Add(3000 * day)},
			IAMLogin:           true,
			MaxConnections:     200,
			Pending:            []cloud.Change{{Setting: "tier", From: "db-custom-4-16384", To: "db-custom-8-32768"}},
		},
		"prod/events": {
			Provider: cloud.Postgres, Name: "10.3.4.7:5432", EngineVersion: "17.2 (Debian 17.2-1.pgdg120+1)", Major: 17,
			State: cloud.Available, Endpoints: []cloud.Endpoint{{Kind: cloud.EndpointPrivate, Host: "10.3.4.7", Port: 5432}},
			TLS: cloud.TLS{Mode: "verify-full", Required: true, Expires: now.Add(60*day + time.Hour)}, MaxConnections: 300, Connections: 41,
		},
		"prod/ledger": {
			Provider: cloud.CloudSQL, Name: "ledger", Project: "shop-prod", Region: "europe-west4",
			EngineVersion: "POSTGRES_16", Major: 16, Class: "db-custom-8-32768", State: cloud.Available, RawState: "RUNNABLE",
			Availability: cloud.Regional, Zone: "europe-west4-a", SecondaryZone: "europe-west4-c",
			Endpoints:          []cloud.Endpoint{{Kind: cloud.EndpointPSC, Host: "ledger.abcd.europe-west4.sql.goog", Port: 5432}},
			Storage:            cloud.Storage{Type: "PD_SSD", GiB: 250, AutoGrow: true},
			Backups:            cloud.Backups{Enabled: true, RetentionDays: 7, Retained: 30, Window: "03:00", PITR: true},
			DeletionProtection: true,
			TLS:                cloud.TLS{Mode: "TRUSTED_CLIENT_CERTIFICATE_REQUIRED", Required: true, CA: "GOOGLE_MANAGED_INTERNAL_CA", Expires: now.Add(21*day + time.Hour)},
		},
		"staging/orders-main": {
			Provider: cloud.RDS, Name: "orders-staging", Project: "210987654321", Region: "eu-west-1",
			EngineVersion: "16.4", Major: 16, Class: "db.t4g.large", State: cloud.Available, RawState: "available",
			Availability: cloud.Zonal, Zone: "eu-west-1a",
			Endpoints: []cloud.Endpoint{{Kind: cloud.EndpointPublic, Host: "orders-staging.c1x2y3.eu-west-1.rds.amazonaws.com", Port: 5432}},
			Storage:   cloud.Storage{Type: "gp3", GiB: 100},
			Backups:   cloud.Backups{Enabled: true, RetentionDays: 1, PITR: true},
			TLS:       cloud.TLS{Mode: "rds.force_ssl=1", Required: true, CA: "rds-ca-rsa2048-g1", Expires: now.Add(89*day + time.Hour)},
		},
		"staging/billing": {
			Provider: cloud.CloudSQL, Name: "billing", Project: "shop-staging", Region: "europe-west4",
			EngineVersion: "POSTGRES_15", Major: 15, Class: "db-custom-2-7680", State: cloud.Available, RawState: "RUNNABLE",
			Availability: cloud.Zonal, Zone: "europe-west4-b",
			Endpoints: []cloud.Endpoint{{Kind: cloud.EndpointPublic, Host: "34.90.1.2", Port: 5432}},
			Storage:   cloud.Storage{Type: "PD_SSD", GiB: 50, AutoGrow: true},
			TLS:       cloud.TLS{Mode: "ENCRYPTED_ONLY", Required: true, CA: "GOOGLE_MANAGED_INTERNAL_CA", Expires: now.Add(3000 * day)},
		},
		"staging/search": {
			Provider: cloud.RDS, Name: "search-staging", Project: "210987654321", Region: "eu-west-1",
			EngineVersion: "17.2", Major: 17, Class: "db.t4g.medium", State: cloud.Stopped, RawState: "stopped",
			Availability: cloud.Zonal, Zone: "eu-west-1b", Storage: cloud.Storage{Type: "gp3", GiB: 60},
			Backups: cloud.Backups{Enabled: true, RetentionDays: 1, PITR: true},
			TLS:     cloud.TLS{Mode: "rds.force_ssl=1", Required: true, CA: "rds-ca-rsa2048-g1", Expires: now.Add(364 * day)},
		},
		"dev/sandbox-1": {
			Provider: cloud.RDS, Name: "sandbox-1", Project: "210987654321", Region: "us-east-1",
			EngineVersion: "17.2", Major: 17, Class: "db.t4g.micro", State: cloud.Available, RawState: "available",
			Availability: cloud.Zonal, Zone: "us-east-1a", Storage: cloud.Storage{Type: "gp3", GiB: 20},
			Endpoints: []cloud.Endpoint{{Kind: cloud.EndpointPublic, Host: "sandbox-1.z1.us-east-1.rds.amazonaws.com", Port: 5432}},
			TLS:       cloud.TLS{Mode: "rds.force_ssl=1", Required: true, CA: "rds-ca-rsa2048-g1", Expires: now.Add(364 * day)},
		},
		"dev/local": {
			Provider: cloud.Postgres, Name: "127.0.0.1:5432", EngineVersion: "17.2", Major: 17, State: cloud.Available,
			Endpoints: []cloud.Endpoint{{Kind: cloud.EndpointPrivate, Host: "127.0.0.1", Port: 5432}}, TLS: cloud.TLS{Mode: "disable"},
		},
	}
	for _, i := range out {
		i.Raw = raw(i)
	}
	return out
}

// raw is a description in the manner of the provider's API.
func raw(i *cloud.Instance) json.RawMessage {
	var v any
	switch i.Provider {
	case cloud.RDS:
		v = map[string]any{
			"DBInstanceIdentifier": i.Name, "DBInstanceClass": i.Class, "Engine": "postgres", "EngineVersion": i.EngineVersion,
			"DBInstanceStatus": i.RawState, "MultiAZ": i.Availability == cloud.Regional, "AllocatedStorage": i.Storage.GiB,
			"AvailabilityZone": i.Zone, "DeletionProtection": i.DeletionProtection, "CACertificateIdentifier": i.TLS.CA,
			"DBInstanceArn":           fmt.Sprintf("arn:aws:rds:%s:%s:db:%s", i.Region, i.Project, i.Name),
			"VpcSecurityGroups":       []any{map[string]string{"VpcSecurityGroupId": "sg-0a1b2c3d", "Status": "active"}},
			"BackupRetentionPeriod":   i.Backups.RetentionDays,
			"PreferredBackupWindow":   i.Backups.Window,
			"PendingModifiedValues":   map[string]string{},
			"PerformanceInsights":     false,
			"AutoMinorVersionUpgrade": true,
		}
	case cloud.CloudSQL:
		v = map[string]any{
			"kind": "sql#instance", "name": i.Name, "project": i.Project, "region": i.Region, "databaseVersion": i.EngineVersion,
			"state": i.RawState, "gceZone": i.Zone, "secondaryGceZone": i.SecondaryZone,
			"settings": map[string]any{"tier": i.Class, "availabilityType": "REGIONAL", "dataDiskSizeGb": i.Storage.GiB},
		}
	default:
		v = map[string]any{"server_version": i.EngineVersion}
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // it is made of strings, numbers and maps
	}
	return b
}
