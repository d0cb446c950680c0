package runapi

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	run "google.golang.org/api/run/v2"
)

// The states of a condition.
const (
	reconciling = "CONDITION_RECONCILING"
	succeeded   = "CONDITION_SUCCEEDED"
	hasFailed   = "CONDITION_FAILED"

	latestRevision = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"
)

// service is what was deployed before anybody looked, with gcloud, which names the revisions itself.
func (seed Seed) service(name string) *run.GoogleCloudRunV2Service {
	now := timestamp(time.Now())
	return &run.GoogleCloudRunV2Service{
		Name: name, Uid: uuid.NewString(), Generation: 1, CreateTime: now, UpdateTime: now, Etag: newEtag(),
		Creator: seed.ServiceAccount, LastModifier: seed.ServiceAccount, Client: "gcloud", Ingress: "INGRESS_TRAFFIC_ALL", LaunchStage: "GA",
		Template: &run.GoogleCloudRunV2RevisionTemplate{
			Revision: newRevision(seed.Name, 1), ServiceAccount: seed.ServiceAccount, Timeout: "300s", MaxInstanceRequestConcurrency: 80,
			Scaling: &run.GoogleCloudRunV2RevisionScaling{MinInstanceCount: 1, MaxInstanceCount: 1},
			Containers: []*run.GoogleCloudRunV2Container{{
				Image: seed.Image,
				Env: []*run.GoogleCloudRunV2EnvVar{{Name: "DATABASE_CREDENTIAL", ValueSource: &run.GoogleCloudRunV2EnvVarSource{
					SecretKeyRef: &run.GoogleCloudRunV2SecretKeySelector{Secret: seed.Secret, Version: "current"},
				}}},
			}},
		},
		Traffic: []*run.GoogleCloudRunV2TrafficTarget{{Type: latestRevision, Percent: 100}},
		Uri:     "https://" + seed.Name + "-sandbox.a.run.app",
	}
}

func newRevision(service string, generation int64) string {
	const letters = "bcdfghjklmnpqrstvwxz"
	b := make([]byte, 3)
	_, _ = rand.Read(b) // never fails
	for i := range b {
		b[i] = letters[int(b[i])%len(letters)]
	}
	return fmt.Sprintf("%s-%05d-%s", service, generation, b)
}

func newEtag() string {
	b := make([]byte, 9)
	_, _ = rand.Read(b)
	return strconv.Quote(hex.EncodeToString(b))
}

func condition(kind, state string) *run.GoogleCloudRunV2Condition {
	return &run.GoogleCloudRunV2Condition{Type: kind, State: state, LastTransitionTime: timestamp(time.Now())}
}

// begin is that a new revision is on its way.
func begin(svc *run.GoogleCloudRunV2Service) {
	svc.Reconciling = true
	svc.TerminalCondition = condition("Ready", reconciling)
	svc.TerminalCondition.Message = "Deploying Revision."
	svc.Conditions = []*run.GoogleCloudRunV2Condition{condition("RoutesReady", reconciling), condition("ConfigurationsReady", reconciling)}
}

// succeed is that the newest revision serves.
func succeed(svc *run.GoogleCloudRunV2Service) {
	svc.Reconciling, svc.ObservedGeneration, svc.LatestReadyRevision = false, svc.Generation, svc.LatestCreatedRevision
	svc.TerminalCondition = condition("Ready", succeeded)
	svc.Conditions = []*run.GoogleCloudRunV2Condition{condition("RoutesReady", succeeded), condition("ConfigurationsReady", succeeded)}
	svc.TrafficStatuses = []*run.GoogleCloudRunV2TrafficTargetStatus{{Type: latestRevision, Revision: last(svc.LatestReadyRevision), Percent: 100}}
}

// fail is that it does not: the one before goes on, and what is observed stays behind.
func fail(svc *run.GoogleCloudRunV2Service, message string) {
	svc.Reconciling = false
	svc.TerminalCondition = condition("Ready", hasFailed)
	svc.TerminalCondition.Message, svc.TerminalCondition.Reason = message, "REVISION_FAILED"
	ready := condition("ConfigurationsReady", hasFailed)
	ready.Message, ready.Reason = message, "REVISION_FAILED"
	svc.Conditions = []*run.GoogleCloudRunV2Condition{condition("RoutesReady", succeeded), ready}
}

func (s *Server) listServices(c *call) (any, error) {
	out := &run.GoogleCloudRunV2ListServicesResponse{Services: []*run.GoogleCloudRunV2Service{}}
	prefix := "projects/" + c.project + "/locations/" + c.location + "/services/"
	for _, name := range slices.Sorted(maps.Keys(s.state.Services)) {
		if strings.HasPrefix(name, prefix) {
			out.Services = append(out.Services, s.state.Services[name])
		}
	}
	return out, nil
}

func (s *Server) find(c *call) (*run.GoogleCloudRunV2Service, error) {
	if svc := s.state.Services[c.name()]; svc != nil {
		return svc, nil
	}
	return nil, notFound("Resource", c.id)
}

func (s *Server) getService(c *call) (any, error) { return s.find(c) }

func (s *Server) listRevisions(c *call) (any, error) {
	svc, err := s.find(c)
	if err != nil {
		return nil, err
	}
	out := &run.GoogleCloudRunV2ListRevisionsResponse{}
	for _, name := range slices.Backward(s.state.Revisions[c.name()]) {
		out.Revisions = append(out.Revisions, s.revision(svc, name))
	}
	return out, nil
}

func (s *Server) getRevision(c *call) (any, error) {
	svc, err := s.find(c)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(s.state.Revisions[c.name()], c.revision) {
		return nil, notFound("Resource", c.revision)
	}
	return s.revision(svc, c.revision), nil
}

// revision is what is known of one: the newest has the state of the service.
func (*Server) revision(svc *run.GoogleCloudRunV2Service, name string) *run.GoogleCloudRunV2Revision {
	r := &run.GoogleCloudRunV2Revision{Name: svc.Name + "/revisions/" + name, Service: last(svc.Name), ServiceAccount: svc.Template.ServiceAccount}
	switch name {
	case last(svc.LatestCreatedRevision):
		r.Conditions, r.Reconciling = []*run.GoogleCloudRunV2Condition{svc.TerminalCondition}, svc.Reconciling
	case last(svc.LatestReadyRevision):
		r.Conditions = []*run.GoogleCloudRunV2Condition{{Type: "Ready", State: succeeded}}
	default:
		r.Conditions = []*run.GoogleCloudRunV2Condition{{Type: "Ready", State: hasFailed, RevisionReason: "RETIRED", Message: "Revision retired."}}
	}
	return r
}

func last(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }
