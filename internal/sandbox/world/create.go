package world

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"

	"dbops/internal/sandbox/edge"
	"dbops/internal/sandbox/pgbin"
	"dbops/internal/sandbox/play"
	"dbops/internal/secret"
)

const serverFile = "server.json"

func (w *world) create(ctx context.Context, spec Spec, cert tls.Certificate) (*Server, error) {
	s, err := w.createLocked(ctx, spec, cert)
	if err != nil {
		return nil, fmt.Errorf("create server %s: %w", spec.ID, err)
	}
	return s, nil
}

func (w *world) createLocked(ctx context.Context, spec Spec, cert tls.Certificate) (*Server, error) {
	ctx, done, err := w.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := checkSpec(spec); err != nil {
		return nil, err
	}
	giveBack, err := w.ids.take(ctx, spec.ID)
	if err != nil {
		return nil, err
	}
	defer giveBack()
	if s := w.server(spec.ID); s != nil {
		return s, s.start(ctx)
	}
	r, err := w.loadServer(spec.ID)
	if errors.Is(err, fs.ErrNotExist) {
		return w.make(ctx, newRecord(spec), cert, spec.MasterPassword, nil)
	}
	if err != nil {
		return nil, err
	}
	r.Settings = merged(r.Settings, spec.Settings)
	return w.launch(ctx, r, cert, func(ctx context.Context, s *server) error {
		w.prune(r.Archive, true)
		return s.boot(ctx, nil)
	})
}

func checkSpec(spec Spec) error {
	if err := checkID(spec.ID); err != nil {
		return err
	}
	for _, group := range []string{spec.SuperGroup, spec.IAMGroup} {
		if group != "" && !validGroup.MatchString(group) {
			return fmt.Errorf("group role %q: want small letters, digits and underscores", group)
		}
	}
	if spec.Master != "" && !validRole.MatchString(spec.Master) || spec.Master == superuser || spec.SuperGroup == superuser || spec.IAMGroup == superuser {
		return fmt.Errorf("master role %q: it cannot have that name", spec.Master)
	}
	return nil
}

func newRecord(spec Spec) record {
	return record{
		ID: spec.ID, Major: spec.Major, Master: spec.Master, SuperGroup: spec.SuperGroup, IAMGroup: spec.IAMGroup,
		Listen: spec.Listen, Settings: maps.Clone(spec.Settings), Archive: spec.ID + "." + strings.ToLower(rand.Text()[:8]),
	}
}

// make makes a new server: from a template with the roles of a cloud, or with fill, which puts data into the folder and starts it.
func (w *world) make(ctx context.Context, r record, cert tls.Certificate, password secret.Value, fill func(context.Context, *server) error) (*Server, error) {
	// What is there was never finished.
	if err := removeTree(w.serverDir(r.ID)); err != nil {
		return nil, err
	}
	for _, dir := range []string{w.serverDir(r.ID), filepath.Join(w.serverDir(r.ID), "conf"), w.archiveDir(r.Archive)} {
		if err := makeDir(dir); err != nil {
			return nil, err
		}
	}
	if err := w.user.Own(w.archiveDir(r.Archive)); err != nil {
		return nil, err
	}
	if fill == nil {
		fill = func(ctx context.Context, s *server) error {
			from, err := w.template(ctx, s.cluster.bin, r.Major)
			if err != nil {
				return err
			}
			if _, err := copyTree(from, s.cluster.data(), w.user, nil); err != nil {
				return err
			}
			if err := s.boot(ctx, nil); err != nil {
				return err
			}
			return s.makeRoles(ctx, password)
		}
	}
	s, err := w.launch(ctx, r, cert, fill)
	if err != nil {
		return nil, errors.Join(err, removeTree(w.serverDir(r.ID)), removeTree(w.archiveDir(r.Archive)))
	}
	return s, nil
}

// launch starts a server by boot, opens its edge, and only then keeps it. If that fails, nothing runs.
func (w *world) launch(ctx context.Context, r record, cert tls.Certificate, boot func(context.Context, *server) error) (*Server, error) {
	s, err := w.newServer(r, cert)
	if err != nil {
		return nil, err
	}
	err = s.listen(ctx) // first: its address is part of what is kept, and clients hear that the server starts
	if err == nil {
		s.record.Listen = s.edge.Addr()
		err = boot(ctx, &s.server)
	}
	if err == nil {
		err = s.admit(ctx)
	}
	if err == nil {
		err = w.saveServer(s.record)
	}
	if err != nil {
		return nil, errors.Join(err, s.close(context.WithoutCancel(ctx)))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.servers[r.ID] = s
	return s, nil
}

func (w *world) newServer(r record, cert tls.Certificate) (*Server, error) {
	bin, err := w.programs(r.Major)
	if err != nil {
		return nil, err
	}
	conf := edge.Config{
		RoleCertificate: w.roleCertificate, Reserved: []string{superuser}, Direct: r.Major >= 17, Log: w.log.With("server", r.ID),
	}
	if strings.HasPrefix(r.IAMGroup, "cloudsql") {
		conf.BadToken = func(role string) string {
			return fmt.Sprintf("Cloud SQL IAM user authentication failed for user %q", role)
		}
	}
	s := &Server{server{
		world: w, record: r, cert: cert, change: make(chan struct{}, 1), edge: edge.New(conf, cert),
		cluster: cluster{bin: bin, dir: w.home(r), user: w.user},
	}}
	if _, _, err := net.SplitHostPort(r.Listen); err != nil {
		return nil, fmt.Errorf("address to listen on: %w", err)
	}
	return s, s.checkSettings(r.Settings)
}

// programs is the folder of the programs of a major, which the servers' user reaches.
func (w *world) programs(major int) (string, error) {
	bin, err := pgbin.Server(major)
	if err != nil {
		return "", err
	}
	if bin, err = filepath.EvalSymlinks(bin); err != nil { // the folder it leads to may be replaced while the server runs
		return "", err
	}
	return bin, w.user.Reaches(bin)
}

func (w *world) saveServer(r record) error { return play.Save(w.serverDir(r.ID), serverFile, r) }

// loadServer reads what is kept of a server. Without one it is fs.ErrNotExist.
func (w *world) loadServer(id string) (record, error) {
	var r record
	ok, err := play.Load(w.serverDir(id), serverFile, &r)
	if err == nil && !ok {
		err = fs.ErrNotExist
	}
	return r, err
}

func (w *world) remove(ctx context.Context, id string) error {
	ctx, done, err := w.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := checkID(id); err != nil {
		return err
	}
	giveBack, err := w.ids.take(ctx, id)
	if err != nil {
		return err
	}
	defer giveBack()
	r, err := w.loadServer(id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	archived := false
	if s := w.server(id); s != nil {
		if archived, err = w.retire(ctx, s); err != nil {
			return err
		}
	}
	if !archived {
		if err := w.rescue(r, w.archiveDir(r.Archive)); err != nil {
			return err
		}
	}
	if err := os.Remove(filepath.Join(w.serverDir(id), serverFile)); err != nil {
		return err
	}
	return errors.Join(removeTree(w.serverDir(id)), w.dropArchive(r.Archive))
}

// retire ends a server for good, and tells whether all of its WAL got into the archive. If ctx ends before that, it goes on.
func (w *world) retire(ctx context.Context, s *Server) (archived bool, err error) {
	ctx, release, err := s.begin(ctx)
	if err != nil {
		return false, err
	}
	defer release()
	if s.process.runs() {
		err := s.archiveNow(ctx)
		if archived = err == nil; !archived {
			w.log.Warn("the last changes of a removed server are not in the archive yet", "server", s.record.ID, "error", err)
		}
	}
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	s.gone = true
	w.mu.Lock()
	delete(w.servers, s.record.ID)
	w.mu.Unlock()
	s.halt(ctx)
	return archived, s.edge.Close()
}
