package stream

import (
	"testing"
	"time"
)

func TestNothingIsEstimatedFromAMoment(t *testing.T) {
	t.Parallel()
	began := time.Now()
	for _, c := range []struct {
		what        string
		done, total int64
		took, want  time.Duration
	}{
		{"the first row", 1, 1 << 20, 60 * time.Millisecond, 0},
		{"enough of it", 1 << 18, 1 << 20, 100 * time.Millisecond, 300 * time.Millisecond},
		{"long enough", 1 << 10, 1 << 20, 2 * time.Second, 2046 * time.Second},
		{"all", 1 << 20, 1 << 20, 3 * time.Second, 0},
	} {
		l := newTeller(nil)
		l.began, l.now = began, Progress{Bytes: c.done, Total: c.total}
		if got := l.left(began.Add(c.took)); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
}
