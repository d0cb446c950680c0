package ecs

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dbops/internal/fault"
	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/ecsapi"
	"dbops/internal/sandbox/play"
)

// TestMain takes the environment of the person who runs the tests away.
func TestMain(m *testing.M) {
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "AWS_") {
			_ = os.Unsetenv(name)
		}
	}
	goleak.VerifyTestMain(m)
}

// tasks are the workload of a service: they start when hold is closed, and fail with err.
type tasks struct {
	started atomic.Int32
	hold    chan struct{}
	err     atomic.Pointer[error]
}

func (t *tasks) Rollout(ctx context.Context) error {
	if t.hold != nil {
		select {
		case <-t.hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := t.err.Load(); err != nil {
		return *err
	}
	t.started.Add(1)
	return nil
}

func (t *tasks) fail(err error) {
	if err == nil {
		t.err.Store(nil)
		return
	}
	t.err.Store(&err)
}

// played is a played ECS with one service.
type played struct {
	url    string
	keys   *awsid.Keys
	faults *play.Faults
	tasks  *tasks
}

func playECS(t *testing.T, w *tasks) *played {
	t.Helper()
	p := &played{faults: &play.Faults{}, tasks: w}
	var err error
	p.keys, err = awsid.Open(awsid.Config{Account: "123456789012", Region: "eu-west-1", Principals: []awsid.Principal{
		{Name: "user/dbops", Allow: awsid.Actions("ecs:DescribeServices", "ecs:UpdateService", "ecs:TagResource")},
		{Name: "user/tagless", Allow: awsid.Actions("ecs:DescribeServices", "ecs:UpdateService")},
		{Name: "user/reader", Allow: awsid.Actions("ecs:DescribeServices")},
		{Name: "user/nobody"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	api, err := ecsapi.New(t.Context(), ecsapi.Config{Keys: p.keys, Dir: t.TempDir(), Pace: 0.0001, Faults: p.faults})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	if err := api.Add(ecsapi.Seed{Cluster: "billing", Name: "invoicing", Workload: w}); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(awsid.Front(map[string]http.Handler{"ecs": api}))
	t.Cleanup(server.Close)
	p.url = server.URL
	return p
}

// as is the service through the access key of somebody, from the files and variables a person would have.
func (p *played) as(t *testing.T, who string, change ...func(*Options)) *Service {
	t.Helper()
	id, key, ok := p.keys.Credentials(who)
	if !ok {
		t.Fatalf("nobody is called %s", who)
	}
	file := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(file, []byte("[played]\naws_access_key_id = "+id+"\naws_secret_access_key = "+key.Reveal()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	o := Options{
		Region: "eu-west-1", Profile: "played", Cluster: "billing", Service: "invoicing", Endpoint: p.url,
		HTTPClient: &http.Client{Transport: transport},
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

func rollout(t *testing.T, s *Service, token string) string {
	t.Helper()
	id, err := s.Rollout(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// settled waits until a deployment is done or has failed.
func settled(t *testing.T, s *Service, id string) (statuses []string, err error) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		done, status, err := s.Stable(t.Context(), id)
		if n := len(statuses); n == 0 || statuses[n-1] != status {
			statuses = append(statuses, status)
		}
		if done || err != nil {
			return statuses, err
		}
	}
	t.Fatalf("not done: %q", statuses)
	return nil, nil
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

func TestADeploymentIsBegunOnceForAToken(t *testing.T) {
	w := &tasks{hold: make(chan struct{})}
	p := playECS(t, w)
	s := p.as(t, "user/dbops")
	first := rollout(t, s, "01JRUN/billing-invoicing")
	if !strings.HasPrefix(first, "ecs-svc/") {
		t.Errorf("the deployment is %q", first)
	}
	// A repeat after a crash, by another process, while it is under way and after it ended.
	if again := rollout(t, p.as(t, "user/dbops"), "01JRUN/billing-invoicing"); again != first {
		t.Errorf("the repeat began %s, after %s", again, first)
	}
	if done, status, err := s.Stable(t.Context(), first); done || err != nil || !strings.Contains(status, "0 of 1 new tasks run, 1 start") || !strings.Contains(status, "1 old ones still run") {
		t.Errorf("under way: %v, %q, %v", done, status, err)
	}
	close(w.hold)
	statuses, err := settled(t, s, first)
	if err != nil || statuses[len(statuses)-1] != "1 of 1 new tasks run" {
		t.Errorf("%q, %v", statuses, err)
	}
	if again := rollout(t, s, "01JRUN/billing-invoicing"); again != first {
		t.Errorf("the repeat began %s, after %s", again, first)
	}
	second := rollout(t, s, "01JRUN/undo/billing-invoicing")
	if second == first {
		t.Error("another token began nothing")
	}
	if _, err := settled(t, s, second); err != nil {
		t.Error(err)
	}
	if n := w.started.Load(); n != 2 {
		t.Errorf("tasks were started %d times", n)
	}
	// The first one is no more: the later one answers for it.
	if done, status, err := s.Stable(t.Context(), first); !done || err != nil || !strings.Contains(status, "a later deployment, "+second) {
		t.Errorf("%v, %q, %v", done, status, err)
	}
}

func TestACrashBetweenTheTagAndTheDeploymentBeginsOne(t *testing.T) {
	w := &tasks{}
	p := playECS(t, w)
	s := p.as(t, "user/dbops")
	p.faults.Add(play.Fault{Service: "ecs", Action: "UpdateService", Effect: play.Drop, Count: 1}) // as if nothing had been sent
	_, err := s.Rollout(t.Context(), "run/x")
	check(t, err, fault.Unavailable, "deploy ECS service billing/invoicing", "")
	if w.started.Load() != 0 {
		t.Fatal("it was sent")
	}
	id := rollout(t, s, "run/x")
	if _, err := settled(t, s, id); err != nil || w.started.Load() != 1 {
		t.Errorf("%v, started %d times", err, w.started.Load())
	}
}

// transport is a function that sends requests.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestAnAnswerThatIsLostBeginsNoSecondDeployment(t *testing.T) {
	w := &tasks{}
	p := playECS(t, w)
	lost := 0
	deaf := p.as(t, "user/dbops", func(o *Options) {
		next := o.HTTPClient.Transport
		o.HTTPClient.Transport = transport(func(r *http.Request) (*http.Response, error) {
			resp, err := next.RoundTrip(r)
			if strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".UpdateService") && err == nil {
				lost++
				return nil, errors.Join(errors.New("the network is gone"), resp.Body.Close())
			}
			return resp, err
		})
	})
	if _, err := deaf.Rollout(t.Context(), "run/x"); err == nil || lost != 1 {
		t.Fatalf("%v; %d answers were lost", err, lost)
	}
	s := p.as(t, "user/dbops")
	id := rollout(t, s, "run/x")
	if _, err := settled(t, s, id); err != nil || w.started.Load() != 1 {
		t.Errorf("%v, started %d times", err, w.started.Load())
	}
}

func TestADeploymentThatECSGivesUpIsAnErrorAndARepeatBeginsAnother(t *testing.T) {
	w := &tasks{}
	w.fail(errors.New("the new credential is wrong"))
	p := playECS(t, w)
	s := p.as(t, "user/dbops")
	id := rollout(t, s, "run/x")
	_, err := settled(t, s, id)
	check(t, err, fault.Failed, "tasks failed to start", "aws ecs list-tasks --cluster billing --service-name invoicing --desired-status STOPPED --region eu-west-1")
	// Rolled back, the deployment is forgotten, and an event tells of it for long.
	deadline := time.Now().Add(10 * time.Second)
	for {
		svc, err := s.describe(t.Context(), "look")
		if err != nil {
			t.Fatal(err)
		}
		if len(svc.Deployments) == 1 && *svc.Deployments[0].Id != id {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it was not rolled back")
		}
		time.Sleep(2 * time.Millisecond)
	}
	_, _, err = s.Stable(t.Context(), id)
	check(t, err, fault.Failed, "(deployment "+id+") deployment failed: tasks failed to start", "the tasks of before go on")

	w.fail(nil)
	again := rollout(t, s, "run/x")
	if again == id {
		t.Fatal("the repeat found the failed one")
	}
	if _, err := settled(t, s, again); err != nil {
		t.Error(err)
	}
	if third := rollout(t, s, "run/x"); third != again || w.started.Load() != 1 {
		t.Errorf("%s after %s; started %d times", third, again, w.started.Load())
	}
}

func TestADeploymentThatIsBeingRolledBackIsBegunAgain(t *testing.T) {
	w := &tasks{}
	p := playECS(t, w)
	s := p.as(t, "user/dbops")
	p.faults.Add(play.Fault{Service: "ecs", Effect: play.Fail, Count: 1})
	id := rollout(t, s, "run/x")
	if _, err := settled(t, s, id); fault.KindOf(err) != fault.Failed {
		t.Fatal(err)
	}
	again := rollout(t, s, "run/x")
	if _, err := settled(t, s, again); err != nil || again == id || w.started.Load() != 1 {
		t.Errorf("%v: %s after %s; started %d times", err, again, id, w.started.Load())
	}
}

func TestWithoutTheRightToTagADeploymentIsStillMade(t *testing.T) {
	w := &tasks{}
	s := playECS(t, w).as(t, "user/tagless")
	first := rollout(t, s, "run/x")
	if _, err := settled(t, s, first); err != nil {
		t.Fatal(err)
	}
	if second := rollout(t, s, "run/x"); second == first {
		t.Error("how can it know?")
	}
}

func TestAHungDeploymentIsUnderWayUntilALaterOneReplacesIt(t *testing.T) {
	p := playECS(t, &tasks{})
	s := p.as(t, "user/dbops")
	p.faults.Add(play.Fault{Service: "ecs", Effect: play.Hang, Count: 1})
	id := rollout(t, s, "run/x")
	for range 5 {
		if done, _, err := s.Stable(t.Context(), id); done || err != nil {
			t.Fatal(done, err)
		}
	}
	later := rollout(t, s, "run/y")
	if statuses, err := settled(t, s, id); err != nil || !strings.Contains(statuses[len(statuses)-1], later) {
		t.Errorf("%q, %v", statuses, err)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	p := playECS(t, &tasks{})
	for _, c := range []struct {
		name       string
		who        string
		change     func(*Options)
		faults     []play.Fault
		kind       fault.Kind
		text, hint string
		permission string
	}{
		{"may not look", "user/nobody", nil, nil, fault.Denied, "not authorized to perform: ecs:DescribeServices", "allow ecs:DescribeServices", "ecs:DescribeServices"},
		{"may only look", "user/reader", nil, nil, fault.Denied, "deploy ECS service billing/invoicing: ", "allow ecs:UpdateService", "ecs:UpdateService"},
		{"no such cluster", "user/dbops", func(o *Options) { o.Cluster = "biling" }, nil, fault.NotFound, "Cluster not found (ClusterNotFoundException)", "check the name", ""},
		{"no such service", "user/dbops", func(o *Options) { o.Service = "invocing" }, nil, fault.NotFound, "there is no such service", "aws ecs list-services --cluster billing", ""},
		{"no region", "user/dbops", func(o *Options) { o.Region = "" }, nil, fault.Config, "no AWS region is known", "AWS_REGION", ""},
		{"throttled", "user/dbops", nil, []play.Fault{{Service: "ecs", Action: "UpdateService", Effect: play.Throttle}}, fault.Throttled, "Rate exceeded", "wait a minute", ""},
		{"down", "user/dbops", nil, []play.Fault{{Service: "ecs", Action: "UpdateService", Effect: play.Unavailable}}, fault.Unavailable, "deploy ECS service", "health.aws.amazon.com", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			change := c.change
			if change == nil {
				change = func(*Options) {}
			}
			s := p.as(t, c.who, change)
			for _, f := range c.faults {
				p.faults.Add(f)
			}
			t.Cleanup(p.faults.Clear)
			_, err := s.Rollout(t.Context(), "run/x")
			check(t, err, c.kind, c.text, c.hint)
			if got := fault.PermissionOf(err); got != c.permission {
				t.Errorf("permission %q, want %q", got, c.permission)
			}
		})
	}
	if _, err := p.as(t, "user/dbops").Rollout(t.Context(), "a token with spaces"); fault.KindOf(err) != fault.Invalid {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := p.as(t, "user/dbops").Stable(ctx, "ecs-svc/1"); fault.KindOf(err) != fault.Interrupted {
		t.Error(err)
	}
}
