// Package app wires configuration, providers, dialers and the proxy together, once, for every face.
//
// A face (the CLI, the terminal UI) parses what a person asked, calls one method of [App], and shows the result. App makes
// nothing before it is needed: no cloud client is built for a command that does not talk to that cloud.
package app

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"

	"dbops/internal/cloud"
	"dbops/internal/config"
	"dbops/internal/dial"
	"dbops/internal/live"
	"dbops/internal/op"
	"dbops/internal/secret"
)

// Options are what an [App] needs besides the configuration.
type Options struct {
	Version string              // for user agents
	Log     *slog.Logger        // defaults to discarding
	Getenv  func(string) string // defaults to os.Getenv
	// RuntimeDir is where open proxies are listed for other commands of the same user. Defaults to [DefaultRuntimeDir].
	RuntimeDir string
	// StateDir is where this user's own state, audit key and witness are. Defaults to [DefaultStateDir].
	StateDir string
	// Notice is told what whoever runs a command should know besides its answer, such as that dbops.yaml is behind. Defaults to the log.
	Notice func(text string)
	// Operations tell what the words of an operation mean, which a runbook has as the command line has them. Nil: no runbook can be run.
	Operations Operations
	// Progress is told by looks at many instances how many of how many have been looked at, one call at a time. Nil: nobody wants to know.
	Progress func(done, of int)
}

// App serves one configuration. Its methods may be called from any goroutine; Close ends it.
type App struct {
	cfg  *config.Config
	opts Options

	secrets *secret.Resolver
	cas     caFiles
	engine  engineRoom
	moves   movesRoom
	lints   lintRoom
	loads   loadsRoom
	tells   telemetryRoom
	posts   postRoom

	mu         sync.Mutex
	providers  map[providerKey]cloud.Provider
	connectors map[connectorKey]*dial.Connector
	ways       map[string]dial.Way // by the key of the via
	endpoints  map[endpointKey]*remembered[cloud.Endpoint]
	proxied    map[secret.Ref]*remembered[secret.Value]
	questions  *room                            // to control planes
	borrowed   map[connectorKey]*dial.Connector // connectors that another App closes
	lent       map[string]dial.Way              // ways that another App closes
	names      map[op.Target]*live.Names
}

// New returns an App for cfg. Nothing is contacted.
func New(cfg *config.Config, opts Options) *App {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Getenv == nil {
		opts.Getenv = os.Getenv
	}
	if opts.RuntimeDir == "" {
		opts.RuntimeDir = DefaultRuntimeDir(opts.Getenv)
	}
	if opts.StateDir == "" {
		opts.StateDir = DefaultStateDir(opts.Getenv)
	}
	a := &App{
		cfg: cfg, opts: opts,
		secrets:    newSecrets(cfg),
		providers:  map[providerKey]cloud.Provider{},
		connectors: map[connectorKey]*dial.Connector{},
		ways:       map[string]dial.Way{},
		endpoints:  map[endpointKey]*remembered[cloud.Endpoint]{},
		proxied:    map[secret.Ref]*remembered[secret.Value]{},
		questions:  newRoom(),
		names:      map[op.Target]*live.Names{},
	}
	a.posts.ctx, a.tells.ctx = context.Background(), context.Background()
	a.moves.ctx, a.moves.stop = context.WithCancel(context.Background())
	return a
}

// Config is the configuration it serves.
func (a *App) Config() *config.Config { return a.cfg }

// Close releases what was opened. Open proxies are closed by their owners.
func (a *App) Close() error {
	a.questions.close()
	errs := []error{a.moves.close()}
	a.posts.close()       // while secrets and the state are there
	defer a.tells.close() // after all that tells
	a.mu.Lock()
	defer a.mu.Unlock()
	for at, c := range a.connectors {
		if a.borrowed[at] == c {
			continue
		}
		errs = append(errs, c.Close())
	}
	clear(a.connectors)
	for at, w := range a.ways {
		if a.lent[at] == w {
			continue
		}
		errs = append(errs, w.Close())
	}
	clear(a.ways)
	a.engine.mu.Lock()
	defer a.engine.mu.Unlock()
	if a.engine.store != nil {
		errs = append(errs, a.engine.store.Close())
		a.engine.store, a.engine.engine = nil, nil
	}
	return errors.Join(errs...)
}

func (a *App) userAgent() string {
	if a.opts.Version == "" {
		return "dbops"
	}
	return "dbops/" + a.opts.Version
}
