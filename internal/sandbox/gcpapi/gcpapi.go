// Package gcpapi is the played Google Cloud: the Cloud SQL Admin API with its connector port, in front of real servers.
//
// What happens to an instance happens to a PostgreSQL server of [world.World]: users are roles, backups are backups, a failover
// kills the server, a rotated CA signs a new certificate. What no server can show (disks, tiers, zones, bills) is stored and
// shown, and whatever a request asks for beyond that is refused, never ignored.
package gcpapi

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"dbops/internal/sandbox/gcpapi/googleid"
	"dbops/internal/sandbox/meter"
	"dbops/internal/sandbox/play"
	"dbops/internal/sandbox/secretsapi/gcpsm"
	"dbops/internal/sandbox/world"
)

// Config is what a [Server] needs.
type Config struct {
	World    *world.World
	Dir      string   // its state: identities, instances with their authorities, secrets
	Projects []string // the ids of the projects that exist; at least one
	Pace     play.Pace
	Faults   *play.Faults // nil: none
	Limits   *play.Limits // of each user in each project, of the Admin API. Nil: none.

	CertTTL  time.Duration // of an ephemeral client certificate. Defaults to one hour, which is also the most.
	TokenTTL time.Duration // of an access token. Defaults to one hour, which is also the most.

	Log *slog.Logger // one line a request and an operation, without secrets. Defaults to discarding.
}

// Server is the played cloud. As an [http.Handler] it serves the Cloud SQL Admin API under /v1/ and /sql/v1beta4/, over HTTP/2 the SQL Data API, the token
// endpoints of [googleid.Directory], the time series of Cloud Monitoring and the Secret Manager of [gcpsm.Server], so that one port is enough for all.
type Server struct {
	cfg      Config
	identity *googleid.Directory
	secrets  *gcpsm.Server
	routes   []route
	data     http.Handler
	meter    *meter.Meter

	ctx  context.Context //nolint:containedctx // ends with Close: operations outlive the request that starts them
	stop context.CancelFunc
	wg   sync.WaitGroup // operations

	mu    sync.Mutex // guards what follows; never held while the world works
	state state
}

// New opens or makes the cloud in cfg.Dir: instances that existed are served again, and operations that were interrupted go on
// or end with an error. The caller closes the server before the world.
func New(ctx context.Context, cfg Config) (*Server, error) {
	if len(cfg.Projects) == 0 {
		return nil, errors.New("played Google Cloud: no project is named")
	}
	if cfg.Faults == nil {
		cfg.Faults = new(play.Faults)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.CertTTL <= 0 || cfg.CertTTL > time.Hour {
		cfg.CertTTL = time.Hour
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, meter: meter.New(metricDelay, nil)}
	var err error
	if s.identity, err = googleid.Open(googleid.Options{Dir: cfg.Dir, TokenTTL: cfg.TokenTTL}); err != nil {
		return nil, err
	}
	numbers := map[string]string{}
	for _, p := range cfg.Projects {
		numbers[p] = projectNumber(p)
	}
	s.secrets, err = gcpsm.New(gcpsm.Options{
		Dir: cfg.Dir, Identity: s.identity, Faults: cfg.Faults, Projects: numbers, Log: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	s.routes = s.table()
	s.data = newData(s)
	s.ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	if err := s.load(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("played Google Cloud: %w", err), s.Close())
	}
	return s, nil
}

// Identity holds the principals of the cloud: grant them roles, write their keys, make their tokens.
func (s *Server) Identity() *googleid.Directory { return s.identity }

// Close interrupts the operations, closes the connector ports and waits for both. The servers are the world's to stop.
func (s *Server) Close() error {
	s.stop()
	s.wg.Wait()
	s.mu.Lock()
	var ports []*connector
	for _, inst := range s.state.Instances {
		if inst.port != nil {
			ports = append(ports, inst.port)
			inst.port = nil
		}
	}
	s.mu.Unlock()
	var errs []error
	for _, p := range ports {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case isData(r):
		s.data.ServeHTTP(w, r)
	case s.identity.Serves(r.URL.Path):
		s.identity.ServeHTTP(w, r)
	case s.secrets.Serves(r.URL.Path):
		s.secrets.ServeHTTP(w, r)
	case strings.HasPrefix(r.URL.Path, monitoringPrefix):
		s.serveMonitoring(w, r)
	default:
		s.serveSQL(w, r)
	}
}

// projectNumber is the number that stands for a project. It is always the same for one id.
func projectNumber(id string) string {
	sum := sha256.Sum256([]byte(id))
	return strconv.FormatUint(1e11+binary.BigEndian.Uint64(sum[:8])%9e11, 10)
}
