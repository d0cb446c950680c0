package world

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func (w *world) restore(ctx context.Context, b Backup, at time.Time, spec Spec, cert tls.Certificate) (*Server, error) {
	if err := errors.Join(checkID(spec.ID), checkID(b.ID)); err != nil {
		return nil, err
	}
	defer w.lock(spec.ID)()
	fail := func(err error) (*Server, error) { return nil, fmt.Errorf("restore server %s: %w", spec.ID, err) }
	if _, exists, err := w.loadSpec(spec.ID); err != nil || exists || w.server(spec.ID) != nil {
		return fail(errors.Join(err, errors.New("there is one of that id")))
	}
	if !at.IsZero() {
		if at.Before(b.End) {
			return fail(fmt.Errorf("%s is before the end of the backup, %s", at.UTC().Format(time.RFC3339), b.End.UTC().Format(time.RFC3339)))
		}
		for _, other := range w.backups(b.Server) { // oldest first
			if !other.End.After(at) && other.End.After(b.End) {
				b = other
			}
		}
		if src := w.server(b.Server); src != nil {
			if err := src.archiveNow(ctx); err != nil {
				return fail(err)
			}
		}
	}
	spec.Major = b.Major
	s, err := w.newServer(ctx, spec, cert)
	if err != nil {
		return fail(err)
	}
	if err := s.recover(ctx, b, at); err != nil {
		return fail(errors.Join(err, s.close()))
	}
	return w.launch(ctx, s)
}

// recover fills the data folder from a backup, replays the archive up to at, and stops the server again.
func (s *server) recover(ctx context.Context, b Backup, at time.Time) error {
	if at.IsZero() {
		return s.replay(ctx, b, map[string]string{"recovery_target": "immediate"})
	}
	err := s.replay(ctx, b, map[string]string{"recovery_target_time": at.UTC().Format("2006-01-02 15:04:05.999999+00")})
	if err == nil || ctx.Err() != nil {
		return err
	}
	// PostgreSQL refuses a moment after the last commit it finds, as when the source is gone: all there is was wanted then.
	return s.replay(ctx, b, nil)
}

func (s *server) replay(ctx context.Context, b Backup, target map[string]string) error {
	if err := os.RemoveAll(s.pm.data); err != nil {
		return err
	}
	if err := copyTree(filepath.Join(s.world.backupDir(b.ID), "data"), s.pm.data, s.world.user, nil); err != nil {
		return err
	}
	if err := errors.Join(s.pm.write("recovery.signal", nil), s.pm.write("postgresql.auto.conf", nil), s.writeTLS()); err != nil {
		return err
	}
	from := strings.ReplaceAll(s.world.archiveDir(b.Server), "%", "%%")
	settings := map[string]string{
		"restore_command":        `cp "` + from + `/%f" "%p"`,
		"recovery_target_action": "promote",
		"archive_mode":           "off", // what is replayed is in an archive already
	}
	maps.Copy(settings, target)
	if err := s.pm.start(ctx, s.settings(settings)); err != nil {
		return err
	}
	defer s.pm.stop(syscall.SIGINT)
	return s.promoted(ctx)
}

// promoted waits until the recovery has ended.
func (s *server) promoted(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	c, err := s.db(ctx, "postgres")
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var recovering bool
		if err := c.QueryRow(ctx, "SELECT pg_is_in_recovery()").Scan(&recovering); err != nil || !recovering {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for the end of the recovery: %w", ctx.Err())
		}
	}
}
