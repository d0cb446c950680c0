package world

import (
	"runtime"
	"testing"
	"time"
)

func TestUsage(t *testing.T) {
	w := openWorld(t, newFolder(t))
	s := create(t, w, spec("used", 16))
	before, err := s.Usage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(before.Connections) != 0 || before.Bytes < 1<<20 {
		t.Errorf("at first it uses %+v", before)
	}
	conn, err := s.DB(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), "create table heap as select repeat('x', 1000) as word from generate_series(1, 20000)"); err != nil {
		t.Fatal(err)
	}
	after, err := s.Usage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if after.Connections["postgres"] != 1 || after.Bytes < before.Bytes+20_000_000 {
		t.Errorf("with a session and 20 MB more it uses %+v, before %+v", after, before)
	}
	if runtime.GOOS == "linux" && (after.CPU <= before.CPU || time.Since(after.Started) > time.Minute || !after.Started.Equal(before.Started)) {
		t.Errorf("its processes began at %s and used %s, before %s", after.Started, after.CPU, before.CPU)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if u, err := s.Usage(t.Context()); err == nil {
		t.Errorf("stopped, it uses %+v", u)
	}
}
