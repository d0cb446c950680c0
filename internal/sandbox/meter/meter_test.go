package meter

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"dbops/internal/sandbox/world"
)

// server is one whose usage a test says.
type server struct {
	usage world.Usage
	err   error
	asked int
}

func (s *server) Usage(context.Context) (world.Usage, error) {
	s.asked++
	return s.usage, s.err
}

func TestMeter(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 30, 12, 0, 20, 0, time.UTC)
	now := start
	m := New(2*time.Minute, func() time.Time { return now })
	s := &server{usage: world.Usage{
		At: start, Started: start.Add(-100 * time.Second), CPU: 10 * time.Second, Connections: map[string]int{"shop": 2}, Bytes: 1000,
	}}
	points := func() []Point {
		t.Helper()
		return m.Points(t.Context(), "main", s, start.Add(-time.Hour), now)
	}
	near := func(got *float64, want float64) {
		t.Helper()
		if want /= float64(runtime.NumCPU()); got == nil || *got < want*0.99 || *got > want*1.01 {
			t.Errorf("the share of the processors is %v, want %v", got, want)
		}
	}

	first := points()
	if len(first) != 1 || !first[0].At.Equal(start.Truncate(time.Minute).Add(-2*time.Minute)) || first[0].Connections["shop"] != 2 || first[0].Bytes != 1000 {
		t.Fatalf("the first point is %+v", first)
	}
	near(first[0].CPU, 0.1) // since it was started

	now = start.Add(30 * time.Second)
	if again := points(); len(again) != 1 || s.asked != 1 {
		t.Errorf("within the minute it was measured %d times", s.asked)
	}

	now = start.Add(time.Minute)
	s.usage.At, s.usage.CPU, s.usage.Bytes = now, 40*time.Second, 2000
	second := points()
	if len(second) != 2 || second[1].Bytes != 2000 {
		t.Fatalf("then it is %+v", second)
	}
	near(second[1].CPU, 0.5) // since it was measured before

	now = start.Add(2 * time.Minute)
	s.err = errors.New("it is stopped")
	if stopped := points(); len(stopped) != 2 {
		t.Errorf("a stopped server has %d points", len(stopped))
	}

	now = start.Add(3 * time.Minute)
	s.err, s.usage.At, s.usage.Started, s.usage.CPU = nil, now, now.Add(-10*time.Second), 2*time.Second
	near(points()[2].CPU, 0.2) // it was started anew

	if some := m.Points(t.Context(), "main", s, second[1].At, second[1].At.Add(time.Minute)); len(some) != 1 || !some[0].At.Equal(second[1].At) {
		t.Errorf("of one minute it tells %+v", some)
	}
	now = start.Add(memory + 10*time.Minute)
	if kept := points(); len(kept) != 1 {
		t.Errorf("after three hours it knows %d points", len(kept))
	}
}
