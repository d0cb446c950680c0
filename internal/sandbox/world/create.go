package world

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/gofrs/flock"

	"dbops/internal/sandbox/edge"
	"dbops/internal/sandbox/pgbin"
)

// recipe changes whenever what is in a template does.
const recipe = "1"

func (w *world) create(ctx context.Context, spec Spec, cert tls.Certificate) (*Server, error) {
	if err := checkID(spec.ID); err != nil {
		return nil, err
	}
	defer w.lock(spec.ID)()
	if s := w.server(spec.ID); s != nil {
		return s, s.start(ctx)
	}
	fail := func(err error) (*Server, error) { return nil, fmt.Errorf("create server %s: %w", spec.ID, err) }
	old, existed, err := w.loadSpec(spec.ID)
	if err != nil {
		return fail(err)
	}
	if existed {
		// What was decided once stays; settings may be new.
		old.Settings, old.MasterPassword = spec.Settings, spec.MasterPassword
		spec = old
	}
	s, err := w.newServer(ctx, spec, cert)
	if err != nil {
		return fail(err)
	}
	if !existed {
		if err := w.cluster(ctx, s.pm); err != nil {
			return fail(errors.Join(err, s.close()))
		}
	}
	return w.launch(ctx, s)
}

// newServer prepares a server and opens its listener, so that its address is known; nothing runs yet.
func (w *world) newServer(ctx context.Context, spec Spec, cert tls.Certificate) (*Server, error) {
	bin, err := pgbin.Server(spec.Major)
	if err != nil {
		return nil, err
	}
	if bin, err = filepath.EvalSymlinks(bin); err != nil {
		return nil, err
	}
	if err := w.user.Reaches(bin); err != nil {
		return nil, err
	}
	dir := w.serverDir(spec.ID)
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // the servers' user passes through
		return nil, err
	}
	if err := os.MkdirAll(w.archiveDir(spec.ID), 0o700); err != nil {
		return nil, err
	}
	if err := w.user.Own(w.archiveDir(spec.ID)); err != nil {
		return nil, err
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", spec.Listen)
	if err != nil {
		return nil, err
	}
	spec.Listen = ln.Addr().String()
	s := &Server{server{
		world: w, spec: spec, cert: cert, ln: ln, roleTLS: w.roleTLS(),
		pm: &postmaster{bin: bin, data: filepath.Join(dir, "data"), log: filepath.Join(dir, "postgres.log"), user: w.user},
	}}
	if s.port, err = freePort(ctx); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	s.edge = edge.New(edge.Config{
		Backend: edge.Backend{Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)), TLS: s.roleTLS},
		Log:     w.log.With("server", spec.ID),
	}, cert)
	return s, nil
}

// launch starts a prepared server, makes its roles, and opens its edge. Only then is it kept.
func (w *world) launch(ctx context.Context, s *Server) (*Server, error) {
	err := s.startPostgres(ctx)
	if err == nil {
		err = s.makeRoles(ctx)
	}
	if err == nil {
		err = w.saveSpec(s.spec)
	}
	if err != nil {
		return nil, fmt.Errorf("start server %s: %w", s.spec.ID, errors.Join(err, s.close()))
	}
	s.edge.Serve(s.ln)
	w.keep(s)
	return s, nil
}

// cluster gives a server its data folder: a copy of a template, which is made once for each build of the programs.
func (w *world) cluster(ctx context.Context, pm *postmaster) error {
	if err := os.RemoveAll(pm.data); err != nil { // left by a creation that was interrupted
		return err
	}
	template, err := w.template(ctx, pm)
	if err != nil {
		return err
	}
	return copyTree(template, pm.data, w.user, nil)
}

func (w *world) template(ctx context.Context, pm *postmaster) (string, error) {
	info, err := os.Stat(filepath.Join(pm.bin, "postgres"))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %d %d %v", recipe, pm.bin, info.Size(), info.ModTime().UnixNano(), w.user))
	cache := filepath.Join(pgbin.CacheDir(), "templates") // shared by all worlds of this machine
	if err := os.MkdirAll(cache, 0o755); err != nil {     //nolint:gosec // the servers' user passes through
		return "", err
	}
	path := filepath.Join(cache, hex.EncodeToString(sum[:8]))
	lock := flock.New(path + ".lock")
	if err := lock.Lock(); err != nil {
		return "", err
	}
	defer func() { _ = lock.Unlock() }()
	if _, err := os.Stat(path); err == nil {
		return path, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	draft := path + ".new"
	if err := os.RemoveAll(draft); err != nil {
		return "", err
	}
	if err := os.Mkdir(draft, 0o700); err != nil {
		return "", err
	}
	if err := w.user.Own(draft); err != nil {
		return "", err
	}
	maker := &postmaster{bin: pm.bin, data: draft, user: w.user}
	if err := maker.initdb(ctx); err != nil {
		return "", err
	}
	return path, os.Rename(draft, path)
}

// freePort is a port of 127.0.0.1 that nobody uses now.
func freePort(ctx context.Context) (int, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		return 0, errors.Join(err, ln.Close())
	}
	n, err := strconv.Atoi(port)
	return n, errors.Join(err, ln.Close())
}
