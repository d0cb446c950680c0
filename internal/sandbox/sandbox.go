// Package sandbox is the local cloud: real PostgreSQL servers behind played RDS, Cloud SQL and secret manager APIs.
//
// [Up], [Down] and [Supervise] run it as a process of its own; [Start] runs it inside this one, for tests. What a customer of the
// clouds would have made there (instances, roles, databases, secrets, migrations and a dbops.yaml) is made by spec.go.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/containers"
	"dbops/internal/sandbox/cwapi"
	"dbops/internal/sandbox/ecsapi"
	"dbops/internal/sandbox/gcpapi"
	"dbops/internal/sandbox/play"
	"dbops/internal/sandbox/rdsapi"
	"dbops/internal/sandbox/runapi"
	"dbops/internal/sandbox/secretsapi/awssm"
	"dbops/internal/sandbox/world"
)

// Options say where a sandbox lives and how slow its clouds are.
type Options struct {
	Dir  string // absolute; reachable by the unprivileged user of the servers
	Pace play.Pace
	Rate float64 // transactions a second of each container; 0: a few, negative: none
	// Program is dbops, for the scripts of the folder. Defaults to this process's own.
	Program string
	Log     *slog.Logger // defaults to discarding
}

// Services are the names of the played services, for faults.
var Services = []string{"rds", "sts", "secretsmanager", "ecs", "cloudwatch", "cloudsql", "secretmanager", "run", "monitoring"}

// Status is what a running sandbox tells of itself.
type Status struct {
	Dir     string            `json:"dir"`
	Ready   bool              `json:"ready"`
	PID     int               `json:"pid"`
	Servers []ServerStatus    `json:"servers"`
	APIs    map[string]string `json:"apis"` // base URLs by cloud: aws, google
}

// ServerStatus is one server of the sandbox.
type ServerStatus struct {
	Environment string `json:"environment"`
	Instance    string `json:"instance"`
	Provider    string `json:"provider"`
	Version     string `json:"version"`
	Address     string `json:"address"`
}

// meta is what a sandbox remembers of itself.
type meta struct {
	AWS    string `json:"aws"`    // host:port of the played AWS
	Google string `json:"google"` // host:port of the played Google Cloud
}

// Sandbox is a running local cloud.
type Sandbox struct {
	opts   Options
	meta   meta
	faults *play.Faults

	passwords *passwords
	world     *world.World
	keys      *awsid.Keys
	rds       *rdsapi.API
	ecs       *ecsapi.API
	google    *gcpapi.Server
	run       *runapi.Server
	http      []*http.Server
	// containers are made by start and not changed after.
	containers []*containers.Container
	serving    sync.WaitGroup

	mu      sync.Mutex
	servers map[string]*world.Server // by environment/instance
}

// Start brings everything up and returns when all of it is ready and the files of the folder are written. One that crashed comes
// back with its data and its ports. The caller closes it.
func Start(ctx context.Context, o Options) (*Sandbox, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Sandbox{opts: o, faults: &play.Faults{}, servers: map[string]*world.Server{}}
	if err := s.start(ctx); err != nil {
		return nil, fmt.Errorf("start the sandbox in %s: %w", o.Dir, errors.Join(err, s.Close()))
	}
	return s, nil
}

func (s *Sandbox) start(ctx context.Context) error {
	dir := s.opts.Dir
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // the servers' user passes through
		return err
	}
	if _, err := play.Load(dir, markerFile, &s.meta); err != nil {
		return err
	}
	var err error
	if s.passwords, err = openPasswords(dir); err != nil {
		return err
	}
	if s.world, err = world.Open(ctx, world.Options{Dir: filepath.Join(dir, worldDir), Log: s.opts.Log}); err != nil {
		return err
	}
	if err := s.startAWS(ctx); err != nil {
		return err
	}
	if err := s.startGoogle(ctx); err != nil {
		return err
	}
	if err := play.Save(dir, markerFile, s.meta); err != nil {
		return err
	}
	var g errgroup.Group
	for _, i := range instances {
		g.Go(func() error { return s.furnish(ctx, i) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := s.writeGoogleKeys(); err != nil {
		return err
	}
	if err := s.fillSecrets(ctx); err != nil {
		return err
	}
	if err := s.startContainers(ctx); err != nil {
		return err
	}
	return s.writeFiles()
}

func (s *Sandbox) startAWS(ctx context.Context) error {
	dir := filepath.Join(s.opts.Dir, "aws")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var err error
	s.keys, err = awsid.Open(awsid.Config{Account: account, Region: awsRegion, Dir: dir, Principals: append([]awsid.Principal{
		{Name: "user/dbops", Allow: awsid.Actions("*")},
		{Name: "user/alice", Allow: awsid.Actions("*")},
	}, taskPrincipals()...)})
	if err != nil {
		return err
	}
	secrets, err := awssm.New(awssm.Config{Keys: s.keys, Dir: dir, Faults: s.faults, Log: s.opts.Log})
	if err != nil {
		return err
	}
	s.rds, err = rdsapi.New(ctx, rdsapi.Config{
		World: s.world, Keys: s.keys, Dir: dir, Pace: s.opts.Pace, Faults: s.faults, Log: s.opts.Log,
	})
	if err != nil {
		return err
	}
	s.ecs, err = ecsapi.New(ctx, ecsapi.Config{Keys: s.keys, Dir: dir, Pace: s.opts.Pace, Faults: s.faults, Log: s.opts.Log})
	if err != nil {
		return err
	}
	watch := cwapi.New(cwapi.Config{
		Keys: s.keys, Series: map[string]cwapi.Series{rdsapi.MetricNamespace: s.rds.Metric}, Faults: s.faults, Log: s.opts.Log,
	})
	return s.serve(ctx, &s.meta.AWS, awsid.Front(map[string]http.Handler{
		"rds": s.rds, "sts": s.keys.STS(s.faults), "secretsmanager": secrets, "ecs": s.ecs, cwapi.Scope: watch,
	}))
}

func (s *Sandbox) startGoogle(ctx context.Context) error {
	var err error
	s.google, err = gcpapi.New(ctx, gcpapi.Config{
		World: s.world, Dir: filepath.Join(s.opts.Dir, "google"), Projects: projects,
		Pace: s.opts.Pace, Faults: s.faults, Log: s.opts.Log,
	})
	if err != nil {
		return err
	}
	for _, who := range []string{robot, alice} {
		if err := s.google.Identity().Grant(who, "roles/owner"); err != nil {
			return err
		}
	}
	s.run, err = runapi.New(ctx, runapi.Options{
		Dir: filepath.Join(s.opts.Dir, "google"), Identity: s.google.Identity(), Projects: projects,
		Pace: s.opts.Pace, Faults: s.faults, Log: s.opts.Log,
	})
	if err != nil {
		return err
	}
	return s.serve(ctx, &s.meta.Google, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.run.Serves(r.URL.Path) {
			s.run.ServeHTTP(w, r)
			return
		}
		s.google.ServeHTTP(w, r)
	}))
}

// serve opens the port in addr, or a free one that is kept in it.
func (s *Sandbox) serve(ctx context.Context, addr *string, h http.Handler) error {
	want := *addr
	if want == "" {
		want = "127.0.0.1:0"
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", want)
	if err != nil {
		return err
	}
	*addr = ln.Addr().String()
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(s.opts.Log.Handler(), slog.LevelDebug)}
	s.http = append(s.http, srv)
	s.serving.Go(func() {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			s.opts.Log.Error("an API stopped", "address", ln.Addr(), "error", err)
		}
	})
	return nil
}

// Faults are the failures that the played clouds were asked for.
func (s *Sandbox) Faults() *play.Faults { return s.faults }

// Asked lists the permissions of both clouds that dbops and alice were asked for since the last [Sandbox.ForgetAsked].
func (s *Sandbox) Asked() []string {
	return append(s.keys.Asked().Of("user/dbops", "user/alice"), s.google.Identity().Asked().Of(robot, alice)...)
}

// ForgetAsked begins anew.
func (s *Sandbox) ForgetAsked() {
	s.keys.Asked().Forget()
	s.google.Identity().Asked().Forget()
}

// Server is the real server behind an instance, by the names of dbops.yaml; nil if there is none.
func (s *Sandbox) Server(env, name string) *world.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.servers[env+"/"+name]
}

// Status tells what runs.
func (s *Sandbox) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Status{
		Dir: s.opts.Dir, Ready: true, PID: os.Getpid(),
		APIs: map[string]string{"aws": "http://" + s.meta.AWS, "google": "http://" + s.meta.Google},
	}
	for _, i := range instances { // in the order of the spec
		if srv := s.servers[i.env+"/"+i.name]; srv != nil {
			out.Servers = append(out.Servers, ServerStatus{
				Environment: i.env, Instance: i.name, Provider: i.provider, Version: srv.Version(), Address: srv.Addr(),
			})
		}
	}
	return out
}

// Close stops everything and waits for it. Data stays.
func (s *Sandbox) Close() error {
	var errs []error
	if s.ecs != nil {
		s.ecs.Close()
	}
	if s.run != nil {
		s.run.Close()
	}
	for _, c := range s.containers {
		c.Close()
	}
	for _, srv := range s.http {
		errs = append(errs, srv.Close())
	}
	s.serving.Wait()
	if s.rds != nil {
		s.rds.Close()
	}
	if s.google != nil {
		errs = append(errs, s.google.Close())
	}
	if s.world != nil {
		errs = append(errs, s.world.Close())
	}
	return errors.Join(errs...)
}
