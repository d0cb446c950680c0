package dial

import (
	"testing"
	"time"
)

// eventually waits for what somebody else has yet to do.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	end := time.Now().Add(30 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-t.Context().Done():
		}
	}
}
