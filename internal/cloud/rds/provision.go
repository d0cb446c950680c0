package rds

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/aws/smithy-go/middleware"

	"dbops/internal/cloud"
	"dbops/internal/cloud/awsclient"
	"dbops/internal/fault"
)

var _ cloud.Provisioner = (*Provider)(nil)

// engine is what new instances run.
const engine = "postgres"

// Majors lists the majors that RDS makes new instances of, and says to which of their versions it upgrades this instance.
func (p *Provider) Majors(ctx context.Context, name string) ([]cloud.Offer, error) {
	op := p.op("list the newer majors for", name)
	if err := p.check(op, name); err != nil {
		return nil, err
	}
	ask, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	db, err := p.describe(ask, name)
	if err != nil {
		return nil, p.aws.Fault(ctx, op, err)
	}
	if clustered(db) {
		return nil, nil
	}
	versions, err := p.versions(ask)
	if err != nil {
		return nil, p.aws.Fault(ctx, op, err)
	}
	return offers(db, versions), nil
}

// clustered tells whether an instance is a member of a cluster, which has the version.
func clustered(db types.DBInstance) bool {
	return aws.ToString(db.Engine) != engine || db.DBClusterIdentifier != nil
}

// versions are all that RDS knows, also those that it makes no new instances of.
func (p *Provider) versions(ctx context.Context) ([]types.DBEngineVersion, error) {
	var all []types.DBEngineVersion
	pages := sdk.NewDescribeDBEngineVersionsPaginator(p.api, &sdk.DescribeDBEngineVersionsInput{Engine: aws.String(engine), IncludeAll: aws.Bool(true)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, page.DBEngineVersions...)
	}
	return all, nil
}

// offers are the majors beyond that of db of which RDS makes new instances, each with its newest version.
func offers(db types.DBInstance, versions []types.DBEngineVersion) []cloud.Offer {
	runs := aws.ToString(db.EngineVersion)
	all := map[int]cloud.Offer{}
	for _, v := range versions {
		text := aws.ToString(v.EngineVersion)
		major := cloud.Major(text)
		if s := aws.ToString(v.Status); major <= cloud.Major(runs) || s != "" && s != "available" {
			continue
		}
		if o := all[major]; o.Version == "" || newer(text, o.Version) {
			all[major] = cloud.Offer{Major: major, Version: text}
		}
	}
	for _, v := range versions {
		if aws.ToString(v.EngineVersion) != runs {
			continue
		}
		for _, t := range v.ValidUpgradeTarget {
			text := aws.ToString(t.EngineVersion)
			if o, ok := all[cloud.Major(text)]; ok && (o.InPlace == "" || newer(text, o.InPlace)) {
				o.InPlace = text
				all[o.Major] = o
			}
		}
	}
	return cloud.SortOffers(all)
}

// newer compares two versions of one major: 17.10 and 17.9, 17.5-rds.20251111.
func newer(a, b string) bool { return slices.Compare(numbers(a), numbers(b)) > 0 }

func numbers(version string) []int {
	var out []int
	for word := range strings.FieldsFuncSeq(version, func(r rune) bool { return r < '0' || r > '9' }) {
		n, err := strconv.Atoi(word)
		if err != nil {
			break
		}
		out = append(out, n)
	}
	return out
}

// blueprint is what a new instance is made like.
type blueprint struct {
	source types.DBInstance
	offer  cloud.Offer
	group  groupPlan
	ca     *string // nil: the new version does not know the source's
}

// blueprint reads what p is about.
func (p *Provider) blueprint(ctx context.Context, op string, r cloud.Provision) (*blueprint, error) {
	source, err := p.describe(ctx, r.Source)
	if err != nil {
		return nil, err
	}
	if clustered(source) {
		return nil, unsupported(op, r.Source+" belongs to a cluster, and dbops makes no clusters", "upgrade the cluster with the AWS CLI or console")
	}
	if primary := aws.ToString(source.ReadReplicaSourceDBInstanceIdentifier); primary != "" {
		return nil, unsupported(op, r.Source+" is a read replica", "upgrade what it is a replica of: "+primary)
	}
	versions, err := p.versions(ctx)
	if err != nil {
		return nil, err
	}
	m := &blueprint{source: source, ca: source.CACertificateIdentifier}
	if m.offer, err = r.Check(op, cloud.Major(aws.ToString(source.EngineVersion)), offers(source, versions)); err != nil {
		return nil, err
	}
	if err := r.CheckAdmin(op, aws.ToString(source.MasterUsername)); err != nil {
		return nil, err
	}
	for _, v := range versions {
		known := v.SupportedCACertificateIdentifiers
		if aws.ToString(v.EngineVersion) == m.offer.Version && len(known) > 0 && !slices.Contains(known, aws.ToString(m.ca)) {
			m.ca = nil
		}
	}
	m.group, err = p.planGroup(ctx, source, r)
	return m, err
}

// lost is what the new instance will not have, as far as it is known before it is made.
func (m *blueprint) lost() []string {
	lost := slices.Clone(m.group.lost)
	if m.ca == nil && m.source.CACertificateIdentifier != nil {
		lost = append(lost, "CA: the default one of the account, as "+m.offer.Version+" does not know "+*m.source.CACertificateIdentifier)
	}
	if m.source.MasterUserSecret != nil {
		lost = append(lost, "master password in Secrets Manager: it is the one that is given to the new instance")
	}
	for _, r := range m.source.AssociatedRoles {
		lost = append(lost, "IAM role for "+or(aws.ToString(r.FeatureName))+": an instance is given it when it is there")
	}
	for _, d := range m.source.DomainMemberships {
		lost = append(lost, "directory domain "+aws.ToString(d.Domain)+": logins with Kerberos")
	}
	if replicas := m.source.ReadReplicaDBInstanceIdentifiers; len(replicas) > 0 {
		lost = append(lost, "read replicas: none, not "+strings.Join(replicas, " "))
	}
	for _, t := range m.source.TagList {
		if k := aws.ToString(t.Key); strings.HasPrefix(k, "aws:") {
			lost = append(lost, "tag "+k+": only AWS can set it")
		}
	}
	return lost
}

// Prospect tells version, parameter group and losses of a new instance.
func (p *Provider) Prospect(ctx context.Context, r cloud.Provision) (cloud.Prospect, error) {
	op := p.op("look at a newer major of", r.Source)
	if err := p.check(op, r.Source); err != nil {
		return cloud.Prospect{}, err
	}
	ask, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	m, err := p.blueprint(ask, op, r)
	if err != nil {
		return cloud.Prospect{}, p.aws.Fault(ctx, op, err)
	}
	return cloud.Prospect{
		Version: m.offer.Version, Admin: aws.ToString(m.source.MasterUsername), Group: m.group.name,
		Parameters: maps.Clone(m.group.set), Lost: m.lost(),
	}, nil
}

// Provision makes the parameter group, where the source has one of its own, and the instance.
func (p *Provider) Provision(ctx context.Context, r cloud.Provision) (cloud.Receipt, error) {
	op := p.op("make from "+r.Source+" the new", r.Target)
	if err := p.check(op, r.Target); err != nil {
		return cloud.Receipt{}, err
	}
	if err := r.CheckPassword(op); err != nil {
		return cloud.Receipt{}, err
	}
	ask, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	m, err := p.blueprint(ask, op, r)
	if err != nil {
		return cloud.Receipt{}, p.aws.Fault(ctx, op, err)
	}
	// Looking first leaves no parameter group behind for a name that is taken.
	if _, err := p.describe(ask, r.Target); !p.isGone(ctx, err) {
		if err != nil {
			return cloud.Receipt{}, p.aws.Fault(ctx, op, err)
		}
		return cloud.Receipt{}, fault.New(fault.Invalid, op, cloud.Because("an instance of that name is there", cloud.ErrExists)).
			Hint("choose another name")
	}
	if err := p.makeGroup(ask, op, m, r); err != nil {
		return cloud.Receipt{}, p.aws.Fault(ctx, op, err)
	}
	out, err := p.api.CreateDBInstance(ask, m.create(r), once)
	if err != nil {
		return cloud.Receipt{}, p.refused(ctx, op, err)
	}
	return receipt(cloud.ChangeProvision, strings.ToLower(r.Target), out.ResultMetadata, want{})
}

// create asks for an empty instance that is like the source in all that RDS can be told about it. The request holds the password.
func (m *blueprint) create(r cloud.Provision) *sdk.CreateDBInstanceInput {
	like := pointInTime(m.source, r.Restore())
	in := &sdk.CreateDBInstanceInput{
		DBInstanceIdentifier: &r.Target, Engine: aws.String(engine), EngineVersion: &m.offer.Version,
		MasterUsername: m.source.MasterUsername, MasterUserPassword: aws.String(r.Password.Reveal()),
		DBInstanceClass: like.DBInstanceClass, ProcessorFeatures: like.ProcessorFeatures, MultiAZ: like.MultiAZ, Port: port(m.source),
		AllocatedStorage: m.source.AllocatedStorage, MaxAllocatedStorage: like.MaxAllocatedStorage, StorageType: like.StorageType,
		Iops: like.Iops, StorageThroughput: like.StorageThroughput, DedicatedLogVolume: like.DedicatedLogVolume,
		StorageEncrypted:  m.source.StorageEncrypted,
		DBSubnetGroupName: like.DBSubnetGroupName, PubliclyAccessible: like.PubliclyAccessible, VpcSecurityGroupIds: like.VpcSecurityGroupIds,
		NetworkType: like.NetworkType, CACertificateIdentifier: m.ca, EnableIAMDatabaseAuthentication: like.EnableIAMDatabaseAuthentication,
		BackupRetentionPeriod: like.BackupRetentionPeriod, PreferredBackupWindow: like.PreferredBackupWindow,
		PreferredMaintenanceWindow: m.source.PreferredMaintenanceWindow, AutoMinorVersionUpgrade: like.AutoMinorVersionUpgrade,
		CopyTagsToSnapshot: like.CopyTagsToSnapshot, DeletionProtection: like.DeletionProtection, Tags: like.Tags,
		EnableCloudwatchLogsExports: like.EnableCloudwatchLogsExports, EngineLifecycleSupport: m.source.EngineLifecycleSupport,
	}
	if aws.ToBool(m.source.StorageEncrypted) {
		in.KmsKeyId = m.source.KmsKeyId
	}
	if m.group.name != "" {
		in.DBParameterGroupName = &m.group.name
	}
	if !aws.ToBool(m.source.MultiAZ) { // else RDS refuses to be told
		in.AvailabilityZone = m.source.AvailabilityZone
	}
	if aws.ToInt32(m.source.MonitoringInterval) > 0 {
		in.MonitoringInterval, in.MonitoringRoleArn = m.source.MonitoringInterval, m.source.MonitoringRoleArn
	}
	if aws.ToBool(m.source.PerformanceInsightsEnabled) {
		in.EnablePerformanceInsights, in.PerformanceInsightsKMSKeyId = m.source.PerformanceInsightsEnabled, m.source.PerformanceInsightsKMSKeyId
		in.PerformanceInsightsRetentionPeriod, in.DatabaseInsightsMode = m.source.PerformanceInsightsRetentionPeriod, m.source.DatabaseInsightsMode
	}
	return in
}

// Provisioning is the receipt of a provision whose answer was lost: an instance has its tags from the start.
func (p *Provider) Provisioning(ctx context.Context, r cloud.Provision, _ time.Time) (cloud.Receipt, error) {
	op := p.op("look for the new", r.Target)
	if err := p.check(op, r.Target); err != nil {
		return cloud.Receipt{}, err
	}
	ask, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	db, err := p.describe(ask, r.Target)
	if err != nil {
		return cloud.Receipt{}, p.aws.Fault(ctx, op, err)
	}
	live := instance(db, p.aws.Config.Region)
	if !cloud.Labelled(live, r.Labels) || live.Major != r.Major {
		why := "an instance of that name is there, and has not the labels or the major of the one that was asked for"
		return cloud.Receipt{}, fault.New(fault.Invalid, op, cloud.Because(why, cloud.ErrExists))
	}
	return receipt(cloud.ChangeProvision, live.Name, middleware.Metadata{}, want{})
}

// provisioned tells whether the new instance is at rest. Parameters that wait for a reboot are none of its making.
func (f *follow) provisioned() (cloud.Progress, error) {
	progress, err := f.unlessFailed()
	pending := slices.ContainsFunc(f.live.Pending, func(c cloud.Change) bool { return c.Setting != pendingGroup })
	progress.Done = f.live.State == cloud.Available && !pending && zoned(f.live)
	return progress, err
}

// pendingGroup is how [pending] tells of parameters that wait for a reboot.
const pendingGroup = "parameter_group"

// Provisioned compares the new instance to its source, and its parameters to those that were to go along.
func (p *Provider) Provisioned(ctx context.Context, r cloud.Provision) (left cloud.Settings, ok bool, lost []string, err error) {
	op := p.op("compare with "+r.Source+" the new", r.Target)
	if err := p.check(op, r.Target); err != nil {
		return left, false, nil, err
	}
	source, err := p.Get(ctx, r.Source)
	if err != nil {
		return left, false, nil, err
	}
	target, err := p.Get(ctx, r.Target)
	if err != nil {
		return left, false, nil, err
	}
	ask, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	m, err := p.blueprint(ask, op, r)
	if err != nil {
		return left, false, nil, p.aws.Fault(ctx, op, err)
	}
	missing, err := p.missing(ask, m.group, target)
	if err != nil {
		return left, false, nil, p.aws.Fault(ctx, op, err)
	}
	left, ok, differs := p.Conform(ctx, source, target, r.Restore())
	lost = append(m.lost(), missing...)
	for _, text := range append(differs, encryption(source, target)...) {
		// Its parameter group is another one by nature, and what of it was lost is told above.
		if what, _, _ := strings.Cut(text, ":"); what != "parameter group" && !slices.ContainsFunc(lost, func(s string) bool { return strings.HasPrefix(s, what+":") }) {
			lost = append(lost, text)
		}
	}
	return left, ok, lost, nil
}
