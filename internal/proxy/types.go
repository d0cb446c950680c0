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

	// Stale is told why a login failed. If what Config returned was remembered and may be the reason (an address, a certificate, a
	// credential), it forgets that and returns true: then the login is tried once more. Nil: nothing is remembered.
	Stale func(err error) bool

	// LoginHint returns what to do when the server refuses the login, for servers do not say. Nil: only that it is not the client's.
	LoginHint func() string
}

// Config is what a [Server] needs. Zero durations and counts mean the default written beside them.
type Config struct {
	Environment string
	Access      string // for messages: read, write or admin
	Upstreams   []Upstream

	// Password the client must send. Must be set.
	Password secret.Value
	// Users are the names that a client may come under, besides that of the login upstream: whoever asks for another role is told that
	// there is no such one here, and is not let in as somebody else. Empty: any name.
	Users []string
	// Application is the application_name of sessions whose client gives none. Empty: they stay without. See [DefaultApplication].
	Application string
	// TLS answers clients that ask for encryption. Nil answers that there is none.
	TLS *tls.Config
	// RequireTLS refuses clients that do not encrypt, except on a socket, where nothing can be listened to.
	RequireTLS bool

	// Refresh is called before a client's database is looked up: the moment to call [Server.SetUpstreams]. It should rarely take long.
	Refresh func()
	// Observe is told every event, in the order of what happened to a connection. It must not block.
	Observe func(Event)
	// Phases makes the events of opened and refused connections say how their login went.
	Phases bool

	StartupTimeout time.Duration // of a client's startup and password. Defaults to 10 s.
	ConnectTimeout time.Duration // of the login upstream. Defaults to 15 s.
	StartWait      time.Duration // for an instance that is starting or restarting, within ConnectTimeout. Defaults to 5 s.
	DrainTimeout   time.Duration // for sessions in a transaction, after Serve's context ends. Defaults to 10 s.
	MaxConns       int           // client connections that have logged in. Defaults to 500.
	MaxStartups    int           // client connections that have not logged in yet; more wait a moment. Defaults to 100.

	Log *slog.Logger // one line a connection, opened and closed. Defaults to discarding.
}

// Connection is one client connection.
type Connection struct {
	ID          uint64    `json:"id"`
	Client      string    `json:"client"` // remote address; "unix" on a socket
	Peer                  // who that is
	Application string    `json:"application"` // the client's application_name
	Database    string    `json:"database"`
	Instance    string    `json:"instance"`
	User        string    `json:"user"` // the login role upstream
	Since       time.Time `json:"since,omitzero"`
	State       string    `json:"state"`       // "starting", "idle", "active", "in transaction", "failed transaction"
	FromClient  int64     `json:"from_client"` // bytes
	ToClient    int64     `json:"to_client"`   // bytes
	LastActive  time.Time `json:"last_active,omitzero"`
}

// Totals count since the server started.
type Totals struct {
	Open       int   `json:"open"`
	Accepted   int64 `json:"accepted"` // came, whatever became of them; not cancel requests, nor those that left without a word
	Refused    int64 `json:"refused"`  // answered with an error before a session began
	FromClient int64 `json:"from_client"`
	ToClient   int64 `json:"to_client"`
	Cancels    int64 `json:"cancels"` // requests to cancel a statement, whatever became of them
	Missed     int64 `json:"missed"`  // events that a slow subscriber of [Server.Events] did not get
}

// Event is something that happened to the proxy, for a person to read.
type Event struct {
	At      time.Time `json:"at"`
	Kind    string    `json:"kind"` // "open", "close", "refused", "drain", "note"
	Text    string    `json:"text"`
	Failure bool      `json:"failure,omitempty"`

	// Of an opened, closed or refused connection. The fields of one that was refused early are empty.
	Connection *Connection   `json:"connection,omitempty"`
	SQLState   string        `json:"sqlstate,omitempty"` // that a refused client was told
	Reason     string        `json:"reason,omitempty"`   // why it was closed or refused
	Took       time.Duration `json:"-"`                  // of the login, when opened; of the whole session, when closed; since it came, when refused
	Phases     []Phase       `json:"-"`                  // of the login, with Config.Phases
}
