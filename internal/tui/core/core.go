// Package core says what the terminal UI needs of the program it is a face of.
//
// The UI declares these interfaces itself and knows no more of the core than they say; tests and the demonstration give it a
// core of their own. Every call may block, so pages make them in commands, never in Update or View.
package core

import (
	"context"

	"dbops/internal/app"
	"dbops/internal/config"
	"dbops/internal/proxy"
)

// Core is what the pages read and do. Its methods may be called at any time, from any goroutine, as often as wanted.
type Core interface {
	Changes
	Live
	Availability
	Credentials
	Backups
	Audit
	Attention
	Drift
	Fleet
	Migrations
	Upgrades
	TLS

	// Elsewhere is why nothing is written to files of this machine, nor listened to on it, from here; empty if it may be. Methods that would do so
	// refuse with it.
	Elsewhere() string

	// Instances returns what is configured for env, for all environments when env is empty. It asks no provider.
	Instances(env string) ([]app.Instance, error)

	// Status asks the providers of env (all when empty) for instance (all when empty) and sends one status an instance, as
	// each answers. The channel closes when all have answered or ctx has ended; whoever reads may stop once ctx has ended.
	Status(ctx context.Context, env, instance string) (<-chan app.Status, error)

	// Loads asks the providers what they measure of the same instances, and sends one answer an instance, as Status does. Asking again within a
	// minute costs nothing, and tells nothing new.
	Loads(ctx context.Context, env, instance string) (<-chan app.InstanceLoad, error)

	// OpenProxy opens the proxy of one environment. It listens when OpenProxy returns.
	OpenProxy(ctx context.Context, o app.ProxyOptions) (Proxy, error)
}

// Proxy is one open proxy. Its methods may be called from any goroutine, also after it has ended.
type Proxy interface {
	Addr() string // host:port that it listens on
	Access() config.Access
	Environment() string
	URIs() []app.DatabaseURI // each holds the proxy's password
	Connections() []proxy.Connection
	Totals() proxy.Totals

	// Events is one channel, the same at each call, which closes when the proxy has ended.
	Events() <-chan proxy.Event

	// Kill cuts one connection, and tells whether there was one of this id.
	Kill(id uint64) bool

	// Close stops listening, lets the sessions that are in a transaction finish until ctx ends, and cuts what is left.
	Close(ctx context.Context) error
}
