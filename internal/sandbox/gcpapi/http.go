package gcpapi

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"dbops/internal/sandbox/gcpapi/googleid"
	"dbops/internal/sandbox/play"
)

const (
	// faultService is the name of this service in a [play.Fault].
	faultService = "cloudsql"
	// maxBody bounds a request. The largest honoured one is an instance with its labels and flags.
	maxBody = 1 << 20
)

// call is one request on its way to a method.
type call struct {
	*http.Request
	action   string
	params   map[string]string // of the path
	project  string
	instance string // "" for methods of a project
	email    string // who calls
	body     []byte
}

// route is one method of the API.
type route struct {
	method     string
	pattern    string // after the version: projects/{project}/instances/{instance}
	action     string // as faults name it: instances.get
	permission string // "" for what every principal may read
	query      []string
	do         func(*Server, *call) (any, error)
}

func (s *Server) serveSQL(w http.ResponseWriter, r *http.Request) {
	rt, c, err := s.accept(w, r)
	var answer any
	if err == nil {
		answer, err = rt.do(s, c)
	}
	if errors.Is(err, errDrop) {
		panic(http.ErrAbortHandler) // closes the connection without an answer
	}
	if err != nil {
		e := asError(err)
		s.cfg.Log.Info("cloud sql", "method", r.Method, "path", r.URL.Path, "status", e.code, "error", e.message)
		e.write(w)
		return
	}
	s.cfg.Log.Info("cloud sql", "method", r.Method, "path", r.URL.Path, "status", http.StatusOK)
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	_ = json.NewEncoder(w).Encode(answer) // the client is gone if it fails
}

// accept finds the method and decides whether the caller may.
func (s *Server) accept(w http.ResponseWriter, r *http.Request) (route, *call, error) {
	rt, c, err := s.find(r)
	if err != nil {
		return rt, c, err
	}
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	bearer, err := s.identity.Check(token)
	if err != nil {
		return rt, c, unauthenticated()
	}
	if !bearer.May(googleid.ScopePlatform, googleid.ScopeSQLAdmin) {
		return rt, c, scopeMissing()
	}
	c.email = bearer.Email
	if c.project != "" && !slices.Contains(s.cfg.Projects, c.project) {
		return rt, c, stranger()
	}
	if rt.permission != "" && !s.identity.Allowed(c.email, rt.permission) {
		return rt, c, denied(rt.permission, c.resource())
	}
	if wait, ok := s.cfg.Limits.Take(c.project + "/" + c.email); !ok {
		return rt, c, throttled(wait)
	}
	if err := s.fault(rt, c); err != nil {
		return rt, c, err
	}
	for name := range r.URL.Query() {
		if name != "alt" && name != "prettyPrint" && !slices.Contains(rt.query, name) {
			return rt, c, notEmulated("parameter %s", name)
		}
	}
	c.body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return rt, c, invalid("the request is too large or incomplete")
	}
	if rt.method != http.MethodPost && rt.method != http.MethodPut && rt.method != http.MethodPatch {
		return rt, c, noBody(c)
	}
	return rt, c, nil
}

// noBody refuses a body where none is known.
func noBody(c *call) error {
	_, err := fields{}.decode(c.body, &struct{}{})
	return err
}

// fault takes the failures that were asked for and end a request at once. Those of operations are taken when one begins.
func (s *Server) fault(rt route, c *call) error {
	want := []play.Effect{play.Throttle, play.Deny, play.Unavailable, play.Drop}
	switch rt.action {
	case "instances.patch", "instances.update", "instances.failover":
		want = append(want, play.Stale)
	}
	switch s.cfg.Faults.Take(faultService, rt.action, c.instance, want...) {
	case play.Throttle:
		return throttled(0)
	case play.Deny:
		return denied(rt.permission, c.resource())
	case play.Stale:
		return stale()
	case play.Unavailable:
		return &apiError{
			code: http.StatusServiceUnavailable, reason: "backendError", message: "The service is currently unavailable.",
		}
	case play.Drop:
		return errDrop
	default:
		return nil
	}
}

// resource is what a call is about, in the words of an error.
func (c *call) resource() string {
	if c.instance != "" {
		return "instances/" + c.instance
	}
	return "projects/" + c.project
}

// find matches the path, with either prefix of the API, against the routes.
func (s *Server) find(r *http.Request) (route, *call, error) {
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), "/v1/")
	if !ok {
		path, ok = strings.CutPrefix(r.URL.EscapedPath(), "/sql/v1beta4/")
	}
	if !ok {
		return route{}, nil, &apiError{code: http.StatusNotFound, reason: "notFound", message: "sandbox: nothing is served at " + r.URL.Path}
	}
	for _, rt := range s.routes {
		if rt.method != r.Method {
			continue
		}
		if params, ok := match(rt.pattern, path); ok {
			return rt, &call{
				Request: r, action: rt.action, params: params, project: params["project"], instance: params["instance"],
			}, nil
		}
	}
	return route{}, nil, notEmulated("%s %s", r.Method, r.URL.Path)
}

// match compares a path to a pattern, segment by segment. A pattern's segment may end in a verb: {instance}:verb.
func match(pattern, path string) (map[string]string, bool) {
	want, got := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return nil, false
	}
	params := map[string]string{}
	for i, w := range want {
		g, err := url.PathUnescape(got[i])
		if err != nil {
			return nil, false
		}
		name, verb, isParam := strings.Cut(strings.TrimPrefix(w, "{"), "}")
		if !isParam {
			if w != g {
				return nil, false
			}
			continue
		}
		value, ok := strings.CutSuffix(g, verb)
		if !ok || value == "" || verb == "" && name == "instance" && strings.Contains(value, ":") {
			return nil, false
		}
		params[name] = value
	}
	return params, true
}
