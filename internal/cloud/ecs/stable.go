package ecs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"dbops/internal/cloud"
	"dbops/internal/cloud/awsclient"
	"dbops/internal/fault"
)

// Stable tells how far a deployment is: done, when its tasks run and those of all before it have stopped. One that ECS gave up or rolled
// back is a fault.Failed with the reason. One that a later deployment has replaced is judged by that one: its tasks are newer still.
func (s *Service) Stable(ctx context.Context, revision string) (done bool, status string, err error) {
	op := s.op("follow deployment " + revision + " of")
	if err := s.aws.NeedRegion(op, ""); err != nil {
		return false, "", err
	}
	ask, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	svc, err := s.describe(ask, op)
	if err != nil {
		return false, "", s.aws.Fault(ctx, op, err)
	}
	why := failure(svc, revision)
	if why != "" {
		return false, "", fault.New(fault.Failed, op, cloud.Because(why, errors.New(why))).
			Hint("the tasks of before go on. Look at the stopped tasks: aws ecs list-tasks --cluster %s --service-name %s --desired-status STOPPED --region %s",
				s.opts.Cluster, s.opts.Service, s.aws.Config.Region)
	}
	now := latest(svc)
	i := slices.IndexFunc(svc.Deployments, func(d types.Deployment) bool { return aws.ToString(d.Id) == now })
	if i < 0 {
		return false, "", fault.Newf(fault.NotFound, op, "the service has no deployment").Hint("look at it in the AWS console")
	}
	done, status = judge(svc, svc.Deployments[i])
	if now != revision {
		status = "a later deployment, " + now + ", has replaced it: " + status
	}
	return done, status, nil
}

// failure is why a deployment has failed, "" if it has not. ECS forgets a deployment that it rolled back, but not the event.
func failure(svc types.Service, revision string) string {
	for _, d := range svc.Deployments {
		switch {
		case aws.ToString(d.Id) == revision && d.RolloutState == types.DeploymentRolloutStateFailed:
			return or(strings.TrimSuffix(aws.ToString(d.RolloutStateReason), "."), "the deployment failed") + lastWord(svc, d)
		case aws.ToString(d.Id) == revision:
			return ""
		}
	}
	for _, e := range svc.Events {
		if m := aws.ToString(e.Message); strings.Contains(m, "(deployment "+revision+")") && strings.Contains(m, "deployment failed") {
			return m
		}
	}
	return ""
}

// givenUp tells whether the newest deployment has failed, or is what ECS went back to after one had.
func givenUp(svc types.Service, newest string) bool {
	for _, d := range svc.Deployments {
		if aws.ToString(d.Id) == newest && strings.Contains(strings.ToLower(aws.ToString(d.RolloutStateReason)), "rolling back") {
			return true
		}
	}
	return failure(svc, newest) != ""
}

// judge tells whether the newest deployment is all there is.
func judge(svc types.Service, d types.Deployment) (bool, string) {
	old := int32(0)
	for _, other := range svc.Deployments {
		if aws.ToString(other.Id) != aws.ToString(d.Id) {
			old += other.RunningCount
		}
	}
	settled := d.RunningCount >= d.DesiredCount && old == 0
	switch d.RolloutState {
	case types.DeploymentRolloutStateCompleted:
		settled = old == 0
	case types.DeploymentRolloutStateInProgress:
		settled = false
	default: // a service that is older than the rollout state
		settled = settled && d.PendingCount == 0
	}
	text := fmt.Sprintf("%d of %d new tasks run", d.RunningCount, d.DesiredCount)
	if d.PendingCount > 0 {
		text += fmt.Sprintf(", %d start", d.PendingCount)
	}
	if old > 0 {
		text += fmt.Sprintf(", %d old ones still run", old)
	}
	if d.FailedTasks > 0 {
		text += fmt.Sprintf("; %d could not start%s", d.FailedTasks, lastWord(svc, d))
	}
	return settled, text
}

// lastWord is the newest event that says why tasks of a deployment do not start, as the end of a sentence.
func lastWord(svc types.Service, d types.Deployment) string {
	for _, e := range svc.Events { // newest first
		if d.CreatedAt != nil && e.CreatedAt != nil && e.CreatedAt.Before(*d.CreatedAt) {
			break
		}
		if m := aws.ToString(e.Message); strings.Contains(m, "unable to") || strings.Contains(m, "unhealthy") {
			return "; " + m
		}
	}
	return ""
}

func or(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}
