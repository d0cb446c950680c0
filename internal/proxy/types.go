package proxy

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/secret"
)

// Upstream is one database behind the proxy.
type Upstream struct {
	Database string // the name that clients ask for
	Instance string // for messages

	// Config returns how to log in, made anew for each connection: a token or a password is fresh in it. The proxy adds the
	// client's own startup parameters; those already in RuntimeParams win over the client's. It is called from many goroutines.
	Config func(ctx context.Context) (*pgconn.Config, error)
}

// Config is what a [Server] needs. Zero durations and counts mean the default written beside them.
type Config struct {
	Environment string
	Access      string // for messages: read, write or admin
	Upstreams   []Upstream

	// Password the client must send, whatever its user name. Must be set.
	Password secret.Value
	// TLS answers clients that ask for encryption. Nil answers that there is none.
	TLS *tls.Config

	StartupTimeout time.Duration // of a client's startup and password. Defaults to 10 s.
	ConnectTimeout time.Duration // of the login upstream. Defaults to 15 s.
	DrainTimeout   time.Duration // for sessions in a transaction, after Serve's context ends. Defaults to 10 s.
	MaxConns       int           // client connections that have logged in. Defaults to 500.
	MaxStartups    int           // client connections that have not logged in yet; more wait a moment. Defaults to 100.

	Log *slog.Logger // one line a connection, opened and closed. Defaults to discarding.
}

// Connection is one client connection.
type Connection struct {
	ID          uint64    `json:"id"`
	Client      string    `json:"client"`      // remote address
	Application string    `json:"application"` // the client's application_name
	Database    string    `json:"database"`
	Instance    string    `json:"instance"`
	User        string    `json:"user"` // the login role upstream
	Since       time.Time `json:"since"`
	State       string    `json:"state"`       // "starting", "idle", "active", "in transaction", "failed transaction"
	FromClient  int64     `json:"from_client"` // bytes
	ToClient    int64     `json:"to_client"`   // bytes
	LastActive  time.Time `json:"last_active"`
}

// Totals count since the server started.
type Totals struct {
	Open       int   `json:"open"`
	Accepted   int64 `json:"accepted"` // asked for a session; cancel requests are not counted
	Refused    int64 `json:"refused"`  // answered with an error before a session began
	FromClient int64 `json:"from_client"`
	ToClient   int64 `json:"to_client"`
	Missed     int64 `json:"missed"` // events that a slow subscriber of [Server.Events] did not get
}

// Event is something that happened to the proxy, for a person to read.
type Event struct {
	At      time.Time `json:"at"`
	Kind    string    `json:"kind"` // "open", "close", "refused", "drain"
	Text    string    `json:"text"`
	Failure bool      `json:"failure,omitempty"`
}
