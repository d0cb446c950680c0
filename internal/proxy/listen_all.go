package proxy

import (
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"

	"dbops/internal/fault"
)

// Listeners is several listeners as one: clients may come by TCP and by a socket. Its address is the first one's. An error of one to
// accept is everybody's.
func Listeners(all ...net.Listener) net.Listener {
	if len(all) == 1 {
		return all[0]
	}
	l := &manyListeners{all: all, got: make(chan accepted), gone: make(chan struct{})}
	for _, ln := range all {
		l.wg.Go(func() { l.acceptFrom(ln) })
	}
	return l
}

type accepted struct {
	conn net.Conn
	err  error
}

type manyListeners struct {
	all  []net.Listener
	got  chan accepted
	gone chan struct{}
	once sync.Once
	wg   sync.WaitGroup
	err  error
}

func (l *manyListeners) acceptFrom(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		select {
		case l.got <- accepted{conn, err}: // whoever accepts pauses after an error, and so do we
		case <-l.gone:
			if conn != nil {
				_ = conn.Close()
			}
			return
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
	}
}

func (l *manyListeners) Accept() (net.Conn, error) {
	select {
	case a := <-l.got:
		return a.conn, a.err
	case <-l.gone:
		return nil, net.ErrClosed
	}
}

func (l *manyListeners) Addr() net.Addr { return l.all[0].Addr() }

func (l *manyListeners) Close() error {
	l.once.Do(func() {
		close(l.gone)
		var errs []error
		for _, ln := range l.all {
			errs = append(errs, ln.Close())
		}
		l.wg.Wait()
		l.err = errors.Join(errs...)
	})
	return l.err
}

// Given checks a listener that another process opened and handed over, such as systemd: as with [Listen] and [ListenUnix], nobody but this
// machine may reach it, and a socket must be this user's alone. Otherwise it is fault.Usage.
func Given(ln net.Listener) error {
	addr := ln.Addr()
	op := "use the socket " + addr.String() + " that was handed over"
	switch addr.Network() {
	case "tcp":
		if at, parseErr := netip.ParseAddrPort(addr.String()); parseErr != nil || !at.Addr().Unmap().IsLoopback() {
			return fault.Newf(fault.Usage, op, "the proxy serves this machine only: whoever reaches its port can try passwords against it").
				Hint("write ListenStream=127.0.0.1:PORT, or a path, in the socket unit")
		}
	case "unix":
		path := addr.String()
		info, statErr := os.Lstat(path)
		switch {
		case strings.HasPrefix(path, "@") || path == "" || statErr != nil:
			return fault.Newf(fault.Usage, op, "it has no place in the file system, so it cannot be kept from others").
				Hint("write ListenStream= with a path in the socket unit")
		case info.Mode()&fs.ModePerm&0o077 != 0:
			return fault.Newf(fault.Usage, op, "others may connect to it: its mode is %#o", info.Mode().Perm()).
				Hint("write SocketMode=0600 in the socket unit")
		}
	default:
		return fault.Newf(fault.Usage, op, "it is of kind %s: want TCP or a stream socket", addr.Network())
	}
	return nil
}
