package ecs

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// deployed is a deployment in a state that the played ECS never shows.
func deployed(id, status string, state types.DeploymentRolloutState, running, desired, pending, failed int32) types.Deployment {
	return types.Deployment{Id: &id, Status: &status, RolloutState: state, RunningCount: running, DesiredCount: desired, PendingCount: pending, FailedTasks: failed}
}

func TestWhatCountsAsDone(t *testing.T) {
	t.Parallel()
	old := deployed("ecs-svc/1", "ACTIVE", types.DeploymentRolloutStateCompleted, 2, 0, 0, 0)
	for _, c := range []struct {
		name string
		d    types.Deployment
		old  []types.Deployment
		done bool
		text string
	}{
		{"completed", deployed("ecs-svc/2", "PRIMARY", types.DeploymentRolloutStateCompleted, 3, 3, 0, 0), nil, true, "3 of 3 new tasks run"},
		{"completed while old tasks end", deployed("ecs-svc/2", "PRIMARY", types.DeploymentRolloutStateCompleted, 3, 3, 0, 0), []types.Deployment{old}, false, "3 of 3 new tasks run, 2 old ones still run"},
		{"all run and ECS is not content yet", deployed("ecs-svc/2", "PRIMARY", types.DeploymentRolloutStateInProgress, 3, 3, 0, 0), nil, false, "3 of 3 new tasks run"},
		{"tasks fail and no circuit breaker ends it", deployed("ecs-svc/2", "PRIMARY", types.DeploymentRolloutStateInProgress, 0, 3, 1, 7), []types.Deployment{old}, false, "0 of 3 new tasks run, 1 start, 2 old ones still run; 7 could not start; unable to pull secrets"},
		{"scaled to nothing", deployed("ecs-svc/2", "PRIMARY", types.DeploymentRolloutStateCompleted, 0, 0, 0, 0), nil, true, "0 of 0 new tasks run"},
		{"without a rollout state, done", deployed("ecs-svc/2", "PRIMARY", "", 2, 2, 0, 0), nil, true, "2 of 2 new tasks run"},
		{"without a rollout state, under way", deployed("ecs-svc/2", "PRIMARY", "", 1, 2, 1, 0), nil, false, "1 of 2 new tasks run, 1 start"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			svc := types.Service{Deployments: append([]types.Deployment{c.d}, c.old...), Events: []types.ServiceEvent{{Message: new("unable to pull secrets")}}}
			if done, text := judge(svc, c.d); done != c.done || text != c.text {
				t.Errorf("%v, %q; want %v, %q", done, text, c.done, c.text)
			}
		})
	}
}

func TestADeploymentOfAnotherNameHasNotFailed(t *testing.T) {
	t.Parallel()
	svc := types.Service{
		Deployments: []types.Deployment{deployed("ecs-svc/3", "PRIMARY", types.DeploymentRolloutStateCompleted, 1, 1, 0, 0)},
		Events: []types.ServiceEvent{
			{Message: new("(service x) (deployment ecs-svc/33) deployment failed: tasks failed to start.")},
			{Message: new("(service x) (deployment ecs-svc/2) deployment completed.")},
		},
	}
	for id, want := range map[string]string{"ecs-svc/2": "", "ecs-svc/3": "", "ecs-svc/33": "tasks failed to start"} {
		if got := failure(svc, id); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q", id, got)
		}
	}
}
