// Package ecs deploys a service of Amazon ECS anew, so that its tasks read their secrets again.
//
// Nothing waits: a deployment is begun, and asked after. ECS has no token for a deployment, so a tag of the service remembers which
// deployment there was before: the same token again finds the one that it began.
package ecs

import (
	"context"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"dbops/internal/cloud/awsclient"
	"dbops/internal/fault"
)

// Tag is the key of the tag that remembers the last deployment dbops began.
const Tag = "dbops-rollout"

// The statuses of a deployment.
const (
	primary  = "PRIMARY" // the newest
	inactive = "INACTIVE"
)

var validToken = regexp.MustCompile(`^[A-Za-z0-9._:/=+@-]{1,128}$`)

// Options say which service.
type Options struct {
	Region   string
	Cluster  string // name or ARN
	Service  string // name
	Profile  string // of the AWS configuration; empty: the standard chain
	Endpoint string // base URL of the ECS API, for emulators
	// HTTPClient sends the requests. Nil: the SDK's own, which honours AWS_CA_BUNDLE and the proxy variables.
	HTTPClient *http.Client
}

// Service is one service.
type Service struct {
	opts Options
	aws  *awsclient.Client
	api  *sdk.Client
}

// New returns a service that nobody was asked about yet. An AWS configuration that cannot be read is a fault.Config.
func New(ctx context.Context, o Options) (*Service, error) {
	client, err := awsclient.Load(ctx, awsclient.Options{Region: o.Region, Profile: o.Profile, HTTPClient: o.HTTPClient})
	if err != nil {
		return nil, err
	}
	api := sdk.NewFromConfig(client.Config, func(s *sdk.Options) {
		if o.Endpoint != "" {
			s.BaseEndpoint = aws.String(o.Endpoint)
		}
	})
	return &Service{opts: o, aws: client, api: api}, nil
}

func (s *Service) op(verb string) string {
	return verb + " ECS service " + s.opts.Cluster + "/" + s.opts.Service
}

// Rollout starts a deployment of what is deployed already, and returns its ID. The same token again returns the deployment that it
// started, unless that has failed, or the identity in use may not tag: then it starts another one, which does no harm.
func (s *Service) Rollout(ctx context.Context, token string) (revision string, err error) {
	op := s.op("deploy")
	if !validToken.MatchString(token) {
		return "", fault.Newf(fault.Invalid, op, "%.150q is no token", token)
	}
	if err := s.aws.NeedRegion(op, ""); err != nil {
		return "", err
	}
	ask, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	svc, err := s.describe(ask, op)
	if err != nil {
		return "", s.aws.Fault(ctx, op, err)
	}
	if c := svc.DeploymentController; c != nil && c.Type != "" && c.Type != types.DeploymentControllerTypeEcs {
		return "", fault.Newf(fault.Blocked, op, "its deployments are made by %s, not by ECS", c.Type).
			Hint("let rollout.command of the container start one")
	}
	before := latest(svc)
	if was, ok := begun(svc, token); ok && was != before && !givenUp(svc, before) {
		return before, nil
	}
	if err := s.remember(ask, svc, token, before); err != nil {
		return "", s.aws.Fault(ctx, op, err)
	}
	out, err := s.api.UpdateService(ask, &sdk.UpdateServiceInput{
		Cluster: &s.opts.Cluster, Service: &s.opts.Service, ForceNewDeployment: true,
	}, func(o *sdk.Options) { o.Retryer = aws.NopRetryer{} }) // a repeat would start a second one; the caller's repeat does not
	if err != nil {
		return "", s.aws.Fault(ctx, op, err)
	}
	if now := latest(*out.Service); now != before {
		return now, nil
	}
	return "", fault.Newf(fault.Unavailable, op, "ECS does not show the new deployment yet").Hint("try again")
}

// describe describes the service. One that is not there, or deleted, is a fault.NotFound.
func (s *Service) describe(ctx context.Context, op string) (types.Service, error) {
	out, err := s.api.DescribeServices(ctx, &sdk.DescribeServicesInput{
		Cluster: &s.opts.Cluster, Services: []string{s.opts.Service}, Include: []types.ServiceField{types.ServiceFieldTags},
	})
	if err != nil {
		return types.Service{}, err
	}
	if len(out.Services) != 1 || aws.ToString(out.Services[0].Status) == inactive {
		return types.Service{}, fault.Newf(fault.NotFound, op, "there is no such service").
			Hint("aws ecs list-services --cluster %s --region %s names those there are", s.opts.Cluster, s.aws.Config.Region)
	}
	return out.Services[0], nil
}

// latest is the ID of the newest deployment.
func latest(svc types.Service) string {
	i := slices.IndexFunc(svc.Deployments, func(d types.Deployment) bool { return aws.ToString(d.Status) == primary })
	if i < 0 {
		return ""
	}
	return aws.ToString(svc.Deployments[i].Id)
}

// begun is the deployment before the one that token began, by the service's tag.
func begun(svc types.Service, token string) (before string, ok bool) {
	for _, t := range svc.Tags {
		if aws.ToString(t.Key) == Tag {
			was, id, _ := strings.Cut(aws.ToString(t.Value), " ")
			return id, was == token
		}
	}
	return "", false
}

// remember tags the service with the token and the deployment before. Where that is not allowed it is done without.
func (s *Service) remember(ctx context.Context, svc types.Service, token, before string) error {
	_, err := s.api.TagResource(ctx, &sdk.TagResourceInput{
		ResourceArn: svc.ServiceArn, Tags: []types.Tag{{Key: aws.String(Tag), Value: aws.String(token + " " + before)}},
	})
	if err == nil {
		return nil
	}
	refused := s.aws.Fault(ctx, s.op("tag"), err)
	switch fault.KindOf(refused) {
	case fault.Denied:
		if fault.PermissionOf(refused) != "" { // and not the credentials themselves
			return nil
		}
	case fault.Invalid: // an account with ARNs of the old format
		return nil
	default:
	}
	return refused
}
