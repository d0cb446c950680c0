// Package runapi is the played Cloud Run: its Admin API v2, as the Go client of the real service speaks it.
//
// A changed template makes a revision that takes its time, starts a workload's instances and gets the traffic when they work; one whose
// instances do not start leaves the revision before in place. Services are what [Server.Add] makes; annotations and labels of one and of
// its template can be changed, and what a request asks for beyond that is refused, never ignored.
package runapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	run "google.golang.org/api/run/v2"

	"dbops/internal/sandbox/gcpapi/googleid"
	"dbops/internal/sandbox/play"
)

const (
	stateFile    = "run.json"
	faultService = "run"
	maxBody      = 1 << 20
)

// Workload is what runs as the instances of a service.
type Workload interface {
	// Rollout starts new instances and ends the old ones when the new ones work. If they do not, the old ones go on.
	Rollout(ctx context.Context) error
}

// Seed is one service that exists.
type Seed struct {
	Project, Region, Name string
	Image                 string
	ServiceAccount        string
	Secret                string // that its instances read
	Workload              Workload
}

// Options are what a [Server] needs.
type Options struct {
	Dir      string // holds run.json
	Identity *googleid.Directory
	Projects []string
	Pace     play.Pace
	Faults   *play.Faults // nil: none
	Log      *slog.Logger // defaults to discarding
}

// Server is the played service. It is an [http.Handler].
type Server struct {
	opts Options
	ctx  context.Context //nolint:containedctx // ends with Close: revisions outlive the request that asks for them
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu        sync.Mutex
	state     state
	workloads map[string]Workload           // by name of the service
	stops     map[string]context.CancelFunc // of what is under way
}

// state is what is kept.
type state struct {
	Services   map[string]*run.GoogleCloudRunV2Service    `json:"services"`
	Revisions  map[string][]string                        `json:"revisions"` // names, oldest first
	Operations map[string]*run.GoogleLongrunningOperation `json:"-"`
}

// New opens the services in opts.Dir. The caller adds them and closes the server.
func New(ctx context.Context, opts Options) (*Server, error) {
	if opts.Faults == nil {
		opts.Faults = new(play.Faults)
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{opts: opts, workloads: map[string]Workload{}, stops: map[string]context.CancelFunc{}}
	if _, err := play.Load(opts.Dir, stateFile, &s.state); err != nil {
		return nil, err
	}
	if s.state.Services == nil {
		s.state.Services, s.state.Revisions = map[string]*run.GoogleCloudRunV2Service{}, map[string][]string{}
	}
	s.state.Operations = map[string]*run.GoogleLongrunningOperation{}
	s.ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	return s, nil
}

// Serves tells whether path belongs to Cloud Run.
func (*Server) Serves(path string) bool { return strings.HasPrefix(path, "/v2/projects/") }

// Add makes a service that is ready or, if it was there in an earlier run, brings it back: all instances have been started anew since.
func (s *Server) Add(seed Seed) error {
	name := "projects/" + seed.Project + "/locations/" + seed.Region + "/services/" + seed.Name
	s.mu.Lock()
	defer s.mu.Unlock()
	svc := s.state.Services[name]
	if svc == nil {
		svc = seed.service(name)
		svc.LatestCreatedRevision = name + "/revisions/" + svc.Template.Revision
		s.state.Services[name], s.state.Revisions[name] = svc, []string{svc.Template.Revision}
	}
	s.workloads[name] = seed.Workload
	succeed(svc)
	return s.save()
}

// Close ends what is under way and waits for it.
func (s *Server) Close() {
	s.stop()
	s.wg.Wait()
}

// call is one request on its way.
type call struct {
	*http.Request
	project, location, kind, id string // kind: services, operations
	revision                    string
	list                        bool // of services, or of a service's revisions
	email                       string
	body                        []byte
}

func (c *call) name() string {
	return "projects/" + c.project + "/locations/" + c.location + "/" + c.kind + "/" + c.id
}

// action is one method of the service.
type action struct {
	name, permission string
	query            []string
	do               func(*Server, *call) (any, error)
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, act, err := s.accept(w, r)
	var out any
	if err == nil {
		s.mu.Lock()
		if out, err = act.do(s, c); err == nil {
			out, err = json.Marshal(out) // what it points at changes later
		}
		s.mu.Unlock()
	}
	if errors.Is(err, errDrop) {
		panic(http.ErrAbortHandler) // closes the connection without an answer
	}
	if err != nil {
		e := asError(err)
		s.opts.Log.Info("cloud run", "method", r.Method, "path", r.URL.Path, "status", e.http, "error", e.message)
		e.write(w)
		return
	}
	s.opts.Log.Info("cloud run", "method", r.Method, "path", r.URL.Path, "status", http.StatusOK)
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	b, _ := out.([]byte)
	_, _ = w.Write(b) // the client is gone if it fails
}

// accept finds the method that is asked for and decides whether the caller may.
func (s *Server) accept(w http.ResponseWriter, r *http.Request) (*call, action, error) {
	c, act, err := route(r)
	if err != nil {
		return nil, act, err
	}
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	bearer, err := s.opts.Identity.Check(token)
	if err != nil {
		return nil, act, unauthenticated()
	}
	if !bearer.May(googleid.ScopePlatform) {
		return nil, act, scopeMissing()
	}
	c.email = bearer.Email
	if !slices.Contains(s.opts.Projects, c.project) || !s.opts.Identity.Allowed(c.email, act.permission) {
		return nil, act, denied(act.permission, c.name())
	}
	if err := s.fault(act, c); err != nil {
		return nil, act, err
	}
	for name := range r.URL.Query() {
		if name != "alt" && name != "prettyPrint" && !slices.Contains(act.query, name) {
			return nil, act, notEmulated("parameter " + name)
		}
	}
	c.body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, act, invalid("The request is too large: %v", err)
	}
	return c, act, nil
}

func (s *Server) fault(act action, c *call) error {
	want := []play.Effect{play.Throttle, play.Deny, play.Unavailable, play.Drop}
	if act.name == "services.patch" {
		want = append(want, play.Stale)
	}
	switch s.opts.Faults.Take(faultService, act.name, c.id, want...) {
	case play.Throttle:
		return &apiError{http.StatusTooManyRequests, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric 'Write requests' and limit " +
			"'Write requests per minute per region' of service 'run.googleapis.com'.", nil}
	case play.Deny:
		return denied(act.permission, c.name())
	case play.Stale:
		return stale(c.id)
	case play.Unavailable:
		return &apiError{http.StatusServiceUnavailable, "UNAVAILABLE", "The service is currently unavailable.", nil}
	case play.Drop:
		return errDrop
	default:
		return nil
	}
}

// route parses the path: /v2/projects/P/locations/L/services[/S[/revisions[/R]]] or …/operations/O.
func route(r *http.Request) (*call, action, error) {
	seg := strings.Split(strings.TrimPrefix(r.URL.Path, "/v2/projects/"), "/")
	unknown := notEmulated(r.Method + " " + r.URL.Path)
	if len(seg) < 4 || len(seg) > 7 || seg[1] != "locations" || slices.Contains(seg, "") {
		return nil, action{}, unknown
	}
	c := &call{Request: r, project: seg[0], location: seg[2], kind: seg[3], list: len(seg)%2 == 0}
	if len(seg) > 4 {
		c.id = seg[4]
	}
	if len(seg) > 6 {
		c.revision = seg[6]
	}
	key := r.Method + " " + seg[3]
	if len(seg) > 5 {
		key += " " + seg[5]
	}
	if c.list {
		key += " list"
	}
	act, ok := map[string]action{
		"GET services list":           {"services.list", "run.services.list", nil, (*Server).listServices},
		"GET services":                {"services.get", "run.services.get", nil, (*Server).getService},
		"PATCH services":              {"services.patch", "run.services.update", []string{"updateMask", "forceNewRevision"}, (*Server).patchService},
		"GET services revisions list": {"revisions.list", "run.revisions.list", nil, (*Server).listRevisions},
		"GET services revisions":      {"revisions.get", "run.revisions.get", nil, (*Server).getRevision},
		"GET operations":              {"operations.get", "run.operations.get", nil, (*Server).getOperation},
	}[key]
	if !ok {
		return nil, action{}, unknown
	}
	return c, act, nil
}

func (s *Server) save() error { return play.Save(s.opts.Dir, stateFile, s.state) }

func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }
