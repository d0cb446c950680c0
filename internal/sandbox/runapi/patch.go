package runapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/api/googleapi"
	run "google.golang.org/api/run/v2"

	"dbops/internal/sandbox/play"
)

// takesStarting is how long a revision's instances need in the real service.
const takesStarting = 15 * time.Second

// maxOperations are kept.
const maxOperations = 200

func (s *Server) patchService(c *call) (any, error) {
	svc, err := s.find(c)
	if err != nil {
		return nil, err
	}
	in := new(run.GoogleCloudRunV2Service)
	d := json.NewDecoder(bytes.NewReader(c.body))
	d.DisallowUnknownFields()
	if err := d.Decode(in); err != nil {
		if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
			return nil, invalid("Invalid JSON payload received. Unknown name %s: Cannot find field.", name)
		}
		return nil, invalid("Invalid JSON payload received.")
	}
	if in.Etag != "" && in.Etag != svc.Etag {
		return nil, stale(c.id)
	}
	next, err := merge(svc, in, c.URL.Query().Get("updateMask"))
	if err != nil {
		return nil, err
	}
	if account := svc.Template.ServiceAccount; !s.opts.Identity.Allowed(c.email, "iam.serviceAccounts.actAs") {
		return nil, mayNotActAs(account)
	}
	if err := validAnnotations(next.Annotations, next.Template.Annotations); err != nil {
		return nil, err
	}
	fresh := c.URL.Query().Get("forceNewRevision") == "true" || !reflect.DeepEqual(next.Template, svc.Template)
	revision := ""
	if fresh {
		if revision, err = s.revisionName(svc, next); err != nil {
			return nil, err
		}
	}
	svc.Annotations, svc.Labels, svc.Template = next.Annotations, next.Labels, next.Template
	svc.Generation++
	svc.Etag, svc.UpdateTime, svc.LastModifier = newEtag(), timestamp(time.Now()), c.email
	o := &run.GoogleLongrunningOperation{Name: "projects/" + c.project + "/locations/" + c.location + "/operations/" + uuid.NewString()}
	s.keep(o)
	if fresh {
		s.deploy(svc, o, revision, s.opts.Faults.Take(faultService, "services.patch", c.id, play.Fail, play.Hang))
	} else {
		svc.ObservedGeneration = svc.Generation
		o.Done, o.Response = true, typed(svc)
	}
	o.Metadata = typed(svc)
	return o, s.save()
}

// merge is the service as a patch wants it. What cannot be played, and is different, is refused.
func merge(svc, in *run.GoogleCloudRunV2Service, mask string) (*run.GoogleCloudRunV2Service, error) {
	next := *svc
	template := *svc.Template
	next.Template = &template
	if in.Template == nil {
		in.Template = &run.GoogleCloudRunV2RevisionTemplate{}
	}
	paths := strings.Split(mask, ",")
	if mask == "" || mask == "*" {
		if !reflect.DeepEqual(rest(svc), rest(in)) {
			return nil, notEmulated("a change of the service beyond annotations and labels")
		}
		paths = []string{"annotations", "labels", "template"}
	}
	for _, path := range paths {
		switch strings.TrimSpace(path) {
		case "annotations":
			next.Annotations = in.Annotations
		case "labels":
			next.Labels = in.Labels
		case "template.annotations":
			template.Annotations = in.Template.Annotations
		case "template.labels":
			template.Labels = in.Template.Labels
		case "template.revision":
			template.Revision = in.Template.Revision
		case "template":
			if len(in.Template.Containers) == 0 {
				return nil, invalid("Violation in UpdateServiceRequest.service.template.containers: Revision template should contain at least 1 containers.")
			}
			if !reflect.DeepEqual(templateRest(svc.Template), templateRest(in.Template)) {
				return nil, notEmulated("a change of the template beyond annotations, labels and the revision's name")
			}
			template.Annotations, template.Labels, template.Revision = in.Template.Annotations, in.Template.Labels, in.Template.Revision
		default:
			return nil, notEmulated("a change of " + path)
		}
	}
	return &next, nil
}

// rest is what a caller may set of a service and the sandbox does not change.
func rest(svc *run.GoogleCloudRunV2Service) run.GoogleCloudRunV2Service {
	return run.GoogleCloudRunV2Service{
		Description: svc.Description, Ingress: svc.Ingress, LaunchStage: svc.LaunchStage, Scaling: svc.Scaling, Traffic: svc.Traffic,
		BinaryAuthorization: svc.BinaryAuthorization, BuildConfig: svc.BuildConfig, CustomAudiences: svc.CustomAudiences,
		DefaultUriDisabled: svc.DefaultUriDisabled, IapEnabled: svc.IapEnabled, InvokerIamDisabled: svc.InvokerIamDisabled,
		MultiRegionSettings: svc.MultiRegionSettings, SshEnabled: svc.SshEnabled, ThreatDetectionEnabled: svc.ThreatDetectionEnabled,
	}
}

func templateRest(t *run.GoogleCloudRunV2RevisionTemplate) run.GoogleCloudRunV2RevisionTemplate {
	c := *t
	c.Annotations, c.Labels, c.Revision, c.Client, c.ClientVersion = nil, nil, "", "", ""
	return c
}

// validAnnotations refuses the namespaces that the API keeps for itself.
func validAnnotations(all ...map[string]string) error {
	for _, m := range all {
		for key := range m {
			for _, own := range []string{"run.googleapis.com", "cloud.googleapis.com", "serving.knative.dev", "autoscaling.knative.dev"} {
				if domain, _, _ := strings.Cut(key, "/"); domain == own || strings.HasSuffix(domain, "."+own) {
					return invalid("Annotation '%s' is not supported in the v2 API.", key)
				}
			}
		}
	}
	return nil
}

// revisionName is the name of a new revision: the template's, if it is not taken, or one that the service makes.
func (s *Server) revisionName(svc, next *run.GoogleCloudRunV2Service) (string, error) {
	want := next.Template.Revision
	switch {
	case want == "":
		return newRevision(last(svc.Name), svc.Generation+1), nil
	case slices.Contains(s.state.Revisions[svc.Name], want):
		return "", taken(want)
	case !strings.HasPrefix(want, last(svc.Name)+"-"):
		return "", invalid("Revision name must be prefixed by the name of the enclosing Configuration or Service %s-", last(svc.Name))
	}
	return want, nil
}

// keep remembers an operation, and forgets an old one that is done if there are too many.
func (s *Server) keep(o *run.GoogleLongrunningOperation) {
	s.state.Operations[o.Name] = o
	if len(s.state.Operations) <= maxOperations {
		return
	}
	for name, old := range s.state.Operations {
		if old.Done {
			delete(s.state.Operations, name)
			return
		}
	}
}

func (s *Server) getOperation(c *call) (any, error) {
	if o := s.state.Operations[c.name()]; o != nil {
		return o, nil
	}
	return nil, notFound("Operation", c.id)
}

// deploy brings a revision up in the background; one that is on its way ends. The caller holds the lock.
func (s *Server) deploy(svc *run.GoogleCloudRunV2Service, o *run.GoogleLongrunningOperation, revision string, effect play.Effect) {
	if stop := s.stops[svc.Name]; stop != nil {
		stop()
	}
	ctx, cancel := context.WithCancel(s.ctx)
	s.stops[svc.Name] = cancel
	begin(svc)
	svc.LatestCreatedRevision = svc.Name + "/revisions/" + revision
	s.state.Revisions[svc.Name] = append(s.state.Revisions[svc.Name], revision)
	workload := s.workloads[svc.Name]
	s.wg.Go(func() {
		defer cancel()
		err := s.bringUp(ctx, workload, effect)
		s.mu.Lock()
		defer s.mu.Unlock()
		if ctx.Err() != nil {
			o.Done, o.Error = true, &run.GoogleRpcStatus{Code: 10, Message: "A later change of the service has replaced this one."}
			return
		}
		o.Done = true
		if err != nil {
			s.opts.Log.Warn("a revision of the played Cloud Run did not start", "revision", revision, "error", err)
			fail(svc, fmt.Sprintf("Revision '%s' is not ready and cannot serve traffic. The user-provided container failed to start and listen "+
				"on the port defined provided by the PORT=8080 environment variable within the allocated timeout.", revision))
			o.Error = &run.GoogleRpcStatus{Code: 9, Message: svc.TerminalCondition.Message}
		} else {
			succeed(svc)
			o.Response = typed(svc)
		}
		o.Metadata = typed(svc)
		if err := s.save(); err != nil {
			s.opts.Log.Error("keep a revision of the played Cloud Run", "error", err)
		}
	})
}

func (s *Server) bringUp(ctx context.Context, w Workload, effect play.Effect) error {
	if effect == play.Hang {
		<-ctx.Done()
		return ctx.Err()
	}
	if err := s.opts.Pace.Sleep(ctx, takesStarting); err != nil {
		return err
	}
	if effect == play.Fail {
		return fmt.Errorf("a fault was asked for")
	}
	return w.Rollout(ctx)
}

// typed is a service inside of an operation.
func typed(svc *run.GoogleCloudRunV2Service) googleapi.RawMessage {
	b, err := json.Marshal(svc)
	if err != nil {
		return nil
	}
	return append([]byte(`{"@type":"type.googleapis.com/google.cloud.run.v2.Service",`), b[1:]...)
}
