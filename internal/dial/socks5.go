package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/net/proxy"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/secret"
)

// SOCKS5Options say which proxy.
type SOCKS5Options struct {
	Address string // host:port
	User    string // empty: nobody logs in
	// Password is asked for with each connection. Nil without a user.
	Password func(context.Context) (secret.Value, error)
}

// SOCKS5 is the way through a SOCKS proxy of version 5, which resolves the names. Nothing is shared: each connection is one to the proxy.
type SOCKS5 struct{ opts SOCKS5Options }

// NewSOCKS5 returns a way that has contacted nobody yet.
func NewSOCKS5(o SOCKS5Options) *SOCKS5 { return &SOCKS5{o} }

// String names the proxy for messages.
func (s *SOCKS5) String() string { return "socks5 " + s.opts.Address }

// Close implements [Way]. There is nothing to end.
func (s *SOCKS5) Close() error { return nil }

// Dial implements [Way].
func (s *SOCKS5) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	op := "reach " + addr + " via " + s.String()
	var login *proxy.Auth
	if s.opts.User != "" {
		password, err := s.opts.Password(ctx)
		if err != nil {
			return nil, fault.New(fault.KindOf(err), op, fmt.Errorf("the password of %s at the proxy: %w", s.opts.User, err)).Hint("%s", hintOr(err, "check secret of socks5"))
		}
		login = &proxy.Auth{User: s.opts.User, Password: password.Reveal()}
	}
	below := &firstHop{}
	d, err := proxy.SOCKS5(network, s.opts.Address, login, below)
	if err != nil {
		return nil, fault.New(fault.Internal, op, err)
	}
	cd, ok := d.(proxy.ContextDialer)
	if !ok {
		return nil, fault.Newf(fault.Internal, op, "a %T takes no context", d)
	}
	if _, err := cd.DialContext(ctx, network, addr); err != nil {
		if below.conn != nil {
			_ = below.conn.Close()
		}
		return nil, s.explain(ctx, op, addr, below, err)
	}
	return &through{TCPConn: below.conn, to: place(addr)}, nil
}

func hintOr(err error, fallback string) string {
	if h := fault.HintOf(err); h != "" {
		return h
	}
	return fallback
}

// firstHop dials the proxy itself, and keeps the connection and the error, which the library wraps.
type firstHop struct {
	conn *net.TCPConn
	err  error
}

// Dial is for a library that prefers DialContext.
func (f *firstHop) Dial(network, addr string) (net.Conn, error) {
	return f.DialContext(context.Background(), network, addr)
}

// DialContext implements [proxy.ContextDialer].
func (f *firstHop) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := direct().DialContext(ctx, network, addr)
	if err != nil {
		f.err = err
		return nil, err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		f.err = errors.Join(fmt.Errorf("the connection to the proxy is a %T", conn), conn.Close())
		return nil, f.err
	}
	f.conn = tcp
	return tcp, nil
}

// explain says whether it was the proxy, the login there, or the instance behind it.
func (s *SOCKS5) explain(ctx context.Context, op, addr string, below *firstHop, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fault.New(fault.Interrupted, op, ctx.Err())
	}
	if below.err != nil {
		_, why := cloud.Unreached(below.err)
		if why == "" {
			why = below.err.Error()
		}
		return fault.New(fault.Unavailable, op, cloud.Because("the proxy is not reached: "+why, below.err)).
			Hint("is the proxy running, and is address of socks5 right?")
	}
	text := err.Error()
	if _, cause, ok := strings.Cut(text, "->"); ok { // "socks connect tcp PROXY->ADDR: why"
		if _, why, ok := strings.Cut(cause, ": "); ok {
			text = why
		}
	}
	text = strings.TrimPrefix(text, "unknown error ")
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(text, w) {
				return true
			}
		}
		return false
	}
	switch {
	case has("username/password", "authentication method", "invalid username"):
		f := fault.Newf(fault.Denied, op, "the proxy did not let this login in: %s", text)
		if s.opts.User == "" {
			return f.Hint("it wants a login: write user and secret of socks5")
		}
		return f.Hint("check user and secret of socks5")
	case has("not allowed by ruleset"):
		return fault.Newf(fault.Denied, op, "the proxy may not connect to %s (%s)", addr, text).Hint("its rules have to allow it")
	case has("general SOCKS server failure", "unreachable", "refused", "TTL expired"):
		return fault.Newf(fault.Unavailable, op, "the proxy cannot connect to %s: %s", addr, text).
			Hint("is the instance running, and does its network let the proxy in? The name is resolved there")
	case errors.Is(ctx.Err(), context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded): // the connection's deadline is ctx's, and may fire first
		return fault.New(fault.Unavailable, op, &timeout{"the proxy opened no connection to " + addr + " in time"}).
			Hint("is the instance running, and does its network let the proxy in?")
	case has("EOF", "unexpected protocol version", "connection reset"):
		return fault.Newf(fault.Unavailable, op, "the proxy did not answer as one: %s", text).Hint("is it a SOCKS5 proxy that listens at %s?", s.opts.Address)
	}
	return fault.New(fault.Unavailable, op, cloud.Because(text, err))
}
