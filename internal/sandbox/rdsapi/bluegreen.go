package rdsapi

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/play"
)

// The statuses of a deployment.
const (
	greenProvisioning = "PROVISIONING"
	greenAvailable    = "AVAILABLE"
	greenSwitching    = "SWITCHOVER_IN_PROGRESS"
	greenSwitched     = "SWITCHOVER_COMPLETED"
	greenInvalid      = "INVALID_CONFIGURATION"
	greenFailed       = "SWITCHOVER_FAILED"
)

// deployment is a blue/green deployment. Its instances are known by what no rename changes.
type deployment struct {
	DB    types.BlueGreenDeployment `json:"db"`
	Blue  string                    `json:"blue"`            // DbiResourceId of the source
	Green string                    `json:"green,omitempty"` // of the copy
	Slots []greenSlot               `json:"slots,omitempty"`
}

// greenOperations are those on blue/green deployments.
func (a *API) greenOperations() []operation {
	of := func(id *string) about { return about{kind: "deployment", id: value(id)} }
	return []operation{
		op(a.createBlueGreen, func(in *rds.CreateBlueGreenDeploymentInput) about { return about{id: value(in.Source)} },
			"BlueGreenDeploymentName", "Source", "TargetEngineVersion", "TargetDBParameterGroupName", "Tags"),
		op(a.describeBlueGreen, func(in *rds.DescribeBlueGreenDeploymentsInput) about { return of(in.BlueGreenDeploymentIdentifier) },
			"BlueGreenDeploymentIdentifier", "Filters", "Marker", "MaxRecords"),
		op(a.switchoverBlueGreen, func(in *rds.SwitchoverBlueGreenDeploymentInput) about { return of(in.BlueGreenDeploymentIdentifier) },
			"BlueGreenDeploymentIdentifier", "SwitchoverTimeout"),
		op(a.deleteBlueGreen, func(in *rds.DeleteBlueGreenDeploymentInput) about { return of(in.BlueGreenDeploymentIdentifier) },
			"BlueGreenDeploymentIdentifier", "DeleteTarget"),
	}
}

// member is the instance with a resource identifier; nil: it is gone. The caller holds the lock.
func (a *API) member(resource string) *instance {
	for _, in := range a.state.Instances {
		if resource != "" && value(in.DB.DbiResourceId) == resource {
			return in
		}
	}
	return nil
}

// deployment returns one by its identifier. The caller holds the lock.
func (a *API) deployment(id *string) (*deployment, error) {
	d := a.state.Deployments[fold(value(id))]
	if d == nil {
		return nil, awsid.Newf(404, "BlueGreenDeploymentNotFoundFault", "BlueGreenDeployment %s not found.", value(id))
	}
	return d, nil
}

// shown is a deployment as the API shows it: with the names that its instances have now. The caller holds the lock.
func (a *API) shown(d *deployment) *types.BlueGreenDeployment {
	out := clone(d.DB)
	detail := types.SwitchoverDetail{Status: out.Status}
	if in := a.member(d.Blue); in != nil {
		out.Source, detail.SourceMember = in.DB.DBInstanceArn, in.DB.DBInstanceArn
	}
	if in := a.member(d.Green); in != nil {
		out.Target, detail.TargetMember = in.DB.DBInstanceArn, in.DB.DBInstanceArn
	}
	out.SwitchoverDetails = []types.SwitchoverDetail{detail}
	return &out
}

func (a *API) createBlueGreen(_ context.Context, in *rds.CreateBlueGreenDeploymentInput) (*rds.CreateBlueGreenDeploymentOutput, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	id, ok := strings.CutPrefix(value(in.Source), a.arn("db", ""))
	if !ok {
		return nil, invalid("Invalid source: %s", value(in.Source))
	}
	blue, err := a.find(&id)
	if err != nil {
		return nil, awsid.Newf(404, "SourceDatabaseNotFoundFault", "Source database %s not found.", id)
	}
	version, err := a.checkGreen(blue, in)
	if err != nil {
		return nil, err
	}
	made, err := a.newInstance(a.greenLike(blue, version, in.TargetDBParameterGroupName))
	if err != nil {
		return nil, err
	}
	d := &deployment{Blue: value(blue.DB.DbiResourceId), Green: value(made.DB.DbiResourceId), DB: types.BlueGreenDeployment{
		BlueGreenDeploymentIdentifier: new("bgd-" + strings.ToLower(awsid.ID(16))), BlueGreenDeploymentName: in.BlueGreenDeploymentName,
		Status: new(greenProvisioning), CreateTime: new(a.now().UTC()), TagList: sortTags(in.Tags),
	}}
	a.state.Deployments[*d.DB.BlueGreenDeploymentIdentifier] = d
	a.deploy(d, "CreateBlueGreenDeployment", greenInvalid, func(ctx context.Context) error { return a.provisionGreen(ctx, d, blue, made, version) }, greenAvailable)
	return &rds.CreateBlueGreenDeploymentOutput{BlueGreenDeployment: a.shown(d)}, nil
}

// checkGreen refuses what cannot be copied and kept in sync. Only major versions are played. The caller holds the lock.
func (a *API) checkGreen(blue *instance, in *rds.CreateBlueGreenDeploymentInput) (version string, err error) {
	name := value(in.BlueGreenDeploymentName)
	if name == "" || len(name) > 60 {
		return "", invalid("The parameter BlueGreenDeploymentName must be 1 to 60 characters long.")
	}
	for _, d := range a.state.Deployments {
		switch {
		case value(d.DB.BlueGreenDeploymentName) == name:
			return "", awsid.Newf(400, "BlueGreenDeploymentAlreadyExistsFault", "A blue/green deployment with the name %s already exists.", name)
		case d.Blue == value(blue.DB.DbiResourceId) && value(d.DB.Status) != greenSwitched:
			return "", awsid.Newf(400, "SourceDatabaseNotSupportedFault", "The source %s is part of another blue/green deployment.", blue.id())
		}
	}
	group := value(blue.DB.DBParameterGroups[0].DBParameterGroupName)
	own := a.state.Groups[group]
	switch {
	case value(blue.DB.BackupRetentionPeriod) == 0:
		return "", awsid.Newf(400, "SourceDatabaseNotSupportedFault", "Automated backups must be enabled for the source DB instance %s.", blue.id())
	case own == nil || own.Set["rds.logical_replication"] != "1":
		return "", awsid.Newf(400, "SourceDatabaseNotSupportedFault", "rds.logical_replication must be 1 in the parameter group %s of the source DB instance.", group)
	}
	if err := a.idle(blue, "available"); err != nil {
		return "", err
	}
	if version, err = a.target(blue, in.TargetEngineVersion); err != nil {
		return "", err
	}
	if major(version) == blue.Major {
		return "", notEmulated("a blue/green deployment without another major version")
	}
	return version, a.fits(in.TargetDBParameterGroupName, major(version))
}

// greenLike is what the copy is to be. Until it is upgraded it has the source's major. The caller holds the lock.
func (a *API) greenLike(blue *instance, version string, group *string) *wanted {
	from := clone(blue.DB)
	return &wanted{
		id: blue.id() + "-green-" + strings.ToLower(awsid.ID(6)), major: major(version), version: version, master: *from.MasterUsername, database: value(from.DBName),
		class: from.DBInstanceClass, storageType: from.StorageType, ca: from.CACertificateIdentifier, backupWindow: from.PreferredBackupWindow,
		maintenanceWindow: from.PreferredMaintenanceWindow, parameters: group, storage: from.AllocatedStorage, maxStorage: from.MaxAllocatedStorage,
		retention: from.BackupRetentionPeriod, multiAZ: from.MultiAZ, protected: from.DeletionProtection, iam: from.IAMDatabaseAuthenticationEnabled,
		copyTags: from.CopyTagsToSnapshot, minor: from.AutoMinorVersionUpgrade, public: from.PubliclyAccessible, encrypted: from.StorageEncrypted,
		tags: from.TagList,
	}
}

// deploy takes one step of a deployment in a goroutine of its own, and shows how it ended. What Close interrupts has failed. The caller
// holds the lock.
func (a *API) deploy(d *deployment, action, failed string, do func(context.Context) error, done string) {
	effect := a.faults.Take("rds", action, value(d.DB.BlueGreenDeploymentName), play.Fail, play.Hang)
	a.save()
	a.wg.Go(func() {
		err := a.pace.Sleep(a.life, 2*time.Minute)
		switch {
		case err != nil:
		case effect == play.Hang:
			<-a.life.Done()
			err = a.life.Err()
		case effect == play.Fail:
			err = awsid.Newf(500, "InternalFailure", "the sandbox was asked to let this fail")
		default:
			err = do(a.life)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		d.DB.Status, d.DB.StatusDetails = &done, nil
		if err != nil {
			a.log.Warn("a step of a blue/green deployment failed", slog.String("deployment", value(d.DB.BlueGreenDeploymentName)), slog.Any("error", err))
			d.DB.Status, d.DB.StatusDetails = &failed, new(err.Error())
			if green := a.member(d.Green); green != nil && green.Work == nil && green.status() == "creating" {
				green.DB.DBInstanceStatus = new("failed")
			}
		}
		if done == "" && err == nil {
			delete(a.state.Deployments, value(d.DB.BlueGreenDeploymentIdentifier))
		}
		a.save()
	})
}

func (a *API) describeBlueGreen(_ context.Context, in *rds.DescribeBlueGreenDeploymentsInput) (*rds.DescribeBlueGreenDeploymentsOutput, error) {
	a.mu.Lock()
	var all []types.BlueGreenDeployment
	for id, d := range a.state.Deployments {
		if in.BlueGreenDeploymentIdentifier == nil || id == fold(*in.BlueGreenDeploymentIdentifier) {
			all = append(all, *a.shown(d))
		}
	}
	a.mu.Unlock()
	if in.BlueGreenDeploymentIdentifier != nil && len(all) == 0 {
		return nil, awsid.Newf(404, "BlueGreenDeploymentNotFoundFault", "BlueGreenDeployment %s not found.", *in.BlueGreenDeploymentIdentifier)
	}
	all, err := filter(all, in.Filters, map[string]func(types.BlueGreenDeployment) []string{
		"blue-green-deployment-name":       func(d types.BlueGreenDeployment) []string { return []string{value(d.BlueGreenDeploymentName)} },
		"blue-green-deployment-identifier": func(d types.BlueGreenDeployment) []string { return []string{value(d.BlueGreenDeploymentIdentifier)} },
		"source":                           func(d types.BlueGreenDeployment) []string { return []string{value(d.Source)} },
		"target":                           func(d types.BlueGreenDeployment) []string { return []string{value(d.Target)} },
	})
	if err != nil {
		return nil, err
	}
	out, marker, err := page(all, func(d types.BlueGreenDeployment) string { return *d.BlueGreenDeploymentIdentifier }, in.Marker, in.MaxRecords)
	if err != nil {
		return nil, err
	}
	return &rds.DescribeBlueGreenDeploymentsOutput{BlueGreenDeployments: out, Marker: marker}, nil
}

func (a *API) switchoverBlueGreen(_ context.Context, in *rds.SwitchoverBlueGreenDeploymentInput) (*rds.SwitchoverBlueGreenDeploymentOutput, error) {
	patience := time.Duration(value(or(in.SwitchoverTimeout, 300))) * time.Second
	if patience < 30*time.Second || patience > time.Hour {
		return nil, invalid("SwitchoverTimeout must be between 30 and 3600.")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	d, err := a.deployment(in.BlueGreenDeploymentIdentifier)
	if err != nil {
		return nil, err
	}
	blue, green := a.member(d.Blue), a.member(d.Green)
	switch {
	case !slices.Contains([]string{greenAvailable, greenFailed}, value(d.DB.Status)), blue == nil, green == nil:
		return nil, awsid.Newf(400, "InvalidBlueGreenDeploymentStateFault", "The blue/green deployment cannot be switched over: it is %s.", value(d.DB.Status))
	case a.taken(blue.id() + "-old1"):
		return nil, errTaken()
	}
	for _, in := range []*instance{blue, green} {
		if err := a.idle(in, "available"); err != nil {
			return nil, err
		}
	}
	d.DB.Status = new(greenSwitching)
	a.deploy(d, "SwitchoverBlueGreenDeployment", greenFailed, func(ctx context.Context) error { return a.switchGreen(ctx, d, blue, green, patience) }, greenSwitched)
	return &rds.SwitchoverBlueGreenDeploymentOutput{BlueGreenDeployment: a.shown(d)}, nil
}

func (a *API) deleteBlueGreen(_ context.Context, in *rds.DeleteBlueGreenDeploymentInput) (*rds.DeleteBlueGreenDeploymentOutput, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	d, err := a.deployment(in.BlueGreenDeploymentIdentifier)
	if err != nil {
		return nil, err
	}
	status, green := value(d.DB.Status), a.member(d.Green)
	switch {
	case status == greenProvisioning, status == greenSwitching, status == "DELETING":
		return nil, awsid.Newf(400, "InvalidBlueGreenDeploymentStateFault", "The blue/green deployment cannot be deleted: it is %s.", status)
	case value(in.DeleteTarget) && status == greenSwitched:
		return nil, combination("DeleteTarget cannot be specified when the blue/green deployment is %s.", status)
	case value(in.DeleteTarget) && green != nil && value(green.DB.DeletionProtection):
		return nil, combination("Cannot delete protected DB Instance %s, please disable deletion protection and try again.", green.id())
	}
	blue := a.member(d.Blue)
	d.DB.Status = new("DELETING")
	a.deploy(d, "DeleteBlueGreenDeployment", status, func(ctx context.Context) error {
		if status != greenSwitched {
			if err := a.unsync(ctx, d, blue, green); err != nil {
				return err
			}
		}
		if green == nil || !value(in.DeleteTarget) {
			return nil
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if err := a.idle(green, "available", "failed"); err != nil {
			return err
		}
		a.begin(green, "DeleteDBInstance", work{Kind: kindDelete})
		return nil
	}, "")
	return &rds.DeleteBlueGreenDeploymentOutput{BlueGreenDeployment: a.shown(d)}, nil
}

// settleGreens: what was under way when the process ended has failed.
func (s *state) settleGreens() {
	for _, d := range s.Deployments {
		switch value(d.DB.Status) {
		case greenProvisioning:
			d.DB.Status = new(greenInvalid)
		case greenSwitching:
			d.DB.Status = new(greenFailed)
		case "DELETING":
			d.DB.Status = new(greenAvailable)
		default:
			continue
		}
		d.DB.StatusDetails = new("the sandbox was stopped meanwhile")
	}
}
