// Package world is the real side of the played instances: PostgreSQL servers with TLS, the network edge in front of each, and
// their physical backups.
//
// It knows no cloud: the played APIs (rdsapi, gcpapi) tell it what to do to a server and show the result in their own words.
package world

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/sandbox/edge"
	"dbops/internal/secret"
)

// Options say where a [World] lives.
type Options struct {
	// Dir is its folder. When running as root it must be reachable by the unprivileged user that runs PostgreSQL.
	Dir string
	Log *slog.Logger // defaults to discarding
}

// Spec is what a server should be. It is kept on disk: opening the world again brings each server back as it was.
type Spec struct {
	ID    string // unique in the world: up to 100 letters, digits, dots and dashes; names its folder
	Major int    // 14 to 18

	Master         string       // login role of the customer: CREATEROLE and CREATEDB, no superuser
	MasterPassword secret.Value `json:"-"` // kept by the server only, as a verifier
	SuperGroup     string       // granted to Master: rds_superuser, cloudsqlsuperuser; empty: none
	IAMGroup       string       // members but Master log in with a token: rds_iam, cloudsqliamuser; empty: none

	// Listen is the address of the edge, TLS by STARTTLS-style SSLRequest or direct. Port 0 takes a free port once and keeps it.
	Listen string
	// Settings are PostgreSQL settings on top of the world's own. Those that hold the world together, such as the port, are refused.
	Settings map[string]string
}

// Backup is a physical base backup; with the archived WAL after it, a server can be restored to any later moment.
type Backup struct {
	ID     string // unique in the world, as [Spec.ID]
	Server string // Spec.ID of its source
	Major  int
	Start  time.Time
	End    time.Time // the earliest moment to restore to
	Bytes  int64
}

// TokenCheck decides whether token proves that its bearer may log in as role; an error says why not (for the log only).
type TokenCheck func(role, token string) error

// World holds the servers. Its methods may be called from any goroutine.
type World struct {
	world
}

// Open opens or makes the world in opts.Dir. Servers that existed are not started: [World.Create] with their ID does. One process
// at a time has it open, else the error is fault.Busy; a folder that the servers' user cannot reach is fault.Denied.
func Open(ctx context.Context, opts Options) (*World, error) { return open(ctx, opts) }

// Create makes the server that spec describes, or, if one with its ID exists, brings it back, and starts it and its edge. Of the
// spec of one that existed only Settings count, merged over the kept ones. If it fails, nothing new is left. An address that
// somebody else has is fault.Busy. The certificate serves edge and server, see [Server.SetCertificate].
func (w *World) Create(ctx context.Context, spec Spec, cert tls.Certificate) (*Server, error) {
	return w.create(ctx, spec, cert)
}

// Server returns the running or stopped server with that id, nil if there is none.
func (w *World) Server(id string) *Server { return w.server(id) }

// Remove stops a server and deletes its data. Its backups stay. Removing what does not exist is nil.
func (w *World) Remove(ctx context.Context, id string) error { return w.remove(ctx, id) }

// Upgrade makes a server one of a newer major at the same address, with the same roles, databases and data, and with settings in place of
// those that it had, and returns it: the old [Server] has ended. Its sessions end, and until it is done nobody reaches it. As after pg_upgrade, extensions keep their
// versions and the planner has no statistics. Backups from before go on restoring servers of the old major. If it fails the old
// server goes on, and if the process ends meanwhile it is what comes back. A major that is not newer is fault.Invalid.
func (w *World) Upgrade(ctx context.Context, id string, major int, settings map[string]string) (*Server, error) {
	return w.upgrade(ctx, id, major, settings)
}

// Exchange gives two servers each other's address. Their sessions end, and both are new [Server]s afterwards.
func (w *World) Exchange(ctx context.Context, one, other string) error {
	return w.exchange(ctx, one, other)
}

// Backup makes a base backup of a running server while it serves. The same id again returns the first backup.
func (w *World) Backup(ctx context.Context, server, id string) (Backup, error) {
	return w.backup(ctx, server, id)
}

// Backups lists the backups, oldest first; of one server if id is not empty.
func (w *World) Backups(id string) []Backup { return w.backups(id) }

// RemoveBackup deletes a backup. Deleting what does not exist is nil.
func (w *World) RemoveBackup(id string) error { return w.removeBackup(id) }

// Restore makes the new server spec from a backup and starts it: as of the backup's end if at is zero, else as of at, from the
// newest backup of that source that ended before at and the source's archived WAL (a running source archives its current WAL
// first). Roles and passwords are those of that moment, so that spec's are ignored, as is spec.Major; spec.ID must be new, else the
// error is fault.Busy. A moment before the oldest backup or in the future is fault.Invalid.
func (w *World) Restore(ctx context.Context, backup Backup, at time.Time, spec Spec, cert tls.Certificate) (*Server, error) {
	return w.restore(ctx, backup, at, spec, cert)
}

// Close stops every server and edge, and waits for them. Data stays.
func (w *World) Close() error { return w.close() }

// Server is one PostgreSQL server and its edge.
type Server struct {
	server
}

// Spec returns what it was made from, with Listen's real port; MasterPassword is empty.
func (s *Server) Spec() Spec { return s.getSpec() }

// Addr is the edge's address, host:port.
func (s *Server) Addr() string { return s.addr() }

// Version is the server's full version, as in "15.18".
func (s *Server) Version() string { return s.version() }

// SetCertificate changes the certificate of edge and server at once; open sessions keep theirs. If the server does not take it,
// nothing has changed. A login that is under way meanwhile may be told to come again (57P01).
func (s *Server) SetCertificate(cert tls.Certificate) error { return s.setCertificate(cert) }

// SetTokenCheck decides how IAM roles log in. Without one their logins are refused.
func (s *Server) SetTokenCheck(check TokenCheck) { s.setTokenCheck(check) }

// SetRequireTLS makes the edge refuse sessions without TLS (rds.force_ssl, ENCRYPTED_ONLY). True from the start.
func (s *Server) SetRequireTLS(on bool) { s.setRequireTLS(on) }

// SetClientRule decides which certificates clients may show to the edge, or must. Without one they are asked for none.
func (s *Server) SetClientRule(rule func() edge.ClientRule) { s.edge.SetClientRule(rule) }

// Handle serves one session on conn, whose encryption ended before (Cloud SQL's connector port); principal is who the outer
// session proved to be, "" for nobody. IAM roles of that name need no token. It returns when the session ends.
func (s *Server) Handle(ctx context.Context, conn net.Conn, principal string) error {
	return s.handle(ctx, conn, principal)
}

// DB connects to a database as the internal superuser, past the edge. The caller closes it.
func (s *Server) DB(ctx context.Context, database string) (*pgx.Conn, error) {
	return s.db(ctx, database)
}

// Restart stops the server in an orderly way, telling all sessions (57P01), and starts it; settings (may be nil) are merged first.
// Settings with which it does not start are fault.Invalid, and it runs with those from before.
func (s *Server) Restart(ctx context.Context, settings map[string]string) error {
	return s.restart(ctx, settings)
}

// Obstacles are what keeps the server from becoming one of a newer major, as the checks of pg_upgrade find it, in words.
func (s *Server) Obstacles(ctx context.Context, major int) ([]string, error) {
	return s.obstacles(ctx, major)
}

// Failover cuts all sessions, kills the server at once, refuses connections for outage, and starts it again. When ctx ends the
// outage does, too.
func (s *Server) Failover(ctx context.Context, outage time.Duration) error {
	return s.failover(ctx, outage)
}

// Stop stops the server; the edge answers that the system is shut down. Stopping twice is nil.
func (s *Server) Stop(ctx context.Context) error { return s.stop(ctx) }

// Start starts a stopped server. Starting twice is nil.
func (s *Server) Start(ctx context.Context) error { return s.start(ctx) }

// LatestRestorable is the newest moment [World.Restore] can reach without the source's help: the end of the archived WAL, or of the
// newest backup; zero if there is neither. A server that is used archives its WAL once a minute.
func (s *Server) LatestRestorable() time.Time { return s.latestRestorable() }
