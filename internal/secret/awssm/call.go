package awssm

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"dbops/internal/cloud"
	"dbops/internal/cloud/awsclient"
	"dbops/internal/fault"
	"dbops/internal/secret"
)

// call is what is being done to one secret.
type call struct {
	source *Source
	op     string
	region string // empty: the chain's
	id     string // name or ARN
}

func (s *Source) call(doing string, r secret.Ref) (*call, error) {
	c := &call{source: s, op: doing + " " + r.String()}
	c.region, c.id = locate(r.Name)
	if c.id == "" {
		return nil, fault.Newf(fault.Config, c.op, "its name is missing").Hint("want aws-sm:NAME, or aws-sm:REGION/NAME")
	}
	return c, s.aws.NeedRegion(c.op, c.region)
}

// ask does one request, with its retries.
func ask[I, O any](
	ctx context.Context, c *call, do func(context.Context, *I, ...func(*secretsmanager.Options)) (*O, error), in *I,
) (*O, error) {
	ctx, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	return do(ctx, in, c.options)
}

func (c *call) options(o *secretsmanager.Options) {
	if c.region != "" {
		o.Region = c.region
	}
	if r, ok := o.Retryer.(aws.RetryerV2); ok {
		o.Retryer = retryer{r}
	}
}

// retryer gives up at once at a quota, which the SDK takes for a throttle: no pause of seconds makes room.
type retryer struct{ aws.RetryerV2 }

func (r retryer) IsErrorRetryable(err error) bool {
	if _, full := errors.AsType[*types.LimitExceededException](err); full {
		return false
	}
	return r.RetryerV2.IsErrorRetryable(err)
}

// describe returns the secret with its labels. One that was deleted is a fault.Busy: its name is not free.
func (c *call) describe(ctx context.Context) (*secretsmanager.DescribeSecretOutput, error) {
	d, err := ask(ctx, c, c.source.api.DescribeSecret, &secretsmanager.DescribeSecretInput{SecretId: &c.id})
	if err != nil {
		return nil, c.fault(ctx, err)
	}
	if d.DeletedDate != nil {
		return nil, c.deleted(errors.New("DeletedDate is set"))
	}
	return d, nil
}

// ours is a fault.Blocked for a secret that somebody else writes.
func (c *call) ours(d *secretsmanager.DescribeSecretOutput) error {
	switch {
	case aws.ToString(d.OwningService) != "":
		return fault.Newf(fault.Blocked, c.op, "AWS manages it for %s", *d.OwningService).Hint("deliver to a secret of your own")
	case aws.ToBool(d.RotationEnabled):
		return fault.Newf(fault.Blocked, c.op, "AWS rotates it").
			Hint("aws secretsmanager cancel-rotate-secret --secret-id %s turns that off; or deliver to another secret", c.id)
	}
	return nil
}

func (c *call) moved(from, now string) error {
	return fault.Newf(fault.Stale, c.op, "the current version is %s, not %s", orNone(now), orNone(from)).
		Hint("somebody else changed it; make a new plan")
}

func orNone(version string) string {
	if version == "" {
		return "none"
	}
	return version
}

func (c *call) deleted(err error) error {
	return fault.New(fault.Busy, c.op, cloud.Because("it was deleted and waits for the end of its recovery window", err)).
		Hint("aws secretsmanager restore-secret --secret-id %s", c.id)
}

// fault adds what only Secrets Manager does: it describes the deletion of a secret as an invalid request, and a quota as a throttle.
func (c *call) fault(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if invalid, ok := errors.AsType[*types.InvalidRequestException](err); ok && strings.Contains(invalid.ErrorMessage(), "deletion") {
		return c.deleted(err)
	}
	if full, ok := errors.AsType[*types.LimitExceededException](err); ok {
		return fault.New(fault.Busy, c.op, cloud.Because("a quota is used up: "+full.ErrorMessage(), err)).
			Hint("AWS keeps 100 versions of a secret, and all of the last 24 hours; find out what writes so many: "+
				"aws secretsmanager list-secret-version-ids --include-deprecated --secret-id %s", c.id)
	}
	err = c.source.aws.Fault(ctx, c.op, err)
	if put, ok := errors.AsType[*types.EncryptionFailure](err); ok {
		return fault.New(fault.Denied, c.op, cloud.Because("AWS cannot encrypt it: "+put.ErrorMessage(), err)).Missing("kms:GenerateDataKey").
			Hint("the KMS key of the secret must be enabled, and allow kms:GenerateDataKey and kms:Decrypt to the identity in use")
	}
	if fault.PermissionOf(err) == "kms:Decrypt" {
		return fault.New(fault.Denied, c.op, cloud.Because(cause(err), err)).Missing("kms:Decrypt").
			Hint("allow kms:Decrypt on the KMS key of the secret, and to write also kms:GenerateDataKey, to the identity in use")
	}
	return err
}

// cause is the text of a fault without what was being done.
func cause(err error) string {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f.Err.Error()
	}
	return err.Error()
}
