package runapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/oauth2"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"
	run "google.golang.org/api/run/v2"

	"dbops/internal/sandbox/gcpapi/googleid"
	"dbops/internal/sandbox/play"
	"dbops/internal/sandbox/runapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	who      = "dbops@shop-prod.iam.gserviceaccount.com"
	location = "projects/shop-prod/locations/europe-west1"
	name     = location + "/services/shop-api"
)

type workload func(context.Context) error

func (w workload) Rollout(ctx context.Context) error { return w(ctx) }

func start(t *testing.T, dir string, w workload) (*run.ProjectsLocationsService, *runapi.Server) {
	t.Helper()
	id, err := googleid.Open(googleid.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := id.Grant(who, "roles/owner"); err != nil {
		t.Fatal(err)
	}
	api, err := runapi.New(t.Context(), runapi.Options{Dir: dir, Identity: id, Projects: []string{"shop-prod"}, Pace: play.Pace(0.0001)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	seed := runapi.Seed{
		Project: "shop-prod", Region: "europe-west1", Name: "shop-api", Image: "x:1", ServiceAccount: "shop-api@x", Secret: "shop-api", Workload: w,
	}
	if err := api.Add(seed); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(api)
	t.Cleanup(srv.Close)
	token, err := id.Token(who, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	base := &http.Transport{}
	t.Cleanup(base.CloseIdleConnections)
	s, err := run.NewService(t.Context(), option.WithEndpoint(srv.URL+"/"), option.WithHTTPClient(&http.Client{
		Transport: &oauth2.Transport{Source: oauth2.StaticTokenSource(&oauth2.Token{AccessToken: token.Reveal()}), Base: base},
	}))
	if err != nil {
		t.Fatal(err)
	}
	return s.Projects.Locations, api
}

func get(t *testing.T, c *run.ProjectsLocationsService) *run.GoogleCloudRunV2Service {
	t.Helper()
	svc, err := c.Services.Get(name).Context(t.Context()).Do()
	if err != nil {
		t.Fatal(err)
	}
	return svc
}

// annotate asks for another revision.
func annotate(t *testing.T, c *run.ProjectsLocationsService, value string) *run.GoogleLongrunningOperation {
	t.Helper()
	o, err := c.Services.Patch(name, &run.GoogleCloudRunV2Service{
		Template: &run.GoogleCloudRunV2RevisionTemplate{Annotations: map[string]string{"x/y": value}},
	}).UpdateMask("template.annotations,template.revision").Context(t.Context()).Do()
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func await(t *testing.T, c *run.ProjectsLocationsService, o *run.GoogleLongrunningOperation) *run.GoogleLongrunningOperation {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !o.Done; time.Sleep(2 * time.Millisecond) {
		var err error
		if o, err = c.Operations.Get(o.Name).Context(t.Context()).Do(); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("not done: %+v", o)
		}
	}
	return o
}

// inside is the service in an operation.
func inside(t *testing.T, m googleapi.RawMessage) (svc struct {
	Type string `json:"@type"`
	run.GoogleCloudRunV2Service
},
) {
	t.Helper()
	if err := json.Unmarshal(m, &svc); err != nil {
		t.Fatal(err)
	}
	return svc
}

func TestAChangedTemplateMakesARevision(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	hold := make(chan struct{})
	c, api := start(t, dir, func(context.Context) error { <-hold; return nil })
	before := get(t, c)
	env := before.Template.Containers[0].Env[0].ValueSource.SecretKeyRef
	if before.Generation != 1 || before.TerminalCondition.State != "CONDITION_SUCCEEDED" || before.Reconciling || env.Version != "current" {
		t.Errorf("%+v", before)
	}
	o := annotate(t, c, "1")
	if m := inside(t, o.Metadata); o.Done || m.Type != "type.googleapis.com/google.cloud.run.v2.Service" || m.Generation != 2 || !m.Reconciling {
		t.Errorf("%+v", o)
	}
	s := get(t, c)
	if !s.Reconciling || s.LatestReadyRevision != before.LatestReadyRevision || s.LatestCreatedRevision == before.LatestCreatedRevision ||
		s.ObservedGeneration != 1 || s.Etag == before.Etag || s.Template.Containers[0].Image != "x:1" || s.Template.Revision != "" {
		t.Errorf("under way: %+v", s)
	}
	close(hold)
	o = await(t, c, o)
	if r := inside(t, o.Response); o.Error != nil || r.LatestReadyRevision != s.LatestCreatedRevision || r.TerminalCondition.State != "CONDITION_SUCCEEDED" {
		t.Errorf("%+v", o)
	}
	revisions, err := c.Services.Revisions.List(name).Context(t.Context()).Do()
	if err != nil || len(revisions.Revisions) != 2 || revisions.Revisions[0].Name != s.LatestCreatedRevision {
		t.Errorf("%+v, %v", revisions, err)
	}
	api.Close()
	c, _ = start(t, dir, func(context.Context) error { return nil })
	if again := get(t, c); again.Generation != 2 || again.Uid != before.Uid || again.Template.Annotations["x/y"] != "1" || again.LatestReadyRevision != s.LatestCreatedRevision {
		t.Errorf("after a restart: %+v", again)
	}
	// A change of the service alone makes none.
	o, err = c.Services.Patch(name, &run.GoogleCloudRunV2Service{Labels: map[string]string{"a": "b"}}).UpdateMask("labels").Context(t.Context()).Do()
	if err != nil || !o.Done {
		t.Errorf("%+v, %v", o, err)
	}
	if s := get(t, c); s.Generation != 3 || s.Labels["a"] != "b" || s.Reconciling || s.LatestCreatedRevision != s.LatestReadyRevision {
		t.Errorf("%+v", s)
	}
	// The whole service, as it is shown, with one thing changed.
	s = get(t, c)
	s.Template.Annotations["x/y"] = "2"
	if o, err = c.Services.Patch(name, s).Context(t.Context()).Do(); err != nil || inside(t, o.Metadata).Template.Annotations["x/y"] != "2" {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestARevisionThatDoesNotStartLeavesTheOneBefore(t *testing.T) {
	t.Parallel()
	c, _ := start(t, t.TempDir(), func(context.Context) error { return errors.New("no") })
	before := get(t, c)
	o := await(t, c, annotate(t, c, "1"))
	s := get(t, c)
	if o.Error == nil || o.Error.Code != 9 || !strings.Contains(o.Error.Message, "is not ready and cannot serve traffic") || o.Response != nil {
		t.Errorf("%+v", o)
	}
	if s.Reconciling || s.TerminalCondition.State != "CONDITION_FAILED" || s.LatestReadyRevision != before.LatestReadyRevision || s.ObservedGeneration != 1 {
		t.Errorf("%+v", s)
	}
}

func TestALaterChangeEndsTheRevisionOnItsWay(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{})
	var calls atomic.Int32
	c, _ := start(t, t.TempDir(), func(ctx context.Context) error {
		if calls.Add(1) > 1 {
			return nil
		}
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	})
	first := annotate(t, c, "1")
	<-begun
	second := await(t, c, annotate(t, c, "2"))
	if first = await(t, c, first); first.Error == nil || second.Error != nil {
		t.Errorf("%+v, %+v", first, second)
	}
	if s := get(t, c); s.TerminalCondition.State != "CONDITION_SUCCEEDED" || s.Generation != 3 || s.ObservedGeneration != 3 {
		t.Errorf("%+v", s)
	}
}

func TestWhatIsNotPlayedOrWrongIsRefused(t *testing.T) {
	t.Parallel()
	c, _ := start(t, t.TempDir(), nil)
	live := get(t, c)
	template := func(change func(*run.GoogleCloudRunV2RevisionTemplate)) *run.GoogleCloudRunV2Service {
		svc := get(t, c)
		change(svc.Template)
		return &run.GoogleCloudRunV2Service{Template: svc.Template}
	}
	for _, x := range []struct {
		name, mask string
		in         *run.GoogleCloudRunV2Service
		code       int
		text       string
	}{
		{"another image", "template", template(func(r *run.GoogleCloudRunV2RevisionTemplate) { r.Containers[0].Image = "x:2" }), 501, "a change of the template"},
		{"no containers", "template", template(func(r *run.GoogleCloudRunV2RevisionTemplate) { r.Containers = nil }), 400, "at least 1 containers"},
		{"traffic", "traffic", &run.GoogleCloudRunV2Service{}, 501, "a change of traffic"},
		{"no mask, and less than there is", "", &run.GoogleCloudRunV2Service{}, 501, "beyond annotations"},
		{"an old etag", "template.annotations", &run.GoogleCloudRunV2Service{Etag: `"old"`}, 409, "Conflict"},
		{"an annotation of Google's", "annotations", &run.GoogleCloudRunV2Service{Annotations: map[string]string{"run.googleapis.com/x": "y"}}, 400, "not supported"},
		{
			"the name of the last revision", "template.annotations",
			template(func(r *run.GoogleCloudRunV2RevisionTemplate) { r.Annotations = map[string]string{"a": "b"} }), 409, "with different configuration already exists",
		},
		{"a name that is not the service's", "template.revision", template(func(r *run.GoogleCloudRunV2RevisionTemplate) { r.Revision = "other-1" }), 400, "must be prefixed"},
	} {
		_, err := c.Services.Patch(name, x.in).UpdateMask(x.mask).Context(t.Context()).Do()
		if e, ok := errors.AsType[*googleapi.Error](err); !ok || e.Code != x.code || !strings.Contains(e.Message, x.text) {
			t.Errorf("%s: %v", x.name, err)
		}
	}
	if s := get(t, c); s.Generation != live.Generation || s.Etag != live.Etag {
		t.Errorf("something was changed: %+v", s)
	}
	_, missing := c.Services.Get(location + "/services/x").Context(t.Context()).Do()
	_, jobs := c.Jobs.List(location).Context(t.Context()).Do()
	_, stranger := c.Services.Get("projects/other/locations/europe-west1/services/x").Context(t.Context()).Do()
	for want, err := range map[int]error{404: missing, 501: jobs, 403: stranger} {
		if e, ok := errors.AsType[*googleapi.Error](err); !ok || e.Code != want {
			t.Errorf("want %d: %v", want, err)
		}
	}
	list, err := c.Services.List(location).Context(t.Context()).Do()
	if err != nil || len(list.Services) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
}
