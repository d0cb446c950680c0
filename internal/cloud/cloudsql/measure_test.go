package cloudsql

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"dbops/internal/cloud/cloudtest"
	"dbops/internal/fault"
	"dbops/internal/sandbox/play"
)

func TestThePlayedCloudMonitoring(t *testing.T) {
	g := playGoogle(t, 0.001)
	if err := g.api.Identity().Grant(robot, "roles/cloudsql.admin", "roles/monitoring.viewer"); err != nil {
		t.Fatal(err)
	}
	server := g.api.Server("shop-prod", "main")
	conn, err := server.DB(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	disk, err := g.as(t, robot).Get(t.Context(), "main")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("conformance", func(t *testing.T) {
		cloudtest.RunMeasurer(t, g.as(t, robot), disk.Storage.GiB<<30, "main", "audit")
	})
	t.Run("a session is counted", func(t *testing.T) {
		out, err := g.as(t, robot).Measure(t.Context(), "main", "audit")
		if err != nil || *out["main"].Connections != 1 || *out["audit"].Connections != 0 {
			t.Errorf("got %+v, %v", out, err)
		}
	})
	t.Run("who may only look at instances learns what is missing", func(t *testing.T) {
		_, err := g.as(t, viewer).Measure(t.Context(), "main")
		if fault.KindOf(err) != fault.Denied || fault.PermissionOf(err) != "monitoring.timeSeries.list" || !strings.Contains(fault.HintOf(err), "roles/monitoring.viewer") {
			t.Errorf("got %v, missing %q, hint %q", err, fault.PermissionOf(err), fault.HintOf(err))
		}
	})
	for effect, want := range map[play.Effect]fault.Kind{
		play.Throttle: fault.Throttled, play.Deny: fault.Denied, play.Unavailable: fault.Unavailable, play.Drop: fault.Unavailable,
	} {
		t.Run("when it is asked to "+string(effect), func(t *testing.T) {
			defer g.faults.Clear()
			p := g.as(t, robot)
			g.faults.Add(play.Fault{Service: "monitoring", Action: "timeSeries.list", Effect: effect})
			if _, err := p.Measure(t.Context(), "main"); fault.KindOf(err) != want || fault.HintOf(err) == "" {
				t.Errorf("got %v, hint %q", err, fault.HintOf(err))
			}
		})
	}
	t.Run("a passing failure is not noticed", func(t *testing.T) {
		defer g.faults.Clear()
		p := g.as(t, robot)
		g.faults.Add(play.Fault{Service: "monitoring", Effect: play.Unavailable, Count: 1})
		if _, err := p.Measure(t.Context(), "main"); err != nil {
			t.Error(err)
		}
	})
}

// series is one of Cloud Monitoring with a point some minutes ago.
func series(instance string, ago time.Duration, value string) string {
	return fmt.Sprintf(`{"metric":{"type":"x"},"resource":{"type":"cloudsql_database","labels":{"database_id":"shop-prod:%s"}},"points":[
		{"interval":{"endTime":%[2]q},"value":{%[3]s}}, {"interval":{"endTime":%[4]q},"value":{"doubleValue":1e9}}]}`,
		instance, time.Now().UTC().Add(-ago).Format(time.RFC3339Nano), value, time.Now().UTC().Add(-ago-time.Minute).Format(time.RFC3339Nano))
}

// watched is a provider of a Cloud Monitoring that answers what a test says of a metric and a page: the time series, and the next page's token.
func watched(t *testing.T, answer func(metric, token string) (series []string, next string, status int)) (*Provider, *atomic.Int32) {
	t.Helper()
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		q := r.URL.Query()
		metric, _, _ := strings.Cut(strings.TrimPrefix(q.Get("filter"), `metric.type = "cloudsql.googleapis.com/database/`), `"`)
		all, next, status := answer(metric, q.Get("pageToken"))
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if status != http.StatusOK {
			_, _ = w.Write([]byte(`{"error":{"code":404,"message":"Cannot find metric(s) that match type","status":"NOT_FOUND"}}`))
			return
		}
		var list []json.RawMessage
		for _, s := range all {
			list = append(list, json.RawMessage(s))
		}
		if err := json.NewEncoder(w).Encode(map[string]any{"timeSeries": list, "nextPageToken": next}); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	p, err := New(t.Context(), Options{Project: "shop-prod", Monitoring: server.URL, HTTPClient: server.Client()})
	if err != nil {
		t.Fatal(err)
	}
	return p, &asked
}

func TestTheSeriesOfAnInstance(t *testing.T) {
	t.Parallel()
	minutes := func(n float64) time.Duration { return time.Duration(n * float64(time.Minute)) }
	p, asked := watched(t, func(metric, token string) ([]string, string, int) {
		switch metric + token {
		case "cpu/utilization":
			return []string{series("main", minutes(3), `"doubleValue":0.25`), series("other", minutes(3), `"doubleValue":0.5`)}, "", 200
		case "disk/bytes_used":
			return []string{series("main", minutes(4), `"int64Value":"7000000000"`)}, "", 200
		case "disk/quota":
			return []string{series("main", minutes(3), `"int64Value":"10000000000"`)}, "", 200
		case "postgresql/num_backends": // the database of the last one was dropped
			return []string{series("main", minutes(3), `"int64Value":"4"`), series("main", minutes(3.1), `"int64Value":"2"`)}, "more", 200
		case "postgresql/num_backendsmore":
			return []string{series("main", minutes(2.9), `"int64Value":"1"`), series("main", minutes(9), `"int64Value":"100"`)}, "", 200
		case "replication/replica_lag":
			return nil, "", 404
		}
		return nil, "", 500
	})
	out, err := p.Measure(t.Context(), "main", "silent")
	l := out["main"]
	if err != nil || len(out) != 1 || *l.CPU != 0.25 || *l.StorageUsed != 7e9 || *l.StorageFree != 3e9 || *l.Connections != 7 || l.ReplicaLag != nil {
		t.Fatalf("got %+v, %v", l, err)
	}
	if age := time.Since(l.At).Round(time.Minute); age != 4*time.Minute {
		t.Errorf("it is %s old", age)
	}
	if n := asked.Load(); n != 6 {
		t.Errorf("it took %d requests", n)
	}
}

func TestTheLagOfAReplica(t *testing.T) {
	t.Parallel()
	p, _ := watched(t, func(metric, _ string) ([]string, string, int) {
		if metric == "replication/replica_lag" {
			return []string{series("replica", time.Minute, `"doubleValue":2.5`)}, "", 200
		}
		return nil, "", 200
	})
	out, err := p.Measure(t.Context(), "replica")
	if l := out["replica"]; err != nil || l.ReplicaLag == nil || *l.ReplicaLag != 2500*time.Millisecond || l.CPU != nil {
		t.Errorf("got %+v, %v", out, err)
	}
}

func TestAProjectOfWhichNoMetricIsKnown(t *testing.T) {
	t.Parallel()
	p, _ := watched(t, func(string, string) ([]string, string, int) { return nil, "", 404 })
	if _, err := p.Measure(t.Context(), "main"); fault.KindOf(err) != fault.NotFound {
		t.Errorf("got %v", err)
	}
}
