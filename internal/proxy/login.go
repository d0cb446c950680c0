package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"dbops/internal/fault"
)

// upstream is a session on a server that pgconn has logged in.
type upstream struct {
	*pgconn.HijackedConn
	notices []*pgconn.Notice // that came with the login
}

// errUnsynced is a login after which pgconn still has a read under way that would take the first answer away.
var errUnsynced = errors.New("the connection did not come to rest after the login")

// login opens a session upstream with the client's startup parameters. The error is a *fault.Error or a *refusal.
func (s *Server) login(ctx context.Context, up *Upstream, sent []param, phases *phases) (*upstream, error) {
	op := fmt.Sprintf("log in to database %q on instance %s", up.Database, up.Instance)
	whole := ctx
	ctx, cancel := context.WithTimeout(ctx, s.cfg.ConnectTimeout)
	defer cancel()
	defer phases.end()
	t := tries{s: s, up: up, begun: time.Now()}
	for {
		l := attempt{ctx: ctx, users: s.cfg.Users, pool: &s.pool, keys: &s.scramKeys, tickets: &s.tickets, patience: t.patience(), phases: phases}
		l.stage.Store("asking for its address and credentials")
		u, err := l.run(up, sent, s.cfg.Application)
		if err == nil {
			s.reachedNow(up.Instance)
			return u, nil
		}
		if r, ok := errors.AsType[*refusal](err); ok {
			return nil, r
		}
		if pe, ok := errors.AsType[*pgconn.PgError](err); ok && pe.Code == "28P01" {
			s.scramKeys.drop(up.Instance)
		}
		if after, again := t.again(err); again && pause(ctx, after) {
			t.last = err
			continue
		}
		if whole.Err() != nil { // ended from outside: the cause is what the client should hear
			if cause := context.Cause(whole); !errors.Is(cause, context.Canceled) {
				return nil, cause
			}
			return nil, fault.New(fault.Interrupted, op, context.Canceled)
		}
		stage, _ := l.stage.Load().(string)
		in, why := t.failed(ctx, err)
		return nil, up.advise(explain(op, stage, in, l.password, why))
	}
}

// attempt is one try to log in.
type attempt struct {
	ctx         context.Context //nolint:containedctx // of the login, for what pgconn does in its back
	users       []string
	pool        *buffers
	keys        *scramKeys
	tickets     *tickets
	sasl        func(net.Conn) net.Conn // nil: pgconn proves the password
	stage       atomic.Value            // string: what is being done, for the message of a time-out
	established atomic.Bool
	phases      *phases
	patience    time.Duration // with a server that says nothing; 0: as long as ctx has
	password    string
	notices     []*pgconn.Notice
}

func (l *attempt) run(up *Upstream, sent []param, application string) (*upstream, error) {
	l.phases.begin("credentials")
	cfg, err := up.Config(l.ctx)
	if err != nil {
		return nil, err
	}
	if r := l.foreign(sent, cfg.User); r != nil {
		return nil, r
	}
	cfg = cfg.Copy()
	l.password = cfg.Password
	cfg.Fallbacks = nil // neither to plaintext nor to another server
	cfg.RuntimeParams = runtimeParams(sent, cfg.RuntimeParams, application)
	if cfg.TLSConfig != nil {
		cfg.TLSConfig.DynamicRecordSizingDisabled = true // small first records are for browsers
		cfg.TLSConfig.ClientSessionCache = l.tickets.of(up.Instance, cfg.TLSConfig)
	}
	l.sasl = l.keys.saslFor(up.Instance, cfg)
	l.watch(cfg)
	l.phases.begin("dial")
	pc, err := pgconn.ConnectConfig(l.ctx, cfg)
	if err != nil {
		return nil, err
	}
	// After a slow write pgconn reads in the background, and may still be waiting in that read. SyncConn ends it.
	l.stage.Store("waiting for the connection to come to rest")
	if err := pc.SyncConn(l.ctx); err != nil {
		_ = pc.Conn().Close()
		return nil, fmt.Errorf("%w: %w", errUnsynced, err)
	}
	h, err := pc.Hijack()
	if err != nil {
		_ = pc.Conn().Close()
		return nil, err
	}
	l.established.Store(true)
	if w, ok := h.Conn.(*sasl); ok {
		h.Conn = w.Conn
	}
	cfg.Password, l.password = "", "" // both live as long as the session, for its cancel requests
	h.Frontend = nil                  // and its buffer: SyncConn left nothing in it
	cfg.RuntimeParams = nil
	return &upstream{HijackedConn: h, notices: l.notices}, nil
}

// foreign refuses a client that asks for a role which it would not get. Nobody asks where there is no client.
func (l *attempt) foreign(sent []param, role string) *refusal {
	asked := (&hello{params: sent}).get("user")
	if len(sent) == 0 || len(l.users) == 0 || asked == role || slices.Contains(l.users, asked) {
		return nil
	}
	return refuse("28P01", "password authentication failed for user %q: the proxy's password is good for its own login only, %q", asked, role).
		hint("take the URI that the proxy printed, or user=%s; for other rights open a proxy with another --access", l.users[0])
}

// watch puts l between pgconn and the network.
func (l *attempt) watch(cfg *pgconn.Config) {
	dial := cfg.DialFunc
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if !l.established.Load() {
			// After a broken login pgconn dials once more on its own, to cancel; that must end with the login.
			var cancel context.CancelFunc
			ctx, cancel = context.WithCancel(ctx)
			defer context.AfterFunc(l.ctx, cancel)() //nolint:contextcheck // the login's context, on purpose
			defer cancel()
			l.stage.Store("connecting to " + addr)
		}
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		keepAlive(conn)
		if !l.established.Load() {
			l.stage.Store("negotiating TLS with " + addr)
			l.phases.begin("login")
			if l.patience > 0 {
				_ = conn.SetReadDeadline(time.Now().Add(l.patience))
			}
		}
		if cfg.TLSConfig != nil {
			if s := newSocket(conn, l.pool); s != nil {
				return s, nil
			}
		}
		return conn, nil
	}
	after := cfg.AfterNetConnect
	cfg.AfterNetConnect = func(ctx context.Context, cfg *pgconn.Config, conn net.Conn) (net.Conn, error) {
		// Else pgconn shakes hands inside its first write, where errors say less and which counts as slow.
		if t, ok := conn.(*tls.Conn); ok {
			l.stage.Store("shaking hands on TLS")
			if err := t.HandshakeContext(ctx); err != nil {
				return conn, err
			}
		}
		l.stage.Store("logging in")
		if l.patience > 0 && !l.established.Load() {
			_ = conn.SetReadDeadline(time.Time{})
		}
		if after != nil {
			var err error
			if conn, err = after(ctx, cfg, conn); err != nil {
				return conn, err
			}
		}
		if l.sasl != nil && !l.established.Load() {
			conn = l.sasl(conn)
		}
		return conn, nil
	}
	notice := cfg.OnNotice
	cfg.OnNotice = func(pc *pgconn.PgConn, n *pgconn.Notice) {
		l.notices = append(l.notices, n)
		if notice != nil {
			notice(pc, n)
		}
	}
}

// greeting is what the client is told once its session is open upstream, in one piece.
func (u *upstream) greeting(key cancelKey) []byte {
	out := encode(nil, &pgproto3.AuthenticationOk{})
	for _, name := range slices.Sorted(maps.Keys(u.ParameterStatuses)) {
		out = encode(out, &pgproto3.ParameterStatus{Name: name, Value: u.ParameterStatuses[name]})
	}
	out = encode(out, &pgproto3.BackendKeyData{ProcessID: key.process(), SecretKey: key.secret()})
	for _, n := range u.notices {
		m := pgproto3.NoticeResponse(errorResponse((*pgconn.PgError)(n)))
		out = encode(out, &m)
	}
	u.ParameterStatuses, u.notices = nil, nil // the session lives long
	return encode(out, &pgproto3.ReadyForQuery{TxStatus: u.TxStatus})
}

// Check logs in to a database as a client's connection would, and out again. An unknown name is fault.NotFound; otherwise the
// error says why the login failed, as a client would be told.
func (s *Server) Check(ctx context.Context, database string) error {
	up, err := s.find(database)
	if err != nil {
		return fault.New(fault.NotFound, "log in", err).Hint("%s", err.told.Hint)
	}
	u, failed := s.login(ctx, up, nil, nil)
	if failed != nil {
		return failed
	}
	bye, encodeErr := (&pgproto3.Terminate{}).Encode(nil)
	if encodeErr == nil {
		_, _ = u.Conn.Write(bye)
	}
	return u.Conn.Close()
}
