package ecsapi_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/smithy-go"
	"go.uber.org/goleak"

	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/ecsapi"
	"dbops/internal/sandbox/play"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type workload func(context.Context) error

func (w workload) Rollout(ctx context.Context) error { return w(ctx) }

func start(t *testing.T, dir string, w workload) (*ecs.Client, *ecsapi.API) {
	t.Helper()
	keys, err := awsid.Open(awsid.Config{Account: "123456789012", Region: "eu-west-1", Dir: dir, Principals: []awsid.Principal{
		{Name: "user/dbops", Allow: awsid.Actions("ecs:*")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	api, err := ecsapi.New(t.Context(), ecsapi.Config{Keys: keys, Dir: dir, Pace: play.Pace(0.0001)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	if err := api.Add(ecsapi.Seed{Cluster: "billing", Name: "invoicing", Image: "x:1", Secret: "prod/billing/invoicing", Workload: w}); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(awsid.Front(map[string]http.Handler{"ecs": api}))
	t.Cleanup(srv.Close)
	id, key, _ := keys.Credentials("user/dbops")
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return ecs.New(ecs.Options{
		Region: "eu-west-1", BaseEndpoint: &srv.URL, RetryMaxAttempts: 1, HTTPClient: &http.Client{Transport: transport},
		Credentials: credentials.NewStaticCredentialsProvider(id, key.Reveal(), ""),
	}), api
}

func describe(t *testing.T, c *ecs.Client) types.Service {
	t.Helper()
	out, err := c.DescribeServices(t.Context(), &ecs.DescribeServicesInput{
		Cluster: aws.String("billing"), Services: []string{"invoicing"}, Include: []types.ServiceField{types.ServiceFieldTags},
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.Services[0]
}

func deploy(t *testing.T, c *ecs.Client) string {
	t.Helper()
	out, err := c.UpdateService(t.Context(), &ecs.UpdateServiceInput{
		Cluster: aws.String("arn:aws:ecs:eu-west-1:123456789012:cluster/billing"), Service: aws.String("invoicing"), ForceNewDeployment: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return *out.Service.Deployments[0].Id
}

// settle waits until one deployment is left and completed.
func settle(t *testing.T, c *ecs.Client) types.Service {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if s := describe(t, c); len(s.Deployments) == 1 && s.Deployments[0].RolloutState == types.DeploymentRolloutStateCompleted {
			return s
		}
	}
	t.Fatalf("not settled: %+v", describe(t, c).Deployments)
	return types.Service{}
}

func messages(s types.Service) (all []string) {
	for _, e := range s.Events {
		all = append(all, *e.Message)
	}
	return all
}

func TestADeploymentReplacesTheTasks(t *testing.T) {
	t.Parallel()
	begun := time.Now()
	dir := t.TempDir()
	hold := make(chan struct{})
	c, api := start(t, dir, func(context.Context) error { <-hold; return nil })
	first := describe(t, c)
	if *first.Status != "ACTIVE" || first.RunningCount != 1 || *first.Deployments[0].Status != "PRIMARY" ||
		first.CreatedAt.Before(begun.Add(-time.Second)) || first.CreatedAt.After(time.Now()) || !first.DeploymentConfiguration.DeploymentCircuitBreaker.Enable {
		t.Errorf("%+v", first)
	}
	id := deploy(t, c)
	s := describe(t, c)
	if len(s.Deployments) != 2 || *s.Deployments[0].Id != id || s.Deployments[0].RolloutState != types.DeploymentRolloutStateInProgress ||
		*s.Deployments[1].Status != "ACTIVE" || s.Deployments[1].RunningCount != 1 || s.Deployments[0].PendingCount != 1 {
		t.Errorf("under way: %+v", s.Deployments)
	}
	close(hold)
	s = settle(t, c)
	if *s.Deployments[0].Id != id || s.Deployments[0].RunningCount != 1 || s.Deployments[0].UpdatedAt.Before(*s.Deployments[0].CreatedAt) {
		t.Errorf("%+v", s.Deployments)
	}
	want := "(service invoicing) (deployment " + id + ") deployment completed."
	if m := messages(s); m[0] != "(service invoicing) has reached a steady state." || m[1] != want {
		t.Errorf("events: %q", m)
	}

	// Tags stay, and with them and the deployment the service comes back.
	_, err := c.TagResource(t.Context(), &ecs.TagResourceInput{ResourceArn: s.ServiceArn, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}})
	if err != nil {
		t.Fatal(err)
	}
	hold = make(chan struct{})
	api.Close()
	c, _ = start(t, dir, func(context.Context) error { return nil })
	again := settle(t, c)
	if *again.Deployments[0].Id != id || len(again.Events) != len(s.Events) || !again.CreatedAt.Equal(*s.CreatedAt) || *again.Tags[0].Value != "v" {
		t.Errorf("after a restart: %+v", again)
	}
	def, err := c.DescribeTaskDefinition(t.Context(), &ecs.DescribeTaskDefinitionInput{TaskDefinition: again.TaskDefinition})
	if err != nil || *def.TaskDefinition.ContainerDefinitions[0].Secrets[0].ValueFrom != "prod/billing/invoicing" {
		t.Errorf("%+v, %v", def, err)
	}
	list, err := c.ListServices(t.Context(), &ecs.ListServicesInput{Cluster: aws.String("billing")})
	if err != nil || !slices.Equal(list.ServiceArns, []string{*again.ServiceArn}) {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestTheCircuitBreakerRollsBack(t *testing.T) {
	t.Parallel()
	tries := 0
	c, _ := start(t, t.TempDir(), func(context.Context) error { tries++; return errors.New("no") })
	before := *describe(t, c).Deployments[0].Id
	id := deploy(t, c)
	s := settle(t, c)
	for *s.Deployments[0].Id == id || len(s.Events) < 5 {
		s = settle(t, c)
	}
	all := strings.Join(messages(s), "\n")
	if *s.Deployments[0].Id != before || tries != 3 || s.RunningCount != 1 || !strings.Contains(all, "(deployment "+id+") deployment failed: tasks failed to start.") {
		t.Errorf("after %d tries: %+v\n%s", tries, s.Deployments, all)
	}
}

func TestALaterDeploymentEndsTheOneUnderWay(t *testing.T) {
	t.Parallel()
	started, ended := make(chan struct{}), make(chan error, 1)
	var calls atomic.Int32
	c, _ := start(t, t.TempDir(), func(ctx context.Context) error {
		if calls.Add(1) > 1 {
			return nil
		}
		close(started)
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	})
	deploy(t, c)
	<-started
	second := deploy(t, c)
	if err := <-ended; err == nil {
		t.Error("the first one's context has not ended")
	}
	if s := settle(t, c); *s.Deployments[0].Id != second {
		t.Errorf("%+v", s.Deployments)
	}
}

func TestWhatIsNotPlayedIsRefused(t *testing.T) {
	t.Parallel()
	c, _ := start(t, t.TempDir(), nil)
	code := func(err error) string {
		if e, ok := errors.AsType[smithy.APIError](err); ok {
			return e.ErrorCode() + ": " + e.ErrorMessage()
		}
		return "no API error"
	}
	cluster, service := aws.String("billing"), aws.String("invoicing")
	_, desired := c.UpdateService(t.Context(), &ecs.UpdateServiceInput{Cluster: cluster, Service: service, DesiredCount: aws.Int32(3)})
	_, listing := c.ListTasks(t.Context(), &ecs.ListTasksInput{Cluster: cluster})
	_, noCluster := c.DescribeServices(t.Context(), &ecs.DescribeServicesInput{Services: []string{"invoicing"}})
	_, noService := c.UpdateService(t.Context(), &ecs.UpdateServiceInput{Cluster: cluster, Service: aws.String("x"), ForceNewDeployment: true})
	for want, err := range map[string]error{
		"InvalidParameterException: sandbox: not emulated: desiredCount": desired,
		"NotImplemented: sandbox: not emulated: ecs ListTasks":           listing,
		"ClusterNotFoundException: Cluster not found.":                   noCluster,
		"ServiceNotFoundException: Service not found.":                   noService,
	} {
		if got := code(err); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	out, err := c.DescribeServices(t.Context(), &ecs.DescribeServicesInput{Cluster: cluster, Services: []string{"x"}})
	if err != nil || len(out.Services) != 0 || *out.Failures[0].Reason != "MISSING" {
		t.Errorf("%+v, %v", out, err)
	}
	same, err := c.UpdateService(t.Context(), &ecs.UpdateServiceInput{Cluster: cluster, Service: service})
	if err != nil || len(same.Service.Deployments) != 1 {
		t.Errorf("an update that changes nothing: %+v, %v", same, err)
	}
}
