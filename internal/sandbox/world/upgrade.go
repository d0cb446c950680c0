package world

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
)

// upgrade fills a new cluster of the newer major from the old server, and then replaces the one by the other. pg_upgrade itself is not in
// every tree of programs; from outside the outcome is the same, but for object identifiers.
func (w *world) upgrade(ctx context.Context, id string, major int, settings map[string]string) (*Server, error) {
	s, err := w.upgradeLocked(ctx, id, major, settings)
	if err != nil {
		return nil, fmt.Errorf("upgrade server %s to PostgreSQL %d: %w", id, major, err)
	}
	return s, nil
}

func (w *world) upgradeLocked(ctx context.Context, id string, major int, settings map[string]string) (*Server, error) {
	ctx, done, err := w.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := checkID(id); err != nil {
		return nil, err
	}
	giveBack, err := w.ids.take(ctx, id)
	if err != nil {
		return nil, err
	}
	defer giveBack()
	old := w.server(id)
	if old == nil {
		return nil, errors.New("there is no such server")
	}
	if old.record.Major >= major {
		return nil, fault.Newf(fault.Invalid, "upgrade server "+id, "it is of major %d already", old.record.Major)
	}
	r, err := old.replace(ctx, major, settings)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	delete(w.servers, id)
	w.mu.Unlock()
	if err := errors.Join(old.edge.Close(), w.leaveHomes(id), w.dropArchive(old.record.Archive)); err != nil {
		w.log.Warn("what is left of a server before its upgrade was not removed", "server", id, "error", err)
	}
	// What was begun ends with a server, whoever stopped waiting for it.
	return w.launch(context.WithoutCancel(ctx), r, old.cert, func(ctx context.Context, s *server) error { return s.boot(ctx, nil) })
}

// replace ends the server for the good of the one whose record it returns, or brings it back.
func (s *server) replace(ctx context.Context, major int, settings map[string]string) (record, error) {
	ctx, release, err := s.begin(ctx)
	if err != nil {
		return record{}, err
	}
	defer release()
	if err := s.checkSettings(settings); err != nil {
		return record{}, err
	}
	next, err := s.successor(major)
	if err != nil {
		return record{}, err
	}
	next.record.Settings = maps.Clone(settings)
	err = s.edge.Refuse()
	s.halt(ctx)
	if err == nil {
		err = s.succeed(ctx, next)
	}
	if err != nil {
		// What was begun ends with a server, whoever stopped waiting for it.
		ctx = context.WithoutCancel(ctx)
		return record{}, errors.Join(err, removeTree(next.cluster.dir), removeTree(s.world.archiveDir(next.record.Archive)), s.startHeld(ctx))
	}
	s.gone = true
	return next.record, nil
}

// successor is the server of the newer major, of which nothing is there yet.
func (s *server) successor(major int) (*server, error) {
	bin, err := s.world.programs(major)
	if err != nil {
		return nil, err
	}
	r := s.record
	r.Major, r.Home, r.Archive = major, strconv.Itoa(major), r.ID+"."+strings.ToLower(rand.Text()[:8])
	return &server{
		world: s.world, record: r, cert: s.cert, change: make(chan struct{}, 1),
		cluster: cluster{bin: bin, dir: s.world.home(r), user: s.world.user},
	}, nil
}

// succeed makes the cluster of next and fills it. The record is kept last: from then on, next is the server.
func (s *server) succeed(ctx context.Context, next *server) error {
	w := s.world
	from, err := w.template(ctx, next.cluster.bin, next.record.Major)
	if err != nil {
		return err
	}
	if err := removeTree(next.cluster.dir); err != nil { // what is there was never finished
		return err
	}
	for _, dir := range []string{next.cluster.dir, next.cluster.conf(""), w.archiveDir(next.record.Archive)} {
		if err := makeDir(dir); err != nil {
			return err
		}
	}
	if err := w.user.Own(w.archiveDir(next.record.Archive)); err != nil {
		return err
	}
	if _, err := copyTree(from, next.cluster.data(), w.user, nil); err != nil {
		return err
	}
	defer func() {
		next.process.end(context.WithoutCancel(ctx), syscall.SIGINT)
		s.process.end(context.WithoutCancel(ctx), syscall.SIGINT)
	}()
	// Nobody is let in to either: the edge is closed.
	if err := s.boot(ctx, nil); err != nil {
		return err
	}
	if err := next.boot(ctx, map[string]string{"autovacuum": "off", "archive_mode": "off"}); err != nil {
		return err
	}
	if err := next.fill(ctx, s); err != nil {
		return err
	}
	next.process.end(ctx, syscall.SIGINT)
	if err := next.inherit(s); err != nil {
		return err
	}
	if err := next.boot(ctx, nil); err != nil { // with its own settings, which the new major may not know
		return err
	}
	next.process.end(ctx, syscall.SIGINT)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return w.saveServer(next.record)
}

// inherit takes over what ALTER SYSTEM has set.
func (s *server) inherit(old *server) error {
	const auto = "postgresql.auto.conf"
	b, err := os.ReadFile(filepath.Join(old.cluster.data(), auto))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return writeFor(s.world.user, filepath.Join(s.cluster.data(), auto), b)
}

// settleRoles does what neither the dump nor pg_upgrade does: the clouds give their administrators the predefined roles of the new major.
func (s *server) settleRoles(ctx context.Context, from int) error {
	return s.use(ctx, func(c *pgx.Conn) error {
		r := s.record
		if r.SuperGroup != "" {
			q, err := s.grantPredefined(ctx, c)
			if err != nil {
				return err
			}
			if _, err := c.Exec(ctx, q); err != nil {
				return err
			}
		}
		if r.Master == "" || r.IAMGroup == "" || from >= 16 || r.Major < 16 {
			return nil
		}
		// From 16 on CREATEROLE is not enough to grant the group. Who is a member already stays one.
		var member bool
		if err := c.QueryRow(ctx, "SELECT pg_has_role($1, $2, 'MEMBER')", r.Master, r.IAMGroup).Scan(&member); err != nil || member {
			return err
		}
		_, err := c.Exec(ctx, "GRANT "+quote(r.IAMGroup)+" TO "+quote(r.Master)+" WITH ADMIN TRUE, INHERIT FALSE, SET FALSE")
		return err
	})
}

var homeForm = regexp.MustCompile(`^\d+$`)

// homes are the folders in which a server of that id may have lived.
func (w *world) homes(id string) ([]string, error) {
	names, err := entries(w.serverDir(id))
	all := []string{w.serverDir(id)}
	for _, name := range names {
		if homeForm.MatchString(name) {
			all = append(all, filepath.Join(w.serverDir(id), name))
		}
	}
	return all, err
}

// leaveHomes removes what a server left behind where it lived before an upgrade, or where one that was not finished would have led.
func (w *world) leaveHomes(id string) error {
	r, err := w.loadServer(id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	homes, err := w.homes(id)
	if err != nil {
		return err
	}
	var errs []error
	for _, home := range homes[1:] {
		if home != w.home(r) {
			errs = append(errs, removeTree(home))
		}
	}
	if r.Home != "" {
		for _, name := range []string{"data", "conf", "postgres.log"} {
			errs = append(errs, removeTree(filepath.Join(w.serverDir(id), name)))
		}
	}
	return errors.Join(errs...)
}
