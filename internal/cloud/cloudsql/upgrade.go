package cloudsql

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/cloud"
	"dbops/internal/cloud/gcpclient"
	"dbops/internal/fault"
)

var (
	_ cloud.Upgrader  = (*Provider)(nil)
	_ cloud.BlueGreen = (*Provider)(nil)
)

// The operations, in the words of Cloud SQL.
const (
	opUpgrade  = "MAJOR_VERSION_UPGRADE"
	opPrecheck = "PRE_CHECK_MAJOR_VERSION_UPGRADE"
)

// Upgrade patches the database version. Google gives that only to administrators.
func (p *Provider) Upgrade(ctx context.Context, name string, to int, o cloud.UpgradeOptions) (cloud.Receipt, error) {
	q := p.changing(p.op("upgrade", name)+fmt.Sprintf(" to PostgreSQL %d", to), "cloudsql.instances.update", adminRole)
	ask, r, err := p.begin(ctx, q, name)
	if err != nil {
		return cloud.Receipt{}, err
	}
	defer r.end()
	if err := modifiable(q.Op, cloud.Modify{When: o.When}); err != nil {
		return cloud.Receipt{}, err
	}
	if o.Parameters != "" {
		return cloud.Receipt{}, unsupported(q.Op, "Cloud SQL has no parameter groups", "its flags stay; name none")
	}
	db, err := r.describe(ask, name)
	if err != nil {
		return cloud.Receipt{}, err
	}
	if running, err := r.latest(ask, name, time.Time{}, func(o *sqladmin.Operation) bool { return o.OperationType == opUpgrade && o.Status != done }); err != nil {
		return cloud.Receipt{}, r.fault(ask, err)
	} else if running != nil {
		return receipt(cloud.ChangeUpgrade, name, running, want{Version: versionOf(to)})
	}
	if cloud.Major(db.DatabaseVersion) == to {
		return receipt(cloud.ChangeUpgrade, name, nil, want{Nothing: true})
	}
	version, problem := upgradable(db, to)
	if problem != "" {
		return cloud.Receipt{}, fault.Newf(fault.Invalid, q.Op, "%s", problem)
	}
	change, err := r.api.Instances.Patch(p.project, name, &sqladmin.DatabaseInstance{DatabaseVersion: version}).Context(ask).Do()
	if err != nil {
		return cloud.Receipt{}, r.refused(ask, err)
	}
	return receipt(cloud.ChangeUpgrade, name, change, want{Version: version})
}

func versionOf(major int) string { return fmt.Sprintf("POSTGRES_%d", major) }

// upgradable is the database version of a major that an instance can be upgraded to, or why there is none.
func upgradable(db *sqladmin.DatabaseInstance, to int) (version, problem string) {
	if cloud.Major(db.DatabaseVersion) >= to {
		return "", fmt.Sprintf("it has %s, and PostgreSQL %d is not newer", db.DatabaseVersion, to)
	}
	offered := make([]string, 0, len(db.UpgradableDatabaseVersions))
	for _, v := range db.UpgradableDatabaseVersions {
		if cloud.Major(v.Name) == to {
			return v.Name, ""
		}
		offered = append(offered, v.Name)
	}
	if len(offered) == 0 { // it does not tell
		return versionOf(to), ""
	}
	return "", fmt.Sprintf("Cloud SQL does not upgrade %s to PostgreSQL %d, only to %s", db.DatabaseVersion, to, strings.Join(offered, ", "))
}

// latest is the newest operation on an instance since a moment that is meant; nil if there is none.
func (r *request) latest(ctx context.Context, name string, since time.Time, meant func(*sqladmin.Operation) bool) (found *sqladmin.Operation, err error) {
	seen := 0
	err = r.operations(ctx, name, func(o *sqladmin.Operation) bool {
		if meant(o) {
			found = o
		}
		seen++
		// What runs is among the newest: no two run at once.
		return found == nil && seen < 20 && !parseTime(o.InsertTime).Before(since)
	})
	return found, err
}

// again is how often a check that runs is looked at.
const again = 500 * time.Millisecond

// CanUpgrade lets Cloud SQL look into the databases. A check of the last minutes that was for the same version is waited for, or taken.
func (p *Provider) CanUpgrade(ctx context.Context, name string, to int) ([]string, error) {
	q := p.changing(p.op("check an upgrade of", name), "cloudsql.instances.preCheckMajorVersionUpgrade", viewerRole)
	ask, r, err := p.begin(ctx, q, name)
	if err != nil {
		return nil, err
	}
	defer r.end()
	db, err := r.describe(ask, name)
	if err != nil {
		return nil, err
	}
	version, problem := upgradable(db, to)
	if problem != "" {
		return []string{problem}, nil
	}
	check, err := r.latest(ask, name, time.Now().Add(-longest), func(o *sqladmin.Operation) bool {
		return o.OperationType == opPrecheck && o.Status != done && targets(o) == version
	})
	if err != nil {
		return nil, r.fault(ask, err)
	}
	if check == nil {
		check, err = r.api.Instances.PreCheckMajorVersionUpgrade(p.project, name, &sqladmin.InstancesPreCheckMajorVersionUpgradeRequest{
			PreCheckMajorVersionUpgradeContext: &sqladmin.PreCheckMajorVersionUpgradeContext{TargetDatabaseVersion: version},
		}).Context(ask).Do()
		if err != nil {
			return nil, r.refused(ask, err)
		}
	}
	return r.checked(ask, check.Name)
}

// targets is the version that a check is for.
func targets(o *sqladmin.Operation) string {
	if c := o.PreCheckMajorVersionUpgradeContext; c != nil {
		return c.TargetDatabaseVersion
	}
	return ""
}

// checked waits for the end of a check, as long as a question may take, and tells what it found.
func (r *request) checked(ctx context.Context, operation string) ([]string, error) {
	tick := time.NewTicker(again)
	defer tick.Stop()
	enough := time.NewTimer(gcpclient.Timeout * 2 / 3)
	defer enough.Stop()
	for {
		var o *sqladmin.Operation
		err := gcpclient.Read(ctx, func(ctx context.Context) (err error) {
			o, err = r.api.Operations.Get(r.p.project, operation).Context(ctx).Do()
			return err
		})
		if err != nil {
			return nil, r.fault(ctx, err)
		}
		if why := reason(o); why != "" {
			return nil, fault.Newf(fault.Internal, r.q.Op, "the check failed: %s", why).Hint("ask again")
		}
		if o.Status == done {
			return problems(o), nil
		}
		select {
		case <-tick.C:
		case <-enough.C:
			return nil, fault.Newf(fault.Busy, r.q.Op, "the check is not finished yet: %s", status(o)).Hint("ask again in a minute: it goes on")
		case <-ctx.Done():
			return nil, r.fault(ctx, ctx.Err())
		}
	}
}

// problems are what a check found that an upgrade would fail of.
func problems(o *sqladmin.Operation) (all []string) {
	if o.PreCheckMajorVersionUpgradeContext == nil {
		return nil
	}
	for _, found := range o.PreCheckMajorVersionUpgradeContext.PreCheckResponse {
		if found.MessageType == "ERROR" {
			all = append(all, strings.Join(slices.Concat([]string{strings.TrimRight(found.Message, ".")}, found.ActionsRequired), ": "))
		}
	}
	return all
}

const (
	noGreen     = "dbops uses no blue/green deployments of Cloud SQL"
	noGreenHint = "upgrade in place, or into a new instance"
)

// CreateGreen is not offered.
func (p *Provider) CreateGreen(_ context.Context, g cloud.Green) (cloud.Receipt, error) {
	return cloud.Receipt{}, unsupported(p.op("copy for an upgrade", g.Source), noGreen, noGreenHint)
}

// Green is not offered.
func (p *Provider) Green(_ context.Context, name string) (cloud.GreenState, error) {
	return cloud.GreenState{}, unsupported("describe blue/green deployment "+name, noGreen, noGreenHint)
}

// SwitchoverGreen is not offered.
func (p *Provider) SwitchoverGreen(_ context.Context, name string, _ time.Duration) (cloud.Receipt, error) {
	return cloud.Receipt{}, unsupported("switch over blue/green deployment "+name, noGreen, noGreenHint)
}

// DeleteGreen is not offered.
func (p *Provider) DeleteGreen(_ context.Context, name string) (cloud.Receipt, error) {
	return cloud.Receipt{}, unsupported("delete blue/green deployment "+name, noGreen, noGreenHint)
}
