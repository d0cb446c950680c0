package cloudsql

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/cloud"
	"dbops/internal/fault"
)

const (
	runnable = `{"name":"main","databaseVersion":"POSTGRES_15","state":"RUNNABLE","gceZone":"b","secondaryGceZone":"c","settings":{"availabilityType":"REGIONAL"}}`
	lonely   = `{"name":"main","databaseVersion":"POSTGRES_15","state":"RUNNABLE","gceZone":"b","settings":{"availabilityType":"REGIONAL"}}`
	zonal    = `{"name":"main","databaseVersion":"POSTGRES_15","state":"RUNNABLE","gceZone":"b","settings":{"availabilityType":"ZONAL"}}`
	broken   = `{"name":"main","databaseVersion":"POSTGRES_15","state":"FAILED","settings":{}}`
	gone     = `{"error":{"code":404,"errors":[{"reason":"instanceDoesNotExist"}],"message":"The Cloud SQL instance does not exist."}}`
	quiet    = `{"items":[]}`
)

func received(t *testing.T, change string, w want) cloud.Receipt {
	t.Helper()
	b, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	return cloud.Receipt{Change: change, Instance: "main", Operation: "op-1", At: time.Now(), Want: b}
}

func ended(kind string, ago time.Duration) string {
	at := time.Now().Add(-ago).UTC().Format(time.RFC3339Nano)
	return `{"name":"op-1","operationType":"` + kind + `","status":"DONE","insertTime":"` + at + `","endTime":"` + at + `"}`
}

func TestDoneIsWhatHasTrulyHappened(t *testing.T) {
	t.Parallel()
	regional := want{Settings: &cloud.Settings{Availability: new(cloud.Regional)}}
	restore := want{Source: "main", Run: 7}
	for _, c := range []struct {
		name                string
		receipt             cloud.Receipt
		operation, instance string
		running             string
		done                bool
		kind                fault.Kind
		text                string // in the status, or in the error
	}{
		{name: "the operation waits", receipt: received(t, changeModify, regional), operation: `{"operationType":"UPDATE","status":"PENDING"}`, text: "UPDATE PENDING"},
		{name: "it is there", receipt: received(t, changeModify, regional), operation: ended("UPDATE", 0), instance: runnable, done: true},
		{name: "something else runs", receipt: received(t, changeModify, regional), operation: ended("UPDATE", 0), instance: runnable, running: `{"items":[{"targetId":"main","operationType":"BACKUP_VOLUME","status":"RUNNING"}]}`, text: "BACKUP_VOLUME RUNNING"},
		{name: "it is not shown yet", receipt: received(t, changeModify, regional), operation: ended("UPDATE", 0), instance: zonal, text: "RUNNABLE"},
		{name: "it is not shown for long", receipt: received(t, changeModify, regional), operation: ended("UPDATE", time.Hour), instance: zonal, kind: fault.Internal, text: `availability is "zonal", not "regional"`},
		{name: "the standby has no zone yet", receipt: received(t, changeModify, regional), operation: ended("UPDATE", 0), instance: lonely, text: "RUNNABLE"},
		{name: "the standby's zone is never shown", receipt: received(t, changeModify, regional), operation: ended("UPDATE", time.Hour), instance: lonely, done: true},
		{name: "it failed", receipt: received(t, changeModify, regional), operation: `{"operationType":"UPDATE","status":"DONE","error":{"errors":[{"code":"QUOTA","message":"no more"},{"code":"B","message":"c"}]}}`, kind: fault.Internal, text: "UPDATE failed: QUOTA: no more; B: c"},
		{name: "it failed without a reason", receipt: received(t, changeModify, regional), operation: `{"operationType":"UPDATE","status":"DONE","error":{}}`, kind: fault.Internal, text: "gives no reason"},
		{name: "the instance failed", receipt: received(t, changeModify, regional), operation: ended("UPDATE", 0), instance: broken, kind: fault.Internal, text: "FAILED"},
		{name: "the instance is gone", receipt: received(t, changeModify, regional), operation: ended("UPDATE", 0), instance: gone, kind: fault.NotFound},
		{name: "the operation is forgotten", receipt: received(t, changeModify, regional), operation: gone, instance: runnable, done: true},
		{name: "the primary has moved", receipt: received(t, changeFailover, want{Zone: "b"}), operation: ended("FAILOVER", 0), instance: runnable, done: true},
		{name: "the primary has not moved", receipt: received(t, changeFailover, want{Zone: "c"}), operation: ended("FAILOVER", 0), instance: runnable, text: "RUNNABLE"},
		{name: "it is deleted", receipt: received(t, changeDelete, want{}), operation: ended("DELETE", 0), done: true},
		{name: "it is deleted, and that long ago", receipt: received(t, changeDelete, want{}), operation: gone, instance: gone, done: true},
		{name: "nobody knows of its deletion", receipt: received(t, changeDelete, want{}), operation: gone, instance: runnable, kind: fault.Internal, text: "forgotten"},
		{name: "it is being filled", receipt: received(t, changeRestore, restore), operation: ended("CREATE", 0), running: `{"items":[{"operationType":"RESTORE_VOLUME","status":"RUNNING","insertTime":"2100-01-01T00:00:00Z"}]}`, text: "RESTORE_VOLUME RUNNING"},
		{name: "it could not be filled", receipt: received(t, changeRestore, restore), operation: ended("CREATE", 0), running: `{"items":[{"operationType":"RESTORE_VOLUME","status":"DONE","insertTime":"2100-01-01T00:00:00Z","error":{"errors":[{"code":"A","message":"b"}]}}]}`, kind: fault.Internal, text: "RESTORE_VOLUME failed: A: b"},
		{name: "it is filled", receipt: received(t, changeRestore, restore), operation: ended("CREATE", 0), running: `{"items":[{"operationType":"RESTORE_VOLUME","status":"DONE","insertTime":"2100-01-01T00:00:00Z"}]}`, instance: runnable, done: true},
		{name: "it cannot begin to be filled", receipt: received(t, changeRestore, restore), operation: ended("CREATE", 0), running: `{"items":[{"operationType":"RESTORE_VOLUME","status":"DONE","insertTime":"2000-01-01T00:00:00Z"}]}`, kind: fault.Denied, text: "not authorized"},
		{
			name: "somebody else has begun to fill it", receipt: received(t, changeRestore, restore), operation: ended("CREATE", 0), running: quiet, text: "to be filled from backup 7",
			instance: `{"error":{"code":409,"errors":[{"reason":"operationInProgress"}],"message":"busy"}}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			answers := map[string]string{"operations/op-1": c.operation, "instances/main": c.instance, "operations?instance=main": c.running}
			if strings.Contains(c.instance, "409") {
				answers["instances/main/restoreBackup"] = c.instance
			}
			p, _ := provider(t, answers)
			got, err := p.Progress(t.Context(), c.receipt)
			if c.kind != "" {
				if fault.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.text) {
					t.Errorf("got %+v, %v", got, err)
				}
				return
			}
			if err != nil || got.Done != c.done || got.Status == "" || !strings.Contains(got.Status, c.text) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestARestoreThatCannotBeFilledNamesThePermission(t *testing.T) {
	t.Parallel()
	p, _ := provider(t, map[string]string{"operations/op-1": ended("CREATE", 0), "operations?instance=main": quiet})
	_, err := p.Progress(t.Context(), received(t, changeRestore, want{Source: "main", Run: 7}))
	if got := fault.PermissionOf(err); got != "cloudsql.instances.restoreBackup" {
		t.Errorf("missing %q: %v", got, err)
	}
}

func TestEventsAreOperationsSinceAMoment(t *testing.T) {
	t.Parallel()
	p, r := provider(t, map[string]string{
		"operations?instance=main": `{"nextPageToken":"2","items":[
			{"name":"c","operationType":"UPDATE","status":"RUNNING","insertTime":"2026-11-20T12:00:00Z","startTime":"2026-11-20T12:00:01Z","user":"me@shop.test"},
			{"name":"b","operationType":"FAILOVER","status":"DONE","insertTime":"2026-11-20T11:00:00Z","endTime":"2026-11-20T11:05:00Z","error":{"errors":[{"code":"X","message":"y"}]}}]}`,
		"operations?instance=main&pageToken=2": `{"nextPageToken":"3","items":[
			{"name":"a","operationType":"BACKUP_VOLUME","status":"DONE","insertTime":"2026-11-19T23:00:00Z","endTime":"2026-11-20T01:00:00Z"},
			{"name":"0","operationType":"CREATE","status":"DONE","insertTime":"2026-11-01T00:00:00Z","endTime":"2026-11-01T00:10:00Z"}]}`,
	})
	all, err := p.Events(t.Context(), "main", time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range all {
		got = append(got, e.At.Format(time.RFC3339)+" "+e.ID+" "+e.Text)
	}
	want := []string{
		"2026-11-20T01:00:00Z a BACKUP_VOLUME DONE", "2026-11-20T11:05:00Z b FAILOVER DONE: X: y",
		"2026-11-20T12:00:01Z c UPDATE RUNNING, asked for by me@shop.test",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if len(r.asked) != 2 {
		t.Errorf("it asked %q", r.asked)
	}
}

func TestAnAnswerIsCalledByItsHeaderOrItsOperation(t *testing.T) {
	t.Parallel()
	o := &sqladmin.Operation{Name: "op-1"}
	if r, err := receipt(changeModify, "main", o, want{}); err != nil || r.RequestID != "op-1" || r.Operation != "op-1" {
		t.Errorf("got %+v, %v", r, err)
	}
	o.Header = http.Header{"X-Goog-Request-Id": {"req-1"}}
	if r, err := receipt(changeModify, "main", o, want{}); err != nil || r.RequestID != "req-1" || r.Operation != "op-1" {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestWhatARestoreLosesIsTold(t *testing.T) {
	t.Parallel()
	p, _ := provider(t, nil)
	of := func(change func(*sqladmin.DatabaseInstance)) *cloud.Instance {
		db := &sqladmin.DatabaseInstance{Name: "main", Settings: live()}
		if change != nil {
			change(db)
		}
		return instance(db, "shop-prod")
	}
	target := of(func(db *sqladmin.DatabaseInstance) {
		db.Settings.DatabaseFlags, db.Settings.IpConfiguration.PrivateNetwork, db.Settings.UserLabels = nil, "", nil
	})
	left, ok, lost := p.Conform(t.Context(), of(nil), target, cloud.Restore{Labels: map[string]string{"purpose": "drill"}})
	if ok || left.IAMLogin == nil || len(left.Labels) != 3 || left.Class != nil {
		t.Errorf("left %+v", left)
	}
	for _, text := range []string{"server CA", "database flags: ", "work_mem", `private network: "", not "projects/shop/global/networks/vpc"`} {
		if !strings.Contains(strings.Join(lost, "; "), text) {
			t.Errorf("not told: %s; lost %q", text, lost)
		}
	}
	if left, ok, lost := p.Conform(t.Context(), of(nil), of(nil), cloud.Restore{}); !ok || !left.Empty() || len(lost) != 1 {
		t.Errorf("of itself: %+v, %q", left, lost)
	}
}
