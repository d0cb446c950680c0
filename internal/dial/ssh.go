package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"dbops/internal/fault"
)

const (
	// connectLimit bounds the making of a shared connection, whoever waits for it.
	connectLimit = 30 * time.Second
	// patience is how long a bastion may take to open a connection before it is asked whether it is still there.
	patience = 5 * time.Second
	// aliveEvery is when a connection is asked, aliveWithin how long it may take to answer.
	aliveEvery, aliveWithin = 15 * time.Second, 15 * time.Second
)

// SSHOptions say which bastion, and how to get there. What is empty is what OpenSSH's configuration says.
type SSHOptions struct {
	Host, User string
	Port       int
	Jump       []SSHJump // the hosts on the way, the first one first
	KeyFile    string    // a private key; empty: the agent's keys and those that OpenSSH would try
	KnownHosts string    // a file; empty: OpenSSH's
	// ConfigFile is the configuration of OpenSSH to read, "none" for none; empty: the user's and the system's.
	ConfigFile string
	Getenv     func(string) string // for SSH_AUTH_SOCK; defaults to os.Getenv

	every, within time.Duration // for tests: between keepalives, and for their answer
}

// SSHJump is one host on the way to a bastion.
type SSHJump struct {
	User, Host string
	Port       int // 0: what OpenSSH's configuration says, else 22
}

// SSH is the way through a bastion: one connection to it, shared by all, with as many streams as there are connections.
type SSH struct {
	opts SSHOptions
	ctx  context.Context //nolint:containedctx // ends with Close: the shared connection outlives who needs it first
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu      sync.Mutex
	link    *link    // nil: none
	pending *pending // the making of one
	closed  bool
}

// pending is a link that is being made; link and err are set when done is closed.
type pending struct {
	done chan struct{}
	link *link
	err  error
}

// NewSSH returns a way that has contacted nobody yet.
func NewSSH(o SSHOptions) *SSH {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.every <= 0 {
		o.every, o.within = aliveEvery, aliveWithin
	}
	s := &SSH{opts: o}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}

// String names the bastion for messages.
func (s *SSH) String() string {
	var names []string
	for _, j := range s.opts.Jump {
		names = append(names, j.Host)
	}
	return "ssh " + strings.Join(append(names, s.opts.Host), ", ")
}

// Dial implements [Way].
func (s *SSH) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	op := "reach " + addr + " via " + s.String()
	for try := 1; ; try++ {
		l, err := s.get(ctx)
		if err != nil {
			return nil, opened(op, err)
		}
		conn, err := l.open(ctx, network, addr)
		switch {
		case err == nil:
			return conn, nil
		case ctx.Err() != nil:
			return nil, given(ctx, op, fmt.Sprintf("%s opened no connection to %s in time", l.last(), addr),
				"is the instance running, and does its network let %s in (security group, firewall)?", l.last())
		}
		if _, ok := errors.AsType[*ssh.OpenChannelError](err); !ok { // not even an answer: it was lost, and only now is it noticed
			l.end(err)
			if try == 1 {
				continue
			}
		}
		return nil, refused(op, l, addr, err)
	}
}

// opened is why there is no connection to a bastion, told for what it was needed for.
func opened(op string, err error) error {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return fault.New(fault.Unavailable, op, err)
	}
	return fault.New(f.Kind, op, f)
}

// given is the end of a caller's patience.
func given(ctx context.Context, op, why, hint string, args ...any) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fault.New(fault.Interrupted, op, ctx.Err())
	}
	return fault.New(fault.Unavailable, op, &timeout{why}).Hint(hint, args...)
}

// timeout is a time-out with its reason, for errors.Is as well as for people.
type timeout struct{ why string }

func (t *timeout) Error() string { return t.why }
func (*timeout) Is(target error) bool {
	return target == context.DeadlineExceeded || target == os.ErrDeadlineExceeded
}

// refused is why a bastion opened no connection.
func refused(op string, l *link, addr string, err error) error {
	if why := l.gone(); why != nil {
		return fault.New(fault.Unavailable, op, why).Hint("try again; if it goes on, look at the bastion and at the network to it")
	}
	open, ok := errors.AsType[*ssh.OpenChannelError](err)
	if !ok {
		return fault.New(fault.Unavailable, op, err)
	}
	host, _, _ := net.SplitHostPort(addr)
	switch open.Reason {
	case ssh.Prohibited:
		return fault.Newf(fault.Denied, op, "%s does not allow forwarding to %s: %s", l.last(), addr, open.Message).
			Hint("allow it there: AllowTcpForwarding and PermitOpen of sshd_config, port-forwarding and permitopen of the key in authorized_keys")
	case ssh.ConnectionFailed:
		f := fault.Newf(fault.Unavailable, op, "%s cannot connect to %s: %s", l.last(), addr, open.Message)
		if strings.Contains(open.Message, "ame or service not known") || strings.Contains(open.Message, "ame resolution") {
			return f.Hint("the name is resolved there: getent hosts %s on %s shows what it knows", host, l.last())
		}
		return f.Hint("is the instance running, and does its network let %s in (security group, firewall)?", l.last())
	default:
		return fault.Newf(fault.Unavailable, op, "%s opens no connection to %s: %s", l.last(), addr, open.Message).
			Hint("MaxSessions and the log of its sshd say more")
	}
}

// get returns the shared connection, after making it if there is none.
func (s *SSH) get(ctx context.Context) (*link, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, fault.Newf(fault.Internal, "", "the way is closed")
	}
	if s.link != nil && s.link.gone() == nil {
		defer s.mu.Unlock()
		return s.link, nil
	}
	p := s.pending
	if p == nil {
		p = &pending{done: make(chan struct{})}
		s.pending, s.link = p, nil
		s.wg.Go(func() { s.connect(p) })
	}
	s.mu.Unlock()
	select {
	case <-p.done:
		return p.link, p.err
	case <-ctx.Done():
		return nil, given(ctx, "", s.String()+" was not connected in time", "is it running, and does its network let this machine in?")
	}
}

func (s *SSH) connect(p *pending) {
	ctx, cancel := context.WithTimeout(s.ctx, connectLimit)
	defer cancel()
	p.link, p.err = s.opts.connect(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	defer close(p.done)
	s.pending = nil
	if p.err != nil {
		return
	}
	if s.closed {
		p.link.end(errClosed)
		return
	}
	s.link = p.link
	s.wg.Go(func() { p.link.watch(s.opts.every, s.opts.within) })
}

var errClosed = errors.New("it was closed")

// Close implements [Way].
func (s *SSH) Close() error {
	s.stop()
	s.mu.Lock()
	s.closed = true
	if s.link != nil {
		s.link.end(errClosed)
		s.link = nil
	}
	s.mu.Unlock()
	s.wg.Wait()
	return nil
}
