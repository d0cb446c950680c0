package rds

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/fault"
)

// shown is an answer of RDS about the instance orders.
func shown(status, more string) string {
	return "<DescribeDBInstancesResponse><DescribeDBInstancesResult><DBInstances><DBInstance>" +
		"<DBInstanceIdentifier>orders</DBInstanceIdentifier><Engine>postgres</Engine><DbiResourceId>db-1</DbiResourceId>" +
		"<DBInstanceStatus>" + status + "</DBInstanceStatus>" + more +
		"</DBInstance></DBInstances></DescribeDBInstancesResult></DescribeDBInstancesResponse>"
}

// told is an answer of RDS about events: each a time and a text.
func told(events ...any) string {
	var b strings.Builder
	for i := 0; i+1 < len(events); i += 2 {
		at, _ := events[i].(time.Time)
		fmt.Fprintf(&b, "<Event><Date>%s</Date><Message>%s</Message></Event>", at.UTC().Format("2006-01-02T15:04:05.000Z"), events[i+1])
	}
	return "<DescribeEventsResponse><DescribeEventsResult><Events>" + b.String() + "</Events></DescribeEventsResult></DescribeEventsResponse>"
}

func received(t *testing.T, change string, at time.Time, w want) cloud.Receipt {
	t.Helper()
	b, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	return cloud.Receipt{Change: change, Instance: "orders", At: at, Want: b}
}

const (
	single  = "<MultiAZ>false</MultiAZ><AvailabilityZone>a</AvailabilityZone>"
	multi   = "<MultiAZ>true</MultiAZ><AvailabilityZone>a</AvailabilityZone><SecondaryAvailabilityZone>b</SecondaryAvailabilityZone>"
	swapped = "<MultiAZ>true</MultiAZ><AvailabilityZone>b</AvailabilityZone><SecondaryAvailabilityZone>a</SecondaryAvailabilityZone>"
	waiting = "<PendingModifiedValues><MultiAZ>true</MultiAZ></PendingModifiedValues>"
)

func TestDoneIsWhatHasTrulyHappened(t *testing.T) {
	t.Parallel()
	now := time.Now()
	regional := want{Settings: &cloud.Settings{Availability: new(cloud.Regional)}}
	window := want{Settings: regional.Settings, When: cloud.InWindow}
	moved := want{Zone: "b", Before: now.Add(-time.Minute)}
	for _, c := range []struct {
		name    string
		receipt cloud.Receipt
		status  string
		more    string
		events  []any
		done    bool
		err     string
	}{
		{name: "it is available before it begins", receipt: received(t, changeModify, now, regional), status: "available", more: single + waiting},
		{name: "it is modifying", receipt: received(t, changeModify, now, regional), status: "modifying", more: single + waiting},
		{name: "the standby is there, and the instance is not at rest", receipt: received(t, changeModify, now, regional), status: "modifying", more: multi},
		{name: "the standby has no zone yet, however long", receipt: received(t, changeModify, now.Add(-time.Hour), regional), status: "available", more: "<MultiAZ>true</MultiAZ>"},
		{name: "it is there", receipt: received(t, changeModify, now, regional), status: "available", more: multi, done: true},
		{name: "RDS does not show it as pending yet", receipt: received(t, changeModify, now, regional), status: "available", more: single},
		{
			name: "RDS gave up and says why", receipt: received(t, changeModify, now, regional), status: "available", more: single,
			events: []any{now, "Unable to convert: insufficient capacity in zone b."}, err: "insufficient capacity in zone b",
		},
		{
			name: "what failed before is no reason", receipt: received(t, changeModify, now, regional), status: "available", more: single,
			events: []any{now.Add(-time.Minute), "Unable to do something else."},
		},
		{name: "RDS gave up and says nothing", receipt: received(t, changeModify, now.Add(-time.Hour), regional), status: "available", more: single, err: "no event says why"},
		{
			name: "RDS has just said something", receipt: received(t, changeModify, now.Add(-time.Hour), regional), status: "available", more: single,
			events: []any{now, "Finished applying modification to convert to a Multi-AZ DB Instance"},
		},
		{name: "it failed", receipt: received(t, changeModify, now, regional), status: "storage-full", more: single + waiting, err: "storage-full"},
		{name: "it failed of something else", receipt: received(t, changeModify, now, want{Settings: &cloud.Settings{DeletionProtection: new(false)}}), status: "storage-full", more: multi, done: true},
		{name: "it waits for the window, as was wished", receipt: received(t, changeModify, now, window), status: "available", more: single + waiting, done: true},
		{name: "it does not wait yet", receipt: received(t, changeModify, now, window), status: "available", more: single},
		{name: "the window has come", receipt: received(t, changeModify, now, window), status: "available", more: multi, done: true},
		{name: "the reboot has not begun", receipt: received(t, changeFailover, now, moved), status: "available", more: multi},
		{name: "it reboots in the other zone", receipt: received(t, changeFailover, now, moved), status: "rebooting", more: swapped},
		{name: "the zones are swapped", receipt: received(t, changeFailover, now, moved), status: "available", more: swapped, done: true},
		{
			name: "the zones are not shown as swapped, and the events say so", receipt: received(t, changeFailover, now, moved), status: "available", more: multi,
			events: []any{now, "Multi-AZ instance failover started.", now, "Multi-AZ instance failover completed"}, done: true,
		},
		{
			name: "the events are of the failover before", receipt: received(t, changeFailover, now, moved), status: "available", more: multi,
			events: []any{moved.Before, "Multi-AZ instance failover started.", now, "Multi-AZ instance failover completed"},
		},
		{
			name: "RDS does not fail over again so soon", receipt: received(t, changeFailover, now, moved), status: "available", more: multi,
			events: []any{now, "Abandoning user requested failover since a failover recently occurred on the database instance."}, err: "Abandoning user requested failover",
		},
		{name: "it is restored and changed still", receipt: received(t, changeRestore, now, want{}), status: "available", more: single + waiting},
		{name: "it cannot be restored", receipt: received(t, changeRestore, now, want{}), status: "incompatible-restore", err: "incompatible-restore"},
		{name: "it is not deleted yet", receipt: received(t, changeDelete, now, want{Resource: "db-1"}), status: "deleting"},
		{name: "its name is another's", receipt: received(t, changeDelete, now, want{Resource: "db-0"}), status: "available", done: true},
		{name: "the new name is another's", receipt: received(t, changeRename, now, want{Resource: "db-0", From: "old"}), status: "available", err: "another one"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, _ := provider(t, map[string]string{"DescribeDBInstances orders": shown(c.status, c.more), "DescribeEvents": told(c.events...)})
			got, err := p.Progress(t.Context(), c.receipt)
			if c.err != "" {
				if fault.KindOf(err) != fault.Internal || !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %+v, %v", got, err)
				}
				return
			}
			if err != nil || got.Done != c.done || got.Status == "" {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestWithoutEventsProgressIsStillTold(t *testing.T) {
	t.Parallel()
	p, _ := provider(t, map[string]string{"DescribeDBInstances orders": shown("available", swapped)}) // events are denied
	got, err := p.Progress(t.Context(), received(t, changeFailover, time.Now(), want{Zone: "b"}))
	if err != nil || !got.Done || got.Detail != "" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestAnInstanceBetweenTwoNames(t *testing.T) {
	t.Parallel()
	const none = "<DescribeDBInstancesResponse><DescribeDBInstancesResult><DBInstances/></DescribeDBInstancesResult></DescribeDBInstancesResponse>"
	under := func(name string) map[string]string {
		answers := map[string]string{"DescribeDBInstances orders": none, "DescribeDBInstances old": none, "DescribeEvents": told()}
		if name != "" {
			answers["DescribeDBInstances "+name] = shown("renaming", single)
		}
		return answers
	}
	w := want{From: "old", Resource: "db-1"}
	p, _ := provider(t, under("old"))
	if got, err := p.Progress(t.Context(), received(t, changeRename, time.Now(), w)); err != nil || got.Done || got.Status != "renaming as old" {
		t.Errorf("under the old name: %+v, %v", got, err)
	}
	p, _ = provider(t, under(""))
	if got, err := p.Progress(t.Context(), received(t, changeRename, time.Now(), w)); err != nil || got.Done {
		t.Errorf("under neither: %+v, %v", got, err)
	}
	if _, err := p.Progress(t.Context(), received(t, changeRename, time.Now().Add(-time.Hour), w)); fault.KindOf(err) != fault.NotFound {
		t.Errorf("for good: %v", err)
	}
}

func TestWhatRDSHasNoSettingFor(t *testing.T) {
	t.Parallel()
	p, r := provider(t, nil)
	for name, s := range map[string]cloud.Settings{
		"backups": {BackupsEnabled: new(true)}, "recovery": {PITR: new(true)}, "number": {Retained: new(7)}, "TLS": {TLSRequired: new(true)},
	} {
		_, err := p.Modify(t.Context(), "orders", cloud.Modify{Settings: s})
		if fault.KindOf(err) != fault.Invalid || !errors.Is(err, cloud.ErrUnsupported) || fault.HintOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(r.asked) != 0 {
		t.Errorf("it asked %v", r.asked)
	}
}
