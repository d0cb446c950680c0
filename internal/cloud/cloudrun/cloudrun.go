// Package cloudrun deploys a service of Google Cloud Run anew, so that its instances read their secrets again.
//
// Nothing waits: a revision is asked for, and asked after. An annotation of the template holds the token of who asked, so that the same
// token again makes no second one; whatever else the template says stays as it is.
package cloudrun

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"cloud.google.com/go/auth"
	run "google.golang.org/api/run/v2"

	"dbops/internal/cloud/gcpclient"
	"dbops/internal/fault"
)

// Annotation of the template holds the token of the last deployment dbops began.
const Annotation = "dbops/rollout"

const (
	permissionGet    = "run.services.get"
	permissionUpdate = "run.services.update"

	latestRevision = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"
)

var validToken = regexp.MustCompile(`^[A-Za-z0-9._:/=+@-]{1,128}$`)

// Options say which service.
type Options struct {
	Project, Region, Service string
	Endpoint                 string // base URL of the Cloud Run Admin API, for emulators
	UserAgent                string
	// HTTPClient sends the requests as they are, without credentials. Nil: with the Application Default Credentials.
	HTTPClient *http.Client
}

// Service is one service.
type Service struct {
	opts   Options
	google *gcpclient.Client

	mu    sync.Mutex
	api   *run.Service
	creds *auth.Credentials // that api holds
}

// New returns a service that nobody was asked about yet. Its error is always nil.
func New(_ context.Context, o Options) (*Service, error) {
	endpoint := o.Endpoint
	if endpoint != "" {
		endpoint = strings.TrimRight(endpoint, "/") + "/"
	}
	return &Service{opts: o, google: gcpclient.New(gcpclient.Options{Endpoint: endpoint, UserAgent: o.UserAgent, HTTPClient: o.HTTPClient})}, nil
}

// client returns the SDK's client, made anew when the credentials were.
func (s *Service) client(ctx context.Context) (*run.ProjectsLocationsServicesService, error) {
	opts, creds, err := s.google.Options()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.api == nil || s.creds != creds {
		api, err := run.NewService(context.WithoutCancel(ctx), opts...) // it outlives this request
		if err != nil {
			return nil, err
		}
		s.api, s.creds = api, creds
	}
	return s.api.Projects.Locations.Services, nil
}

func (s *Service) question(verb, permission string) gcpclient.Question {
	role := "roles/run.developer"
	if permission == permissionGet {
		role = "roles/run.viewer"
	}
	return gcpclient.Question{
		Op:         verb + " Cloud Run service " + s.opts.Project + "/" + s.opts.Region + "/" + s.opts.Service,
		Permission: permission, Role: role, API: "run.googleapis.com", Project: s.opts.Project,
	}
}

func (s *Service) name() string {
	return fmt.Sprintf("projects/%s/locations/%s/services/%s", s.opts.Project, s.opts.Region, s.opts.Service)
}

// get reads the service.
func (s *Service) get(ctx context.Context, verb string) (*run.GoogleCloudRunV2Service, error) {
	ask, cancel := context.WithTimeout(ctx, gcpclient.Timeout)
	defer cancel()
	var svc *run.GoogleCloudRunV2Service
	api, err := s.client(ctx)
	if err == nil {
		err = gcpclient.Read(ask, func(ctx context.Context) (err error) {
			svc, err = api.Get(s.name()).Context(ctx).Do()
			return err
		})
	}
	return svc, s.google.Fault(ctx, s.question(verb, permissionGet), err)
}

// Rollout makes a new revision of what is deployed already. It returns the generation of the service that asks for it. The same token
// again makes none, unless the one it made has failed. A service whose traffic does not follow its newest revision is a fault.Blocked.
func (s *Service) Rollout(ctx context.Context, token string) (revision string, err error) {
	q := s.question("deploy", permissionUpdate)
	if !validToken.MatchString(token) {
		return "", fault.Newf(fault.Invalid, q.Op, "%.150q is no token", token)
	}
	svc, err := s.get(ctx, "deploy")
	if err != nil {
		return "", err
	}
	if pinned := pinned(svc); pinned != "" {
		return "", fault.Newf(fault.Blocked, q.Op, "its traffic stays on revision %s: a new one would serve nobody", pinned).
			Hint("gcloud run services update-traffic %s --to-latest --region %s --project %s", s.opts.Service, s.opts.Region, s.opts.Project)
	}
	if svc.Template == nil {
		return "", fault.Newf(fault.Invalid, q.Op, "Cloud Run shows no template of it").Hint("look at it in the Google Cloud console")
	}
	was, try := asked(svc)
	switch {
	case was != token:
		return s.patch(ctx, q, svc, token)
	case failed(svc):
		return s.patch(ctx, q, svc, token+"#"+strconv.Itoa(try+1))
	}
	return strconv.FormatInt(svc.Generation, 10), nil
}

// patch asks for a revision with another annotation. The name that the last deployment gave its revision must go, or the new one would
// have it as well. The rest of the template is sent along and not in the mask.
func (s *Service) patch(ctx context.Context, q gcpclient.Question, svc *run.GoogleCloudRunV2Service, value string) (string, error) {
	ask, cancel := context.WithTimeout(ctx, gcpclient.Timeout)
	defer cancel()
	api, err := s.client(ctx)
	if err != nil {
		return "", s.google.Fault(ctx, q, err)
	}
	annotations := maps.Clone(svc.Template.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[Annotation] = value
	svc.Template.Annotations, svc.Template.Revision = annotations, ""
	if _, err := api.Patch(s.name(), svc).UpdateMask("template.annotations,template.revision").Context(ask).Do(); err != nil {
		return "", s.google.Fault(ctx, q, err)
	}
	now, err := s.get(ctx, "deploy")
	switch {
	case err != nil:
		return "", err
	case now.Template == nil || now.Template.Annotations[Annotation] != value:
		return "", fault.Newf(fault.Stale, q.Op, "somebody else has deployed it at the same time").Hint("look at it, then repeat")
	}
	return strconv.FormatInt(now.Generation, 10), nil
}

// asked is the token of the template's annotation, TOKEN or TOKEN#TRY, and which try it was.
func asked(svc *run.GoogleCloudRunV2Service) (token string, try int) {
	token, n, again := strings.Cut(svc.Template.Annotations[Annotation], "#")
	if try = 1; again {
		try, _ = strconv.Atoi(n)
	}
	return token, try
}

// pinned is the revision that traffic was bound to by name; "" if all of it goes to the newest.
func pinned(svc *run.GoogleCloudRunV2Service) string {
	for _, t := range svc.Traffic {
		if t.Percent > 0 && t.Type != latestRevision {
			return last(t.Revision)
		}
	}
	return ""
}

// last is the end of a resource's name.
func last(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }
