package dial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"dbops/internal/cloud"
	"dbops/internal/fault"
)

// link is a connection to a bastion through the hosts before it.
type link struct {
	hops    []hop
	clients []*ssh.Client // one for each hop
	first   io.Closer     // below them all
	down    chan struct{} // closed at the end

	mu    sync.Mutex
	why   error // once down is closed
	ended bool
}

// connect makes the connection to the last of the hops, each through the one before.
func (o *SSHOptions) connect(ctx context.Context) (*link, error) {
	hops, err := o.hops(ctx)
	if err != nil {
		return nil, err
	}
	l := &link{hops: hops, down: make(chan struct{})}
	for i := range hops {
		if err := l.add(ctx, o, i); err != nil {
			l.end(errClosed)
			return nil, err
		}
	}
	return l, nil
}

// add connects to a hop.
func (l *link) add(ctx context.Context, o *SSHOptions, i int) error {
	h := &l.hops[i]
	op := "connect to " + h.String()
	if len(l.hops) > 1 {
		op += fmt.Sprintf(" (host %d of %d)", i+1, len(l.hops))
	}
	raw, err := l.below(ctx, op, i)
	if err != nil {
		return err
	}
	if i == 0 {
		l.first = raw
	}
	defer context.AfterFunc(ctx, func() { _ = raw.Close() })() // the handshake takes no context
	keys, err := o.keys(ctx, h)
	if err != nil {
		_ = raw.Close()
		return fault.New(fault.KindOf(err), op, err)
	}
	defer keys.close()
	known, err := o.known(h, l.hops[:i])
	if err != nil {
		_ = raw.Close()
		return fault.New(fault.KindOf(err), op, err)
	}
	conn, channels, requests, err := ssh.NewClientConn(&overheard{raw, l.lost}, h.addr(), &ssh.ClientConfig{
		User: h.user, Auth: []ssh.AuthMethod{ssh.PublicKeysCallback(keys.signers)}, HostKeyCallback: known.check,
		HostKeyAlgorithms: known.algorithms(), ClientVersion: "SSH-2.0-dbops",
	})
	if err != nil {
		_ = raw.Close()
		return h.failed(ctx, op, known, keys, err)
	}
	l.clients = append(l.clients, ssh.NewClient(conn, channels, requests))
	return nil
}

// below opens the stream that a hop's connection runs in.
func (l *link) below(ctx context.Context, op string, i int) (net.Conn, error) {
	h := &l.hops[i]
	var conn net.Conn
	var err error
	switch {
	case i > 0:
		before := &l.hops[i-1]
		if conn, err = l.clients[i-1].DialContext(ctx, "tcp", h.addr()); err == nil {
			return conn, nil
		}
		why := err.Error()
		if open, ok := errors.AsType[*ssh.OpenChannelError](err); ok {
			why = open.Message
		}
		if ctx.Err() != nil {
			why = "no answer in time"
		}
		return nil, fault.Newf(fault.Unavailable, op, "%s cannot connect to it: %s", before.name, why).
			Hint("is it running, and does its network let %s in? The name is resolved there", before.name)
	case h.command != "":
		if conn, err = runCommand(h.command); err != nil {
			return nil, fault.New(fault.Config, op, err).Hint("check ProxyCommand in the configuration of OpenSSH: ssh -G %s shows it", h.name)
		}
		return conn, nil
	}
	if conn, err = direct().DialContext(ctx, "tcp", h.addr()); err == nil {
		return conn, nil
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil, fault.New(fault.Interrupted, op, ctx.Err())
	}
	what, why := cloud.Unreached(err)
	if why == "" {
		why = err.Error()
	}
	f := fault.New(fault.Unavailable, op, cloud.Because(why, err))
	switch what {
	case cloud.NoSuchHost, cloud.NoLookup:
		return nil, f.Hint("check the host, and whether a VPN with its own names has to be up")
	case cloud.Refused:
		return nil, f.Hint("is its sshd running, on port %d?", h.port)
	default:
		return nil, f.Hint("is it running, and does its network let this machine in (security group, firewall)?")
	}
}

// failed explains a handshake that came to nothing.
func (h *hop) failed(ctx context.Context, op string, known *knownHosts, keys *keys, err error) error {
	if known.refusal != nil {
		f, ok := errors.AsType[*fault.Error](known.refusal)
		if ok {
			return fault.New(f.Kind, op, f)
		}
		return fault.New(fault.Denied, op, known.refusal)
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return fault.New(fault.Interrupted, op, ctx.Err())
	}
	text := strings.TrimPrefix(err.Error(), "ssh: handshake failed: ")
	switch {
	case strings.Contains(text, "unable to authenticate"):
		return keys.refused(op, h)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fault.New(fault.Unavailable, op, &timeout{"it answered no SSH handshake in time"}).Hint("is it an SSH server that listens there?")
	case errors.Is(err, io.EOF), strings.HasSuffix(text, "EOF"), strings.Contains(text, "connection reset"):
		return fault.Newf(fault.Unavailable, op, "it ended the connection during the SSH handshake").
			Hint("its sshd may be starting, or have too many logins at once (MaxStartups); the log there says more")
	}
	return fault.New(fault.Unavailable, op, cloud.Because(text, err)).Hint("ssh -v %s shows the same handshake in detail", h.name)
}

// last names the host that opens the connections.
func (l *link) last() string { return l.hops[len(l.hops)-1].name }

// gone is why the link has ended; nil while it has not.
func (l *link) gone() error {
	select {
	case <-l.down:
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.why
	default:
		return nil
	}
}

// lost keeps why the link has ended, once.
func (l *link) lost(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.why != nil {
		return
	}
	l.why = fmt.Errorf("the SSH connection to %s was lost: %w", l.last(), why)
	close(l.down)
}

// overheard tells of the end of a stream before who reads it knows: the library ends all channels first, which then look as if their peers had
// ended them, and says why afterwards.
type overheard struct {
	net.Conn
	lost func(error)
}

func (o *overheard) Read(b []byte) (int, error) {
	n, err := o.Conn.Read(b)
	if err != nil {
		o.lost(err)
	}
	return n, err
}

// end closes the link, for a reason that is the first or nobody's.
func (l *link) end(why error) {
	l.lost(why)
	l.mu.Lock()
	ended := l.ended
	l.ended = true
	l.mu.Unlock() // closing waits for who reads
	if ended {
		return
	}
	for i := len(l.clients) - 1; i >= 0; i-- {
		_ = l.clients[i].Close()
	}
	if l.first != nil {
		_ = l.first.Close()
	}
}

// watch asks from time to time whether the other side is there, and returns when the link has ended.
func (l *link) watch(every, within time.Duration) {
	client := l.clients[len(l.clients)-1]
	ended := make(chan error, 1)
	go func() { ended <- client.Wait() }()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			if err == nil {
				err = io.EOF
			}
			l.end(err)
			return
		case <-tick.C:
			if !l.alive(within) {
				l.end(errSilent)
			}
		}
	}
}

var errSilent = errors.New("it does not answer any more")

// alive asks the last host for an answer, whatever it is.
func (l *link) alive(within time.Duration) bool {
	answered := make(chan error, 1)
	go func() { // ends with the link, at the latest
		_, _, err := l.clients[len(l.clients)-1].SendRequest("keepalive@openssh.com", true, nil)
		answered <- err
	}()
	t := time.NewTimer(within)
	defer t.Stop()
	select {
	case err := <-answered:
		return err == nil
	case <-t.C:
		return false
	}
}

// open opens a connection at the last host. A host that takes long is asked whether it is there at all: a machine that slept may find its
// connection dead, and would wait for the next keepalive.
func (l *link) open(ctx context.Context, network, addr string) (net.Conn, error) {
	slow := time.AfterFunc(patience, func() {
		if !l.alive(patience) {
			l.end(errSilent)
		}
	})
	defer slow.Stop()
	raw, err := l.clients[len(l.clients)-1].DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return bridge(raw, place(addr), func(error) error { return l.gone() }), nil
}

// addr is where the hop listens.
func (h *hop) addr() string { return net.JoinHostPort(h.host, strconv.Itoa(h.port)) }
