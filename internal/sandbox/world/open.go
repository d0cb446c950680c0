package world

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sync/errgroup"

	"dbops/internal/fault"
	"dbops/internal/sandbox/pgbin"
	"dbops/internal/sandbox/pki"
	"dbops/internal/sandbox/play"
)

// world is the state behind [World]. On disk, under dir:
//
//	lock               held while the world is open
//	roleca.json        the authority whose certificates log roles in past their passwords
//	servers/ID/        server.json, data/, conf/, postgres.log; after an upgrade the last three in a folder called as the major
//	archive/NAME/      the archived WAL of a server; outlives it as long as a backup needs it
//	backups/ID/        backup.json, data/
//	template/          fresh clusters to copy, if the machine's cache cannot be written
//
// The JSON file of a server or a backup is written last and removed first: what has none was never finished.
type world struct {
	dir  string
	log  *slog.Logger
	user *pgbin.User
	ca   *pki.CA
	lock *flock.Flock

	ids   names           // of servers and backups that are being made or removed
	ctx   context.Context //nolint:containedctx // ends with the world
	end   context.CancelFunc
	tasks sync.WaitGroup

	mu      sync.Mutex
	closed  chan struct{} // nil while the world is open; closed when it has ended
	servers map[string]*Server
}

var validID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]{0,99}$`)

var errClosed = errors.New("the world is closed")

func open(ctx context.Context, opts Options) (*World, error) {
	user, err := pgbin.RunAs()
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(opts.Dir)
	if err != nil {
		return nil, err
	}
	if err := user.Reaches(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil { //nolint:gosec // the servers' user passes through
		return nil, err
	}
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	// PostgreSQL names its folder by the real path, which is how an orphan is recognised.
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	if err := user.Reaches(dir); err != nil {
		return nil, err
	}
	w := &World{world{dir: dir, log: opts.Log, user: user, servers: map[string]*Server{}, lock: flock.New(filepath.Join(dir, "lock"))}}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	switch ok, err := w.lock.TryLock(); {
	case err != nil:
		return nil, err
	case !ok:
		return nil, fault.Newf(fault.Busy, "open the sandbox in "+dir, "another process has it open").
			Hint("end that process, or use another folder with --dir")
	}
	if err := errors.Join(w.openCA(), w.tidy(ctx)); err != nil {
		return nil, errors.Join(err, w.lock.Unlock())
	}
	w.ctx, w.end = context.WithCancel(context.WithoutCancel(ctx)) // Open's caller may end its context before it closes the world
	return w, nil
}

// makeDir makes a folder that the servers' user may pass through, whatever the umask.
func makeDir(path string) error {
	if err := os.Mkdir(path, 0o711); err != nil { //nolint:gosec // as it says
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	}
	return os.Chmod(path, 0o711) //nolint:gosec // as it says
}

// openCA reads the authority of the role certificates, or makes it.
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
	const century = 100 * 365 * 24 * time.Hour
	if w.ca, err = pki.NewCA(pkix.Name{CommonName: "sandbox roles", Organization: []string{"dbops sandbox"}}, century); err != nil {
		return err
	}
	return play.Save(w.dir, "roleca.json", w.ca)
}

// tidy removes what a killed process did not finish, and ends the servers that it left running.
func (w *world) tidy(ctx context.Context) error {
	for _, sub := range []string{"servers", "archive", "backups"} {
		if err := makeDir(filepath.Join(w.dir, sub)); err != nil {
			return err
		}
	}
	servers, err := entries(filepath.Join(w.dir, "servers"))
	if err != nil {
		return err
	}
	backups, err := entries(filepath.Join(w.dir, "backups"))
	if err != nil {
		return err
	}
	var g errgroup.Group
	for _, id := range servers {
		g.Go(func() error {
			homes, err := w.homes(id)
			if err != nil {
				return err
			}
			for _, home := range homes {
				if err := endOrphan(ctx, filepath.Join(home, "data")); err != nil {
					return fmt.Errorf("end the server that was left in %s: %w", home, err)
				}
			}
			if err := removeUnless(w.serverDir(id), serverFile); err != nil {
				return err
			}
			return w.leaveHomes(id)
		})
	}
	err = g.Wait()
	for _, id := range backups {
		err = errors.Join(err, removeUnless(w.backupDir(id), backupFile))
	}
	if err != nil {
		return err
	}
	archives, err := entries(filepath.Join(w.dir, "archive"))
	if err != nil {
		return err
	}
	for _, name := range archives {
		if needed, err := w.needs(name); err != nil {
			w.log.Warn("WAL is kept that may be of no use", "archive", name, "error", err)
		} else if !needed {
			if err := os.RemoveAll(w.archiveDir(name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// entries are the names in a folder, in their order; a folder that is not there has none.
func entries(dir string) ([]string, error) {
	all, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	names := make([]string, 0, len(all))
	for _, e := range all {
		names = append(names, e.Name())
	}
	return names, err
}

// removeUnless removes a folder without the file that says it was finished.
func removeUnless(dir, finished string) error {
	_, err := os.Stat(filepath.Join(dir, finished))
	if errors.Is(err, fs.ErrNotExist) {
		return removeTree(dir)
	}
	return err
}

func (w *world) serverDir(id string) string    { return filepath.Join(w.dir, "servers", id) }
func (w *world) home(r record) string          { return filepath.Join(w.serverDir(r.ID), r.Home) }
func (w *world) backupDir(id string) string    { return filepath.Join(w.dir, "backups", id) }
func (w *world) archiveDir(name string) string { return filepath.Join(w.dir, "archive", name) }

func checkID(id string) error {
	if !validID.MatchString(id) {
		return fmt.Errorf("id %q: want up to 100 letters, digits, dots and dashes", id)
	}
	return nil
}

// roleCertificate proves to the world's servers that its bearer may be role.
func (w *world) roleCertificate(role string) (tls.Certificate, error) {
	const longest = 63 // bytes; PostgreSQL cuts names off there, too
	leaf, err := w.ca.Issue(time.Hour, func(t *x509.Certificate) {
		t.Subject = pkix.Name{CommonName: role[:min(len(role), longest)]}
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	})
	return leaf.TLS, err
}

// begin starts an operation on the world, whose context ends with it. The caller calls done at its end.
func (w *world) begin(ctx context.Context) (_ context.Context, done func(), _ error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed != nil {
		return nil, nil, errClosed
	}
	w.tasks.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(w.ctx, func() { cancel(errClosed) })
	return ctx, func() {
		stop()
		cancel(nil)
		w.tasks.Done()
	}, nil
}

func (w *world) server(id string) *Server {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.servers[id]
}

func (w *world) close() error {
	w.mu.Lock()
	if ended := w.closed; ended != nil {
		w.mu.Unlock()
		<-ended
		return nil
	}
	w.closed = make(chan struct{})
	w.mu.Unlock()
	defer close(w.closed)
	w.end()
	w.tasks.Wait()
	// Nobody adds servers any more.
	var g errgroup.Group
	for _, s := range w.servers {
		g.Go(func() error { return s.close(context.Background()) })
	}
	return errors.Join(g.Wait(), w.lock.Unlock())
}

// names are locks by name.
type names struct {
	mu    sync.Mutex
	taken map[string]chan struct{}
}

// take waits until name is free and takes it. The caller gives it back.
func (n *names) take(ctx context.Context, name string) (giveBack func(), err error) {
	for {
		n.mu.Lock()
		held := n.taken[name]
		if held == nil {
			if n.taken == nil {
				n.taken = map[string]chan struct{}{}
			}
			free := make(chan struct{})
			n.taken[name] = free
			n.mu.Unlock()
			return func() {
				n.mu.Lock()
				defer n.mu.Unlock()
				delete(n.taken, name)
				close(free)
			}, nil
		}
		n.mu.Unlock()
		select {
		case <-held:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
