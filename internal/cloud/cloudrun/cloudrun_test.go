package cloudrun

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/oauth2"
	run "google.golang.org/api/run/v2"

	"dbops/internal/fault"
	"dbops/internal/sandbox/gcpapi/googleid"
	"dbops/internal/sandbox/play"
	"dbops/internal/sandbox/runapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// instances are the workload of a service: they start when hold is closed, and fail with err.
type instances struct {
	started atomic.Int32
	hold    chan struct{}
	err     atomic.Pointer[error]
}

func (i *instances) Rollout(ctx context.Context) error {
	if i.hold != nil {
		select {
		case <-i.hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := i.err.Load(); err != nil {
		return *err
	}
	i.started.Add(1)
	return nil
}

const (
	developer = "dbops@shop-prod.iam.gserviceaccount.com"
	actless   = "actless@shop-prod.iam.gserviceaccount.com"
	viewer    = "viewer@shop-prod.iam.gserviceaccount.com"
	nobody    = "nobody@shop-prod.iam.gserviceaccount.com"
)

type played struct {
	url    string
	id     *googleid.Directory
	faults *play.Faults
	api    *runapi.Server
}

func playCloudRun(t *testing.T, w *instances) *played {
	t.Helper()
	dir := t.TempDir()
	p := &played{faults: &play.Faults{}}
	var err error
	if p.id, err = googleid.Open(googleid.Options{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	for who, roles := range map[string][]string{
		developer: {"roles/run.developer", "roles/iam.serviceAccountUser"}, actless: {"roles/run.developer"}, viewer: {"roles/run.viewer"}, nobody: {},
	} {
		if err := p.id.Grant(who, roles...); err != nil {
			t.Fatal(err)
		}
	}
	p.api, err = runapi.New(t.Context(), runapi.Options{Dir: dir, Identity: p.id, Projects: []string{"shop-prod"}, Pace: 0.0001, Faults: p.faults})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.api.Close)
	if err := p.api.Add(runapi.Seed{Project: "shop-prod", Region: "europe-west1", Name: "shop-api", ServiceAccount: "shop-api@x", Workload: w}); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(p.api)
	t.Cleanup(server.Close)
	p.url = server.URL
	return p
}

func (p *played) as(t *testing.T, who string, change ...func(*Options)) *Service {
	t.Helper()
	token, err := p.id.Token(who, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	base := &http.Transport{}
	t.Cleanup(base.CloseIdleConnections)
	o := Options{
		Project: "shop-prod", Region: "europe-west1", Service: "shop-api", Endpoint: p.url,
		HTTPClient: &http.Client{Transport: &oauth2.Transport{Source: oauth2.StaticTokenSource(&oauth2.Token{AccessToken: token.Reveal()}), Base: base}},
	}
	for _, f := range change {
		f(&o)
	}
	s, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func live(t *testing.T, s *Service) *run.GoogleCloudRunV2Service {
	t.Helper()
	svc, err := s.get(t.Context(), "look at")
	if err != nil {
		t.Fatal(err)
	}
	return svc
}

func rollout(t *testing.T, s *Service, token string) string {
	t.Helper()
	revision, err := s.Rollout(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

func settled(t *testing.T, s *Service, revision string) (status string, err error) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		done, status, err := s.Stable(t.Context(), revision)
		if done || err != nil {
			return status, err
		}
	}
	t.Fatalf("not done: %+v", live(t, s))
	return "", nil
}

func check(t *testing.T, err error, kind fault.Kind, text, hint string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if fault.KindOf(err) != kind || !strings.Contains(err.Error(), text) || !strings.Contains(fault.HintOf(err), hint) {
		t.Errorf("%s: %v; hint: %s\nwant %s: %s; hint: %s", fault.KindOf(err), err, fault.HintOf(err), kind, text, hint)
	}
}

func TestARevisionIsMadeOnceForATokenAndTheRestOfTheTemplateStays(t *testing.T) {
	t.Parallel()
	w := &instances{hold: make(chan struct{})}
	p := playCloudRun(t, w)
	s := p.as(t, developer)
	before := live(t, s)
	if before.Template.Revision == "" {
		t.Fatal("the service is not one whose last deployment has named the revision")
	}
	first := rollout(t, s, "01JRUN/shop-api")
	if again := rollout(t, p.as(t, developer), "01JRUN/shop-api"); again != first {
		t.Errorf("the repeat asks for generation %s, after %s", again, first)
	}
	done, status, err := s.Stable(t.Context(), first)
	if done || err != nil || !strings.Contains(status, "is not ready yet: Deploying Revision.") {
		t.Errorf("under way: %v, %q, %v", done, status, err)
	}
	close(w.hold)
	if status, err = settled(t, s, first); err != nil || !strings.HasPrefix(status, "revision shop-api-00002-") {
		t.Errorf("%q, %v", status, err)
	}
	if again := rollout(t, s, "01JRUN/shop-api"); again != first {
		t.Errorf("the repeat asks for generation %s, after %s", again, first)
	}
	second := rollout(t, s, "01JRUN/undo/shop-api")
	if _, err := settled(t, s, second); err != nil || second == first {
		t.Errorf("%s after %s: %v", second, first, err)
	}
	if n := w.started.Load(); n != 2 {
		t.Errorf("instances were started %d times", n)
	}
	if done, _, err := s.Stable(t.Context(), first); !done || err != nil {
		t.Errorf("the first, which a later one has replaced: %v, %v", done, err)
	}
	after := live(t, s)
	if after.Template.Annotations[Annotation] != "01JRUN/undo/shop-api" {
		t.Errorf("annotations: %v", after.Template.Annotations)
	}
	before.Template.Annotations, before.Template.Revision, after.Template.Annotations = nil, "", nil
	b, errB := before.Template.MarshalJSON()
	a, errA := after.Template.MarshalJSON()
	if string(a) != string(b) || errA != nil || errB != nil {
		t.Errorf("the template was\n%s\nand is\n%s", b, a)
	}
}

// transport is a function that sends requests.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestAnAnswerThatIsLostMakesNoSecondRevision(t *testing.T) {
	t.Parallel()
	w := &instances{}
	p := playCloudRun(t, w)
	s := p.as(t, developer)
	lost := 0
	deaf := p.as(t, developer, func(o *Options) {
		next := o.HTTPClient.Transport
		o.HTTPClient.Transport = transport(func(r *http.Request) (*http.Response, error) {
			resp, err := next.RoundTrip(r)
			if r.Method == http.MethodPatch && err == nil {
				lost++
				return nil, errors.Join(errors.New("the network is gone"), resp.Body.Close())
			}
			return resp, err
		})
	})
	_, err := deaf.Rollout(t.Context(), "run/x")
	if err == nil || lost != 1 || live(t, s).Generation != 2 {
		t.Fatalf("%v; %d answers were lost", err, lost)
	}
	id := rollout(t, s, "run/x")
	if _, err := settled(t, s, id); err != nil || w.started.Load() != 1 {
		t.Errorf("%v, started %d times", err, w.started.Load())
	}
	p.faults.Add(play.Fault{Service: "run", Action: "services.patch", Effect: play.Stale, Count: 1})
	_, err = s.Rollout(t.Context(), "run/y")
	check(t, err, fault.Stale, "Conflict for resource 'shop-api'", "read it again, then repeat")
}

func TestARevisionThatDoesNotStartIsAnErrorAndARepeatMakesAnother(t *testing.T) {
	t.Parallel()
	w := &instances{}
	wrong := errors.New("the new credential is wrong")
	w.err.Store(&wrong)
	p := playCloudRun(t, w)
	s := p.as(t, developer)
	first := rollout(t, s, "run/x")
	_, err := settled(t, s, first)
	check(t, err, fault.Failed, "is not ready and cannot serve traffic", "gcloud run revisions describe shop-api-00002-")
	if !strings.Contains(err.Error(), "(REVISION_FAILED)") {
		t.Error(err)
	}
	if svc := live(t, s); !strings.HasSuffix(svc.LatestReadyRevision, svc.TrafficStatuses[0].Revision) || svc.ObservedGeneration >= svc.Generation {
		t.Errorf("%+v", svc)
	}
	w.err.Store(nil)
	second := rollout(t, s, "run/x")
	if second == first {
		t.Fatal("the repeat found the failed one")
	}
	if _, err := settled(t, s, second); err != nil {
		t.Error(err)
	}
	if third := rollout(t, s, "run/x"); third != second || w.started.Load() != 1 {
		t.Errorf("%s after %s; started %d times", third, second, w.started.Load())
	}
	for range 3 { // the number of the try goes on
		p.faults.Add(play.Fault{Service: "run", Effect: play.Fail, Count: 1})
		id := rollout(t, s, "run/z")
		if _, err := settled(t, s, id); fault.KindOf(err) != fault.Failed {
			t.Error(err)
		}
	}
	if got := live(t, s).Template.Annotations[Annotation]; got != "run/z#3" {
		t.Errorf("the annotation is %q", got)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	p := playCloudRun(t, &instances{})
	for _, c := range []struct {
		name       string
		who        string
		change     func(*Options)
		kind       fault.Kind
		text, hint string
		permission string
	}{
		{"may not look", nobody, nil, fault.Denied, "Permission 'run.services.get' denied", "roles/run.viewer", "run.services.get"},
		{"may only look", viewer, nil, fault.Denied, "Permission 'run.services.update' denied", "roles/run.developer", "run.services.update"},
		{"may not act as the service", actless, nil, fault.Denied, "denied on service account shop-api@x", "iam.serviceaccounts.actAs", "iam.serviceaccounts.actAs"},
		{"no such service", developer, func(o *Options) { o.Service = "shop-apy" }, fault.NotFound, "'shop-apy' not found", "shop-prod", ""},
		{"no such region", developer, func(o *Options) { o.Region = "europe-west9" }, fault.NotFound, "not found", "shop-prod", ""},
		{"no such project", developer, func(o *Options) { o.Project = "shop-prd" }, fault.Denied, "denied", "run.services.get", "run.services.get"},
		{"nobody there", developer, func(o *Options) { o.Endpoint = "http://127.0.0.1:1" }, fault.Unavailable, "", "endpoint", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			change := c.change
			if change == nil {
				change = func(*Options) {}
			}
			_, err := p.as(t, c.who, change).Rollout(t.Context(), "run/x")
			check(t, err, c.kind, c.text, c.hint)
			if got := fault.PermissionOf(err); got != c.permission {
				t.Errorf("permission %q, want %q", got, c.permission)
			}
		})
	}
	s := p.as(t, developer)
	if _, err := s.Rollout(t.Context(), "a token with spaces"); fault.KindOf(err) != fault.Invalid {
		t.Error(err)
	}
	if _, _, err := s.Stable(t.Context(), "shop-api-00001-abc"); fault.KindOf(err) != fault.Invalid {
		t.Error(err)
	}
	_, _, err := s.Stable(t.Context(), "99")
	check(t, err, fault.Stale, "it is at generation 1, and was at 99", "look at it")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Stable(ctx, "1"); fault.KindOf(err) != fault.Interrupted {
		t.Error(err)
	}
}

func TestStatesThatThePlayedServiceNeverShows(t *testing.T) {
	t.Parallel()
	ready := func() *run.GoogleCloudRunV2Service {
		return &run.GoogleCloudRunV2Service{
			Generation: 2, ObservedGeneration: 2, LatestReadyRevision: "p/revisions/x-2", LatestCreatedRevision: "p/revisions/x-2",
			TerminalCondition: &run.GoogleCloudRunV2Condition{Type: "Ready", State: "CONDITION_SUCCEEDED"},
			Template:          &run.GoogleCloudRunV2RevisionTemplate{},
			Traffic:           []*run.GoogleCloudRunV2TrafficTarget{{Type: latestRevision, Percent: 100}},
			TrafficStatuses:   []*run.GoogleCloudRunV2TrafficTargetStatus{{Type: latestRevision, Revision: "x-2", Percent: 100}},
		}
	}
	for _, c := range []struct {
		name    string
		change  func(*run.GoogleCloudRunV2Service)
		done    bool
		status  string
		blocked string
	}{
		{"ready", func(*run.GoogleCloudRunV2Service) {}, true, "revision x-2 serves", ""},
		{"the service has not seen the change yet", func(s *run.GoogleCloudRunV2Service) { s.ObservedGeneration = 1 }, false, "not ready yet", ""},
		{"the old revision is still the ready one", func(s *run.GoogleCloudRunV2Service) { s.LatestReadyRevision = "p/revisions/x-1" }, false, "revision x-2 is not ready yet", ""},
		{"traffic still goes to the old one", func(s *run.GoogleCloudRunV2Service) {
			s.TrafficStatuses = []*run.GoogleCloudRunV2TrafficTargetStatus{{Revision: "x-1", Percent: 100}}
		}, false, "not ready yet", ""},
		{"no condition yet", func(s *run.GoogleCloudRunV2Service) { s.TerminalCondition = nil }, false, "not ready yet", ""},
		{"traffic is pinned to a revision", func(s *run.GoogleCloudRunV2Service) {
			s.Traffic = []*run.GoogleCloudRunV2TrafficTarget{{Type: latestRevision, Percent: 10}, {Type: "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", Revision: "x-1", Percent: 90}}
		}, true, "serves", "its traffic stays on revision x-1"},
		{"a tag without traffic is no pin", func(s *run.GoogleCloudRunV2Service) {
			s.Traffic = append(s.Traffic, &run.GoogleCloudRunV2TrafficTarget{Type: "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", Revision: "x-1", Tag: "old"})
			s.Template.Annotations = map[string]string{Annotation: "run/x"}
		}, true, "serves", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			svc := ready()
			c.change(svc)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodGet {
					t.Errorf("it sent a %s", r.Method)
				}
				b, err := svc.MarshalJSON()
				if err != nil {
					t.Error(err)
				}
				_, _ = w.Write(b)
			}))
			t.Cleanup(server.Close)
			s, err := New(t.Context(), Options{Project: "p", Region: "r", Service: "x", Endpoint: server.URL, HTTPClient: server.Client()})
			if err != nil {
				t.Fatal(err)
			}
			if done, status, err := s.Stable(t.Context(), "2"); done != c.done || err != nil || !strings.Contains(status, c.status) {
				t.Errorf("%v, %q, %v", done, status, err)
			}
			if c.blocked != "" {
				_, err := s.Rollout(t.Context(), "run/x")
				check(t, err, fault.Blocked, c.blocked, "gcloud run services update-traffic x --to-latest")
			} else if svc.Template.Annotations != nil {
				if id, err := s.Rollout(t.Context(), "run/x"); id != "2" || err != nil {
					t.Errorf("%s, %v", id, err)
				}
			}
		})
	}
}
