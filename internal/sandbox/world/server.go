package world

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/sandbox/edge"
)

// server is the state behind [Server].
type server struct {
	world   *world
	cluster cluster
	edge    *edge.Edge

	// change is taken by whoever starts, stops or changes the server. What is between here and mu belongs to the holder.
	change chan struct{}
	cert   tls.Certificate
	gone   bool // removed, or its world closed

	mu      sync.Mutex // guards what follows; the holder of change may read it without
	record  record     // only its settings change
	port    int        // of PostgreSQL itself, behind the edge; another one at each start
	process *process
	full    string // version
}

// record is what is kept of a server in server.json.
type record struct {
	ID         string            `json:"id"`
	Major      int               `json:"major"`
	Master     string            `json:"master,omitempty"`
	SuperGroup string            `json:"super_group,omitempty"`
	IAMGroup   string            `json:"iam_group,omitempty"`
	Listen     string            `json:"listen"`
	Settings   map[string]string `json:"settings,omitempty"`
	Archive    string            `json:"archive"`        // folder of its WAL: of this server, not of an earlier or later one of its name
	Home       string            `json:"home,omitempty"` // folder in its own that holds data and configuration since an upgrade
}

func (s *server) getSpec() Spec {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.record
	return Spec{
		ID: r.ID, Major: r.Major, Master: r.Master, SuperGroup: r.SuperGroup, IAMGroup: r.IAMGroup,
		Listen: r.Listen, Settings: maps.Clone(r.Settings),
	}
}

func (s *server) addr() string { return s.edge.Addr() }

func (s *server) version() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.full
}

func (s *server) setTokenCheck(check TokenCheck) { s.edge.SetTokenCheck(check) }

func (s *server) setRequireTLS(on bool) { s.edge.SetRequireTLS(on) }

func (s *server) handle(ctx context.Context, c net.Conn, principal string) error {
	return s.edge.Handle(ctx, c, principal)
}

// running is the server's port, and whether it runs.
func (s *server) running() (port int, runs bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.port, s.process.runs()
}

// db connects past the edge, as the internal superuser, by its certificate.
func (s *server) db(ctx context.Context, database string) (*pgx.Conn, error) {
	port, runs := s.running()
	if !runs {
		return nil, fmt.Errorf("connect to server %s: it is stopped", s.record.ID)
	}
	cert, err := s.world.roleCertificate(superuser)
	if err != nil {
		return nil, err
	}
	// Every key that would come from the environment or the home folder is pinned.
	cfg, err := pgx.ParseConfig("host=127.0.0.1 port=" + strconv.Itoa(port) + " user=" + superuser + " dbname=x password='' passfile='' " +
		"sslmode=disable sslcert='' sslkey='' sslrootcert='' sslpassword='' sslcertmode=allow sslsni=0 sslnegotiation=postgres " +
		"channel_binding=disable require_auth='' target_session_attrs=any min_protocol_version=3.0 max_protocol_version=3.0 connect_timeout=15")
	if err != nil {
		return nil, err
	}
	// The port is one of this machine that this world's server listens on, and its certificate may be anybody's.
	cfg.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, Certificates: []tls.Certificate{cert}} //nolint:gosec // see above
	cfg.Database, cfg.Fallbacks = database, nil
	cfg.RuntimeParams = map[string]string{"application_name": "sandbox"}
	return pgx.ConnectConfig(ctx, cfg)
}

// use runs f on a connection of the internal superuser.
func (s *server) use(ctx context.Context, f func(*pgx.Conn) error) error {
	c, err := s.db(ctx, "postgres")
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	return f(c)
}

// begin starts a change of the server, as [world.begin] does, after those before it.
func (s *server) begin(ctx context.Context) (context.Context, func(), error) {
	ctx, done, err := s.world.begin(ctx)
	if err != nil {
		return nil, nil, err
	}
	select {
	case s.change <- struct{}{}:
	case <-ctx.Done():
		done()
		return nil, nil, context.Cause(ctx)
	}
	release := func() {
		<-s.change
		done()
	}
	if s.gone {
		release()
		return nil, nil, fmt.Errorf("server %s was removed", s.record.ID)
	}
	return ctx, release, nil
}

// close ends edge and server for good.
func (s *server) close(ctx context.Context) error {
	s.change <- struct{}{}
	defer func() { <-s.change }()
	s.gone = true
	s.halt(ctx)
	return s.edge.Close()
}

// setVersion asks the server for its version.
func (s *server) setVersion(ctx context.Context) error {
	return s.use(ctx, func(c *pgx.Conn) error {
		full, _, _ := strings.Cut(c.PgConn().ParameterStatus("server_version"), " ")
		s.mu.Lock()
		defer s.mu.Unlock()
		s.full = full
		return nil
	})
}

// setCertificate waits until the server shows the new certificate: it reads it in its own time.
func (s *server) setCertificate(cert tls.Certificate) error {
	ctx, done, err := s.begin(context.Background())
	if err != nil {
		return err
	}
	defer done()
	err = s.edge.Swap(cert, func() error {
		if err := s.writeCertificate(cert); err != nil {
			return err
		}
		err := s.awaitCertificate(ctx, cert)
		if err != nil {
			// It may have read the new one just after that: edge and server must not go apart.
			err = errors.Join(err, s.writeCertificate(s.cert), s.process.reload())
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("change the certificate of server %s: %w", s.record.ID, err)
	}
	s.cert = cert
	return nil
}

func (s *server) awaitCertificate(ctx context.Context, cert tls.Certificate) error {
	if !s.process.runs() {
		return nil
	}
	if err := s.process.reload(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conf := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true} //nolint:gosec // edge.Open compares the certificate
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := edge.Open(ctx, s.backend(), conf, cert.Certificate[0], nil)
		if err == nil {
			return c.Close()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL does not show it: %w", err)
		}
	}
}

// backend is where PostgreSQL itself listens.
func (s *server) backend() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }
