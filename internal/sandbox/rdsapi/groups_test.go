package rdsapi_test

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"dbops/internal/sandbox/rdsapi"
	"dbops/internal/sandbox/world"
	"dbops/internal/secret"
)

func set(name, value string, method types.ApplyMethod) types.Parameter {
	return types.Parameter{ParameterName: &name, ParameterValue: &value, ApplyMethod: method}
}

// parameters are those of a group, or of a family's defaults, by name.
func parameters(t *testing.T, c *rds.Client, group, family, source *string) map[string]types.Parameter {
	t.Helper()
	out := map[string]types.Parameter{}
	if family != nil {
		pages := rds.NewDescribeEngineDefaultParametersPaginator(c, &rds.DescribeEngineDefaultParametersInput{DBParameterGroupFamily: family, MaxRecords: new(int32(20))})
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range page.EngineDefaults.Parameters {
				out[*p.ParameterName] = p
			}
		}
		return out
	}
	pages := rds.NewDescribeDBParametersPaginator(c, &rds.DescribeDBParametersInput{DBParameterGroupName: group, Source: source, MaxRecords: new(int32(20))})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range page.Parameters {
			out[*p.ParameterName] = p
		}
	}
	return out
}

// current is a setting of a real server.
func current(t *testing.T, s *world.Server, name string) (value string) {
	t.Helper()
	conn, err := s.DB(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if err := conn.QueryRow(t.Context(), "select current_setting($1)", name).Scan(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

func TestAParameterGroupIsWhatServersAreSetTo(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	p := start(t, dir)
	c := p.client(t, "user/dbops")
	ctx := t.Context()
	create := func(name, family string) error {
		_, err := c.CreateDBParameterGroup(ctx, &rds.CreateDBParameterGroupInput{
			DBParameterGroupName: &name, DBParameterGroupFamily: &family, Description: new("a test's"), Tags: []types.Tag{{Key: new("env"), Value: new("prod")}},
		})
		return err
	}
	modify := func(name string, params ...types.Parameter) error {
		_, err := c.ModifyDBParameterGroup(ctx, &rds.ModifyDBParameterGroupInput{DBParameterGroupName: &name, Parameters: params})
		return err
	}
	remove := func(name string) error {
		_, err := c.DeleteDBParameterGroup(ctx, &rds.DeleteDBParameterGroupInput{DBParameterGroupName: &name})
		return err
	}
	if err := create("Mine-14", "postgres14"); err != nil {
		t.Fatal(err)
	}
	const reboot, now = types.ApplyMethodPendingReboot, types.ApplyMethodImmediate
	if err := modify("mine-14", set("max_connections", "77", reboot), set("work_mem", "8192", now), set("random_page_cost", "1.5", now), set("log_min_duration_statement", "-1", now)); err != nil {
		t.Fatal(err)
	}
	for name, refused := range map[string]struct {
		err  error
		code string
	}{
		"the same name":                  {create("mine-14", "postgres14"), "DBParameterGroupAlreadyExists"},
		"no such family":                 {create("mine-9", "postgres9"), "InvalidParameterValue"},
		"the name of a default group":    {create("default.mine", "postgres14"), "InvalidParameterValue"},
		"a default group":                {modify("default.postgres14", set("work_mem", "64", now)), "InvalidParameterValue"},
		"a group that is not there":      {modify("none", set("work_mem", "64", now)), "DBParameterGroupNotFound"},
		"an unknown parameter":           {modify("mine-14", set("transaction_timeout", "1", now)), "InvalidParameterValue"},
		"what RDS sets":                  {modify("mine-14", set("rds.force_ssl", "0", now)), "InvalidParameterValue"},
		"a number that is out of bounds": {modify("mine-14", set("work_mem", "63", now)), "InvalidParameterValue"},
		"no number":                      {modify("mine-14", set("work_mem", "much", now)), "InvalidParameterValue"},
		"no word of those":               {modify("mine-14", set("log_statement", "some", now)), "InvalidParameterValue"},
		"a library that is not there":    {modify("mine-14", set("shared_preload_libraries", "auto_explain,mine", reboot)), "InvalidParameterValue"},
		"a restart at once":              {modify("mine-14", set("max_connections", "78", now)), "InvalidParameterCombination"},
		"no time":                        {modify("mine-14", set("work_mem", "64", "")), "MissingParameter"},
		"removing a default group":       {remove("default.postgres14"), "InvalidParameterValue"},
		"removing what is not there":     {remove("none"), "DBParameterGroupNotFound"},
	} {
		if code(refused.err) != refused.code {
			t.Errorf("%s: %v, want %s", name, refused.err, refused.code)
		}
	}

	user := parameters(t, c, new("mine-14"), nil, new("user"))
	if len(user) != 4 || *user["max_connections"].ParameterValue != "77" || *user["max_connections"].ApplyType != "static" {
		t.Errorf("set: %+v", user)
	}
	old, recent := parameters(t, c, nil, new("postgres14"), nil), parameters(t, c, nil, new("postgres17"), nil)
	if all := parameters(t, c, new("mine-14"), nil, nil); len(all) != len(old) || len(all) <= len(user) {
		t.Errorf("%d parameters, the family has %d", len(all), len(old))
	}
	for name, in := range map[string][2]bool{"old_snapshot_threshold": {true, false}, "transaction_timeout": {false, true}, "work_mem": {true, true}} {
		_, before := old[name]
		_, after := recent[name]
		if in != [2]bool{before, after} {
			t.Errorf("%s: in 14 %v, in 17 %v", name, before, after)
		}
	}

	s := p.adopt(t, "orders", 14, func(in *rds.CreateDBInstanceInput) { in.DBParameterGroupName = new("mine-14") })
	if got := current(t, s, "max_connections"); got != "77" {
		t.Errorf("max_connections %s", got)
	}
	if err := remove("mine-14"); code(err) != "InvalidDBParameterGroupState" {
		t.Errorf("removed while it is in use: %v", err)
	}
	if err := modify("mine-14", set("work_mem", "64", now)); code(err) != "InvalidParameterCombination" {
		t.Errorf("changed while it is in use: %v", err)
	}
	_, err := p.api.Adopt(ctx, rdsapi.Seed{Password: secret.New(hidden), Create: rds.CreateDBInstanceInput{
		DBInstanceIdentifier: new("other"), EngineVersion: new("17"), MasterUsername: new(master), DBParameterGroupName: new("mine-14"),
	}})
	if err == nil || !strings.Contains(err.Error(), "postgres17") {
		t.Errorf("a group of another family: %v", err)
	}

	t.Run("it is kept", func(t *testing.T) {
		p.close()
		p := start(t, dir)
		c := p.client(t, "user/dbops")
		if db := describe(t, c, "orders"); *db.DBParameterGroups[0].DBParameterGroupName != "mine-14" {
			t.Errorf("its group is %s", *db.DBParameterGroups[0].DBParameterGroupName)
		}
		if got := current(t, p.api.Server("orders"), "work_mem"); got != "8MB" {
			t.Errorf("work_mem %s", got)
		}
		tags, err := c.ListTagsForResource(t.Context(), &rds.ListTagsForResourceInput{ResourceName: new("arn:aws:rds:" + region + ":" + account + ":pg:mine-14")})
		if err != nil || len(tags.TagList) != 1 || *tags.TagList[0].Value != "prod" {
			t.Errorf("%+v, %v", tags, err)
		}
		if _, err := c.DeleteDBInstance(t.Context(), &rds.DeleteDBInstanceInput{DBInstanceIdentifier: new("orders"), SkipFinalSnapshot: new(true)}); err != nil {
			t.Fatal(err)
		}
		if err := rds.NewDBInstanceDeletedWaiter(c, func(o *rds.DBInstanceDeletedWaiterOptions) {
			o.MinDelay, o.MaxDelay = 10*time.Millisecond, 20*time.Millisecond
		}).Wait(t.Context(), &rds.DescribeDBInstancesInput{DBInstanceIdentifier: new("orders")}, time.Minute); err != nil {
			t.Fatal(err)
		}
		if _, err := c.DeleteDBParameterGroup(t.Context(), &rds.DeleteDBParameterGroupInput{DBParameterGroupName: new("mine-14")}); err != nil {
			t.Error(err)
		}
	})
}

// Clients of an application know a port; two instances of one port have two addresses.
func TestAPortMayBeThatOfAnotherInstance(t *testing.T) {
	t.Parallel()
	p := start(t, newDir(t))
	c := p.client(t, "user/dbops")
	p.adopt(t, "orders", 15)
	port := *describe(t, c, "orders").Endpoint.Port
	_, err := c.CreateDBInstance(t.Context(), &rds.CreateDBInstanceInput{
		DBInstanceIdentifier: new("billing"), Engine: new("postgres"), EngineVersion: new("18"), DBInstanceClass: new("db.t4g.medium"), AllocatedStorage: new(int32(20)),
		MasterUsername: new(master), MasterUserPassword: new(hidden), Port: &port, BackupRetentionPeriod: new(int32(0)), StorageEncrypted: new(true),
	})
	if err != nil {
		t.Fatal(err)
	}
	db, _ := until(t, c, "billing", status("available"))
	if *db.Endpoint.Port != port || *db.Endpoint.Address == *describe(t, c, "orders").Endpoint.Address || db.KmsKeyId == nil {
		t.Errorf("%+v", db)
	}
	if err := p.try(t.Context(), db, master, hidden); err != nil {
		t.Error(err)
	}
}
