package world

import (
	"strconv"
	"syscall"
	"testing"
	"time"
)

func TestTheArchiveEndsWithTheLastWriteNotWithTheLastCopy(t *testing.T) {
	t.Parallel()
	for _, major := range []int{14, 18} {
		t.Run(on(major), func(t *testing.T) {
			t.Parallel()
			s := own(t, "late", major)
			pid, err := strconv.Atoi(super(t, s, "postgres", "SELECT pid FROM pg_stat_activity WHERE backend_type = 'archiver'"))
			if err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			super(t, s, "postgres", "CREATE TABLE t ()", "SELECT pg_switch_wal()")
			ended := clock(t, s)
			time.Sleep(50 * time.Millisecond) // what is done now is in the next file
			if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the file is archived", func() bool { return !s.LatestRestorable().IsZero() })
			if got := s.LatestRestorable(); got.After(ended.Add(time.Millisecond)) {
				t.Errorf("restorable up to %v, the last write was before %v", got, ended)
			}
		})
	}
}
