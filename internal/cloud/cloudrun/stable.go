package cloudrun

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	run "google.golang.org/api/run/v2"

	"dbops/internal/cloud"
	"dbops/internal/fault"
)

// Stable tells how far the revision is that a generation of the service asked for: done, when it, or a later one, is ready and has all
// the traffic. One that did not become ready is a fault.Failed with Cloud Run's reason; the revision before goes on serving.
func (s *Service) Stable(ctx context.Context, revision string) (done bool, status string, err error) {
	op := s.question("follow the deployment of", permissionGet).Op
	want, err := strconv.ParseInt(revision, 10, 64)
	if err != nil {
		return false, "", fault.Newf(fault.Invalid, op, "%.50q is no generation", revision)
	}
	svc, err := s.get(ctx, "follow the deployment of")
	if err != nil {
		return false, "", err
	}
	if svc.Generation < want {
		return false, "", fault.Newf(fault.Stale, op, "it is at generation %d, and was at %d: somebody has deleted it and made it anew", svc.Generation, want).
			Hint("look at it, then repeat")
	}
	if failed(svc) {
		why := reason(svc.TerminalCondition)
		return false, "", fault.New(fault.Failed, op, cloud.Because(why, errors.New(why))).
			Hint("%s goes on. gcloud run revisions describe %s --region %s --project %s shows what is wrong with the new one",
				last(svc.LatestReadyRevision), last(svc.LatestCreatedRevision), s.opts.Region, s.opts.Project)
	}
	c := svc.TerminalCondition
	if svc.Reconciling || c == nil || c.State != "CONDITION_SUCCEEDED" || svc.ObservedGeneration < svc.Generation || !serves(svc) {
		return false, waiting(svc), nil
	}
	return true, "revision " + last(svc.LatestReadyRevision) + " serves", nil
}

// failed tells whether the newest revision was given up. Cloud Run leaves the observed generation at the one before then.
func failed(svc *run.GoogleCloudRunV2Service) bool {
	return !svc.Reconciling && svc.TerminalCondition != nil && svc.TerminalCondition.State == "CONDITION_FAILED"
}

// serves tells whether all traffic goes to the newest revision.
func serves(svc *run.GoogleCloudRunV2Service) bool {
	if svc.LatestReadyRevision != svc.LatestCreatedRevision {
		return false
	}
	for _, t := range svc.TrafficStatuses {
		if t.Percent > 0 && t.Type != latestRevision && t.Revision != last(svc.LatestReadyRevision) {
			return false
		}
	}
	return true
}

// waiting is what Cloud Run is at.
func waiting(svc *run.GoogleCloudRunV2Service) string {
	text := "revision " + last(svc.LatestCreatedRevision) + " is not ready yet"
	for _, c := range append([]*run.GoogleCloudRunV2Condition{svc.TerminalCondition}, svc.Conditions...) {
		if c != nil && c.Message != "" && c.State != "CONDITION_SUCCEEDED" {
			return text + ": " + c.Message
		}
	}
	return text
}

// reason is Cloud Run's reason for a condition, with its word for it.
func reason(c *run.GoogleCloudRunV2Condition) string {
	word := c.Reason
	for _, w := range []string{c.RevisionReason, c.ExecutionReason} {
		if word == "" {
			word = w
		}
	}
	switch {
	case c.Message == "" && word == "":
		return "Cloud Run gave no reason"
	case c.Message == "":
		return word
	case word == "":
		return c.Message
	}
	return fmt.Sprintf("%s (%s)", c.Message, word)
}
