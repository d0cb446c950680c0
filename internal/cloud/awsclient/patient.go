package awsclient

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
)

// patientAttempts are for a throttled call that tells of many instances.
const patientAttempts = 8

// Patient is a retryer for a call that many answers hang on: while it is throttled it is tried more often than r would have it, unless somebody
// chose how often. What fails otherwise is given up as before.
func Patient(r aws.Retryer) aws.Retryer {
	v2, ok := r.(aws.RetryerV2)
	if !ok || r.MaxAttempts() != maxAttempts {
		return r
	}
	return patient{v2}
}

type patient struct{ aws.RetryerV2 }

func (patient) MaxAttempts() int { return patientAttempts }

// RetryDelay ends the attempts with an error.
func (p patient) RetryDelay(attempt int, err error) (time.Duration, error) {
	if attempt >= maxAttempts && retry.IsErrorThrottles(retry.DefaultThrottles).IsErrorThrottle(err) != aws.TrueTernary {
		return 0, err
	}
	return p.RetryerV2.RetryDelay(attempt, err)
}
