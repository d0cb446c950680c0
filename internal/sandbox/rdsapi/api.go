// Package rdsapi plays the management API of Amazon RDS for PostgreSQL over the real servers of a world.
//
// Requests and answers are the types of the AWS SDK; a handler says which fields of a request it honours, and a request that
// sets another is refused, never ignored. A change is a list of steps that one goroutine per instance takes at the pace of
// the sandbox: the status shows the step, its deed is done to the real server, its event is recorded.
package rdsapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/meter"
	"dbops/internal/sandbox/play"
	"dbops/internal/sandbox/world"
)

// Config is what an [API] stands on.
type Config struct {
	World *world.World
	Keys  *awsid.Keys // also says account and region
	// Dir is where instances, snapshots, events and certificate authorities are kept.
	Dir    string
	Pace   play.Pace
	Faults *play.Faults // service "rds"; nil: none
	Limits *play.Limits // of the account; nil: none
	// Listen is the address, without port, on which new instances listen. Defaults to 127.0.0.1.
	Listen string
	// Versions are the full versions of the majors that can be created. Defaults to [DefaultVersions].
	Versions map[int]string
	// RestartToRotate are the majors whose servers restart for a certificate of another authority. Defaults to none.
	RestartToRotate []int

	Log *slog.Logger     // defaults to discarding
	Now func() time.Time // defaults to time.Now
}

// API is the played management API. Close waits for its transitions; those that it interrupts go on when it is made again.
type API struct {
	world    *world.World
	keys     *awsid.Keys
	dir      string
	region   string
	pace     play.Pace
	faults   *play.Faults
	limits   *play.Limits
	listen   string
	versions map[int]string
	log      *slog.Logger
	now      func() time.Time
	restarts []int // majors: see Config.RestartToRotate
	ops      map[string]operation
	cas      []authority
	meter    *meter.Meter

	life context.Context // of the goroutines that take the steps
	end  context.CancelFunc
	wg   sync.WaitGroup

	mu    sync.Mutex
	state state
}

// New brings back the instances of cfg.Dir, starts their servers, and goes on with what was interrupted. Closing the world is
// the caller's task, after [API.Close].
func New(ctx context.Context, cfg Config) (*API, error) {
	a := &API{
		world: cfg.World, keys: cfg.Keys, dir: cfg.Dir, region: cfg.Keys.Region(), pace: cfg.Pace, faults: cfg.Faults, limits: cfg.Limits,
		listen: cfg.Listen, versions: cfg.Versions, log: cfg.Log, now: cfg.Now, restarts: cfg.RestartToRotate,
	}
	if a.faults == nil {
		a.faults = &play.Faults{}
	}
	if a.listen == "" {
		a.listen = "127.0.0.1"
	}
	if a.versions == nil {
		a.versions = DefaultVersions()
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if a.now == nil {
		a.now = time.Now
	}
	a.ops = a.operations()
	a.meter = meter.New(metricDelay, a.now)
	var err error
	if a.cas, err = openAuthorities(cfg.Dir, a.region); err != nil {
		return nil, fmt.Errorf("open the played RDS: %w", err)
	}
	if err := a.state.load(cfg.Dir); err != nil {
		return nil, fmt.Errorf("open the played RDS: %w", err)
	}
	if err := a.revive(ctx); err != nil {
		return nil, fmt.Errorf("bring back the instances of the played RDS: %w", err)
	}
	a.life, a.end = context.WithCancel(context.WithoutCancel(ctx))
	a.wg.Go(a.keepWindows)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, in := range a.state.Instances {
		if in.Work != nil {
			a.wg.Go(func() { a.run(in) })
		}
	}
	return a, nil
}

// Close stops the transitions and waits for them. Nobody may call ServeHTTP any more.
func (a *API) Close() {
	a.end()
	a.wg.Wait()
}

// CABundle is the PEM of every certificate authority of the played RDS, for clients to trust.
func (a *API) CABundle() []byte {
	pems := make([][]byte, 0, len(a.cas))
	for _, ca := range a.cas {
		pems = append(pems, ca.CA.CertPEM)
	}
	return bytes.Join(pems, nil)
}

// Server returns the real server of an instance, nil if there is none.
func (a *API) Server(identifier string) *world.Server {
	a.mu.Lock()
	defer a.mu.Unlock()
	in, ok := a.state.Instances[identifier]
	if !ok {
		return nil
	}
	return a.world.Server(in.ServerID)
}

// revive starts the servers of the instances that have one.
func (a *API) revive(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for id, in := range a.state.Instances {
		if in.Work == nil && in.status() == "creating" { // a seed that was interrupted
			if err := a.world.Remove(ctx, in.ServerID); err != nil {
				return err
			}
			delete(a.state.Instances, id)
			continue
		}
		if !in.Made {
			continue
		}
		g.Go(func() error {
			cert, err := in.Leaf.pair()
			if err != nil {
				return fmt.Errorf("%s: %w", in.id(), err)
			}
			s, err := a.world.Create(ctx, a.spec(in), cert)
			if err != nil {
				return fmt.Errorf("%s: %w", in.id(), err)
			}
			a.guard(in, s)
			if in.status() == "stopped" {
				if err := s.Stop(ctx); err != nil {
					return fmt.Errorf("%s: %w", in.id(), err)
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// spec is what the real server of in is to be. The caller does not hold the lock.
func (a *API) spec(in *instance) world.Spec {
	return world.Spec{
		ID: in.ServerID, Major: in.Major, Master: value(in.DB.MasterUsername), SuperGroup: "rds_superuser", IAMGroup: "rds_iam",
		Listen: in.Listen, Settings: a.settings(in),
	}
}

// guard makes s ask the API about IAM logins.
func (a *API) guard(in *instance, s *world.Server) {
	s.SetTokenCheck(func(role, token string) error {
		a.mu.Lock()
		on := value(in.DB.IAMDatabaseAuthenticationEnabled)
		login := awsid.Login{Endpoint: in.endpoint(), Role: role, ResourceID: value(in.DB.DbiResourceId)}
		a.mu.Unlock()
		if !on {
			return errors.New("IAM database authentication is not enabled on " + in.id())
		}
		return a.keys.CheckToken(login, token)
	})
}
