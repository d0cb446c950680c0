package rds

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"dbops/internal/cloud"
	"dbops/internal/cloud/awsclient"
	"dbops/internal/fault"
)

var _ cloud.Batcher = (*Provider)(nil)

// batch is a look at many instances. Its requests grow with the pages of the region's lists, its parameter groups and its engine versions.
type batch struct {
	p      *Provider
	ctx    context.Context //nolint:containedctx // of the look
	wanted map[string]bool // by name in lower case, as RDS keeps it

	list        cloud.Once[map[string]*listed]
	groups      cloud.Onces[sslMode] // by parameter group
	authorities cloud.Once[regionCAs]
	rotations   cloud.Onces[rotation] // by engine and version
}

// listed is an instance of the list, and what further questions about it need.
type listed struct {
	live            *cloud.Instance
	engine, version *string
	groups          []types.DBParameterGroupStatus
}

type sslMode struct {
	mode     string
	required bool
}

// Batch implements [cloud.Batcher].
func (p *Provider) Batch(ctx context.Context, names ...string) cloud.Batch {
	b := &batch{p: p, ctx: ctx, wanted: map[string]bool{}}
	for _, name := range names {
		b.wanted[strings.ToLower(name)] = true
	}
	return b
}

// patient is for the requests that many answers hang on.
func patient(o *sdk.Options) { o.Retryer = awsclient.Patient(o.Retryer) }

// find is an instance of the list; nil if it is not among those that RDS lists, or nobody here may list.
func (b *batch) find(ctx context.Context, name string) (*listed, error) {
	op := "list the RDS instances of " + b.p.aws.Config.Region
	all, err := b.list.Get(ctx, func() (map[string]*listed, error) {
		all, err := b.read(op)
		return all, b.p.aws.Fault(b.ctx, op, err)
	})
	switch {
	case err == nil:
		return all[strings.ToLower(name)], nil
	case fault.KindOf(err) == fault.Denied && !credentialsFault(err): // a policy may allow to describe some
		return nil, nil
	}
	return nil, b.p.aws.Fault(ctx, op, err)
}

// credentialsFault tells whether err is about who asks, and not about what they may do.
func credentialsFault(err error) bool { return fault.PermissionOf(err) == "" }

// read reads the list, and keeps what is wanted of it.
func (b *batch) read(op string) (map[string]*listed, error) {
	if err := b.p.aws.NeedRegion(op, ""); err != nil {
		return nil, err
	}
	ask, cancel := context.WithTimeout(b.ctx, awsclient.BatchTimeout)
	defer cancel()
	all, arns := map[string]*listed{}, map[string]*listed{}
	pages := sdk.NewDescribeDBInstancesPaginator(b.p.api, &sdk.DescribeDBInstancesInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ask, patient)
		if err != nil {
			return nil, err
		}
		for _, db := range page.DBInstances {
			name := strings.ToLower(aws.ToString(db.DBInstanceIdentifier))
			if !b.wanted[name] || !isPostgres(db) {
				continue
			}
			l := &listed{live: instance(db, b.p.aws.Config.Region), engine: db.Engine, version: db.EngineVersion, groups: db.DBParameterGroups}
			all[name], arns[aws.ToString(db.DBInstanceArn)] = l, l
		}
	}
	for arn, pending := range b.p.maintenance(ask, nil, patient) {
		if l := arns[arn]; l != nil {
			l.live.Maintenance.Pending = pending
		}
	}
	return all, nil
}

// described is an instance with the rds.force_ssl of its parameter group, which many share.
func (b *batch) described(ctx context.Context, l *listed) (*cloud.Instance, error) {
	live := l.live.Own()
	if len(l.groups) == 0 {
		return live, nil
	}
	m, err := b.groups.Get(ctx, aws.ToString(l.groups[0].DBParameterGroupName), func() (sslMode, error) {
		ask, cancel := context.WithTimeout(b.ctx, awsclient.BatchTimeout)
		defer cancel()
		mode, required := b.p.forceSSL(ask, types.DBInstance{DBParameterGroups: l.groups}, patient)
		return sslMode{mode, required}, nil
	})
	live.TLS.Mode, live.TLS.Required = m.mode, m.required
	return live, err
}

// Get implements [cloud.Batch].
func (b *batch) Get(ctx context.Context, name string) (*cloud.Instance, error) {
	op := b.p.op("describe", name)
	l, err := b.find(ctx, name)
	if err != nil {
		return nil, err
	}
	if l == nil { // it says why
		return b.p.Get(ctx, name)
	}
	live, err := b.described(ctx, l)
	return live, b.p.aws.Fault(ctx, op, err)
}

// Certificates implements [cloud.Batch].
func (b *batch) Certificates(ctx context.Context, name string) (*cloud.Certificates, error) {
	op := b.p.op("read the certificates of", name)
	l, err := b.find(ctx, name)
	if err != nil {
		return nil, err
	}
	if l == nil {
		return b.p.Certificates(ctx, name)
	}
	live, err := b.described(ctx, l)
	if err != nil {
		return nil, b.p.aws.Fault(ctx, op, err)
	}
	cas, err := b.authorities.Get(ctx, func() (regionCAs, error) {
		ask, cancel := context.WithTimeout(b.ctx, awsclient.BatchTimeout)
		defer cancel()
		all, err := b.p.authorities(ask, patient)
		return all, b.p.aws.Fault(b.ctx, "read the CAs of RDS in "+b.p.aws.Config.Region, err)
	})
	if err != nil {
		return nil, b.p.aws.Fault(ctx, op, err)
	}
	turn, err := b.rotations.Get(ctx, aws.ToString(l.engine)+" "+aws.ToString(l.version), func() (rotation, error) {
		ask, cancel := context.WithTimeout(b.ctx, awsclient.BatchTimeout)
		defer cancel()
		return b.p.rotation(ask, l.engine, l.version, patient), nil
	})
	if err != nil {
		return nil, b.p.aws.Fault(ctx, op, err)
	}
	out := telling{&cloud.Certificates{Instance: live}}
	out.tell(cas, turn)
	return out.Certificates, nil
}
