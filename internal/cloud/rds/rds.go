// Package rds reads, measures and changes the PostgreSQL instances of one AWS account and region, and makes the tokens with which to
// log in to them.
//
// Credentials come from the standard AWS chain; nothing is contacted before the first question. An answer is bounded in time, pages
// and retries included; what could only be learnt by a further question that failed is left empty rather than failing the whole. A
// change is sent once, and has happened when RDS shows it: a DB instance is "available" before a change begins as well as after.
package rds

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	sdk "github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"dbops/internal/cloud"
	"dbops/internal/cloud/awsclient"
	"dbops/internal/fault"
)

// asideTimeout bounds the questions beside the main one.
const asideTimeout = 3 * time.Second

// Options say which account and region.
type Options struct {
	Region   string
	Profile  string // of the AWS configuration; empty: the standard chain
	Endpoint string // base URL of the RDS API, for emulators; of STS and CloudWatch, too, unless the AWS configuration names one
	// HTTPClient sends the requests. Nil: the SDK's own, which honours AWS_CA_BUNDLE and the proxy variables.
	HTTPClient *http.Client
}

// Provider is the RDS of one account and region.
type Provider struct {
	aws   *awsclient.Client
	api   *sdk.Client
	sts   *sts.Client
	watch *cloudwatch.Client
}

var _ cloud.Changer = (*Provider)(nil)

// New returns a provider that has contacted nobody yet. An AWS configuration that cannot be read is a fault.Config.
func New(ctx context.Context, o Options) (*Provider, error) {
	client, err := awsclient.Load(ctx, awsclient.Options{Region: o.Region, Profile: o.Profile, HTTPClient: o.HTTPClient})
	if err != nil {
		return nil, err
	}
	api := sdk.NewFromConfig(client.Config, func(s *sdk.Options) {
		if o.Endpoint != "" {
			s.BaseEndpoint = aws.String(o.Endpoint)
		}
	})
	who := sts.NewFromConfig(client.Config, func(s *sts.Options) {
		if o.Endpoint != "" && s.BaseEndpoint == nil {
			s.BaseEndpoint = aws.String(o.Endpoint)
		}
	})
	watch := cloudwatch.NewFromConfig(client.Config, func(c *cloudwatch.Options) {
		if o.Endpoint != "" && c.BaseEndpoint == nil {
			c.BaseEndpoint = aws.String(o.Endpoint)
		}
	})
	return &Provider{aws: client, api: api, sts: who, watch: watch}, nil
}

// Get describes one instance by its DB instance identifier, with its pending maintenance and the rds.force_ssl of its parameter
// group. An instance of another engine is a fault.Invalid.
func (p *Provider) Get(ctx context.Context, name string) (*cloud.Instance, error) {
	op := p.op("describe", name)
	if err := p.check(op, name); err != nil {
		return nil, err
	}
	ask, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	db, err := p.describe(ask, name)
	if err != nil {
		return nil, p.aws.Fault(ctx, op, err)
	}
	live := instance(db, p.aws.Config.Region)
	p.aside(ask, func(ctx context.Context) {
		live.Maintenance.Pending = p.maintenance(ctx, &name, once)[aws.ToString(db.DBInstanceArn)]
	}, func(ctx context.Context) {
		live.TLS.Mode, live.TLS.Required = p.forceSSL(ctx, db, once)
	})
	return live, nil
}

// op is what is done to an instance, for an error.
func (p *Provider) op(verb, name string) string {
	return verb + " RDS instance " + p.aws.Config.Region + "/" + name
}

// check refuses what RDS would answer in a way that leads astray: the empty name means all instances, no region a bad signature.
func (p *Provider) check(op, name string) error {
	if name == "" {
		return fault.Newf(fault.Invalid, op, "its identifier is empty")
	}
	return p.aws.NeedRegion(op, "")
}

// describe returns an instance as RDS describes it. Another engine is a fault.Invalid.
func (p *Provider) describe(ctx context.Context, name string) (types.DBInstance, error) {
	op := p.op("describe", name)
	out, err := p.api.DescribeDBInstances(ctx, &sdk.DescribeDBInstancesInput{DBInstanceIdentifier: &name})
	if err != nil {
		return types.DBInstance{}, err
	}
	if len(out.DBInstances) != 1 {
		return types.DBInstance{}, fault.Newf(fault.NotFound, op, "RDS describes %d instances of that name", len(out.DBInstances))
	}
	db := out.DBInstances[0]
	if !isPostgres(db) {
		return db, fault.Newf(fault.Invalid, op, "its engine is %s, not PostgreSQL", aws.ToString(db.Engine))
	}
	return db, nil
}

// List describes every PostgreSQL instance of the region, members of Aurora and Multi-AZ clusters included, by name. It does not
// ask for rds.force_ssl: TLS.Mode is empty.
func (p *Provider) List(ctx context.Context) ([]*cloud.Instance, error) {
	op := "list the RDS instances of " + p.aws.Config.Region
	if err := p.aws.NeedRegion(op, ""); err != nil {
		return nil, err
	}
	ask, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	var all []*cloud.Instance
	arns := map[string]*cloud.Instance{}
	pages := sdk.NewDescribeDBInstancesPaginator(p.api, &sdk.DescribeDBInstancesInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ask)
		if err != nil {
			return nil, p.aws.Fault(ctx, op, err)
		}
		for _, db := range page.DBInstances {
			if isPostgres(db) {
				live := instance(db, p.aws.Config.Region)
				all = append(all, live)
				arns[aws.ToString(db.DBInstanceArn)] = live
			}
		}
	}
	p.aside(ask, func(ctx context.Context) {
		for arn, pending := range p.maintenance(ctx, nil, once) {
			if live := arns[arn]; live != nil {
				live.Maintenance.Pending = pending
			}
		}
	})
	slices.SortFunc(all, func(a, b *cloud.Instance) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

func isPostgres(db types.DBInstance) bool {
	e := aws.ToString(db.Engine)
	return e == "postgres" || e == "aurora-postgresql"
}

// aside asks questions beside the main one, all at once and for a short time.
func (p *Provider) aside(ctx context.Context, questions ...func(context.Context)) {
	ctx, cancel := context.WithTimeout(ctx, asideTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, q := range questions {
		wg.Go(func() { q(ctx) })
	}
	wg.Wait()
}

// maintenance is what RDS wants to do, by ARN: to one instance, or to all for nil. It is empty if RDS does not tell.
func (p *Provider) maintenance(ctx context.Context, name *string, tries func(*sdk.Options)) map[string][]string {
	in := &sdk.DescribePendingMaintenanceActionsInput{}
	if name != nil {
		in.Filters = []types.Filter{{Name: aws.String("db-instance-id"), Values: []string{*name}}}
	}
	pending := map[string][]string{}
	pages := sdk.NewDescribePendingMaintenanceActionsPaginator(p.api, in)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx, tries)
		if err != nil {
			return pending
		}
		for _, r := range page.PendingMaintenanceActions {
			arn := aws.ToString(r.ResourceIdentifier)
			for _, a := range r.PendingMaintenanceActionDetails {
				pending[arn] = append(pending[arn], maintenanceText(a))
			}
		}
	}
	return pending
}

// forceSSL is the rds.force_ssl of the instance's parameter group. It is empty if RDS does not tell.
func (p *Provider) forceSSL(ctx context.Context, db types.DBInstance, tries func(*sdk.Options)) (mode string, required bool) {
	if len(db.DBParameterGroups) == 0 {
		return "", false
	}
	const name = "rds.force_ssl"
	out, err := p.api.DescribeDBParameters(ctx, &sdk.DescribeDBParametersInput{
		DBParameterGroupName: db.DBParameterGroups[0].DBParameterGroupName,
		Filters:              []types.Filter{{Name: aws.String("parameter-name"), Values: []string{name}}},
	}, tries)
	if err != nil {
		return "", false
	}
	for _, param := range out.Parameters {
		if v := aws.ToString(param.ParameterValue); aws.ToString(param.ParameterName) == name && v != "" {
			return name + "=" + v, v == "1"
		}
	}
	return "", false
}
