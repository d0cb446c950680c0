// Package ssmapi plays the part of AWS Systems Manager that forwards ports: StartSession and its kin over the JSON protocol, the data channel over
// a WebSocket, and the agent of a managed node at its far end.
//
// The data channel speaks what Amazon's session-manager-plugin speaks: sequenced and acknowledged messages, the handshake, streams
// multiplexed in the data, and a session that outlives its WebSocket. What a request asks for beyond forwarding a port to a remote
// host is refused, never ignored.
package ssmapi

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"

	"github.com/gorilla/websocket"

	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/play"
)

const (
	service  = "ssm" // in signatures, permissions and faults
	target   = "AmazonSSM."
	channels = "/v1/data-channel/"
	document = "AWS-StartPortForwardingSessionToRemoteHost"

	// agentVersion is one that multiplexes, and leaves keepalives to the session.
	agentVersion = "3.3.859.0"
)

// Node is a managed node: its agent connects to remote hosts for the sessions.
type Node struct {
	ID   string
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Config is what an [API] stands on.
type Config struct {
	Keys   *awsid.Keys // also says account and region
	Nodes  []Node
	Faults *play.Faults // service "ssm"; nil: none
	Log    *slog.Logger // defaults to discarding
}

// API is the played Systems Manager.
type API struct {
	cfg  Config
	ctx  context.Context //nolint:containedctx // ends with Close: sessions outlive the request that starts them
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu       sync.Mutex
	gone     map[string]bool // nodes whose agent is not connected
	sessions map[string]*session
}

// New returns an API whose nodes are connected. The caller closes it.
func New(cfg Config) *API {
	if cfg.Faults == nil {
		cfg.Faults = &play.Faults{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	a := &API{cfg: cfg, gone: map[string]bool{}, sessions: map[string]*session{}}
	a.ctx, a.stop = context.WithCancel(context.Background())
	return a
}

// Connect tells whether a node's agent is connected. Sessions of one that is not go on, as in the cloud until they time out.
func (a *API) Connect(node string, on bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gone[node] = !on
}

// Sessions counts those that are open.
func (a *API) Sessions() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.sessions)
}

// Connected counts the sessions that have a WebSocket.
func (a *API) Connected() (n int) {
	for _, s := range a.all() {
		if s.connected() {
			n++
		}
	}
	return n
}

// CutAll ends the WebSockets of all sessions, which may be resumed.
func (a *API) CutAll() {
	for _, s := range a.all() {
		s.cut()
	}
}

// EndAll ends all sessions and tells why, as after twenty minutes without a byte.
func (a *API) EndAll(why string) {
	for _, s := range a.all() {
		a.end(s, why)
	}
}

func (a *API) all() []*session {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []*session
	for _, s := range a.sessions {
		out = append(out, s)
	}
	return out
}

// Close ends all sessions and waits for them.
func (a *API) Close() {
	a.stop()
	a.EndAll("")
	a.wg.Wait()
}

type startInput struct {
	Target, DocumentName string
	Parameters           map[string][]string
	Reason               string
}

type sessionInput struct {
	SessionID string `json:"SessionId"`
}

type sessionOutput struct {
	SessionID  string `json:"SessionId"`
	TokenValue string `json:",omitempty"`
	StreamURL  string `json:"StreamUrl,omitempty"`
}

// ServeHTTP answers one request, or serves one data channel.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if id, ok := strings.CutPrefix(r.URL.Path, channels); ok {
		a.channel(w, r, id)
		return
	}
	out, err := a.serve(r, strings.TrimPrefix(r.Header.Get("X-Amz-Target"), target))
	awsid.WriteJSON(w, out, err)
}

func (a *API) serve(r *http.Request, action string) (any, error) {
	body, err := awsid.ReadBody(r)
	if err != nil {
		return nil, err
	}
	caller, err := a.cfg.Keys.Verify(r, body, service)
	if err != nil {
		return nil, err
	}
	switch action {
	case "StartSession":
		var in startInput
		if err := awsid.DecodeJSON(body, &in); err != nil {
			return nil, err
		}
		resource := "arn:aws:ec2:" + a.cfg.Keys.Region() + ":" + a.cfg.Keys.Account() + ":instance/" + in.Target
		if err := a.allowed(caller, action, in.Target, resource); err != nil {
			return nil, err
		}
		return a.startSession(in, r.Host)
	case "ResumeSession", "TerminateSession":
		var in sessionInput
		if err := awsid.DecodeJSON(body, &in); err != nil {
			return nil, err
		}
		resource := "arn:aws:ssm:" + a.cfg.Keys.Region() + ":" + a.cfg.Keys.Account() + ":session/" + in.SessionID
		if err := a.allowed(caller, action, in.SessionID, resource); err != nil {
			return nil, err
		}
		s := a.session(in.SessionID)
		if s == nil {
			return nil, awsid.Newf(400, "DoesNotExistException", "Session %s does not exist.", in.SessionID)
		}
		if action == "TerminateSession" {
			a.end(s, "")
			return sessionOutput{SessionID: s.id}, nil
		}
		return sessionOutput{SessionID: s.id, TokenValue: s.renew(), StreamURL: streamURL(r.Host, s.id)}, nil
	}
	return nil, awsid.NotEmulated("ssm " + action)
}

func (a *API) allowed(caller awsid.Caller, action, about, resource string) error {
	if err := caller.Authorize(service+":"+action, resource); err != nil {
		return err
	}
	return awsid.Injected(a.cfg.Faults, caller, service, action, about, resource)
}

var portNumber = regexp.MustCompile(`^([1-9]|[1-9][0-9]{1,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$`)

func (a *API) startSession(in startInput, host string) (any, error) {
	node := a.node(in.Target)
	if node == nil {
		return nil, awsid.Newf(400, "TargetNotConnected", "%s is not connected.", in.Target)
	}
	if in.DocumentName != document {
		return nil, awsid.NotEmulated("ssm document " + in.DocumentName)
	}
	parameters := map[string]string{"portNumber": "80", "localPortNumber": "0", "host": "localhost"}
	for name, values := range in.Parameters {
		if _, known := parameters[name]; !known || len(values) != 1 {
			return nil, awsid.Newf(400, "InvalidParameters", "Parameter %q is not valid.", name)
		}
		parameters[name] = values[0]
	}
	if !portNumber.MatchString(parameters["portNumber"]) {
		return nil, awsid.Newf(400, "InvalidParameters", "Parameter \"portNumber\" has value not matching %s.", portNumber)
	}
	s := newSession(a.ctx, a.cfg.Log, node, parameters)
	a.mu.Lock()
	a.sessions[s.id] = s
	a.mu.Unlock()
	a.wg.Go(func() {
		s.run()
		a.end(s, "")
	})
	return sessionOutput{SessionID: s.id, TokenValue: s.renew(), StreamURL: streamURL(host, s.id)}, nil
}

func streamURL(host, id string) string {
	return "ws://" + host + channels + id + "?role=publish_subscribe"
}

// node is a managed node whose agent is connected, or nil.
func (a *API) node(id string) *Node {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.cfg.Nodes {
		if a.cfg.Nodes[i].ID == id && !a.gone[id] {
			return &a.cfg.Nodes[i]
		}
	}
	return nil
}

func (a *API) session(id string) *session {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sessions[id]
}

func (a *API) end(s *session, why string) {
	a.mu.Lock()
	delete(a.sessions, s.id)
	a.mu.Unlock()
	s.end(why)
}

// channel serves the WebSocket of a session, until it or the session ends.
func (a *API) channel(w http.ResponseWriter, r *http.Request, id string) {
	if r.Header.Get("Authorization") != "" {
		if _, err := a.cfg.Keys.Verify(r, nil, "ssmmessages"); err != nil {
			awsid.WriteJSON(w, nil, err)
			return
		}
	}
	s := a.session(id)
	if s == nil {
		http.Error(w, "no such session", http.StatusNotFound)
		return
	}
	up := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	ws, err := up.Upgrade(w, r, nil)
	if err != nil {
		return // it was told
	}
	defer func() { _ = ws.Close() }()
	a.wg.Add(1)
	defer a.wg.Done()
	if err := s.serve(ws); err != nil {
		a.cfg.Log.Debug("data channel ended", "session", id, "error", err)
	}
}

// random is a text that nobody guesses.
func random() string {
	b := make([]byte, 24)
	_, _ = rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}
