package ecsapi

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/google/uuid"

	"dbops/internal/sandbox/awsid"
)

// The states and statuses of a deployment.
const (
	inProgress = "IN_PROGRESS"
	completed  = "COMPLETED"
	failed     = "FAILED"

	primary = "PRIMARY"
	active  = "ACTIVE"
)

// maxEvents are shown by ECS.
const maxEvents = 100

// record is a service with its history.
type record struct {
	Cluster     string            `json:"cluster"`
	Name        string            `json:"name"`
	Created     time.Time         `json:"created"`
	Deployments []*deployment     `json:"deployments"` // newest first; the first is the primary one
	Events      []event           `json:"events"`      // newest first
	Tags        map[string]string `json:"tags,omitempty"`

	seed Seed
	stop context.CancelFunc // of the deployment under way
}

type deployment struct {
	ID      string    `json:"id"`
	State   string    `json:"state"`
	Reason  string    `json:"reason"`
	Running int       `json:"running"`
	Pending int       `json:"pending"`
	Failed  int       `json:"failed"`
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
}

type event struct {
	ID      string    `json:"id"`
	Message string    `json:"message"`
	At      time.Time `json:"at"`
}

func newDeployment(now time.Time) *deployment {
	n, _ := rand.Int(rand.Reader, big.NewInt(9e18)) // never fails
	id := fmt.Sprintf("ecs-svc/%019d", n.Int64()+1e18)
	return &deployment{ID: id, State: inProgress, Reason: "ECS deployment " + id + " in progress.", Pending: 1, Created: now, Updated: now}
}

// wake settles what an earlier run left under way: all tasks have been started anew since.
func (r *record) wake() {
	d := r.Deployments[0]
	if d.State == inProgress {
		d.State, d.Reason = completed, "ECS deployment "+d.ID+" completed."
	}
	d.Running, d.Pending = 1, 0
	r.Deployments = r.Deployments[:1]
}

func (r *record) note(format string, args ...any) {
	e := event{ID: uuid.NewString(), Message: "(service " + r.Name + ") " + fmt.Sprintf(format, args...), At: time.Now().UTC()}
	r.Events = slices.Insert(r.Events, 0, e)
	r.Events = r.Events[:min(len(r.Events), maxEvents)]
}

func (r *record) drop(d *deployment) {
	r.Deployments = slices.DeleteFunc(r.Deployments, func(o *deployment) bool { return o == d })
}

func newTask() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// What the API shows.
type (
	serviceView struct {
		ServiceARN         string           `json:"serviceArn"`
		ServiceName        string           `json:"serviceName"`
		ClusterARN         string           `json:"clusterArn"`
		Status             string           `json:"status"`
		DesiredCount       int              `json:"desiredCount"`
		RunningCount       int              `json:"runningCount"`
		PendingCount       int              `json:"pendingCount"`
		LaunchType         string           `json:"launchType"`
		TaskDefinition     string           `json:"taskDefinition"`
		Configuration      configuration    `json:"deploymentConfiguration"`
		Controller         controller       `json:"deploymentController"`
		Deployments        []deploymentView `json:"deployments"`
		Events             []eventView      `json:"events"`
		CreatedAt          awsid.Epoch      `json:"createdAt"`
		SchedulingStrategy string           `json:"schedulingStrategy"`
		Tags               []tag            `json:"tags,omitempty"`
	}
	configuration struct {
		CircuitBreaker        circuitBreaker `json:"deploymentCircuitBreaker"`
		MaximumPercent        int            `json:"maximumPercent"`
		MinimumHealthyPercent int            `json:"minimumHealthyPercent"`
	}
	circuitBreaker struct {
		Enable   bool `json:"enable"`
		Rollback bool `json:"rollback"`
	}
	controller struct {
		Type string `json:"type"`
	}
	deploymentView struct {
		ID                 string      `json:"id"`
		Status             string      `json:"status"`
		TaskDefinition     string      `json:"taskDefinition"`
		DesiredCount       int         `json:"desiredCount"`
		PendingCount       int         `json:"pendingCount"`
		RunningCount       int         `json:"runningCount"`
		FailedTasks        int         `json:"failedTasks"`
		CreatedAt          awsid.Epoch `json:"createdAt"`
		UpdatedAt          awsid.Epoch `json:"updatedAt"`
		LaunchType         string      `json:"launchType"`
		RolloutState       string      `json:"rolloutState"`
		RolloutStateReason string      `json:"rolloutStateReason"`
	}
	eventView struct {
		ID        string      `json:"id"`
		CreatedAt awsid.Epoch `json:"createdAt"`
		Message   string      `json:"message"`
	}
	tag struct {
		Key   string `json:"key"`
		Value string `json:"value"`
	}
)

func (a *API) view(r *record, tags bool) serviceView {
	v := serviceView{
		ServiceARN: a.serviceARN(r), ServiceName: r.Name, ClusterARN: a.arn("cluster/" + r.Cluster), Status: "ACTIVE",
		DesiredCount: 1, LaunchType: "FARGATE", TaskDefinition: a.taskDefinition(r), CreatedAt: awsid.Epoch(r.Created),
		Configuration: configuration{circuitBreaker{true, true}, 200, 100}, Controller: controller{"ECS"}, SchedulingStrategy: "REPLICA",
		Deployments: []deploymentView{}, Events: []eventView{},
	}
	for i, d := range r.Deployments {
		dv := deploymentView{
			ID: d.ID, Status: active, TaskDefinition: v.TaskDefinition, PendingCount: d.Pending, RunningCount: d.Running, FailedTasks: d.Failed,
			CreatedAt: awsid.Epoch(d.Created), UpdatedAt: awsid.Epoch(d.Updated), LaunchType: "FARGATE", RolloutState: d.State, RolloutStateReason: d.Reason,
		}
		if i == 0 {
			dv.Status, dv.DesiredCount = primary, 1
		}
		v.RunningCount += d.Running
		v.PendingCount += d.Pending
		v.Deployments = append(v.Deployments, dv)
	}
	for _, e := range r.Events {
		v.Events = append(v.Events, eventView{e.ID, awsid.Epoch(e.At), e.Message})
	}
	if tags {
		v.Tags = r.tags()
	}
	return v
}

func (a *API) serviceARN(r *record) string { return a.arn("service/" + r.Cluster + "/" + r.Name) }

func (a *API) taskDefinition(r *record) string { return a.arn("task-definition/" + family(r) + ":1") }

func family(r *record) string { return r.Cluster + "-" + r.Name }
