// Package awssm reads and writes secrets of AWS Secrets Manager.
//
// Credentials come from the standard AWS chain; nothing is contacted before the first secret is asked for, and nothing is kept. The
// secret's region is that of its reference or ARN, else the chain's. What is current, pending and previous are AWS's own staging labels
// AWSCURRENT, AWSPENDING and AWSPREVIOUS, so whatever else reads the secret sees the same.
package awssm

import (
	"context"
	"net/http"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

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
	c, err := s.call("read secret", r)
	if err != nil {
		return secret.Value{}, err
	}
	out, err := ask(ctx, c, s.api.GetSecretValue, &secretsmanager.GetSecretValueInput{SecretId: &c.id})
	if err != nil {
		err = c.fault(ctx, err)
		if fault.KindOf(err) == fault.Busy { // it was deleted: there is nothing to read
			return secret.Value{}, fault.New(fault.NotFound, c.op, cloud.Because(cause(err), err))
		}
		return secret.Value{}, err
	}
	if out.SecretString != nil {
		return secret.Field(r, []byte(*out.SecretString))
	}
	return secret.Field(r, out.SecretBinary)
}

var regionText = regexp.MustCompile(`^[a-z]{2}(-gov|-iso[a-z]?)?-[a-z]+-[0-9]$`)

// locate splits the name of a reference into a region, if it tells one, and the secret's name or ARN.
func locate(name string) (region, id string) {
	if first, rest, ok := strings.Cut(name, "/"); ok && regionText.MatchString(first) {
		return first, rest
	}
	// arn:aws:secretsmanager:eu-west-1:123456789012:secret:orders-AbCdEf
	if isARN(name) {
		return strings.Split(name, ":")[3], name
	}
	return "", name
}

func isARN(name string) bool {
	part := strings.SplitN(name, ":", 7)
	return len(part) == 7 && part[0] == "arn" && part[2] == "secretsmanager"
}
