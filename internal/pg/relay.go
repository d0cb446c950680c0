package pg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Relay lets a client program in through a socket in a private folder, over sessions that are logged in already: however the database is
// reached, through a bastion or with a token, the program need not know, and no password leaves this process.
type Relay struct {
	Dir     string // of the socket
	listen  net.Listener
	connect func(context.Context) (*pgx.Conn, error)
	stop    context.CancelFunc
	wg      sync.WaitGroup

	mu  sync.Mutex
	err error // of the first session that could not be opened
}

// RelayPort is only part of the socket's name.
const RelayPort = "5432"

// StartRelay makes a relay below a folder, "" for that of temporary files.
func StartRelay(ctx context.Context, root string, connect func(context.Context) (*pgx.Conn, error)) (*Relay, error) {
	dir, err := os.MkdirTemp(root, "relay-")
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL."+RelayPort))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	r := &Relay{Dir: dir, listen: l, connect: connect}
	ctx, r.stop = context.WithCancel(ctx)
	r.wg.Go(func() { r.accept(ctx) })
	return r, nil
}

// Close ends all sessions, and returns why one could not be opened.
func (r *Relay) Close() error {
	r.stop()
	_ = r.listen.Close()
	r.wg.Wait()
	return errors.Join(r.err, os.RemoveAll(r.Dir))
}

func (r *Relay) accept(ctx context.Context) {
	for {
		c, err := r.listen.Accept()
		if err != nil {
			return
		}
		r.wg.Go(func() {
			end := context.AfterFunc(ctx, func() { _ = c.Close() })
			defer end()
			defer c.Close()
			r.serve(ctx, c)
		})
	}
}

// failed keeps why a session could not be opened. It is called before the client is told: what the client does then may close the relay.
func (r *Relay) failed(ctx context.Context, err error) {
	if ctx.Err() != nil { // it was closed before
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = errors.Join(r.err, err)
}

// serve answers a client's login itself, and passes on what follows.
func (r *Relay) serve(ctx context.Context, client net.Conn) {
	back := pgproto3.NewBackend(client, client)
	for {
		m, err := back.ReceiveStartupMessage()
		if err != nil {
			return // it went away
		}
		switch m.(type) {
		case *pgproto3.SSLRequest, *pgproto3.GSSEncRequest:
			if _, err := client.Write([]byte("N")); err != nil {
				return // it went away
			}
			continue
		case *pgproto3.StartupMessage:
		default:
			return
		}
		break
	}
	conn, err := r.synced(ctx)
	if err != nil {
		r.failed(ctx, fmt.Errorf("log in for a client program: %w", err))
		back.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "08006", Message: "dbops could not log in"})
		_ = back.Flush() // or it went away
		return
	}
	h, err := conn.PgConn().Hijack()
	if err != nil {
		r.failed(ctx, err)
		return
	}
	defer h.Conn.Close()
	end := context.AfterFunc(ctx, func() { _ = h.Conn.Close() })
	defer end()
	back.Send(&pgproto3.AuthenticationOk{})
	for k, v := range h.ParameterStatuses {
		back.Send(&pgproto3.ParameterStatus{Name: k, Value: v})
	}
	back.Send(&pgproto3.BackendKeyData{ProcessID: h.PID, SecretKey: h.SecretKey})
	back.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	if err := back.Flush(); err != nil {
		return // it went away
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(h.Conn, client)
		_ = h.Conn.Close()
	})
	_, _ = io.Copy(client, h.Conn)
	_ = client.Close()
	wg.Wait()
}

// synced opens a session from which nothing is read in the background any more: after a slow write pgconn does that, and would take the answer
// to the client's first query.
func (r *Relay) synced(ctx context.Context) (*pgx.Conn, error) {
	for attempt := 0; ; attempt++ {
		conn, err := r.connect(ctx)
		if err != nil {
			return nil, err
		}
		if err = conn.PgConn().SyncConn(ctx); err == nil {
			return conn, nil
		}
		_ = conn.Close(context.WithoutCancel(ctx))
		if attempt == 2 || ctx.Err() != nil {
			return nil, err
		}
	}
}
