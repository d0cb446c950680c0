package containers

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// queryTimeout is when a client gives a transaction up.
const queryTimeout = 10 * time.Second

// task is one generation of a container: the credential that it read as it started, and the sessions that it has opened with it.
type task struct {
	container *Container
	cred      *Credential
	version   string
	sessions  []*session
	draining  chan struct{}
	wg        sync.WaitGroup
}

func newTask(c *Container, cred *Credential, version string) *task {
	t := &task{container: c, cred: cred, version: version, draining: make(chan struct{})}
	for name, place := range cred.Databases {
		load, ok := c.spec.Load[name]
		if !ok {
			load = Load{Read: "SELECT $1::int"}
		}
		for range c.spec.Sessions {
			t.sessions = append(t.sessions, &session{task: t, place: place, load: load})
		}
	}
	return t
}

// open opens every session and tries it; on an error none is left.
func (t *task) open(ctx context.Context) error {
	var g errgroup.Group
	for _, s := range t.sessions {
		g.Go(func() error {
			if err := s.connect(ctx); err != nil {
				return err
			}
			_, err := s.conn.Exec(ctx, s.load.Read, 1)
			return err
		})
	}
	err := g.Wait()
	if err != nil {
		t.close(ctx)
		return errors.New("it cannot use its database: " + describe(err).String())
	}
	return nil
}

// serve makes the task the container's, and lets its sessions work until they are drained or the container is closed.
func (t *task) serve() error {
	c := t.container
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil { // nobody would wait for them
		return c.ctx.Err()
	}
	for _, s := range t.sessions {
		t.wg.Add(1)
		c.wg.Go(func() {
			defer t.wg.Done()
			s.work()
		})
	}
	c.task = t
	return nil
}

// close closes the sessions of a task that does not serve.
func (t *task) close(ctx context.Context) {
	for _, s := range t.sessions {
		s.close(ctx)
	}
}

// drain lets every session finish what it does, closes them and waits for that.
func (t *task) drain() {
	close(t.draining)
	t.wg.Wait()
}

// session is one connection of a pool, which is made anew when it is lost or old.
type session struct {
	task  *task
	place Place
	load  Load
	conn  *pgx.Conn
	until time.Time // a bit sooner or later than the others, so that not all log in again at once
}

func (s *session) work() {
	c := s.task.container
	defer s.close(c.ctx)
	for s.wait() {
		c.count(s.transact(c.ctx))
	}
}

// wait returns when the next transaction is due; false means that there is none.
func (s *session) wait() bool {
	c := s.task.container
	for {
		rate, _, repaced := c.pace()
		var due <-chan time.Time
		if rate > 0 {
			every := float64(len(s.task.sessions)) / rate * (0.8 + 0.4*rand.Float64())
			due = time.After(time.Duration(every * float64(time.Second)))
		}
		select {
		case <-s.task.draining:
			return false
		case <-c.ctx.Done():
			return false
		case <-repaced:
		case <-due:
			return true
		}
	}
}

// transact runs one short transaction, on a new session if the old one is lost or has been open for long.
func (s *session) transact(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	if s.conn != nil && (s.conn.IsClosed() || time.Now().After(s.until)) {
		s.close(ctx)
	}
	if s.conn == nil {
		if err := s.connect(ctx); err != nil {
			return err
		}
	}
	_, resting, _ := s.task.container.pace()
	n := 1 + rand.IntN(1000)
	return pgx.BeginFunc(ctx, s.conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, s.load.Read, n); err != nil {
			return err
		}
		if s.load.Write == "" || resting {
			return nil
		}
		_, err := tx.Exec(ctx, s.load.Write, n)
		return err
	})
}

func (s *session) connect(ctx context.Context) error {
	c, cred := s.task.container, s.task.cred
	port, err := s.place.port()
	if err != nil {
		return err
	}
	// Every key that would come from the environment or the home folder is pinned.
	cfg, err := pgx.ParseConfig("host=127.0.0.1 port=1 user=x dbname=x password='' passfile='' sslmode=disable sslcert='' sslkey='' " +
		"sslrootcert='' sslpassword='' sslcertmode=allow sslsni=0 sslnegotiation=postgres channel_binding=prefer require_auth='' " +
		"target_session_attrs=any min_protocol_version=3.0 max_protocol_version=3.0 connect_timeout=10")
	if err != nil {
		return err
	}
	if cfg.TLSConfig, err = c.spec.Trust(cred.SSLMode, s.place.Host); err != nil {
		return err
	}
	cfg.Host, cfg.Port, cfg.Database, cfg.Fallbacks = s.place.Host, port, s.place.DBName, nil
	cfg.User, cfg.Password = cred.Username, cred.Password.Reveal()
	cfg.RuntimeParams = map[string]string{"application_name": c.spec.Name}
	cfg.DialFunc = (&net.Dialer{}).DialContext
	// A schema that changes under a session must not fail its statements.
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	if s.conn, err = pgx.ConnectConfig(ctx, cfg); err != nil {
		s.conn = nil
		return err
	}
	s.until = time.Now().Add(time.Duration(float64(c.opts.Lifetime) * (0.75 + rand.Float64()/2)))
	c.note(func(st *state) { st.sessions[cred.Username]++ })
	return nil
}

func (s *session) close(ctx context.Context) {
	if s.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = s.conn.Close(ctx) // it may be lost already
	s.conn = nil
	s.task.container.note(func(st *state) {
		if st.sessions[s.task.cred.Username]--; st.sessions[s.task.cred.Username] == 0 {
			delete(st.sessions, s.task.cred.Username)
		}
	})
}
