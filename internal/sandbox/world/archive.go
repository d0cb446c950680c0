package world

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5"
)

var walFile = regexp.MustCompile(`^[0-9A-F]{24}$`)

// archiveNow completes the current WAL file and waits until it is in the archive. A stopped server has nothing to add: its
// shutdown did the same.
func (s *server) archiveNow(ctx context.Context) error {
	if _, runs := s.running(); !runs {
		return nil
	}
	var file string
	err := s.use(ctx, func(c *pgx.Conn) error {
		// A commit after the moment that somebody wants to restore to is what tells a recovery that it has passed it.
		if _, err := c.Exec(ctx, "SELECT pg_current_xact_id()"); err != nil {
			return err
		}
		// At the border of two files the majors do not agree which of them is meant; the byte before is in the one that is complete.
		return c.QueryRow(ctx, "SELECT pg_walfile_name(pg_switch_wal() - 1)").Scan(&file)
	})
	if err != nil {
		return err
	}
	return s.awaitArchived(ctx, file)
}

// awaitArchived waits until a WAL file, and so all before it, is in the archive.
func (s *server) awaitArchived(ctx context.Context, file string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(filepath.Join(s.world.archiveDir(s.record.Archive), file)); err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("archive %s: %w", file, context.Cause(ctx))
		}
	}
}

// latestRestorable is when the newest file of the archive was written to last, or the newest backup ended.
func (s *server) latestRestorable() time.Time {
	dir := s.world.archiveDir(s.record.Archive)
	newest, latest := "", time.Time{}
	for _, name := range list(dir) {
		if walFile.MatchString(name) && name > newest {
			newest = name
		}
	}
	if info, err := os.Stat(filepath.Join(dir, newest)); newest != "" && err == nil {
		latest = info.ModTime()
	}
	for _, b := range s.world.loadBackups() {
		if b.Archive == s.record.Archive && b.End.After(latest) {
			latest = b.End
		}
	}
	return latest
}

// prune deletes the WAL of an archive that is older than its oldest backup: nothing can be restored from it. Without a backup all
// of it goes if unused says so: one in the making may need some.
func (w *world) prune(archive string, unused bool) {
	oldest := ""
	for _, b := range w.loadBackups() {
		if b.Archive == archive && (oldest == "" || b.First[8:] < oldest) {
			oldest = b.First[8:] // the timeline does not count
		}
	}
	if oldest == "" && !unused {
		return
	}
	for _, name := range list(w.archiveDir(archive)) {
		if len(name) >= 24 && walFile.MatchString(name[:24]) && (oldest == "" || name[8:24] < oldest) {
			if err := os.Remove(filepath.Join(w.archiveDir(archive), name)); err != nil {
				w.log.Warn("old WAL cannot be deleted", "archive", archive, "error", err)
			}
		}
	}
}

// dropArchive deletes what nobody needs of an archive after a server or a backup of its went.
func (w *world) dropArchive(archive string) error {
	for _, b := range w.loadBackups() {
		if b.Archive == archive {
			w.prune(archive, false)
			return nil
		}
	}
	for _, id := range list(filepath.Join(w.dir, "servers")) {
		if r, err := w.loadServer(id); err == nil && r.Archive == archive {
			return nil
		} else if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return os.RemoveAll(w.archiveDir(archive))
}
