// Package gcpsm is the played GCP Secret Manager: its REST API, as the Go client of the real service speaks it.
//
// Secrets, versions, aliases, checksums and etags behave as in the real service; replication, rotation and encryption keys are
// not played, and a request that asks for one is refused, never ignored. Payloads lie in one file that only its owner can read,
// and are never logged.
package gcpsm

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"dbops/internal/sandbox/gcpapi/googleid"
	"dbops/internal/sandbox/play"
)

const (
	stateFile = "secretmanager.json"
	// faultService is the name of this service in a [play.Fault].
	faultService = "secretmanager"
	// maxBody holds the largest payload (64 KiB) in base64, with room for names and labels.
	maxBody = 256 << 10
)

// Options are what a [Server] needs.
type Options struct {
	Dir      string // holds secretmanager.json; empty: nothing is kept
	Identity *googleid.Directory
	Faults   *play.Faults      // nil: none
	Projects map[string]string // number by id; the API answers with numbers and takes both
	Now      func() time.Time  // defaults to time.Now
	Log      *slog.Logger      // one line a request, without payloads. Defaults to discarding.
}

// Server is the played service. It is an [http.Handler].
type Server struct {
	opts Options

	mu    sync.Mutex
	state state
}

// New opens or makes the secrets in opts.Dir.
func New(opts Options) (*Server, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Faults == nil {
		opts.Faults = new(play.Faults)
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{opts: opts}
	if _, err := play.Load(opts.Dir, stateFile, &s.state); err != nil {
		return nil, err
	}
	if s.state.Secrets == nil {
		s.state.Secrets = map[string]*record{}
	}
	return s, nil
}

// Serves tells whether path belongs to the Secret Manager.
func (*Server) Serves(path string) bool {
	seg := strings.Split(path, "/")
	if len(seg) < 5 || seg[1] != "v1" || seg[2] != "projects" {
		return false
	}
	return collection(seg[4]) == "secrets" || seg[4] == "locations"
}

// call is one request on its way.
type call struct {
	*http.Request
	project string // id, or number, as it was asked for
	secret  string
	version string
	body    []byte
}

// action is one method of the service.
type action struct {
	name       string
	permission string
	query      []string // parameters that are honoured
	do         func(*Server, *call) (proto.Message, error)
	etag       bool // the caller may send one, so that a stale one can be played
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, act, err := s.accept(w, r)
	var m proto.Message
	if err == nil {
		m, err = act.do(s, c)
	}
	if errors.Is(err, errDrop) {
		panic(http.ErrAbortHandler) // closes the connection without an answer
	}
	var b []byte
	if err == nil {
		numbers := strings.Contains(r.URL.Query().Get("$alt"), "enum-encoding=int")
		b, err = protojson.MarshalOptions{UseEnumNumbers: numbers}.Marshal(m)
	}
	if err != nil {
		e := asError(err)
		s.opts.Log.Info("secret manager", "method", r.Method, "path", r.URL.Path, "status", e.http, "error", e.message)
		e.write(w)
		return
	}
	s.opts.Log.Info("secret manager", "method", r.Method, "path", r.URL.Path, "status", http.StatusOK)
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
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
	_, known := s.number(c.project)
	if !known || !s.opts.Identity.Allowed(bearer.Email, act.permission) {
		return nil, act, denied(act.permission, c.resource())
	}
	if err := s.fault(act, c); err != nil {
		return nil, act, err
	}
	for name := range r.URL.Query() {
		if name != "alt" && name != "$alt" && name != "prettyPrint" && !slices.Contains(act.query, name) {
			return nil, act, notEmulated("parameter " + name)
		}
	}
	c.body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, act, invalid("The request is too large: %v", err)
	}
	return c, act, nil
}

// number is a project's number, by its id or its number.
func (s *Server) number(project string) (string, bool) {
	if n, ok := s.opts.Projects[project]; ok {
		return n, true
	}
	for _, n := range s.opts.Projects {
		if n == project {
			return n, true
		}
	}
	return "", false
}

func (s *Server) fault(act action, c *call) error {
	want := []play.Effect{play.Throttle, play.Deny, play.Unavailable, play.Drop}
	if act.etag {
		want = append(want, play.Stale)
	}
	switch s.opts.Faults.Take(faultService, act.name, c.secret, want...) {
	case play.Throttle:
		return &apiError{http.StatusTooManyRequests, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric 'Access requests' " +
			"and limit 'Access requests per minute' of service 'secretmanager.googleapis.com'.", nil}
	case play.Deny:
		return denied(act.permission, c.resource())
	case play.Stale:
		return stale()
	case play.Unavailable:
		return &apiError{http.StatusServiceUnavailable, "UNAVAILABLE", "The service is currently unavailable.", nil}
	case play.Drop:
		return errDrop
	default:
		return nil
	}
}

// resource is what the call is about, in the words it was asked with.
func (c *call) resource() string {
	name := "projects/" + c.project
	if c.secret != "" {
		name += "/secrets/" + c.secret
	}
	if c.version != "" {
		name += "/versions/" + c.version
	}
	return name
}

// route parses the path: projects/P/secrets[/S[:verb]] and projects/P/secrets/S/versions[/V[:verb]].
func route(r *http.Request) (*call, action, error) {
	seg := strings.Split(strings.TrimPrefix(r.URL.EscapedPath(), "/v1/projects/"), "/")
	for i := range seg {
		var err error
		if seg[i], err = url.PathUnescape(seg[i]); err != nil {
			return nil, action{}, invalid("Invalid path.")
		}
	}
	c := &call{Request: r, project: seg[0]}
	last, verb, _ := strings.Cut(seg[len(seg)-1], ":")
	key := r.Method
	switch {
	case len(seg) == 2 && last == "secrets":
		key += " secrets"
	case len(seg) == 3 && seg[1] == "secrets":
		c.secret = last
		key += " secret"
	case len(seg) == 4 && seg[1] == "secrets" && last == "versions":
		c.secret = seg[2]
		key += " versions"
	case len(seg) == 5 && seg[1] == "secrets" && seg[3] == "versions":
		c.secret, c.version = seg[2], last
		key += " version"
	}
	if verb != "" {
		key += ":" + verb
	}
	act, ok := find(key)
	if !ok {
		return nil, action{}, notEmulated(fmt.Sprintf("%s %s", r.Method, r.URL.Path))
	}
	return c, act, nil
}

func find(key string) (action, bool) {
	const secrets, versions = "secretmanager.secrets.", "secretmanager.versions."
	switch key {
	case "GET secrets":
		return action{"ListSecrets", secrets + "list", []string{"pageSize", "pageToken"}, (*Server).listSecrets, false}, true
	case "POST secrets":
		return action{"CreateSecret", secrets + "create", []string{"secretId"}, (*Server).createSecret, false}, true
	case "GET secret":
		return action{"GetSecret", secrets + "get", nil, (*Server).getSecret, false}, true
	case "PATCH secret":
		return action{"UpdateSecret", secrets + "update", []string{"updateMask"}, (*Server).updateSecret, true}, true
	case "DELETE secret":
		return action{"DeleteSecret", secrets + "delete", []string{"etag"}, (*Server).deleteSecret, true}, true
	case "POST secret:addVersion":
		return action{"AddSecretVersion", versions + "add", nil, (*Server).addVersion, false}, true
	case "GET versions":
		return action{"ListSecretVersions", versions + "list", []string{"pageSize", "pageToken"}, (*Server).listVersions, false}, true
	case "GET version":
		return action{"GetSecretVersion", versions + "get", nil, (*Server).getVersion, false}, true
	case "GET version:access":
		return action{"AccessSecretVersion", versions + "access", nil, (*Server).accessVersion, false}, true
	case "POST version:enable":
		return action{"EnableSecretVersion", versions + "enable", nil, (*Server).enableVersion, true}, true
	case "POST version:disable":
		return action{"DisableSecretVersion", versions + "disable", nil, (*Server).disableVersion, true}, true
	case "POST version:destroy":
		return action{"DestroySecretVersion", versions + "destroy", nil, (*Server).destroyVersion, true}, true
	}
	return action{}, false
}

// collection is a path segment without its verb.
func collection(segment string) string {
	name, _, _ := strings.Cut(segment, ":")
	return name
}
