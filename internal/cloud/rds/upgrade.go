package rds

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

var _ cloud.Upgrader = (*Provider)(nil)

// pendingVersion is how [pending] tells of another engine version.
const pendingVersion = "engine_version"

// Upgrade modifies the engine version.
func (p *Provider) Upgrade(ctx context.Context, name string, to int, o cloud.UpgradeOptions) (cloud.Receipt, error) {
	op := p.op("upgrade", name) + fmt.Sprintf(" to PostgreSQL %d", to)
	if err := p.check(op, name); err != nil {
		return cloud.Receipt{}, err
	}
	if o.When != "" && o.When != cloud.Now && o.When != cloud.InWindow {
		return cloud.Receipt{}, fault.Newf(fault.Invalid, op, "there is no such time of a change: %s", o.When)
	}
	ask, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	db, err := p.describe(ask, name)
	if err != nil {
		return cloud.Receipt{}, p.aws.Fault(ctx, op, err)
	}
	live := instance(db, p.aws.Config.Region)
	if version := underWay(live, to, o.When); version != "" {
		return receipt(cloud.ChangeUpgrade, live.Name, middleware.Metadata{}, want{Version: version, When: o.When})
	}
	version, problems, err := p.upgradable(ask, db, to)
	switch {
	case err != nil:
		return cloud.Receipt{}, p.aws.Fault(ctx, op, err)
	case len(problems) > 0:
		return cloud.Receipt{}, fault.Newf(fault.Invalid, op, "%s", strings.Join(problems, "; "))
	case o.Parameters == "" && ownGroup(db) != "":
		return cloud.Receipt{}, fault.Newf(fault.Invalid, op, "its parameter group %s is for PostgreSQL %d, and none is named for %d", ownGroup(db), live.Major, to).
			Hint("make a parameter group of the family postgres%d and name it, or name default.postgres%d", to, to)
	}
	in := &sdk.ModifyDBInstanceInput{
		DBInstanceIdentifier: &name, EngineVersion: &version, AllowMajorVersionUpgrade: aws.Bool(true), ApplyImmediately: aws.Bool(o.When != cloud.InWindow),
	}
	if o.Parameters != "" {
		in.DBParameterGroupName = &o.Parameters
	}
	out, err := p.api.ModifyDBInstance(ask, in, once)
	if err != nil {
		return cloud.Receipt{}, p.refused(ctx, op, err)
	}
	return receipt(cloud.ChangeUpgrade, live.Name, out.ResultMetadata, want{Version: version, When: o.When})
}

// underWay is the version of that major that an instance has, or is getting as is wished; empty if it has to be asked for.
func underWay(live *cloud.Instance, to int, when cloud.When) string {
	if live.Major == to {
		return live.EngineVersion
	}
	for _, c := range live.Pending {
		if c.Setting == pendingVersion && cloud.Major(c.To) == to && (when == cloud.InWindow || live.RawState == "upgrading") {
			return c.To
		}
	}
	return ""
}

// ownGroup is the parameter group of an instance that somebody made; empty: it has a default one.
func ownGroup(db types.DBInstance) string {
	for _, g := range db.DBParameterGroups {
		if name := aws.ToString(g.DBParameterGroupName); !strings.HasPrefix(name, "default.") {
			return name
		}
	}
	return ""
}

// upgradable is the newest version of a major that RDS upgrades an instance to, or what is against it.
func (p *Provider) upgradable(ctx context.Context, db types.DBInstance, to int) (version string, problems []string, err error) {
	runs := aws.ToString(db.EngineVersion)
	switch {
	case aws.ToString(db.Engine) != "postgres" || db.DBClusterIdentifier != nil:
		return "", []string{"it belongs to a cluster, which has the version"}, nil
	case cloud.Major(runs) >= to:
		return "", []string{fmt.Sprintf("it has %s, and PostgreSQL %d is not newer", runs, to)}, nil
	}
	out, err := p.api.DescribeDBEngineVersions(ctx, &sdk.DescribeDBEngineVersionsInput{
		Engine: aws.String("postgres"), EngineVersion: &runs, IncludeAll: aws.Bool(true),
	})
	if err != nil {
		return "", nil, err
	}
	var offered []string
	for _, v := range out.DBEngineVersions {
		for _, t := range v.ValidUpgradeTarget {
			text := aws.ToString(t.EngineVersion)
			if aws.ToBool(t.IsMajorVersionUpgrade) {
				offered = append(offered, text)
			}
			if cloud.Major(text) == to && (version == "" || newer(text, version)) {
				version = text
			}
		}
	}
	if version == "" {
		why := fmt.Sprintf("RDS does not upgrade %s to PostgreSQL %d", runs, to)
		if len(offered) > 0 {
			why += ", only to " + strings.Join(slices.Compact(offered), ", ")
		}
		return "", []string{why}, nil
	}
	return version, nil, nil
}

// CanUpgrade tells what RDS says about versions and states. It has no check of databases that could be asked for alone.
func (p *Provider) CanUpgrade(ctx context.Context, name string, to int) ([]string, error) {
	op := p.op("look at an upgrade of", name)
	if err := p.check(op, name); err != nil {
		return nil, err
	}
	ask, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	db, err := p.describe(ask, name)
	if err != nil {
		return nil, p.aws.Fault(ctx, op, err)
	}
	_, problems, err := p.upgradable(ask, db, to)
	if err != nil {
		return nil, p.aws.Fault(ctx, op, err)
	}
	if live := instance(db, p.aws.Config.Region); live.State != cloud.Available {
		problems = append(problems, "it is "+live.RawState+", not available")
	}
	if g := ownGroup(db); g != "" {
		problems = append(problems, fmt.Sprintf("its parameter group %s is not of the family postgres%d: one has to be named", g, to))
	}
	return problems, nil
}

// upgraded tells whether the instance has the new major and is at rest, or waits for the window if that was the wish.
func (f *follow) upgraded(ctx context.Context) (cloud.Progress, error) {
	waiting := waits(f.live, pendingVersion)
	switch {
	case f.live.Major >= cloud.Major(f.want.Version):
		progress, err := f.unlessFailed()
		progress.Done = f.live.State == cloud.Available && !waiting && zoned(f.live)
		return progress, err
	case f.live.State == cloud.Failed, f.live.State == cloud.Available && !waiting && (f.failure() != "" || f.quiet() > grace):
		return cloud.Progress{}, f.unupgraded(ctx)
	case f.want.When == cloud.InWindow && waiting && f.live.State == cloud.Available:
		return cloud.Progress{Done: true, Status: f.live.RawState + ", accepted for the window " + f.live.Maintenance.Window}, nil
	}
	return cloud.Progress{}, nil
}

// unupgraded is that RDS did not upgrade, in the words of its log if there is one.
func (f *follow) unupgraded(ctx context.Context) error {
	found := f.p.precheckLog(ctx, f.live.Name, f.r.At)
	if found == "" {
		return f.gaveUp()
	}
	why := "RDS did not upgrade it: " + found
	return fault.New(fault.Internal, f.op, cloud.Because(why, errors.New(why))).
		Hint("the instance is as before: remove what is in the way, then ask again")
}

// precheckLog is what RDS wrote down that it found in the databases; empty if it wrote nothing since, or does not tell.
func (p *Provider) precheckLog(ctx context.Context, name string, since time.Time) string {
	list, err := p.api.DescribeDBLogFiles(ctx, &sdk.DescribeDBLogFilesInput{
		DBInstanceIdentifier: &name, FilenameContains: aws.String("pg_upgrade_precheck"), FileLastWritten: aws.Int64(since.Add(-time.Second).UnixMilli()),
	}, once)
	if err != nil || len(list.DescribeDBLogFiles) == 0 {
		return ""
	}
	last := slices.MaxFunc(list.DescribeDBLogFiles, func(a, b types.DescribeDBLogFilesDetails) int {
		return int(aws.ToInt64(a.LastWritten) - aws.ToInt64(b.LastWritten))
	})
	file, err := p.api.DownloadDBLogFilePortion(ctx, &sdk.DownloadDBLogFilePortionInput{
		DBInstanceIdentifier: &name, LogFileName: last.LogFileName, Marker: aws.String("0"),
	}, once)
	if err != nil {
		return ""
	}
	return findings(aws.ToString(file.LogFileData))
}

// findings are the points of such a log, each behind an asterisk; without any it is the whole text but its rulers.
func findings(log string) string {
	var points, rest []string
	for line := range strings.Lines(log) {
		line = strings.Trim(line, " \t\r\n-")
		if point, ok := strings.CutPrefix(line, "*"); ok {
			points = append(points, strings.TrimSpace(point))
		} else if line != "" {
			rest = append(rest, line)
		}
	}
	if len(points) > 0 {
		return strings.Join(points, "; ")
	}
	return strings.Join(rest, " ")
}
