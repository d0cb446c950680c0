package gcpclient

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"syscall"
	"time"

	gax "github.com/googleapis/gax-go/v2"
	"google.golang.org/api/googleapi"
)

const (
	maxAttempts = 4
	maxPause    = 5 * time.Second // that a server may ask for with Retry-After
)

// Read calls read, which must change nothing, and again after a pause when the answer was that the service is throttled or down,
// four times at most.
func Read(ctx context.Context, read func(context.Context) error) error {
	return gax.Invoke(ctx, func(ctx context.Context, _ gax.CallSettings) error { return read(ctx) }, Retry())
}

// Retry is how [Read] retries, for the SDK clients that can do it themselves.
func Retry() gax.CallOption {
	return gax.WithRetry(func() gax.Retryer {
		return &retryer{backoff: gax.Backoff{Initial: 300 * time.Millisecond, Max: maxPause, Multiplier: 2}}
	})
}

type retryer struct {
	backoff gax.Backoff
	retries int
}

func (r *retryer) Retry(err error) (time.Duration, bool) {
	if r.retries++; r.retries >= maxAttempts || !passing(err) {
		return 0, false
	}
	if api, ok := errors.AsType[*googleapi.Error](err); ok {
		if s, err := strconv.Atoi(api.Header.Get("Retry-After")); err == nil {
			return min(time.Duration(max(s, 0))*time.Second, maxPause), true
		}
	}
	return r.backoff.Pause(), true
}

// passing tells whether err may be gone in a moment.
func passing(err error) bool {
	if api, ok := errors.AsType[*googleapi.Error](err); ok {
		switch api.Code {
		case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
			http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return api.Code == http.StatusForbidden && isRateReason(reasonOf(api))
	}
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
}
