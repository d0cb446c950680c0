package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"dbops/internal/fault"
)

// opened reports that a session has begun.
func (s *Server) opened(sess *session) {
	c := sess.connection()
	s.mu.Lock()
	s.past.Accepted++
	s.mu.Unlock()
	s.log.LogAttrs(sess.ctx, slog.LevelInfo, "connection opened",
		slog.Uint64("id", c.ID), slog.String("client", c.Client), slog.String("application", c.Application),
		slog.String("database", c.Database), slog.String("instance", c.Instance), slog.String("user", c.User))
	s.hub.send(Event{Kind: "open", Text: fmt.Sprintf("%s on %s opened by %s as %s", c.Database, c.Instance, who(c), c.User)})
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
	s.log.LogAttrs(sess.ctx, level, "connection closed",
		slog.Uint64("id", c.ID), slog.String("database", c.Database), slog.String("instance", c.Instance),
		slog.String("reason", reason), slog.Int64("from_client", c.FromClient), slog.Int64("to_client", c.ToClient),
		slog.Duration("took", took))
	s.hub.send(Event{
		Kind: "close", Failure: failure,
		Text: fmt.Sprintf("%s on %s closed after %s: %s", c.Database, c.Instance, took.Round(time.Millisecond), reason),
	})
}

func who(c Connection) string {
	if c.Application == "" {
		return c.Client
	}
	return c.Application + " (" + c.Client + ")"
}

// refused ends a connection that became no session. The client is told why, unless it is gone or does not speak the protocol.
func (s *Server) refused(ctx context.Context, c *client, h *hello, err error) {
	_, ours := errors.AsType[*refusal](err)
	_, known := errors.AsType[*fault.Error](err)
	told := ours || known
	s.mu.Lock()
	s.past.Accepted++
	if told {
		s.past.Refused++
	}
	s.mu.Unlock()

	from, database := c.RemoteAddr().String(), ""
	if h != nil {
		database = h.get("database")
		database = database[:min(len(database), nameMax)]
	}
	attrs := []slog.Attr{slog.String("client", from), slog.String("database", database), slog.String("reason", err.Error())}
	r := refusalOf(err)
	if told {
		attrs = append(attrs, slog.String("sqlstate", r.told.Code))
	}
	s.log.LogAttrs(ctx, slog.LevelWarn, "connection refused", attrs...)
	s.hub.send(Event{Kind: "refused", Failure: true, Text: fmt.Sprintf("%s to %q: %s", from, database, err)})

	if told {
		c.farewell(r)
		return
	}
	_ = c.SetDeadline(time.Now().Add(lastWords))
	c.shut()
	c.drop()
}
