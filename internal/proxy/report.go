package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"dbops/internal/fault"
)

// refusedWait is how long a client that is refused waits for the search who it is.
const refusedWait = 200 * time.Millisecond

// facts are what the log says of a connection.
func (c Connection) facts() []slog.Attr {
	out := []slog.Attr{slog.Uint64("id", c.ID), slog.String("client", c.Client)}
	if c.Peer.User != "" {
		out = append(out, slog.String("local_user", c.Peer.User))
	}
	if c.PID > 0 {
		out = append(out, slog.Int("pid", c.PID), slog.String("process", c.Process))
	}
	return append(out, slog.String("application", c.Application), slog.String("database", c.Database), slog.String("instance", c.Instance),
		slog.String("user", c.User))
}

// opened reports that a session has begun, once it is known whose it is or that this will not be known.
func (s *Server) opened(sess *session) {
	sess.peer.wait()
	c := sess.connection()
	s.log.LogAttrs(sess.ctx, slog.LevelInfo, "connection opened", append(c.facts(), slog.String("access", s.cfg.Access))...)
	s.send(Event{
		Kind: "open", Text: fmt.Sprintf("%s on %s opened by %s as %s", c.Database, c.Instance, who(c), c.User),
		Connection: &c, Took: sess.loginTook, Phases: sess.client.phases.take(),
	})
}

// closed reports that a session has ended, and why.
func (s *Server) closed(sess *session) {
	c := sess.connection()
	sess.mu.Lock()
	reason, failure := sess.reason, sess.failure
	sess.mu.Unlock()
	took := time.Since(sess.since)
	level := slog.LevelInfo
	if failure {
		level = slog.LevelWarn
	}
	s.log.LogAttrs(sess.ctx, level, "connection closed", append(c.facts(), slog.String("access", s.cfg.Access),
		slog.String("reason", reason), slog.Int64("from_client", c.FromClient), slog.Int64("to_client", c.ToClient),
		slog.Duration("took", took))...)
	s.send(Event{
		Kind: "close", Failure: failure,
		Text:       fmt.Sprintf("%s on %s closed after %s: %s", c.Database, c.Instance, took.Round(time.Millisecond), reason),
		Connection: &c, Reason: reason, Took: took,
	})
}

func who(c Connection) string {
	from := c.Client
	if c.Peer.User != "" {
		from = c.Peer.User + ", " + from
	}
	if c.PID > 0 {
		from = fmt.Sprintf("%s (pid %d) of %s", c.Process, c.PID, from)
	}
	if c.Application == "" {
		return from
	}
	return c.Application + " (" + from + ")"
}

// from is the client's address; that of a socket's client says nothing.
func (c *client) from() string {
	if c.socket.RemoteAddr().Network() == "unix" {
		return "unix"
	}
	return c.socket.RemoteAddr().String()
}

// refused ends a connection that became no session. The client is told why, unless it is gone or does not speak the protocol.
func (s *Server) refused(ctx context.Context, c *client, h *hello, peer *lookup, err error) {
	_, ours := errors.AsType[*refusal](err)
	_, known := errors.AsType[*fault.Error](err)
	told := ours || known
	s.mu.Lock()
	s.past.Accepted++
	if told {
		s.past.Refused++
	}
	s.mu.Unlock()

	r := refusalOf(err)
	if peer == nil && told && (r.told.Code == "28P01" || r.told.Code == "28000") { // who tries passwords is worth a look
		peer = s.identify(c)
		defer peer.wait()
	}
	peer.waitFor(refusedWait)
	now := Connection{Client: c.from(), Peer: peer.now(), Since: time.Now()}
	if h != nil {
		now.Database, now.Application = h.get("database"), h.get("application_name")
		now.Database = now.Database[:min(len(now.Database), nameMax)]
		now.Application = now.Application[:min(len(now.Application), nameMax)]
	}
	attrs := append(now.facts(), slog.String("access", s.cfg.Access), slog.String("reason", err.Error()))
	event := Event{
		Kind: "refused", Failure: true, Text: fmt.Sprintf("%s to %q: %s", who(now), now.Database, err), Connection: &now, Reason: err.Error(),
		Took: time.Since(c.came), Phases: c.phases.take(),
	}
	if told {
		event.SQLState = r.told.Code
		attrs = append(attrs, slog.String("sqlstate", r.told.Code))
	}
	s.log.LogAttrs(ctx, slog.LevelWarn, "connection refused", attrs...)
	s.send(event)

	if told {
		c.farewell(r)
		return
	}
	_ = c.SetDeadline(time.Now().Add(lastWords))
	c.shut()
	c.drop()
}
