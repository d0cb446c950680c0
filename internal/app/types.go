package app

import (
	"log/slog"
	"net"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/config"
)

// Instance is one configured instance: what dbops.yaml says, before any provider was asked.
type Instance struct {
	Environment string     `json:"environment"`
	Protected   bool       `json:"protected"`
	Name        string     `json:"instance"`
	Provider    cloud.Kind `json:"provider"`
	Coordinates string     `json:"coordinates"` // shop-prod:europe-west1:shop-main, eu-west-1/orders-prod, 127.0.0.1:5432
	Databases   []string   `json:"databases,omitempty"`
}

// Status is one instance with the provider's answer: exactly one of Live and Err is set.
type Status struct {
	Instance
	Live *cloud.Instance `json:"live,omitempty"`
	Err  error           `json:"-"`
	At   time.Time       `json:"at"`
	Took time.Duration   `json:"-"`
}

// ProxyOptions say which proxy to open.
type ProxyOptions struct {
	Environment string
	// Listen is host:port; port 0 takes a free one. Empty: the environment's, else 127.0.0.1:0, unless there is another way in.
	Listen string
	// Socket is a folder for a socket as libpq looks for it, named by the port of Listen, else 5432. Empty: none.
	Socket string
	// Given are listeners that another process opened, in place of Listen and Socket.
	Given        []net.Listener
	RequireTLS   bool          // of clients by TCP
	Access       config.Access // empty: read
	PasswordFile string        // with the password clients must send; empty: a random one for this run
	// Reason is why a protected environment is opened for changes. Without one it is not.
	Reason string
	// For is how long it is open. 0: for [GuardedFor] if it needs a reason, else without an end.
	For time.Duration
	// Metrics is host:port for probes and figures, without secrets. Empty: only on the proxy's own socket.
	Metrics string
	Log     *slog.Logger // defaults to the App's
	// Unlisted keeps it out of the list that other commands read.
	Unlisted bool
	// IdleExit ends it after it had no client for that long. 0: never.
	IdleExit time.Duration
	// Nameless leaves sessions whose client gives no application_name without one; else they are called dbops:USER@HOST.
	Nameless bool
	// MaxConns is how many clients may be logged in at once; 0: 500.
	MaxConns int
	// DrainTimeout is how long transactions and statements may go on when it is closed; 0: 10 s.
	DrainTimeout time.Duration
}
