package cloudtest

import (
	"context"
	"slices"
	"testing"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/fault"
)

// RunMeasurer checks that a provider keeps the promises of cloud.Measurer. Two of its instances run, and size is that of the disk of the first.
func RunMeasurer(t *testing.T, m cloud.Measurer, size int64, running ...string) {
	t.Helper()
	measure := func(t *testing.T, names ...string) map[string]cloud.Load {
		t.Helper()
		out, err := m.Measure(t.Context(), names...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	t.Run("it measures an instance", func(t *testing.T) {
		l, ok := measure(t, running[0])[running[0]]
		if !ok || l.CPU == nil || l.Connections == nil || l.StorageUsed == nil || l.StorageFree == nil {
			t.Fatalf("it measures %+v", l)
		}
		if *l.CPU < 0 || *l.CPU > 1 || *l.Connections < 0 || *l.StorageUsed < 1<<20 || *l.StorageUsed+*l.StorageFree != size {
			t.Errorf("CPU %v, connections %d, storage %d used and %d free of %d", *l.CPU, *l.Connections, *l.StorageUsed, *l.StorageFree, size)
		}
		if l.ReplicaLag != nil {
			t.Errorf("a primary lags by %s", *l.ReplicaLag)
		}
		if age := time.Since(l.At); age < 0 || age > 10*time.Minute || l.At.Location() != time.UTC {
			t.Errorf("it was measured at %s", l.At)
		}
	})
	t.Run("it measures several at once", func(t *testing.T) {
		if out := measure(t, running...); len(out) != len(running) || out[running[1]].CPU == nil {
			t.Errorf("it measures %+v", out)
		}
	})
	t.Run("one that does not exist is left out", func(t *testing.T) {
		const none = "dbops-no-such-instance"
		if out := measure(t, none); len(out) != 0 {
			t.Errorf("alone: %+v", out)
		}
		if out := measure(t, slices.Concat(running, []string{none})...); len(out) != len(running) {
			t.Errorf("with others: %+v", out)
		}
		if out := measure(t); len(out) != 0 {
			t.Errorf("without any: %+v", out)
		}
	})
	t.Run("no name is no instance", func(t *testing.T) {
		_, err := m.Measure(t.Context(), running[0], "")
		failed(t, err, fault.Invalid)
	})
	t.Run("who does not wait any more gets no figures", func(t *testing.T) {
		for kind, ctx := range map[fault.Kind]context.Context{fault.Interrupted: cancelled(t), fault.Unavailable: expired(t)} {
			_, err := m.Measure(ctx, running...)
			failed(t, err, kind)
		}
	})
}
