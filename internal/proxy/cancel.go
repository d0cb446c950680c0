package proxy

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

const cancelTimeout = 5 * time.Second

// cancelKey is what a client cancels a statement with: the process number and the secret of its BackendKeyData. The number is the server's,
// for clients look themselves up by it (pg_stat_activity, pg_terminate_backend); two servers may have the same. The secret is the proxy's own.
type cancelKey string

func newCancelKey(process uint32, secret []byte) cancelKey {
	return cancelKey(append(binary.BigEndian.AppendUint32(nil, process), secret...))
}

func (k cancelKey) process() uint32 { return binary.BigEndian.Uint32([]byte(k[:4])) }
func (k cancelKey) secret() []byte  { return []byte(k[4:]) }

// mintCancelKey makes a key with a random secret of the length that a protocol version allows.
func mintCancelKey(version, process uint32) cancelKey {
	size := 4
	if version >= pgproto3.ProtocolVersion32 {
		size = 32
	}
	secret := make([]byte, size)
	_, _ = rand.Read(secret) // never fails
	return newCancelKey(process, secret)
}

// cancelStatement passes a cancel request on, if its key is that of a session that is open. The client is told nothing either way.
func (s *Server) cancelStatement(ctx context.Context, key cancelKey) {
	s.mu.Lock()
	s.past.Cancels++
	sess := s.keys[key]
	s.mu.Unlock()
	if sess == nil {
		s.log.DebugContext(ctx, "cancel request with an unknown key")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, cancelTimeout)
	defer cancel()
	select {
	case s.cancelling <- struct{}{}:
		defer func() { <-s.cancelling }()
	case <-ctx.Done():
		return
	}
	if err := sess.cancelUpstream(ctx); err != nil {
		s.log.WarnContext(ctx, "cancel request failed", "id", sess.id, "error", err.Error())
	}
}

// cancelUpstream asks the server to cancel what the session runs, over a connection of its own.
func (sess *session) cancelUpstream(ctx context.Context) error {
	pc, err := pgconn.Construct(sess.server.HijackedConn)
	if err != nil {
		return err
	}
	return pc.CancelRequest(ctx)
}
