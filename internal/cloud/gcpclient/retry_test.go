package gcpclient

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/api/googleapi"
)

func TestOneOfManyQuestionsIsPatientWithAThrottleOnly(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		status   int
		after    string
		attempts int
		took     time.Duration // at least
	}{
		{"a throttle", 429, "20", patientAttempts, (patientAttempts - 1) * 20 * time.Second},
		{"a throttle that says a day", 429, "86400", patientAttempts, (patientAttempts - 1) * patientPause},
		{"a service that is down", 503, "", maxAttempts, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n, start := 0, time.Now()
				err := ReadPatiently(t.Context(), func(context.Context) error {
					n++
					e := &googleapi.Error{Code: c.status, Header: http.Header{}}
					if c.after != "" {
						e.Header.Set("Retry-After", c.after)
					}
					return e
				})
				if err == nil || n != c.attempts {
					t.Errorf("%d attempts, %v; want %d", n, err, c.attempts)
				}
				if took := time.Since(start); took < c.took {
					t.Errorf("it waited %s, and was asked to wait %s", took, c.took)
				}
			})
		})
	}
}
