package rds

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"dbops/internal/cloud/cloudtest"
	"dbops/internal/fault"
	"dbops/internal/sandbox/play"
)

func TestThePlayedCloudWatch(t *testing.T) {
	a := playAWS(t)
	conn, err := a.api.Server("orders-prod").DB(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	disk, err := a.as(t, "user/dbops").Get(t.Context(), "orders-prod")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("conformance", func(t *testing.T) {
		cloudtest.RunMeasurer(t, a.as(t, "user/dbops"), disk.Storage.GiB<<30, "orders-prod", "billing-prod")
	})
	t.Run("a session is counted", func(t *testing.T) {
		out, err := a.as(t, "user/dbops").Measure(t.Context(), "orders-prod", "billing-prod")
		if err != nil || *out["orders-prod"].Connections != 1 || *out["billing-prod"].Connections != 0 {
			t.Errorf("got %+v, %v", out, err)
		}
	})
	t.Run("a name in capitals is the same instance", func(t *testing.T) {
		out, err := a.as(t, "user/dbops").Measure(t.Context(), "Orders-Prod")
		if l := out["Orders-Prod"]; err != nil || l.CPU == nil || l.StorageUsed == nil {
			t.Errorf("got %+v, %v", out, err)
		}
	})
	t.Run("who may not ask RDS for the sizes knows what is free", func(t *testing.T) {
		out, err := a.as(t, "user/watcher").Measure(t.Context(), "orders-prod")
		if l := out["orders-prod"]; err != nil || l.StorageFree == nil || l.StorageUsed != nil {
			t.Errorf("got %+v, %v", out, err)
		}
	})
	t.Run("who may nothing learns what is missing", func(t *testing.T) {
		_, err := a.as(t, "user/reader").Measure(t.Context(), "orders-prod")
		if fault.KindOf(err) != fault.Denied || fault.PermissionOf(err) != "cloudwatch:GetMetricData" || !strings.Contains(fault.HintOf(err), "allow cloudwatch:GetMetricData") {
			t.Errorf("got %v, missing %q, hint %q", err, fault.PermissionOf(err), fault.HintOf(err))
		}
	})
	for effect, want := range map[play.Effect]fault.Kind{
		play.Throttle: fault.Throttled, play.Deny: fault.Denied, play.Unavailable: fault.Unavailable, play.Drop: fault.Unavailable,
	} {
		t.Run("when it is asked to "+string(effect), func(t *testing.T) {
			t.Setenv("AWS_MAX_ATTEMPTS", "2")
			defer a.faults.Clear()
			p := a.as(t, "user/dbops")
			a.faults.Add(play.Fault{Service: "cloudwatch", Action: "GetMetricData", Effect: effect})
			out, err := p.Measure(t.Context(), "orders-prod")
			if fault.KindOf(err) != want || fault.HintOf(err) == "" || len(out) != 0 {
				t.Errorf("got %v, %v, hint %q", out, err, fault.HintOf(err))
			}
		})
	}
	t.Run("a passing throttle is not noticed", func(t *testing.T) {
		defer a.faults.Clear()
		p := a.as(t, "user/dbops")
		a.faults.Add(play.Fault{Service: "cloudwatch", Effect: play.Throttle, Count: 1})
		if _, err := p.Measure(t.Context(), "orders-prod"); err != nil {
			t.Error(err)
		}
	})
	t.Run("the AWS configuration names another CloudWatch", func(t *testing.T) {
		t.Setenv("AWS_ENDPOINT_URL_CLOUDWATCH", "http://127.0.0.1:1")
		t.Setenv("AWS_MAX_ATTEMPTS", "1")
		if _, err := a.as(t, "user/dbops").Measure(t.Context(), "orders-prod"); fault.KindOf(err) != fault.Unavailable || !strings.Contains(err.Error(), "127.0.0.1:1") {
			t.Errorf("got %v", err)
		}
	})
}

// watched is a CloudWatch that answers what a test says, and RDS that does not answer.
type watched struct {
	t      *testing.T
	answer func(request map[string]any) map[string]any
	sizes  []int // of the requests, in queries
}

func (w *watched) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(r.URL.Path, "/GetMetricData") {
		return nil, fmt.Errorf("nobody answers %s", r.URL)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	mode, err := cbor.DecOptions{DefaultMapType: nil}.DecMode()
	if err != nil {
		return nil, err
	}
	var in map[string]any
	if err := mode.Unmarshal(body, &in); err != nil {
		return nil, err
	}
	queries, _ := in["MetricDataQueries"].([]any)
	w.sizes = append(w.sizes, len(queries))
	out, err := cbor.Marshal(w.answer(in))
	return &http.Response{
		StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r, Body: io.NopCloser(bytes.NewReader(out)), ContentLength: int64(len(out)),
		Header: http.Header{"Content-Type": {"application/cbor"}, "Smithy-Protocol": {"rpc-v2-cbor"}},
	}, err
}

func (w *watched) provider() *Provider {
	w.t.Helper()
	w.t.Setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
	w.t.Setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
	w.t.Setenv("AWS_MAX_ATTEMPTS", "1")
	p, err := New(w.t.Context(), Options{Region: "eu-west-1", Endpoint: "http://aws.test", HTTPClient: &http.Client{Transport: w}})
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// value is the answer to one query.
func value(id string, at time.Time, v float64) map[string]any {
	return map[string]any{
		"Id": id, "StatusCode": "Complete", "Values": []float64{v, 1e9},
		"Timestamps": []any{cbor.Tag{Number: 1, Content: float64(at.Unix())}, cbor.Tag{Number: 1, Content: at.Unix() - 60}},
	}
}

func TestAFleetIsMeasuredInFewRequests(t *testing.T) {
	at := time.Now().Add(-2 * time.Minute).Truncate(time.Minute).UTC()
	w := &watched{t: t, answer: func(in map[string]any) map[string]any {
		var out []any
		queries, _ := in["MetricDataQueries"].([]any)
		for _, q := range queries {
			q, _ := q.(map[any]any)
			id, _ := q["Id"].(string)
			out = append(out, value(id, at, 50))
		}
		return map[string]any{"MetricDataResults": out}
	}}
	names := make([]string, 150)
	for i := range names {
		names[i] = fmt.Sprintf("db-%d", i)
	}
	out, err := w.provider().Measure(t.Context(), names...)
	if err != nil || len(out) != 150 || fmt.Sprint(w.sizes) != "[500 100]" {
		t.Fatalf("%d instances in requests of %v queries: %v", len(out), w.sizes, err)
	}
	l := out["db-149"]
	if *l.CPU != 0.5 || *l.Connections != 50 || *l.StorageFree != 50 || l.StorageUsed != nil || *l.ReplicaLag != 50*time.Second || !l.At.Equal(at) {
		t.Errorf("got %+v", l)
	}
}

func TestFiguresComeOnSeveralPages(t *testing.T) {
	at := time.Now().Add(-2 * time.Minute).Truncate(time.Minute)
	w := &watched{t: t, answer: func(in map[string]any) map[string]any {
		if in["NextToken"] == nil {
			return map[string]any{"NextToken": "more", "MetricDataResults": []any{value("q0_0", at, 7), value("q0_3", at, -1)}}
		}
		return map[string]any{"MetricDataResults": []any{value("q0_2", at, 3), value("q0_0", at.Add(-time.Hour), 99), value("other", at, 1)}}
	}}
	out, err := w.provider().Measure(t.Context(), "replica")
	l := out["replica"]
	if err != nil || *l.CPU != 0.07 || *l.Connections != 3 {
		t.Fatalf("got %+v, %v", l, err)
	}
	if l.ReplicaLag != nil {
		t.Errorf("replication that does not run lags by %s", *l.ReplicaLag)
	}
}

func TestMetricsThatCloudWatchCannotRead(t *testing.T) {
	at := time.Now().Add(-2 * time.Minute).Truncate(time.Minute)
	broken := map[string]any{"Id": "q0_0", "StatusCode": "InternalError", "Values": []float64{}, "Timestamps": []any{}}
	results := []any{broken, value("q1_0", at, 1)}
	w := &watched{t: t, answer: func(map[string]any) map[string]any { return map[string]any{"MetricDataResults": results} }}
	p := w.provider()
	out, err := p.Measure(t.Context(), "first", "second")
	if fault.KindOf(err) != fault.Unavailable || !strings.Contains(err.Error(), "InternalError for the metrics of first") || len(out) != 1 || out["second"].CPU == nil {
		t.Errorf("got %+v, %v", out, err)
	}
	results = append(results, value("q0_2", at, 4))
	if out, err = p.Measure(t.Context(), "first", "second"); err != nil || out["first"].CPU != nil || *out["first"].Connections != 4 {
		t.Errorf("with one of two figures: %+v, %v", out, err)
	}
}
