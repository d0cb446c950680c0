package world

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/sandbox/play"
)

func (w *world) backup(ctx context.Context, id, name string) (Backup, error) {
	if err := errors.Join(checkID(id), checkID(name)); err != nil {
		return Backup{}, err
	}
	defer w.lock("backup " + name)()
	var b Backup
	if ok, err := play.Load(w.backupDir(name), metaFile, &b); ok || err != nil {
		return b, err
	}
	s := w.server(id)
	if s == nil {
		return b, fmt.Errorf("back up server %s: there is none", id)
	}
	b, err := s.baseBackup(ctx, name)
	if err != nil {
		return b, fmt.Errorf("back up server %s: %w", id, err)
	}
	return b, play.Save(w.backupDir(name), metaFile, b) // last: without it there is no backup
}

// baseBackup copies the data folder of the running server.
func (s *server) baseBackup(ctx context.Context, name string) (Backup, error) {
	b := Backup{ID: name, Server: s.spec.ID, Major: s.spec.Major}
	dir := s.world.backupDir(name)
	data := filepath.Join(dir, "data")
	if err := os.RemoveAll(dir); err != nil {
		return b, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // the servers' user passes through
		return b, err
	}
	c, err := s.db(ctx, "postgres")
	if err != nil {
		return b, err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	start, stop := "SELECT now() FROM pg_backup_start($1, true)", "SELECT labelfile, clock_timestamp() FROM pg_backup_stop(true)"
	if s.spec.Major < 15 {
		start, stop = "SELECT now() FROM pg_start_backup($1, true, false)", "SELECT labelfile, clock_timestamp() FROM pg_stop_backup(false, true)"
	}
	if err := c.QueryRow(ctx, start, name).Scan(&b.Start); err != nil {
		return b, err
	}
	if err := copyTree(s.pm.data, data, s.world.user, notBackedUp); err != nil {
		return b, err
	}
	// Some versions say that all WAL has been archived by notices, which nobody here needs.
	var label string
	if err := c.QueryRow(ctx, stop).Scan(&label, &b.End); err != nil {
		return b, err
	}
	if err := os.WriteFile(filepath.Join(data, "backup_label"), []byte(label), 0o600); err != nil {
		return b, err
	}
	if err := s.world.user.Own(filepath.Join(data, "backup_label")); err != nil {
		return b, err
	}
	b.Bytes, err = size(data)
	return b, err
}

// notBackedUp are the files that belong to the running server, not to its data.
func notBackedUp(rel string) bool {
	dir, name := filepath.Split(rel)
	switch {
	case rel == "postmaster.pid", rel == "postmaster.opts", strings.HasPrefix(name, "pgsql_tmp"):
		return true
	case dir == "pg_wal/" && name != "archive_status":
		return true
	case dir == "pg_wal/archive_status/", dir == "pg_replslot/", dir == "pg_dynshmem/", dir == "pg_stat_tmp/":
		return true
	}
	return false
}

func size(dir string) (int64, error) {
	var n int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	return n, err
}

// archiveNow completes the current WAL file and waits until it is in the archive. A stopped server has nothing to add: its last
// shutdown did the same.
func (s *server) archiveNow(ctx context.Context) error {
	// A second switch with no WAL after the first would name a file that is not complete.
	s.archiving.Lock()
	defer s.archiving.Unlock()
	s.pm.mu.Lock()
	running := s.pm.cmd != nil
	s.pm.mu.Unlock()
	if !running {
		return nil
	}
	c, err := s.db(ctx, "postgres")
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	// A commit after the moment that somebody wants to restore to is what tells recovery that it has passed it.
	var file string
	err = pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "SELECT txid_current()")
		return err
	})
	if err != nil {
		return err
	}
	if err := c.QueryRow(ctx, "SELECT pg_walfile_name(pg_switch_wal())").Scan(&file); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(filepath.Join(s.world.archiveDir(s.spec.ID), file)); err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("archive %s of server %s: %w", file, s.spec.ID, ctx.Err())
		}
	}
}

// latestRestorable is when the newest file of the archive was completed.
func (s *server) latestRestorable() time.Time {
	entries, err := os.ReadDir(s.world.archiveDir(s.spec.ID))
	if err != nil {
		return time.Time{}
	}
	var newest time.Time
	for _, e := range entries {
		if info, err := e.Info(); err == nil && len(e.Name()) == 24 && info.ModTime().After(newest) {
			newest = info.ModTime()
		}
	}
	return newest
}
