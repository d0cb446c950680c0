package op

import (
	"testing"

	"golang.org/x/sync/errgroup"

	"dbops/internal/sandbox/statetest"
)

func TestManyMayBringTheEngineUpToDateAtOnce(t *testing.T) {
	t.Parallel()
	for range 3 {
		s := statetest.New(t, "postgres").Store(t)
		var all errgroup.Group
		for range 6 {
			all.Go(func() error { return MigrateEngine(t.Context(), s.DB) })
		}
		if err := all.Wait(); err != nil {
			t.Fatal(err)
		}
		if left, err := missingMigrations(t.Context(), s.DB.Pool); err != nil || len(left) > 0 {
			t.Errorf("left to do: %v, %v", left, err)
		}
	}
}
