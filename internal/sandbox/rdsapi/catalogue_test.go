package rdsapi_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
)

func TestTheCatalogue(t *testing.T) {
	t.Parallel()
	p := start(t, newDir(t))
	c := p.client(t, "user/dbops")
	ctx := t.Context()
	p.adopt(t, "orders", 15, func(in *rds.CreateDBInstanceInput) { in.Tags = []types.Tag{{Key: new("env"), Value: new("prod")}} })
	p.adopt(t, "billing", 15)
	arn := describe(t, c, "orders").DBInstanceArn

	t.Run("instances are found by filter", func(t *testing.T) {
		for value, want := range map[string]int{"orders": 1, *arn: 1, "none": 0} {
			out, err := c.DescribeDBInstances(ctx, &rds.DescribeDBInstancesInput{Filters: []types.Filter{{Name: new("db-instance-id"), Values: []string{value}}}})
			if err != nil || len(out.DBInstances) != want {
				t.Errorf("%s: %d %v", value, len(out.DBInstances), err)
			}
		}
		out, err := c.DescribeDBInstances(ctx, &rds.DescribeDBInstancesInput{Filters: []types.Filter{{Name: new("engine"), Values: []string{"mysql", "postgres"}}}})
		if err != nil || len(out.DBInstances) != 2 {
			t.Errorf("by engine: %v %v", out, err)
		}
		if _, err := c.DescribeDBInstances(ctx, &rds.DescribeDBInstancesInput{Filters: []types.Filter{{Name: new("colour"), Values: []string{"x"}}}}); code(err) != "InvalidParameterValue" {
			t.Errorf("an unknown filter: %v", err)
		}
	})
	t.Run("versions have targets to upgrade to", func(t *testing.T) {
		out, err := c.DescribeDBEngineVersions(ctx, &rds.DescribeDBEngineVersionsInput{Engine: new("postgres"), EngineVersion: new("15")})
		if err != nil || len(out.DBEngineVersions) == 0 {
			t.Fatalf("%v %v", out, err)
		}
		v := out.DBEngineVersions[0]
		if *v.DBParameterGroupFamily != "postgres15" || !*v.SupportsCertificateRotationWithoutRestart || len(v.SupportedCACertificateIdentifiers) != 3 {
			t.Errorf("%+v", v)
		}
		majors := map[string]bool{}
		for _, target := range v.ValidUpgradeTarget {
			m, _, _ := strings.Cut(*target.EngineVersion, ".")
			if *target.IsMajorVersionUpgrade != (m != "15") {
				t.Errorf("%s: major upgrade %v", *target.EngineVersion, *target.IsMajorVersionUpgrade)
			}
			majors[m] = true
		}
		if majors["14"] || !majors["16"] || !majors["17"] || !majors["18"] {
			t.Errorf("targets: %v", majors)
		}
	})
	t.Run("parameters say that TLS is required", func(t *testing.T) {
		pages := rds.NewDescribeDBParametersPaginator(c, &rds.DescribeDBParametersInput{DBParameterGroupName: new("default.postgres15")})
		found := ""
		for pages.HasMorePages() {
			out, err := pages.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range out.Parameters {
				if *p.ParameterName == "rds.force_ssl" {
					found = *p.ParameterValue
				}
			}
		}
		if found != "1" {
			t.Errorf("rds.force_ssl is %q", found)
		}
		one, err := c.DescribeDBParameters(ctx, &rds.DescribeDBParametersInput{
			DBParameterGroupName: new("default.postgres15"), Filters: []types.Filter{{Name: new("parameter-name"), Values: []string{"rds.force_ssl"}}},
		})
		if err != nil || len(one.Parameters) != 1 || *one.Parameters[0].ParameterName != "rds.force_ssl" {
			t.Errorf("by its name: %+v, %v", one, err)
		}
		_, err = c.DescribeDBParameters(ctx, &rds.DescribeDBParametersInput{DBParameterGroupName: new("mine")})
		if _, ok := errors.AsType[*types.DBParameterGroupNotFoundFault](err); !ok {
			t.Errorf("an unknown group: %v", err)
		}
		groups, err := c.DescribeDBParameterGroups(ctx, nil)
		if err != nil || len(groups.DBParameterGroups) != 5 {
			t.Errorf("groups: %v %v", groups, err)
		}
	})
	t.Run("subnets cover more than one zone", func(t *testing.T) {
		out, err := c.DescribeDBSubnetGroups(ctx, nil)
		if err != nil || len(out.DBSubnetGroups) != 1 || len(out.DBSubnetGroups[0].Subnets) < 2 {
			t.Errorf("%+v %v", out, err)
		}
		_, err = c.DescribeDBSubnetGroups(ctx, &rds.DescribeDBSubnetGroupsInput{DBSubnetGroupName: new("mine")})
		if _, ok := errors.AsType[*types.DBSubnetGroupNotFoundFault](err); !ok {
			t.Errorf("an unknown group: %v", err)
		}
	})
	t.Run("tags come and go", func(t *testing.T) {
		if _, err := c.AddTagsToResource(ctx, &rds.AddTagsToResourceInput{ResourceName: arn, Tags: []types.Tag{{Key: new("env"), Value: new("stage")}, {Key: new("team"), Value: new("shop")}}}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.RemoveTagsFromResource(ctx, &rds.RemoveTagsFromResourceInput{ResourceName: arn, TagKeys: []string{"team"}}); err != nil {
			t.Fatal(err)
		}
		out, err := c.ListTagsForResource(ctx, &rds.ListTagsForResourceInput{ResourceName: arn})
		if err != nil || len(out.TagList) != 1 || *out.TagList[0].Value != "stage" {
			t.Errorf("%+v %v", out, err)
		}
		if db := describe(t, c, "orders"); len(db.TagList) != 1 {
			t.Errorf("the description has %d tags", len(db.TagList))
		}
	})
	t.Run("maintenance is announced", func(t *testing.T) {
		if err := p.api.Announce("orders", types.PendingMaintenanceAction{Action: new("system-update"), Description: new("New Operating System update is available")}); err != nil {
			t.Fatal(err)
		}
		out, err := c.DescribePendingMaintenanceActions(ctx, nil)
		if err != nil || len(out.PendingMaintenanceActions) != 1 || *out.PendingMaintenanceActions[0].ResourceIdentifier != *arn ||
			*out.PendingMaintenanceActions[0].PendingMaintenanceActionDetails[0].Action != "system-update" {
			t.Errorf("%+v %v", out, err)
		}
	})
	t.Run("events are found by category", func(t *testing.T) {
		out, err := c.DescribeEvents(ctx, &rds.DescribeEventsInput{Duration: new(int32(10)), EventCategories: []string{"creation"}})
		if err != nil || len(out.Events) != 2 {
			t.Errorf("%+v %v", out, err)
		}
	})
}
