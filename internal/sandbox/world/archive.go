package world

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
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
	latest := time.Time{}
	newest, err := s.world.newestArchived(s.record.Archive)
	if err == nil && newest != "" {
		var info os.FileInfo
		if info, err = os.Stat(filepath.Join(s.world.archiveDir(s.record.Archive), newest)); err == nil {
			latest = info.ModTime()
		}
	}
	backups, unread := s.world.loadBackups()
	if err = errors.Join(err, unread); err != nil {
		s.world.log.Warn("the end of the archive is not known for certain", "server", s.record.ID, "error", err)
	}
	for _, b := range backups {
		if b.Archive == s.record.Archive && b.End.After(latest) {
			latest = b.End
		}
	}
	return latest
}

// newestArchived is the name of the last WAL file of an archive, empty if there is none.
func (w *world) newestArchived(archive string) (string, error) {
	names, err := entries(w.archiveDir(archive))
	newest := ""
	for _, name := range names {
		if walFile.MatchString(name) {
			newest = name // they come in order
		}
	}
	return newest, err
}

// rescue copies the WAL of a server that does not run, as far as it did not get into the archive, to dir. An orderly stop leaves
// none that matters; one that crashed had no time for it.
func (w *world) rescue(r record, dir string) error {
	from := filepath.Join(w.home(r), "data", "pg_wal")
	names, err := entries(from)
	if err != nil {
		return err
	}
	archived, err := w.newestArchived(r.Archive)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !walFile.MatchString(name) || name <= archived {
			continue
		}
		to := filepath.Join(dir, name)
		if _, err := copyFile(filepath.Join(from, name), to); err != nil {
			return err
		}
		if err := w.user.Own(to); err != nil {
			return err
		}
	}
	return nil
}

// rescueFor is [world.rescue] from the source of a backup, if it is still there and does not run.
func (w *world) rescueFor(b keptBackup, dir string) error {
	if s := w.server(b.Server); s != nil {
		if _, runs := s.running(); runs {
			return nil
		}
	}
	r, err := w.loadServer(b.Server)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || r.Archive != b.Archive {
		return err
	}
	return w.rescue(r, dir)
}

// prune deletes the WAL of an archive that is older than its oldest backup: nothing can be restored from it. Without a backup all
// of it goes if unused says so: one in the making may need some.
func (w *world) prune(archive string, unused bool) {
	backups, err := w.loadBackups()
	if err != nil {
		w.log.Warn("WAL is kept that may be of no use", "archive", archive, "error", err)
		return
	}
	oldest := ""
	for _, b := range backups {
		if b.Archive == archive && (oldest == "" || b.First[8:] < oldest) {
			oldest = b.First[8:] // the timeline does not count
		}
	}
	if oldest == "" && !unused {
		return
	}
	names, err := entries(w.archiveDir(archive))
	if err != nil {
		w.log.Warn("old WAL cannot be listed", "archive", archive, "error", err)
	}
	for _, name := range names {
		if len(name) >= 24 && walFile.MatchString(name[:24]) && (oldest == "" || name[8:24] < oldest) {
			if err := os.Remove(filepath.Join(w.archiveDir(archive), name)); err != nil {
				w.log.Warn("old WAL cannot be deleted", "archive", archive, "error", err)
			}
		}
	}
}

// dropArchive deletes what nobody needs of an archive after a server or a backup of its went.
func (w *world) dropArchive(archive string) error {
	needed, err := w.needs(archive)
	if err != nil {
		return err
	}
	if needed {
		w.prune(archive, false)
		return nil
	}
	return removeTree(w.archiveDir(archive))
}

// needs tells whether a server or a backup uses an archive.
func (w *world) needs(archive string) (bool, error) {
	backups, err := w.loadBackups()
	if err != nil {
		return false, err
	}
	if slices.ContainsFunc(backups, func(b keptBackup) bool { return b.Archive == archive }) {
		return true, nil
	}
	servers, err := entries(filepath.Join(w.dir, "servers"))
	if err != nil {
		return false, err
	}
	for _, id := range servers {
		if r, err := w.loadServer(id); err == nil && r.Archive == archive {
			return true, nil
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return false, nil
}
