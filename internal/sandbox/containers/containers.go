// Package containers is the customers of the sandbox's databases: deployed processes that hold sessions and keep working.
//
// A [Container] reads the credential that was delivered to it as it starts, and only then, through the same API as a real one would. Its
// [Container.Rollout] is a rolling deployment: new sessions are open before the old ones finish their work and close, so that no query
// fails. They are goroutines and not processes: nine programs of dbops's size would cost more than all the servers.
package containers

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"dbops/internal/secret"
)

// Spec says what a container is.
type Spec struct {
	Environment, Name string
	Platform          string // what it runs on, for people: ecs, cloud_run, command
	Source            Source
	Trust             Trust
	Load              map[string]Load // by database; one that is not named gets SELECT 1
	Sessions          int             // for each database; default 2
}

// Source reads the credential as it is delivered now, and tells which version that is.
type Source func(ctx context.Context) (text secret.Value, version string, err error)

// Trust makes the TLS configuration for a server by the words of libpq: verify-full or verify-ca.
type Trust func(sslmode, host string) (*tls.Config, error)

// Load is one transaction: statements with one parameter, a number from 1 to 1000. What they write leaves every row as it is, so that
// copies of the database can still be compared.
type Load struct {
	Read  string
	Write string // empty: it may only read
}

// Options are the same for all containers.
type Options struct {
	Rate     float64       // transactions a second, until somebody sets another. 0: [DefaultRate]; negative: none
	Lifetime time.Duration // of a session, after which it logs in again, as pools do. Default: a minute
	Rest     time.Duration // after which a container that nobody minds only reads, and rarely. Default: 15 minutes
	Log      *slog.Logger
}

// DefaultRate is two or three queries a second, which no machine feels.
const DefaultRate = 1

const (
	restRate     = 0.2              // of a container that nobody minds
	startTimeout = 30 * time.Second // within which a task must be ready
	maxErrors    = 5                // that are kept
)

// Container is one deployed process. Its methods may be called from any goroutine.
type Container struct {
	spec Spec
	opts Options

	ctx     context.Context //nolint:containedctx // ends with Close
	stop    context.CancelFunc
	wg      sync.WaitGroup
	turn    chan struct{} // held by the one deployment that is under way
	started chan struct{} // closed after the first try

	mu       sync.Mutex
	task     *task
	state    state
	repaced  chan struct{} // closed when the pace changes
	rate     float64
	explicit bool // somebody set the rate: it does not rest
	minded   time.Time
}

// Start starts a container and goes on trying until its first task runs. The caller closes it.
func Start(ctx context.Context, spec Spec, o Options) *Container {
	if o.Rate == 0 {
		o.Rate = DefaultRate
	}
	if o.Lifetime <= 0 {
		o.Lifetime = time.Minute
	}
	if o.Rest <= 0 {
		o.Rest = 15 * time.Minute
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if spec.Sessions <= 0 {
		spec.Sessions = 2
	}
	c := &Container{
		spec: spec, opts: o, turn: make(chan struct{}, 1), started: make(chan struct{}), repaced: make(chan struct{}),
		rate: max(o.Rate, 0), explicit: o.Rate < 0, minded: time.Now(),
	}
	c.state.sessions, c.state.errors = map[string]int{}, []Failure{}
	c.ctx, c.stop = context.WithCancel(context.WithoutCancel(ctx))
	c.wg.Go(c.bringUp)
	return c
}

// ID is the environment and the name: prod/shop-api.
func (c *Container) ID() string { return c.spec.Environment + "/" + c.spec.Name }

// Started waits until the first task runs or could not be started.
func (c *Container) Started(ctx context.Context) error {
	select {
	case <-c.started:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends all sessions, in the middle of their work, and waits for them.
func (c *Container) Close() {
	c.mu.Lock()
	c.stop()
	c.mu.Unlock()
	c.wg.Wait()
}

// bringUp starts the first task. Like a platform it tries again and again, ever more slowly.
func (c *Container) bringUp() {
	var once sync.Once
	defer once.Do(func() { close(c.started) })
	for pause := 500 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		done := c.deploy(c.ctx, func() error {
			if c.current() != nil {
				return nil // a deployment was faster
			}
			return c.replace(c.ctx)
		})
		once.Do(func() { close(c.started) })
		if done == nil {
			return
		}
		c.opts.Log.Warn("a container cannot start", "container", c.ID(), "error", done)
		select {
		case <-time.After(pause):
		case <-c.ctx.Done():
			return
		}
	}
}

// Rollout replaces the task by one that reads the credential anew, and returns when that serves and the old one has ended. If the new
// one cannot start, the old one goes on and the error says why. One deployment goes on at a time; others wait.
func (c *Container) Rollout(ctx context.Context) error {
	c.Mind()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)() //nolint:contextcheck // the container ends its deployments, too
	err := c.deploy(ctx, func() error { return c.replace(ctx) })
	if err != nil {
		return fmt.Errorf("roll out %s: %w", c.ID(), err)
	}
	return nil
}

// deploy runs f as the only deployment and notes what came of it.
func (c *Container) deploy(ctx context.Context, f func() error) error {
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-c.turn }()
	c.note(func(s *state) { s.deploying = true })
	err := f()
	c.note(func(s *state) {
		s.deploying = false
		s.deployments++
		s.lastDeployment = ""
		if err != nil {
			s.failedDeployments++
			s.lastDeployment = err.Error()
		}
	})
	return err
}

// replace starts a task, lets it take over, and waits for the old one to finish.
func (c *Container) replace(ctx context.Context) error {
	trouble := c.trouble()
	if trouble.Slow > 0 {
		select {
		case <-time.After(trouble.Slow):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if trouble.Fail != 0 {
		return errors.New("the task ended with exit code 1 before it was ready")
	}
	old := c.current()
	ready, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	cred, version, err := c.credential(ready, old, trouble.Stick)
	if err != nil {
		return err
	}
	t := newTask(c, cred, version)
	if err := t.open(ready); err != nil {
		return err
	}
	if err := t.serve(); err != nil {
		t.close(ctx)
		return err
	}
	if old != nil {
		old.drain()
	}
	return nil
}

// credential reads what the new task works with.
func (c *Container) credential(ctx context.Context, old *task, stick bool) (*Credential, string, error) {
	if stick && old != nil {
		return old.cred, old.version, nil
	}
	text, version, err := c.spec.Source(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("read its credential: %w", err)
	}
	cred, err := ParseCredential(text)
	if err != nil {
		return nil, "", fmt.Errorf("read its credential, version %s: %w", version, err)
	}
	return cred, version, nil
}

func (c *Container) current() *task {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.task
}
