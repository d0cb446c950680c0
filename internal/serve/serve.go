// Package serve lets people use the terminal UI over SSH.
//
// It knows keys, people, limits and terminals, and nothing of databases: what a session shows is up to [Options]. Only a key logs in; all
// that a session may ask for is a terminal. Everything else that SSH can do (commands, files, forwarding, agents) is refused.
package serve

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"dbops/internal/fault"
)

// Person is whose key logged in. It must be comparable: one who is not the same any more is sent away.
type Person struct {
	Name string
	May  string // what they may do, for the log
	Key  string // fingerprint
}

// Size is how many cells a terminal has.
type Size struct{ W, H int }

// Session is a person at a terminal.
type Session struct {
	Person Person
	From   string   // address
	Env    []string // of the terminal: TERM, LANG
	In     *Keys
	Out    ssh.Channel
	Size   Size
	Sizes  <-chan Size
}

// Options say who may log in, and what they see. Zero values mean what is written beside them.
type Options struct {
	HostKey ssh.Signer
	// Who says whose key it is: a fault.Denied if it is nobody's, another fault if that cannot be found out now. It is asked again and again.
	Who func(key ssh.PublicKey) (Person, error)
	// Show shows a session what it came for until the person leaves or ctx ends, whose cause says why. An error is shown to the person.
	Show func(ctx context.Context, s *Session) error
	// Note is told when a session has opened, and when it is over, with what is known of it. It may take its time.
	Note func(ctx context.Context, p Person, step, text string)
	Log  *slog.Logger

	Sessions  int           // at once. Defaults to 20
	PerPerson int           // of those. Defaults to 4
	Logins    int           // connections at once that have not logged in. Defaults to 10
	LoginTime time.Duration // to log in and to ask for a terminal. Defaults to 30s
	Idle      time.Duration // without a key pressed. Defaults to an hour
	Silence   time.Duration // of the other end, whatever it is asked. Defaults to 90s
	Recheck   time.Duration // how often the keys of open sessions are looked at again. Defaults to 5s
	Grace     time.Duration // for a session to end by itself. Defaults to 3s
}

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		of *int
		to int
	}{{&o.Sessions, 20}, {&o.PerPerson, 4}, {&o.Logins, 10}} {
		if *d.of <= 0 {
			*d.of = d.to
		}
	}
	for _, d := range []struct {
		of *time.Duration
		to time.Duration
	}{
		{&o.LoginTime, 30 * time.Second},
		{&o.Idle, time.Hour},
		{&o.Silence, 90 * time.Second},
		{&o.Recheck, 5 * time.Second},
		{&o.Grace, 3 * time.Second},
	} {
		if *d.of <= 0 {
			*d.of = d.to
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Note == nil {
		o.Note = func(context.Context, Person, string, string) {}
	}
	return o
}

// Server is made by [New].
type Server struct {
	o      Options
	config *ssh.ServerConfig
	logins chan struct{}
	wg     sync.WaitGroup

	mu    sync.Mutex
	open  int
	perBy map[string]int
}

// New returns a server that has to be told where to listen.
func New(o Options) *Server {
	o = o.withDefaults()
	s := &Server{o: o, logins: make(chan struct{}, o.Logins), perBy: map[string]int{}}
	s.config = s.login()
	return s
}

// ErrStopped is why sessions end when the server does.
var ErrStopped = errors.New("the server is being stopped; what runs goes on, log in again later")

// Serve takes connections from l until ctx ends. Then it tells the sessions, and returns when the last is closed.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	people, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer s.wg.Wait()
	defer stop(ErrStopped)
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	for pause := time.Duration(0); ; {
		c, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			s.wg.Go(func() { s.serve(people, c) })
			continue
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fault.New(fault.Internal, "take connections", err)
		}
		pause = min(2*pause+10*time.Millisecond, time.Second) // such as too many open files
		s.o.Log.Error("a connection was not taken", "err", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// admit finds room for one more session of somebody, and returns what gives it back.
func (s *Server) admit(p Person) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	const what = "open a session"
	switch {
	case s.open >= s.o.Sessions:
		return nil, fault.Newf(fault.Busy, what, "there are %d sessions already, and no room for more", s.open).Hint("try again later")
	case s.perBy[p.Name] >= s.o.PerPerson:
		return nil, fault.Newf(fault.Busy, what, "%s has %d sessions already", p.Name, s.perBy[p.Name]).Hint("close one of them")
	}
	s.open++
	s.perBy[p.Name]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.open--
		if s.perBy[p.Name]--; s.perBy[p.Name] == 0 {
			delete(s.perBy, p.Name)
		}
	}, nil
}
