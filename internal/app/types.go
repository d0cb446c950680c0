package app

import (
	"log/slog"
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
	Environment  string
	Listen       string        // host:port; port 0 takes a free one. Empty: the environment's, else 127.0.0.1:0
	Access       config.Access // empty: read
	PasswordFile string        // with the password clients must send; empty: a random one for this run
	Log          *slog.Logger  // defaults to the App's
	// Unlisted keeps it out of the list that conn-uri reads.
	Unlisted bool
	// IdleExit ends it after it had no client for that long. 0: never.
	IdleExit time.Duration
}

// DatabaseURI is how a client reaches one database through a proxy.
type DatabaseURI struct {
	Database string `json:"database"`
	Instance string `json:"instance"`
	URI      string `json:"uri"` // holds the proxy's password, which is good for this run only
}
