package rds

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"dbops/internal/cloud/awsclient"
)

// Identity is the ARN of the identity in use, as STS tells it. No policy can deny the question.
func (p *Provider) Identity(ctx context.Context) (string, error) {
	const op = "ask AWS who is asking"
	if err := p.aws.NeedRegion(op, ""); err != nil {
		return "", err
	}
	ask, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	out, err := p.sts.GetCallerIdentity(ask, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", p.aws.Fault(ctx, op, err)
	}
	return aws.ToString(out.Arn), nil
}
