package awsclient

import (
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
)

// of is a retryer that tries so often.
func of(attempts int) aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts = attempts })
}

func TestOnlyAThrottleIsTriedPatiently(t *testing.T) {
	t.Parallel()
	r := Patient(of(maxAttempts))
	if n := r.MaxAttempts(); n != patientAttempts {
		t.Fatalf("%d attempts", n)
	}
	throttle := &smithy.GenericAPIError{Code: "Throttling", Message: "Rate exceeded"}
	down := &smithy.GenericAPIError{Code: "ServiceUnavailable", Fault: smithy.FaultServer}
	for attempt := 1; attempt < patientAttempts; attempt++ {
		if _, err := r.RetryDelay(attempt, throttle); err != nil {
			t.Errorf("a throttle is given up after attempt %d: %v", attempt, err)
		}
		if _, err := r.RetryDelay(attempt, down); (err != nil) != (attempt >= maxAttempts) || err != nil && !errors.Is(err, down) {
			t.Errorf("of a service that is down, after attempt %d: %v", attempt, err)
		}
	}
}

func TestWhoChoseHowOftenIsHeard(t *testing.T) {
	t.Parallel()
	for _, chosen := range []int{1, 2, 12} {
		if n := Patient(of(chosen)).MaxAttempts(); n != chosen {
			t.Errorf("%d attempts where %d were chosen", n, chosen)
		}
	}
}
