package rdsapi_test

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
)

func TestAnInstanceGetsAnotherName(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	p := start(t, dir)
	c := p.client(t, "user/dbops")
	p.adopt(t, "orders", 16)
	p.adopt(t, "billing", 15)
	before := describe(t, c, "orders")
	rename := func(id, to string) error {
		_, err := c.ModifyDBInstance(t.Context(), &rds.ModifyDBInstanceInput{DBInstanceIdentifier: &id, NewDBInstanceIdentifier: &to, ApplyImmediately: new(true)})
		return err
	}
	if err := rename("orders", "billing"); code(err) != "DBInstanceAlreadyExists" {
		t.Errorf("a name that is taken: %v", err)
	}
	if err := rename("orders", "-"); code(err) != "InvalidParameterValue" {
		t.Errorf("no name: %v", err)
	}
	if err := rename("orders", "Orders-Old"); err != nil {
		t.Fatal(err)
	}
	if err := rename("billing", "orders-old"); code(err) != "DBInstanceAlreadyExists" {
		t.Errorf("a name that will be taken: %v", err)
	}
	gone := func() bool {
		_, err := c.DescribeDBInstances(t.Context(), &rds.DescribeDBInstancesInput{DBInstanceIdentifier: new("orders")})
		return code(err) == "DBInstanceNotFound"
	}
	for !gone() {
		pause(t, 5*time.Millisecond)
	}
	after, _ := until(t, c, "orders-old", settled)
	if *after.DbiResourceId != *before.DbiResourceId || *after.DBInstanceArn == *before.DBInstanceArn || *after.Endpoint.Port != *before.Endpoint.Port {
		t.Errorf("from %+v to %+v", before, after)
	}
	if cn := p.shown(t, after).Subject.CommonName; cn != "orders-old.eu-west-1.rds.amazonaws.com" {
		t.Errorf("its certificate is for %s", cn)
	}
	told := messages(t, c, types.SourceTypeDbInstance, "orders-old")
	if len(told) == 0 || told[0] != "Renamed instance from orders to orders-old" {
		t.Errorf("events %q", told)
	}
	p.adopt(t, "orders", 16) // the name is free
	p.close()
	p = start(t, dir)
	for _, id := range []string{"orders", "orders-old"} {
		if db := describe(t, p.client(t, "user/dbops"), id); *db.DBInstanceStatus != "available" {
			t.Errorf("%s is %s after a restart", id, *db.DBInstanceStatus)
		}
	}
}
