package rdsapi

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"dbops/internal/sandbox/awsid"
)

// The played network.
const (
	vpc           = "vpc-0d1b0a5e5a4db0c5e"
	securityGroup = "sg-0d1b0a5e5a4db0c5e"
)

// DefaultVersions are the versions that can be created, by major.
func DefaultVersions() map[int]string {
	return map[int]string{14: "14.23", 15: "15.18", 16: "16.14", 17: "17.10", 18: "18.4"}
}

const defaultMajor = 17

// catalogueOperations are those that change no server.
func (a *API) catalogueOperations() []operation {
	of := func(kind string, id *string) about { return about{kind: kind, id: value(id)} }
	resource := func(name *string) about { return about{id: value(name)} }
	return []operation{
		op(a.describeCertificates, func(in *rds.DescribeCertificatesInput) about { return of("cert", in.CertificateIdentifier) },
			"CertificateIdentifier", "Marker", "MaxRecords"),
		op(a.describeEvents, func(in *rds.DescribeEventsInput) about { return about{kind: "es"} },
			"SourceIdentifier", "SourceType", "StartTime", "EndTime", "Duration", "EventCategories", "Marker", "MaxRecords"),
		op(a.describeDBEngineVersions, func(*rds.DescribeDBEngineVersionsInput) about { return about{} },
			"Engine", "EngineVersion", "DBParameterGroupFamily", "DefaultOnly", "IncludeAll", "Marker", "MaxRecords"),
		op(a.describePendingMaintenanceActions, func(in *rds.DescribePendingMaintenanceActionsInput) about { return resource(in.ResourceIdentifier) },
			"ResourceIdentifier", "Filters", "Marker", "MaxRecords"),
		op(a.describeDBSubnetGroups, func(in *rds.DescribeDBSubnetGroupsInput) about { return of("subgrp", in.DBSubnetGroupName) },
			"DBSubnetGroupName", "Marker", "MaxRecords"),
		op(a.listTagsForResource, func(in *rds.ListTagsForResourceInput) about { return resource(in.ResourceName) },
			"ResourceName"),
		op(a.addTagsToResource, func(in *rds.AddTagsToResourceInput) about { return resource(in.ResourceName) },
			"ResourceName", "Tags"),
		op(a.removeTagsFromResource, func(in *rds.RemoveTagsFromResourceInput) about { return resource(in.ResourceName) },
			"ResourceName", "TagKeys"),
	}
}

// offered picks the version to create: all of it, or a major, or nothing for the default.
func (a *API) offered(wish *string) (string, error) {
	if wish == nil {
		if v, ok := a.versions[defaultMajor]; ok {
			return v, nil
		}
	}
	for m, v := range a.versions {
		if value(wish) == v || value(wish) == strconv.Itoa(m) {
			return v, nil
		}
	}
	return "", combination("Cannot find version %s for postgres", value(wish))
}

// known lists every version that can be created or that an instance runs, oldest first.
func (a *API) known() []string {
	all := make([]string, 0, len(a.versions))
	for _, v := range a.versions {
		all = append(all, v)
	}
	a.mu.Lock()
	for _, in := range a.state.Instances {
		all = append(all, value(in.DB.EngineVersion))
	}
	a.mu.Unlock()
	slices.SortFunc(all, olderVersion)
	return slices.Compact(all)
}

func olderVersion(x, y string) int {
	_, xMinor, _ := strings.Cut(x, ".")
	_, yMinor, _ := strings.Cut(y, ".")
	xn, _ := strconv.Atoi(xMinor) // no number: the first of its major
	yn, _ := strconv.Atoi(yMinor)
	return cmp.Or(cmp.Compare(major(x), major(y)), cmp.Compare(xn, yn), cmp.Compare(x, y))
}

func (a *API) describeDBEngineVersions(_ context.Context, in *rds.DescribeDBEngineVersionsInput) (*rds.DescribeDBEngineVersionsOutput, error) {
	known := a.known()
	all := make([]types.DBEngineVersion, 0, len(known))
	for i, v := range known {
		m := strconv.Itoa(major(v))
		if !matches(in.Engine, "postgres") || in.EngineVersion != nil && *in.EngineVersion != v && *in.EngineVersion != m ||
			!matches(in.DBParameterGroupFamily, "postgres"+m) || value(in.DefaultOnly) && v != a.versions[defaultMajor] {
			continue
		}
		ev := types.DBEngineVersion{
			Engine: new("postgres"), EngineVersion: &v, MajorEngineVersion: &m, DBParameterGroupFamily: new("postgres" + m), Status: new("available"),
			DBEngineDescription: new("PostgreSQL"), DBEngineVersionDescription: new("PostgreSQL " + v + "-R1"), ValidUpgradeTarget: []types.UpgradeTarget{},
			SupportsCertificateRotationWithoutRestart: new(!slices.Contains(a.restarts, major(v))), SupportsReadReplica: new(false), SupportsGlobalDatabases: new(false),
			SupportsLogExportsToCloudwatchLogs: new(false),
		}
		for _, ca := range a.cas {
			ev.SupportedCACertificateIdentifiers = append(ev.SupportedCACertificateIdentifiers, ca.ID)
		}
		for _, t := range known[i+1:] {
			ev.ValidUpgradeTarget = append(ev.ValidUpgradeTarget, types.UpgradeTarget{
				Engine: new("postgres"), EngineVersion: &t, Description: new("PostgreSQL " + t + "-R1"),
				AutoUpgrade: new(false), IsMajorVersionUpgrade: new(major(t) != major(v)),
			})
		}
		all = append(all, ev)
	}
	out, marker, err := page(all, func(v types.DBEngineVersion) string { return *v.EngineVersion }, in.Marker, in.MaxRecords)
	if err != nil {
		return nil, err
	}
	return &rds.DescribeDBEngineVersionsOutput{DBEngineVersions: out, Marker: marker}, nil
}

func (a *API) describePendingMaintenanceActions(_ context.Context, in *rds.DescribePendingMaintenanceActionsInput) (*rds.DescribePendingMaintenanceActionsOutput, error) {
	a.mu.Lock()
	all := make([]types.ResourcePendingMaintenanceActions, 0, len(a.state.Instances))
	for _, db := range a.state.Instances {
		if len(db.Actions) > 0 && matches(in.ResourceIdentifier, value(db.DB.DBInstanceArn)) {
			all = append(all, types.ResourcePendingMaintenanceActions{ResourceIdentifier: new(*db.DB.DBInstanceArn), PendingMaintenanceActionDetails: clone(db.Actions)})
		}
	}
	a.mu.Unlock()
	all, err := filter(all, in.Filters, map[string]func(types.ResourcePendingMaintenanceActions) []string{
		"db-instance-id": func(r types.ResourcePendingMaintenanceActions) []string {
			return []string{*r.ResourceIdentifier, strings.TrimPrefix(*r.ResourceIdentifier, a.arn("db", ""))}
		},
	})
	if err != nil {
		return nil, err
	}
	out, marker, err := page(all, func(r types.ResourcePendingMaintenanceActions) string { return *r.ResourceIdentifier }, in.Marker, in.MaxRecords)
	if err != nil {
		return nil, err
	}
	return &rds.DescribePendingMaintenanceActionsOutput{PendingMaintenanceActions: out, Marker: marker}, nil
}

func (a *API) zones() []string { return []string{a.region + "a", a.region + "b", a.region + "c"} }

// otherZone is where the standby of a primary in zone lives.
func (a *API) otherZone(zone string) string {
	z := a.zones()
	return z[(slices.Index(z, zone)+1)%len(z)]
}

func (a *API) subnetGroup() types.DBSubnetGroup {
	g := types.DBSubnetGroup{
		DBSubnetGroupName: new("default"), DBSubnetGroupDescription: new("default"), SubnetGroupStatus: new("Complete"), VpcId: new(vpc),
		DBSubnetGroupArn: new(a.arn("subgrp", "default")), SupportedNetworkTypes: []string{"IPV4"},
	}
	for i, z := range a.zones() {
		g.Subnets = append(g.Subnets, types.Subnet{
			SubnetIdentifier: new("subnet-0d1b0a5e5a4db0c" + strconv.Itoa(50+i)), SubnetStatus: new("Active"),
			SubnetAvailabilityZone: &types.AvailabilityZone{Name: &z},
		})
	}
	return g
}

func (a *API) describeDBSubnetGroups(_ context.Context, in *rds.DescribeDBSubnetGroupsInput) (*rds.DescribeDBSubnetGroupsOutput, error) {
	if !matches(in.DBSubnetGroupName, "default") {
		return nil, awsid.Newf(404, "DBSubnetGroupNotFoundFault", "DB subnet group '%s' does not exist.", *in.DBSubnetGroupName)
	}
	out, marker, err := page([]types.DBSubnetGroup{a.subnetGroup()}, func(g types.DBSubnetGroup) string { return *g.DBSubnetGroupName }, in.Marker, in.MaxRecords)
	if err != nil {
		return nil, err
	}
	return &rds.DescribeDBSubnetGroupsOutput{DBSubnetGroups: out, Marker: marker}, nil
}
