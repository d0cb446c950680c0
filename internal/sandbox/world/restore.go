package world

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"time"

	"dbops/internal/fault"
	"dbops/internal/secret"
)

func (w *world) restore(ctx context.Context, b Backup, at time.Time, spec Spec, cert tls.Certificate) (*Server, error) {
	s, err := w.restoreLocked(ctx, b, at, spec, cert)
	if err != nil {
		return nil, fmt.Errorf("restore server %s: %w", spec.ID, err)
	}
	return s, nil
}

func (w *world) restoreLocked(ctx context.Context, want Backup, at time.Time, spec Spec, cert tls.Certificate) (*Server, error) {
	ctx, done, err := w.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := errors.Join(checkSpec(spec), checkID(want.ID)); err != nil {
		return nil, err
	}
	giveBack, err := w.ids.take(ctx, spec.ID)
	if err != nil {
		return nil, err
	}
	defer giveBack()
	if _, err := w.loadServer(spec.ID); !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(err, fault.Newf(fault.Busy, "make server "+spec.ID, "there is one of that id"))
	}
	b, err := w.loadBackup(want.ID)
	if err != nil {
		return nil, fmt.Errorf("backup %s: %w", want.ID, err)
	}
	if !at.IsZero() {
		if b, err = w.baseFor(ctx, b, at); err != nil {
			return nil, err
		}
	}
	r := newRecord(spec)
	// Roles are data: they are as they were.
	r.Major, r.Master, r.SuperGroup, r.IAMGroup = b.Major, b.From.Master, b.From.SuperGroup, b.From.IAMGroup
	return w.make(ctx, r, cert, secret.Value{}, func(ctx context.Context, s *server) error { return s.recover(ctx, b, at) })
}

// baseFor returns the newest backup of b's source that at can be reached from, after it has seen to it that at is in the archive.
func (w *world) baseFor(ctx context.Context, b keptBackup, at time.Time) (keptBackup, error) {
	backups, err := w.loadBackups()
	if err != nil {
		w.log.Warn("not every backup can be read", "error", err)
	}
	base := keptBackup{}
	for _, other := range backups { // oldest first
		if other.Archive == b.Archive && !other.End.After(at) {
			base = other
		}
	}
	if base.ID == "" {
		return b, fault.Newf(fault.Invalid, "restore to "+at.UTC().Format(time.RFC3339Nano), "backup %s ended only at %s", b.ID, b.End.UTC().Format(time.RFC3339Nano))
	}
	if at.After(time.Now()) {
		return b, fault.Newf(fault.Invalid, "restore to "+at.UTC().Format(time.RFC3339Nano), "that is in the future")
	}
	if source := w.server(b.Server); source != nil && source.record.Archive == b.Archive {
		if err := source.archiveNow(ctx); err != nil {
			return b, err
		}
	}
	return base, nil
}

// recover starts the server from a backup, and brings it to the backup's end or to at.
func (s *server) recover(ctx context.Context, b keptBackup, at time.Time) error {
	target := map[string]string{"recovery_target": "immediate"}
	if !at.IsZero() {
		target = map[string]string{"recovery_target_time": at.UTC().Format("2006-01-02 15:04:05.999999+00")}
	}
	err := s.replay(ctx, b, target)
	if says(err, "recovery ended before configured recovery target was reached") {
		// There was no later commit than at: all there is in the archive was wanted.
		err = s.replay(ctx, b, nil)
	}
	if err != nil {
		return err
	}
	if _, err := s.world.loadBackup(b.ID); err != nil { // what was copied may have been half of it
		return fmt.Errorf("backup %s went during the restore: %w", b.ID, err)
	}
	return nil
}

func (s *server) replay(ctx context.Context, b keptBackup, target map[string]string) error {
	if err := removeTree(s.cluster.data()); err != nil {
		return err
	}
	if _, err := copyTree(filepath.Join(s.world.backupDir(b.ID), "data"), s.cluster.data(), s.world.user, nil); err != nil {
		return err
	}
	if target["recovery_target"] != "immediate" {
		if err := s.world.rescueFor(b, filepath.Join(s.cluster.data(), "pg_wal")); err != nil {
			return err
		}
	}
	if err := writeFor(s.world.user, filepath.Join(s.cluster.data(), "recovery.signal"), nil); err != nil {
		return err
	}
	extra := map[string]string{
		"restore_command":        restoreCommand(s.world.archiveDir(b.Archive)),
		"recovery_target_action": "promote",
		"hot_standby":            "off", // nobody has to see it before the end, and then its settings need not match the source's
	}
	maps.Copy(extra, target)
	if err := s.boot(ctx, extra); err != nil {
		return err
	}
	if err := s.writeConf(s.port, nil); err != nil {
		return err
	}
	return s.process.reload()
}
