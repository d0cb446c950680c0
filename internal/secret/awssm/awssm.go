// Package awssm reads secrets from AWS Secrets Manager.
//
// Credentials come from the standard AWS chain; nothing is contacted before the first secret is asked for, and nothing is kept. The
// secret's region is that of its reference or ARN, else the chain's.
package awssm

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"dbops/internal/cloud"
	"dbops/internal/cloud/awsclient"
	"dbops/internal/fault"
	"dbops/internal/secret"
)

// Options say which account to read.
type Options struct {
	Region   string // of secrets that name none; empty: the standard chain's
	Profile  string // of the AWS configuration; empty: the standard chain
	Endpoint string // base URL of AWS Secrets Manager, for emulators
	// HTTPClient sends the requests. Nil: the SDK's own, which honours AWS_CA_BUNDLE and the proxy variables.
	HTTPClient *http.Client
}

// Source is the Secrets Manager of one account.
type Source struct {
	aws *awsclient.Client
	api *secretsmanager.Client
}

var _ secret.Source = (*Source)(nil)

// New returns a source that has contacted nobody yet. An AWS configuration that cannot be read is a fault.Config.
func New(ctx context.Context, o Options) (*Source, error) {
	client, err := awsclient.Load(ctx, awsclient.Options{Region: o.Region, Profile: o.Profile, HTTPClient: o.HTTPClient})
	if err != nil {
		return nil, err
	}
	api := secretsmanager.NewFromConfig(client.Config, func(s *secretsmanager.Options) {
		if o.Endpoint != "" {
			s.BaseEndpoint = aws.String(o.Endpoint)
		}
	})
	return &Source{aws: client, api: api}, nil
}

// Get returns the current version of the secret that r names: "NAME", "REGION/NAME" or its ARN, with #KEY for one field of a JSON
// object. A first part of the name that looks like a region is one.
func (s *Source) Get(ctx context.Context, r secret.Ref) (secret.Value, error) {
	op := "read secret " + r.String()
	region, id := locate(r.Name)
	if id == "" {
		return secret.Value{}, fault.Newf(fault.Config, op, "its name is missing").Hint("want aws-sm:NAME, or aws-sm:REGION/NAME")
	}
	if err := s.aws.NeedRegion(op, region); err != nil {
		return secret.Value{}, err
	}
	ask, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	out, err := s.api.GetSecretValue(ask, &secretsmanager.GetSecretValueInput{SecretId: &id}, func(o *secretsmanager.Options) {
		if region != "" {
			o.Region = region
		}
	})
	if err != nil {
		return secret.Value{}, s.fault(ctx, op, id, err)
	}
	if out.SecretString != nil {
		return secret.Field(r, []byte(*out.SecretString))
	}
	return secret.Field(r, out.SecretBinary)
}

// fault adds what only Secrets Manager does: it describes the deletion of a secret as an invalid request.
func (s *Source) fault(ctx context.Context, op, id string, err error) error {
	if invalid, ok := errors.AsType[*types.InvalidRequestException](err); ok && strings.Contains(invalid.ErrorMessage(), "deletion") {
		return fault.New(fault.NotFound, op, cloud.Because("it was deleted and waits for the end of its recovery window", err)).
			Hint("aws secretsmanager restore-secret --secret-id %s", id)
	}
	return s.aws.Fault(ctx, op, err)
}

var regionText = regexp.MustCompile(`^[a-z]{2}(-gov|-iso[a-z]?)?-[a-z]+-[0-9]$`)

// locate splits the name of a reference into a region, if it tells one, and the secret's name or ARN.
func locate(name string) (region, id string) {
	if first, rest, ok := strings.Cut(name, "/"); ok && regionText.MatchString(first) {
		return first, rest
	}
	// arn:aws:secretsmanager:eu-west-1:123456789012:secret:orders-AbCdEf
	if part := strings.SplitN(name, ":", 7); len(part) == 7 && part[0] == "arn" && part[2] == "secretsmanager" {
		return part[3], name
	}
	return "", name
}
