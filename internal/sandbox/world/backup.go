package world

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"dbops/internal/sandbox/play"
)

const backupFile = "backup.json"

// keptBackup is what is kept of a backup in backup.json.
type keptBackup struct {
	Backup
	From    record // its source
	Archive string // folder of the WAL that belongs to it
	First   string // name of the first WAL file that it needs
}

func (w *world) backup(ctx context.Context, source, id string) (Backup, error) {
	ctx, done, err := w.begin(ctx)
	if err != nil {
		return Backup{}, err
	}
	defer done()
	if err := errors.Join(checkID(source), checkID(id)); err != nil {
		return Backup{}, err
	}
	giveBack, err := w.ids.take(ctx, "backup "+id)
	if err != nil {
		return Backup{}, err
	}
	defer giveBack()
	// Until the backup is kept, nothing says that its WAL is needed: its source is not removed meanwhile.
	giveSourceBack, err := w.ids.take(ctx, source)
	if err != nil {
		return Backup{}, err
	}
	defer giveSourceBack()
	if b, err := w.loadBackup(id); !errors.Is(err, fs.ErrNotExist) {
		return b.Backup, err
	}
	s := w.server(source)
	if s == nil {
		return Backup{}, fmt.Errorf("back up server %s: there is none", source)
	}
	b, err := s.baseBackup(ctx, id)
	if err == nil {
		err = play.Save(w.backupDir(id), backupFile, b) // last: without it there is no backup
	}
	if err != nil {
		return Backup{}, fmt.Errorf("back up server %s: %w", source, errors.Join(err, os.RemoveAll(w.backupDir(id))))
	}
	w.prune(b.Archive, false)
	return b.Backup, nil
}

// baseBackup copies the data folder while the server uses it.
func (s *server) baseBackup(ctx context.Context, id string) (keptBackup, error) {
	s.mu.Lock()
	r := s.record
	s.mu.Unlock()
	b := keptBackup{Backup: Backup{ID: id, Server: r.ID, Major: r.Major}, From: r, Archive: r.Archive}
	dir := s.world.backupDir(id)
	data := filepath.Join(dir, "data")
	if err := os.RemoveAll(dir); err != nil {
		return b, err
	}
	if err := makeDir(dir); err != nil {
		return b, err
	}
	start, stop := "pg_backup_start($1, true)", "pg_backup_stop(false)"
	if r.Major < 15 {
		start, stop = "pg_start_backup($1, true, false)", "pg_stop_backup(false, false)"
	}
	var label, last string
	err := s.use(ctx, func(c *pgx.Conn) error {
		if err := c.QueryRow(ctx, "SELECT clock_timestamp() FROM "+start, id).Scan(&b.Start); err != nil {
			return err
		}
		var err error
		if b.Bytes, err = copyTree(s.cluster.data(), data, s.world.user, notBackedUp); err != nil {
			return err
		}
		return c.QueryRow(ctx, "SELECT labelfile, pg_walfile_name(lsn - 1), clock_timestamp() FROM "+stop).Scan(&label, &last, &b.End)
	})
	if err == nil {
		err = s.awaitArchived(ctx, last) // PostgreSQL's own wait looks once a second
	}
	if err != nil {
		return b, err
	}
	first := regexp.MustCompile(`\(file ([0-9A-F]{24})\)`).FindStringSubmatch(label)
	if first == nil {
		return b, fmt.Errorf("PostgreSQL's label of the backup names no WAL file: %q", label)
	}
	b.First = first[1]
	return b, writeFor(s.world.user, filepath.Join(data, "backup_label"), []byte(label))
}

// notBackedUp are the files that belong to the running server or to this cluster, not to its data.
func notBackedUp(rel string) bool {
	dir, name := filepath.Split(rel)
	switch dir {
	case "":
		return name == "postmaster.pid" || name == "postmaster.opts" || name == "postgresql.auto.conf"
	case "pg_wal/", "pg_replslot/", "pg_dynshmem/", "pg_notify/", "pg_serial/", "pg_snapshots/", "pg_stat_tmp/", "pg_subtrans/":
		return true
	}
	return strings.HasPrefix(name, "pgsql_tmp") || name == "pg_internal.init"
}

// loadBackup reads what is kept of a backup. Without one it is fs.ErrNotExist.
func (w *world) loadBackup(id string) (keptBackup, error) {
	var b keptBackup
	ok, err := play.Load(w.backupDir(id), backupFile, &b)
	if err == nil && !ok {
		err = fs.ErrNotExist
	}
	return b, err
}

// loadBackups reads every backup that can be read, oldest first. An error says that there are others: nobody knows what WAL they
// need.
func (w *world) loadBackups() ([]keptBackup, error) {
	var all []keptBackup
	names, unread := entries(filepath.Join(w.dir, "backups"))
	for _, id := range names {
		if b, err := w.loadBackup(id); err == nil {
			all = append(all, b)
		} else if !errors.Is(err, fs.ErrNotExist) {
			unread = errors.Join(unread, fmt.Errorf("backup %s: %w", id, err))
		}
	}
	slices.SortFunc(all, func(a, b keptBackup) int { return cmp.Or(a.End.Compare(b.End), cmp.Compare(a.ID, b.ID)) })
	return all, unread
}

func (w *world) backups(id string) []Backup {
	var out []Backup
	all, err := w.loadBackups()
	if err != nil {
		w.log.Warn("not every backup can be read", "error", err)
	}
	for _, b := range all {
		if id == "" || b.Server == id {
			out = append(out, b.Backup)
		}
	}
	return out
}

func (w *world) removeBackup(id string) error {
	ctx, done, err := w.begin(context.Background())
	if err != nil {
		return err
	}
	defer done()
	if err := checkID(id); err != nil {
		return err
	}
	giveBack, err := w.ids.take(ctx, "backup "+id)
	if err != nil {
		return err
	}
	defer giveBack()
	b, err := w.loadBackup(id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(w.backupDir(id), backupFile)); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(w.backupDir(id)), w.dropArchive(b.Archive))
}
