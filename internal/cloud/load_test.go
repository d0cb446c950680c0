package cloud

import (
	"encoding/json"
	"testing"
	"time"
)

func TestTheJSONOfALoadHasWhatIsKnown(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 30, 16, 8, 0, 0, time.UTC)
	for want, l := range map[string]Load{
		`{"at":"2026-11-30T16:08:00Z"}`: {At: at},
		`{"at":"2026-11-30T16:08:00Z","cpu":0,"connections":0,"storage_used_bytes":1,"storage_free_bytes":0,"replica_lag_seconds":1.5}`: {
			At: at, CPU: new(0.0), Connections: new(0), StorageUsed: new(int64(1)), StorageFree: new(int64(0)), ReplicaLag: new(1500 * time.Millisecond),
		},
	} {
		if got, err := json.Marshal(l); err != nil || string(got) != want {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
	}
}

func TestALoadIsAsOldAsItsOldestFigure(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 30, 16, 8, 0, 0, time.UTC)
	var l Load
	var got []float64
	for _, p := range []Point{{}, {at, 1}, {at.Add(-time.Minute), 0}, {at.Add(time.Minute), 3}, {at.Add(-time.Hour), -1}} {
		l.Take(p, func(v float64) { got = append(got, v) })
	}
	if !l.At.Equal(at.Add(-time.Minute)) || len(got) != 3 || got[1] != 0 {
		t.Errorf("it is of %s, of %v", l.At, got)
	}
}
