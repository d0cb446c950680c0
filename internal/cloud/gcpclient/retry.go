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

	// Of many questions that are throttled each one waits for its turn.
	patientAttempts = 16
	patientPause    = 30 * time.Second
)

// Read calls read, which must change nothing, and again after a pause when the answer was that the service is throttled or down,
// four times at most.
func Read(ctx context.Context, read func(context.Context) error) error {
	return gax.Invoke(ctx, func(ctx context.Context, _ gax.CallSettings) error { return read(ctx) }, Retry())
}

// ReadPatiently is [Read] of one of many questions: while it is throttled it goes on for longer, and waits as long as the service asks for, up to
// half a minute.
func ReadPatiently(ctx context.Context, read func(context.Context) error) error {
	return gax.Invoke(ctx, func(ctx context.Context, _ gax.CallSettings) error { return read(ctx) }, gax.WithRetry(func() gax.Retryer {
		return newRetryer(patientAttempts, patientPause)
	}))
}

// Retry is how [Read] retries, for the SDK clients that can do it themselves.
func Retry() gax.CallOption {
	return gax.WithRetry(func() gax.Retryer { return newRetryer(maxAttempts, maxPause) })
}

func newRetryer(throttled int, pause time.Duration) *retryer {
	return &retryer{backoff: gax.Backoff{Initial: 300 * time.Millisecond, Max: maxPause, Multiplier: 2}, throttled: throttled, pause: pause}
}

type retryer struct {
	backoff   gax.Backoff
	throttled int           // attempts while it is
	pause     time.Duration // the longest that the server may ask for
	tries     int
}

func (r *retryer) Retry(err error) (time.Duration, bool) {
	most := maxAttempts
	if throttles(err) {
		most = r.throttled
	}
	if r.tries++; r.tries >= most || !passing(err) {
		return 0, false
	}
	if api, ok := errors.AsType[*googleapi.Error](err); ok {
		if s, err := strconv.Atoi(api.Header.Get("Retry-After")); err == nil {
			return min(time.Duration(max(s, 0))*time.Second, r.pause), true
		}
	}
	return r.backoff.Pause(), true
}

// throttles tells whether err is that there were too many requests.
func throttles(err error) bool {
	api, ok := errors.AsType[*googleapi.Error](err)
	return ok && (api.Code == http.StatusTooManyRequests || api.Code == http.StatusForbidden && isRateReason(reasonOf(api)))
}

// passing tells whether err may be gone in a moment.
func passing(err error) bool {
	if api, ok := errors.AsType[*googleapi.Error](err); ok {
		switch api.Code {
		case http.StatusRequestTimeout, http.StatusInternalServerError,
			http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return throttles(err)
	}
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
}
