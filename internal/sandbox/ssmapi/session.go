package ssmapi

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/websocket"
	"github.com/xtaci/smux"
)

const (
	resendAfter = 300 * time.Millisecond
	// window is how many messages may be under way, as many as a client keeps that come too early.
	window = 1000
	// tokenWait is how long a client may take to show its token.
	tokenWait = 10 * time.Second
)

// session is one of a client with the agent of a node. It outlives its WebSocket: what was not acknowledged is sent again over the next.
type session struct {
	id         string
	node       *Node
	parameters map[string]string
	log        *slog.Logger
	ctx        context.Context //nolint:containedctx // ends with the session
	stop       context.CancelFunc

	mu       sync.Mutex
	changed  *sync.Cond // of what follows
	token    string
	ws       *websocket.Conn // nil: none is open
	ended    bool
	next     int64              // of what is sent
	unacked  map[int64]*sent    // of what was sent
	expected int64              // of what comes
	early    map[int64]*message // came too early
	data     []byte             // of the stream, not read yet
	shaken   bool               // the handshake is complete

	writing sync.Mutex // of a WebSocket
}

// sent is a message that was not acknowledged yet.
type sent struct {
	bytes []byte
	at    time.Time
}

func newSession(ctx context.Context, log *slog.Logger, node *Node, parameters map[string]string) *session {
	s := &session{id: "dbops-" + uuid.NewString()[:17], node: node, parameters: parameters, log: log, unacked: map[int64]*sent{}, early: map[int64]*message{}}
	s.changed = sync.NewCond(&s.mu)
	s.ctx, s.stop = context.WithCancel(ctx)
	return s
}

// renew makes the only token that opens the data channel.
func (s *session) renew() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = random()
	return s.token
}

// cut ends the WebSocket.
func (s *session) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ws != nil {
		_ = s.ws.Close()
		s.ws = nil
	}
}

func (s *session) connected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ws != nil
}

// end ends the session and tells the client. Ending twice is nothing.
func (s *session) end(why string) {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	s.ended = true
	ws := s.ws
	s.changed.Broadcast()
	s.mu.Unlock()
	s.stop()
	if ws == nil {
		return
	}
	text, _ := json.Marshal(map[string]any{ // of texts
		"MessageId": uuid.NewString(), "CreatedDate": time.Now().UTC().Format(time.RFC3339), "DestinationId": "", "SessionId": s.id,
		"MessageType": closed, "SchemaVersion": 1, "Output": why,
	})
	_ = s.write(ws, (&message{kind: closed, id: uuid.New(), payload: text}).encode(time.Now()))
	_ = ws.Close()
}

// serve reads a WebSocket of the session.
func (s *session) serve(ws *websocket.Conn) error {
	if err := s.open(ws); err != nil {
		_ = ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.ClosePolicyViolation, err.Error()), time.Now().Add(time.Second))
		return err
	}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.ws == ws {
			s.ws = nil
		}
	}()
	for {
		kind, b, err := ws.ReadMessage()
		if err != nil {
			return err
		}
		if kind != websocket.BinaryMessage {
			continue
		}
		m, err := decode(b)
		if err != nil {
			return err
		}
		if err := s.take(ws, m); err != nil {
			return err
		}
	}
}

// open checks the token, which opens the channel once, and begins the handshake or goes on where the last WebSocket ended.
func (s *session) open(ws *websocket.Conn) error {
	_ = ws.SetReadDeadline(time.Now().Add(tokenWait))
	kind, b, err := ws.ReadMessage()
	if err != nil {
		return err
	}
	_ = ws.SetReadDeadline(time.Time{})
	var in struct{ TokenValue string }
	if kind != websocket.TextMessage || json.Unmarshal(b, &in) != nil {
		return errors.New("the first message is no OpenDataChannel")
	}
	s.mu.Lock()
	if s.ended || in.TokenValue == "" || in.TokenValue != s.token {
		s.mu.Unlock()
		return errors.New("the token is not valid")
	}
	s.token = ""
	if s.ws != nil {
		_ = s.ws.Close()
	}
	s.ws = ws
	first := s.next == 0
	for _, m := range s.unacked {
		m.at = time.Time{} // again, at once
	}
	s.mu.Unlock()
	if !first {
		return nil
	}
	properties := map[string]string{"type": "LocalPortForwarding"}
	for k, v := range s.parameters {
		properties[k] = v
	}
	return s.sendJSON(payloadHandshakeRequest, map[string]any{
		"AgentVersion": agentVersion,
		"RequestedClientActions": []any{map[string]any{
			"ActionType": "SessionType", "ActionParameters": map[string]any{"SessionType": "Port", "Properties": properties},
		}},
	})
}

// take handles a message of the client.
func (s *session) take(ws *websocket.Conn, m *message) error {
	switch m.kind {
	case acknowledge:
		var ack struct {
			Sequence int64 `json:"AcknowledgedMessageSequenceNumber"`
		}
		if err := json.Unmarshal(m.payload, &ack); err != nil {
			return err
		}
		s.mu.Lock()
		delete(s.unacked, ack.Sequence)
		s.changed.Broadcast()
		s.mu.Unlock()
		return nil
	case inputStream:
	default:
		return fmt.Errorf("a client sends no %q", m.kind)
	}
	text, err := json.Marshal(map[string]any{
		"AcknowledgedMessageType": m.kind, "AcknowledgedMessageId": m.id.String(), "AcknowledgedMessageSequenceNumber": m.sequence, "IsSequentialMessage": true,
	})
	if err != nil {
		return err
	}
	if err := s.write(ws, (&message{kind: acknowledge, flags: 3, id: uuid.New(), payload: text}).encode(time.Now())); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.sequence >= s.expected {
		s.early[m.sequence] = m
	}
	for {
		next := s.early[s.expected]
		if next == nil {
			return nil
		}
		delete(s.early, s.expected)
		s.expected++
		if err := s.act(next); err != nil {
			return err
		}
	}
}

// act does what a message in its order asks for. The caller holds the lock.
func (s *session) act(m *message) error {
	switch m.payloadType {
	case payloadHandshakeResponse:
		var in struct {
			Errors                 []string
			ProcessedClientActions []struct{ ActionStatus int }
		}
		if err := json.Unmarshal(m.payload, &in); err != nil {
			return err
		}
		if len(in.Errors) > 0 || len(in.ProcessedClientActions) != 1 || in.ProcessedClientActions[0].ActionStatus != 1 {
			return fmt.Errorf("the client refuses the handshake: %v", in.Errors)
		}
		s.shaken = true
		s.changed.Broadcast()
	case payloadData:
		s.data = append(s.data, m.payload...)
		s.changed.Broadcast()
	case payloadFlag:
		if len(m.payload) == 4 && binary.BigEndian.Uint32(m.payload) == flagTerminate {
			go s.end("")
		}
	}
	return nil
}

func (s *session) sendJSON(payloadType uint32, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.send(payloadType, b)
}

// send puts a message under way. It waits while too many are.
func (s *session) send(payloadType uint32, payload []byte) error {
	s.mu.Lock()
	for len(s.unacked) >= window && !s.ended {
		s.changed.Wait()
	}
	if s.ended {
		s.mu.Unlock()
		return net.ErrClosed
	}
	m := &message{kind: outputStream, sequence: s.next, id: uuid.New(), payloadType: payloadType, payload: payload}
	s.next++
	out := &sent{bytes: m.encode(time.Now()), at: time.Now()}
	s.unacked[m.sequence] = out
	ws := s.ws
	s.mu.Unlock()
	if ws != nil {
		_ = s.write(ws, out.bytes) // it is sent again
	}
	return nil
}

func (s *session) write(ws *websocket.Conn, b []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return ws.WriteMessage(websocket.BinaryMessage, b)
}

// resend sends again what was not acknowledged in time, the oldest first.
func (s *session) resend() {
	tick := time.NewTicker(resendAfter / 3)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case now := <-tick.C:
			s.mu.Lock()
			ws := s.ws
			var again [][]byte
			for i := s.next - window; i < s.next && ws != nil; i++ {
				if m := s.unacked[i]; m != nil && now.Sub(m.at) > resendAfter {
					m.at = now
					again = append(again, m.bytes)
				}
			}
			s.mu.Unlock()
			for _, b := range again {
				if s.write(ws, b) != nil {
					break
				}
			}
		}
	}
}

// run is the agent's side, until the session ends.
func (s *session) run() {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer s.stop()
	wg.Go(s.resend)
	s.mu.Lock()
	for !s.shaken && !s.ended {
		s.changed.Wait()
	}
	ended := s.ended
	s.mu.Unlock()
	if ended || s.sendJSON(payloadHandshakeComplete, map[string]any{"HandshakeTimeToComplete": 1000000, "CustomerMessage": ""}) != nil {
		return
	}
	cfg := smux.DefaultConfig()
	cfg.KeepAliveDisabled = true
	mux, err := smux.Server(stream{s}, cfg)
	if err != nil {
		s.log.Error("multiplex", "error", err)
		return
	}
	defer func() { _ = mux.Close() }()
	wg.Go(func() {
		<-s.ctx.Done()
		_ = mux.Close()
	})
	for {
		in, err := mux.AcceptStream()
		if err != nil {
			return
		}
		wg.Go(func() { s.forward(in) })
	}
}

// forward connects to the remote host for one stream.
func (s *session) forward(in *smux.Stream) {
	defer func() { _ = in.Close() }()
	addr := net.JoinHostPort(s.parameters["host"], s.parameters["portNumber"])
	out, err := s.node.Dial(s.ctx, "tcp", addr)
	if err != nil {
		s.log.Info("the agent cannot connect", "address", addr, "error", err)
		_ = s.send(payloadFlag, binary.BigEndian.AppendUint32(nil, flagConnectError))
		return
	}
	defer func() { _ = out.Close() }()
	defer context.AfterFunc(s.ctx, func() { _ = out.Close() })()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(out, in)
		_ = out.Close()
	}()
	_, _ = io.Copy(in, out)
	_ = in.Close()
	<-done
}

// stream is the data of a session, in its order.
type stream struct{ s *session }

func (c stream) Read(b []byte) (int, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	for len(c.s.data) == 0 {
		if c.s.ended {
			return 0, io.EOF
		}
		c.s.changed.Wait()
	}
	n := copy(b, c.s.data)
	c.s.data = c.s.data[n:]
	return n, nil
}

func (c stream) Write(b []byte) (int, error) {
	for n := 0; n < len(b); n += maxPayload {
		part := append([]byte(nil), b[n:min(n+maxPayload, len(b))]...)
		if err := c.s.send(payloadData, part); err != nil {
			return n, err
		}
	}
	return len(b), nil
}

func (c stream) Close() error {
	c.s.end("")
	return nil
}
