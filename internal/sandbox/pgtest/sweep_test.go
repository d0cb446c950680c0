package pgtest

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gofrs/flock"

	"dbops/internal/sandbox/pgbin"
)

func TestFoldersOfKilledTestBinariesAreSweptAway(t *testing.T) {
	left, used, fresh := Dir(t), Dir(t), Dir(t)
	for dir, age := range map[string]time.Duration{left: time.Hour, used: time.Hour, fresh: 0} {
		lock := filepath.Join(dir, "world", "lock")
		if err := os.Mkdir(filepath.Dir(lock), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(lock, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(-age)
		if err := os.Chtimes(lock, at, at); err != nil {
			t.Fatal(err)
		}
	}
	lock := flock.New(filepath.Join(used, "world", "lock"))
	if ok, err := lock.TryLock(); err != nil || !ok {
		t.Fatal(ok, err)
	}
	defer func() { _ = lock.Unlock() }()
	sweep()
	for dir, want := range map[string]bool{left: false, used: true, fresh: true} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

func TestAFolderIsReachedByTheServersUser(t *testing.T) {
	user, err := pgbin.RunAs()
	if err != nil {
		t.Fatal(err)
	}
	var dir string
	t.Run("and removed after the test", func(t *testing.T) {
		dir = Dir(t)
		if err := user.Reaches(dir); err != nil {
			t.Error(err)
		}
	})
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s: %v", dir, err)
	}
}

func TestADatabaseIsGoneAfterItsTest(t *testing.T) {
	s := Start(t, 16)
	var name string
	t.Run("even if it is in use", func(t *testing.T) {
		name = s.Database(t)
		s.Superuser(t, name) // its end comes after that of the test, too
	})
	var n int
	if err := s.Superuser(t, "postgres").QueryRow(t.Context(), "SELECT count(*) FROM pg_database WHERE datname = $1", name).Scan(&n); err != nil || n != 0 {
		t.Errorf("%d databases, %v", n, err)
	}
}
