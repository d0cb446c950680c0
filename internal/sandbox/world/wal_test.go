package world

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"dbops/internal/secret"
)

func TestWhatAServerDidNotArchiveIsRestoredAllTheSame(t *testing.T) {
	t.Parallel()
	for _, major := range []int{14, 17} {
		t.Run(on(major), func(t *testing.T) {
			t.Parallel()
			w := openWorld(t, newFolder(t))
			s := create(t, w, spec("a", major))
			run(t, login(t, s, "postgres"), "CREATE TABLE t AS SELECT 0 AS n")
			b, err := w.Backup(t.Context(), "a", "b")
			if err != nil {
				t.Fatal(err)
			}
			run(t, login(t, s, "postgres"), "INSERT INTO t VALUES (1)")
			one := moment(t, s)
			run(t, login(t, s, "postgres"), "INSERT INTO t VALUES (2)")
			if err := s.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := rows(t, restore(t, w, b, one, "of-a-stopped-one")); got != "0 1" {
				t.Errorf("while the source is stopped: %s", got)
			}
			if _, runs := s.running(); runs {
				t.Error("the source was started for that")
			}

			if err := s.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			run(t, login(t, s, "postgres"), "INSERT INTO t VALUES (3)")
			kill(t, s)
			if got := rows(t, restore(t, w, b, time.Now(), "of-a-crashed-one")); got != "0 1 2 3" {
				t.Errorf("after the source crashed: %s", got)
			}
			crashed := time.Now()
			if err := w.Remove(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			if got := rows(t, restore(t, w, b, crashed, "of-a-removed-one")); got != "0 1 2 3" {
				t.Errorf("after the crashed source was removed: %s", got)
			}
		})
	}
}

func TestTheWALOfABackupThatCannotBeReadIsKept(t *testing.T) {
	t.Parallel()
	dir := newFolder(t)
	if err := openWorld(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	segment := filepath.Join(dir, "archive", "a.1", "000000010000000000000001")
	torn := filepath.Join(dir, "backups", "torn", backupFile)
	for _, path := range []string{segment, torn} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(`{"Archive": "a.`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w, err := Open(t.Context(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	w.prune("a.1", true)
	if err := w.dropArchive("a.1"); err == nil {
		t.Error("the archive is dropped though nobody knows who needs it")
	}
	if err := w.RemoveBackup("torn"); err == nil {
		t.Error("the backup is removed without its archive")
	}
	if _, err := os.Stat(segment); err != nil {
		t.Error(err)
	}
	if err := os.Remove(torn); err != nil { // now it was never finished
		t.Fatal(err)
	}
	if err := w.dropArchive("a.1"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(segment); !os.IsNotExist(err) {
		t.Errorf("it is kept for nothing: %v", err)
	}
}

func TestABackupInTheMakingKeepsItsSource(t *testing.T) {
	t.Parallel()
	s := own(t, "source", 16)
	w, id := sharedWorld(t), s.Spec().ID
	c := login(t, s, "postgres")
	run(t, c, "CREATE TABLE t AS SELECT repeat('x', 1000) FROM generate_series(1, 20000)")
	done := make(chan error, 1)
	go func() {
		_, err := w.Backup(context.Background(), id, "in-the-making")
		done <- err
	}()
	eventually(t, "the backup is under way", func() bool { return len(list(w.backupDir("in-the-making"))) > 0 })
	if err := w.Remove(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	b := w.Backups(id)
	if len(b) != 1 {
		t.Fatalf("%+v", b)
	}
	got, err := w.Restore(t.Context(), b[0], time.Time{}, Spec{ID: "made", Listen: "127.0.0.1:0"}, certificate())
	if err != nil {
		t.Fatal(err)
	}
	if got := super(t, got, "postgres", "SELECT count(*) FROM t"); got != "20000" {
		t.Errorf("%s rows", got)
	}
	if err := w.RemoveBackup("in-the-making"); err != nil {
		t.Error(err)
	}
	if err := w.Remove(t.Context(), "made"); err != nil {
		t.Error(err)
	}
}

func TestABackupThatIsGivenUpLeavesNothing(t *testing.T) {
	t.Parallel()
	s := sharedServer(t, 16)
	w := sharedWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if b, err := w.Backup(ctx, s.Spec().ID, "given-up"); err == nil || b.ID != "" {
		t.Errorf("%+v, %v", b, err)
	}
	if _, err := os.Stat(w.backupDir("given-up")); !os.IsNotExist(err) {
		t.Errorf("its folder: %v", err)
	}
	if err := w.Remove(ctx, s.Spec().ID); err == nil {
		t.Error("a server was removed for somebody who had given that up")
	}
	login(t, s, "postgres")
	if _, err := w.Restore(ctx, Backup{ID: "x"}, time.Time{}, Spec{ID: "y", Listen: "127.0.0.1:0", MasterPassword: secret.New("z")}, certificate()); err == nil {
		t.Error("a backup that is not there was restored")
	}
}
