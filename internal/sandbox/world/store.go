package world

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"dbops/internal/sandbox/pgbin"
	"dbops/internal/sandbox/pki"
	"dbops/internal/sandbox/play"
)

// world is the state behind [World]. On disk, under dir:
//
//	roleca.json        the authority whose certificates log roles in past their passwords
//	servers/ID/        spec.json, data/, postgres.log
//	archive/ID/        the archived WAL of a server; outlives it, because backups need it
//	backups/ID/        backup.json, data/
type world struct {
	dir  string
	log  *slog.Logger
	user *pgbin.User
	ca   *pki.CA

	mu      sync.Mutex
	servers map[string]*Server
	making  sync.Map // id -> *sync.Mutex: one Create, Restore or Remove of a server at a time
}

const (
	dayOfCA   = 24 * time.Hour
	specFile  = "spec.json"
	metaFile  = "backup.json"
	loginTTL  = 10 * 365 * dayOfCA
	idPattern = `^[A-Za-z0-9][A-Za-z0-9.-]{0,99}$`
)

var validID = regexp.MustCompile(idPattern)

func open(_ context.Context, opts Options) (*World, error) {
	user, err := pgbin.RunAs()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(opts.Dir, 0o755); err != nil { //nolint:gosec // the servers' user passes through
		return nil, err
	}
	dir, err := filepath.EvalSymlinks(opts.Dir)
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	if err := user.Reaches(dir); err != nil {
		return nil, err
	}
	w := &World{world{dir: dir, log: opts.Log, user: user, servers: map[string]*Server{}}}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	for _, sub := range []string{"servers", "archive", "backups"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil { //nolint:gosec // as above
			return nil, err
		}
	}
	return w, w.openCA()
}

func (w *world) openCA() error {
	var ca pki.CA
	ok, err := play.Load(w.dir, "roleca.json", &ca)
	if err != nil {
		return err
	}
	if ok {
		w.ca = &ca
		return ca.Open()
	}
	if w.ca, err = pki.NewCA(pkix.Name{CommonName: "sandbox roles", Organization: []string{"dbops sandbox"}}, loginTTL); err != nil {
		return err
	}
	return play.Save(w.dir, "roleca.json", w.ca)
}

// roleTLS returns client configurations that show a server the certificate of a role. The server is ours and on this machine,
// and it has whatever certificate its cloud gave it, so there is nothing to verify it by.
func (w *world) roleTLS() func(role string) (*tls.Config, error) {
	var known sync.Map
	return func(role string) (*tls.Config, error) {
		if c, ok := known.Load(role); ok {
			return c.(*tls.Config), nil //nolint:forcetypeassert // only these are stored
		}
		leaf, err := w.ca.Issue(dayOfCA, func(t *x509.Certificate) {
			t.Subject = pkix.Name{CommonName: role}
			t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		})
		if err != nil {
			return nil, err
		}
		c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, Certificates: []tls.Certificate{leaf.TLS}} //nolint:gosec // see above
		known.Store(role, c)
		time.AfterFunc(dayOfCA/2, func() { known.Delete(role) })
		return c, nil
	}
}

func (w *world) lock(id string) func() {
	m, _ := w.making.LoadOrStore(id, &sync.Mutex{})
	m.(*sync.Mutex).Lock()        //nolint:forcetypeassert // only these are stored
	return m.(*sync.Mutex).Unlock //nolint:forcetypeassert // as above
}

func (w *world) serverDir(id string) string  { return filepath.Join(w.dir, "servers", id) }
func (w *world) archiveDir(id string) string { return filepath.Join(w.dir, "archive", id) }
func (w *world) backupDir(id string) string  { return filepath.Join(w.dir, "backups", id) }

func checkID(id string) error {
	if !validID.MatchString(id) {
		return fmt.Errorf("id %q: want letters, digits, dots and dashes", id)
	}
	return nil
}

// saveSpec keeps a spec, without its password.
func (w *world) saveSpec(s Spec) error {
	return play.Save(w.serverDir(s.ID), specFile, s)
}

func (w *world) loadSpec(id string) (Spec, bool, error) {
	var s Spec
	ok, err := play.Load(w.serverDir(id), specFile, &s)
	return s, ok, err
}

func (w *world) server(id string) *Server {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.servers[id]
}

func (w *world) keep(s *Server) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.servers[s.spec.ID] = s
}

func (w *world) remove(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	defer w.lock(id)()
	s := w.server(id)
	if s != nil {
		if err := s.archiveNow(ctx); err != nil {
			w.log.Warn("the last WAL of a removed server was not archived", "server", id, "error", err)
		}
		if err := s.close(); err != nil {
			return err
		}
		w.mu.Lock()
		delete(w.servers, id)
		w.mu.Unlock()
	}
	// First the name that makes it a server, then the rest: a half removed one does not come back.
	if err := os.Remove(filepath.Join(w.serverDir(id), specFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if len(w.backups(id)) == 0 {
		if err := os.RemoveAll(w.archiveDir(id)); err != nil {
			return err
		}
	}
	return os.RemoveAll(w.serverDir(id))
}

func (w *world) close() error {
	w.mu.Lock()
	all := make([]*Server, 0, len(w.servers))
	for _, s := range w.servers {
		all = append(all, s)
	}
	w.servers = map[string]*Server{}
	w.mu.Unlock()
	var g errgroup.Group
	for _, s := range all {
		g.Go(s.close)
	}
	return g.Wait()
}

func (w *world) backups(id string) []Backup {
	entries, err := os.ReadDir(filepath.Join(w.dir, "backups"))
	if err != nil {
		return nil
	}
	var out []Backup
	for _, e := range entries {
		var b Backup
		if ok, err := play.Load(w.backupDir(e.Name()), metaFile, &b); err == nil && ok && (id == "" || b.Server == id) {
			out = append(out, b)
		}
	}
	slices.SortFunc(out, func(a, b Backup) int { return cmp.Or(a.End.Compare(b.End), cmp.Compare(a.ID, b.ID)) })
	return out
}

func (w *world) removeBackup(id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(w.backupDir(id), metaFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.RemoveAll(w.backupDir(id))
}
