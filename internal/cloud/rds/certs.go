package rds

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/aws/smithy-go/middleware"

	"dbops/internal/cloud"
	"dbops/internal/cloud/awsclient"
	"dbops/internal/fault"
	"dbops/internal/secret"
)

// settingCA is the path of a CA in a cloud.Change.
const settingCA = "tls.ca"

var _ cloud.Certifier = (*Provider)(nil)

// Certificates tells the CA of an instance and those that it may change to. RDS hands out no certificate, only thumbprints.
func (p *Provider) Certificates(ctx context.Context, name string) (*cloud.Certificates, error) {
	op := p.op("read the certificates of", name)
	if err := p.check(op, name); err != nil {
		return nil, err
	}
	ask, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	db, err := p.describe(ask, name)
	if err != nil {
		return nil, p.aws.Fault(ctx, op, err)
	}
	out := telling{&cloud.Certificates{Instance: instance(db, p.aws.Config.Region)}}
	p.aside(ask, func(ctx context.Context) {
		out.Instance.TLS.Mode, out.Instance.TLS.Required = p.forceSSL(ctx, db, once)
	})
	cas, err := p.authorities(ask)
	if err != nil {
		return nil, p.aws.Fault(ctx, op, err)
	}
	out.tell(cas, p.rotation(ask, db.Engine, db.EngineVersion, once))
	return out.Certificates, nil
}

// telling is the certificates of an instance, as they become known.
type telling struct{ *cloud.Certificates }

// tell adds what the region has, and what a change of CA means.
func (t telling) tell(cas regionCAs, turn rotation) {
	for _, e := range t.Instance.Endpoints {
		t.Names = append(t.Names, e.Host)
	}
	t.Default, t.Restarts, t.RestartsUnknown = cas.standard, turn.restarts, turn.unknown
	t.CAs = roles(cas.all, turn.supported, t.Instance)
}

// regionCAs are the CAs of a region, and the one that new instances get.
type regionCAs struct {
	all      []types.Certificate
	standard string
}

func (p *Provider) authorities(ctx context.Context, tries ...func(*sdk.Options)) (out regionCAs, err error) {
	pages := sdk.NewDescribeCertificatesPaginator(p.api, &sdk.DescribeCertificatesInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx, tries...)
		if err != nil {
			return regionCAs{}, err
		}
		out.all = append(out.all, page.Certificates...)
		if page.DefaultCertificateForNewLaunches != nil {
			out.standard = *page.DefaultCertificateForNewLaunches
		}
	}
	return out, nil
}

// rotation is what a change of CA means for an engine version.
type rotation struct {
	restarts, unknown bool
	supported         []string // CAs; nil: not told
}

// rotation asks what a change of CA means. Where RDS does not tell, that is said: nobody may be promised that it does not restart.
func (p *Provider) rotation(ctx context.Context, engine, version *string, tries func(*sdk.Options)) rotation {
	unknown := rotation{restarts: true, unknown: true}
	versions, err := p.api.DescribeDBEngineVersions(ctx, &sdk.DescribeDBEngineVersionsInput{Engine: engine, EngineVersion: version}, tries)
	if err != nil {
		return unknown
	}
	for _, v := range versions.DBEngineVersions {
		if aws.ToString(v.EngineVersion) == aws.ToString(version) {
			return rotation{restarts: !aws.ToBool(v.SupportsCertificateRotationWithoutRestart), supported: v.SupportedCACertificateIdentifiers}
		}
	}
	return unknown
}

// roles sorts the region's CAs by what they are to an instance. Those that its engine does not take are left out.
func roles(all []types.Certificate, supported []string, live *cloud.Instance) []cloud.ServerCA {
	next := ""
	for _, c := range live.Pending {
		if c.Setting == settingCA {
			next = c.To
		}
	}
	takes := map[string]bool{}
	for _, id := range supported {
		takes[id] = true
	}
	by := map[cloud.CARole][]cloud.ServerCA{}
	seen := false
	for _, c := range all {
		ca := cloud.ServerCA{
			ID: aws.ToString(c.CertificateIdentifier), Role: cloud.CAOffered, Fingerprint: strings.ToLower(aws.ToString(c.Thumbprint)),
			From: utc(c.ValidFrom), Until: utc(c.ValidTill),
		}
		switch {
		case ca.ID == live.TLS.CA:
			ca.Role, seen = cloud.CAActive, true
		case ca.ID == next:
			ca.Role = cloud.CANext
		case supported != nil && !takes[ca.ID]:
			continue
		}
		by[ca.Role] = append(by[ca.Role], ca)
	}
	if !seen && live.TLS.CA != "" { // RDS tells no more of a CA that it has given up
		by[cloud.CAActive] = []cloud.ServerCA{{ID: live.TLS.CA, Role: cloud.CAActive}}
	}
	return append(append(by[cloud.CAActive], by[cloud.CANext]...), by[cloud.CAOffered]...)
}

// RotateCA asks for a certificate of another CA of the region. With CANow RDS applies everything else that is pending, too.
func (p *Provider) RotateCA(ctx context.Context, name, id string, when cloud.CAWhen) (cloud.Receipt, error) {
	op := p.op("change the CA of", name)
	if err := p.check(op, name); err != nil {
		return cloud.Receipt{}, err
	}
	in := &sdk.ModifyDBInstanceInput{DBInstanceIdentifier: &name, CACertificateIdentifier: &id}
	switch when {
	case cloud.CANow:
		in.ApplyImmediately = aws.Bool(true)
	case cloud.CAInWindow:
		in.ApplyImmediately = aws.Bool(false)
	case cloud.CAAtReboot: // applied at once would mean what else is pending
		in.ApplyImmediately, in.CertificateRotationRestart = aws.Bool(false), aws.Bool(false)
	default:
		return cloud.Receipt{}, fault.Newf(fault.Invalid, op, "there is no such time of a change: %s", when)
	}
	ask, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	db, err := p.describe(ask, name)
	if err != nil {
		return cloud.Receipt{}, p.aws.Fault(ctx, op, err)
	}
	live := instance(db, p.aws.Config.Region)
	w := want{CA: id, CAWhen: when}
	if live.TLS.CA == id && !waits(live, settingCA) {
		w.Nothing = true
		return receipt(changeCA, live.Name, middleware.Metadata{}, w)
	}
	out, err := p.api.ModifyDBInstance(ask, in, once)
	if err != nil {
		return cloud.Receipt{}, p.refused(ctx, op, err)
	}
	return receipt(changeCA, live.Name, out.ResultMetadata, w)
}

// rotated tells whether the server has its certificate of the wished CA, or waits for the time that was wished.
func (f *follow) rotated() (cloud.Progress, error) {
	if f.want.Nothing {
		return cloud.Progress{Done: true}, nil
	}
	waiting := waits(f.live, settingCA)
	if f.want.CAWhen != cloud.CANow && waiting {
		return cloud.Progress{Done: true, Status: f.live.RawState + ", accepted for later"}, nil
	}
	there := f.live.TLS.CA == f.want.CA && f.signer == f.want.CA && !waiting
	switch f.live.State {
	case cloud.Failed:
		if !there {
			return cloud.Progress{}, f.gaveUp()
		}
	case cloud.Available, cloud.Stopped:
		if !there && !waiting && (f.failure() != "" || f.quiet() > grace) {
			return cloud.Progress{}, f.gaveUp()
		}
	default:
		there = false
	}
	return cloud.Progress{Done: there}, nil
}

func (p *Provider) foreign(what, name string) error {
	return unsupported(p.op(what, name), "RDS for PostgreSQL has no client certificates and no CAs of one instance's own",
		"clients prove themselves with a password or an IAM token; rotate-ca changes among the CAs of the region")
}

// AddCA is Cloud SQL's.
func (p *Provider) AddCA(_ context.Context, name string) (cloud.Receipt, error) {
	return cloud.Receipt{}, p.foreign("add a CA to", name)
}

// CreateClient is Cloud SQL's.
func (p *Provider) CreateClient(_ context.Context, name, _ string) (cloud.ClientCert, secret.Value, cloud.Receipt, error) {
	return cloud.ClientCert{}, secret.Value{}, cloud.Receipt{}, p.foreign("make a client certificate for", name)
}

// DeleteClient is Cloud SQL's.
func (p *Provider) DeleteClient(_ context.Context, name, _ string) (cloud.Receipt, error) {
	return cloud.Receipt{}, p.foreign("revoke a client certificate of", name)
}
