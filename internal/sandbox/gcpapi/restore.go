package gcpapi

import (
	"context"
	"fmt"
	"slices"
	"time"

	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/sandbox/world"
	"dbops/internal/secret"
)

// recoverable moves the start of the recovery window to the first backup that is left in it.
func (i *instance) recoverable(left []world.Backup) {
	since := i.RecoverableSince
	i.RecoverableSince = time.Time{}
	for _, b := range left {
		if !since.IsZero() && !b.End.Before(since) {
			i.RecoverableSince = b.End
			return
		}
	}
}

func (s *Server) latestRecoveryTime(c *call) (any, error) {
	s.mu.Lock()
	inst, err := s.instance(c)
	if err != nil {
		s.mu.Unlock()
		return nil, err
	}
	srv, since, on := inst.server, inst.RecoverableSince, inst.DB.Settings.BackupConfiguration.PointInTimeRecoveryEnabled
	s.mu.Unlock()
	if !on || since.IsZero() || srv == nil {
		return nil, invalid("Point-in-time recovery is not enabled on the instance, or has no backup to start from yet.")
	}
	latest := srv.LatestRestorable()
	if latest.Before(since) {
		latest = since
	}
	return &sqladmin.SqlInstancesGetLatestRecoveryTimeResponse{
		Kind: "sql#getLatestRecoveryTime", EarliestRecoveryTime: timestamp(since), LatestRecoveryTime: timestamp(latest),
	}, nil
}

// cloneInstance makes a new instance from the present or from an earlier moment of another one.
func (s *Server) cloneInstance(c *call) (any, error) {
	var in sqladmin.InstancesCloneRequest
	const p = "cloneContext."
	f := fields{
		in: []string{
			p + "destinationInstanceName", p + "pointInTime", p + "preferredZone", p + "preferredSecondaryZone", p + "destinationProject",
		},
		out: []string{p + "kind"},
	}
	if _, err := f.decode(c.body, &in); err != nil {
		return nil, err
	}
	if in.CloneContext == nil {
		return nil, invalid("Missing parameter: cloneContext.")
	}
	to := in.CloneContext
	if err := validName(to.DestinationInstanceName); err != nil {
		return nil, err
	}
	if to.DestinationProject != "" && to.DestinationProject != c.project {
		return nil, notEmulated("a clone into another project")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	src, err := s.instance(c)
	if err != nil {
		return nil, err
	}
	at, err := src.moment(to.PointInTime)
	switch {
	case err != nil:
		return nil, err
	case !src.running():
		return nil, notRunning()
	case src.Operation != "":
		return nil, busy()
	case s.state.Instances[key(c.project, to.DestinationInstanceName)] != nil:
		return nil, exists("instanceAlreadyExists", "The Cloud SQL instance already exists.")
	}
	db := emptyInstance(c.project, to.DestinationInstanceName, src.DB.Region, src.DB.DatabaseVersion)
	db.Settings = clone(src.DB.Settings)
	db.Settings.SettingsVersion = 1
	if to.PreferredZone != "" {
		db.Settings.LocationPreference.Zone = to.PreferredZone
	}
	if to.PreferredSecondaryZone != "" {
		db.Settings.LocationPreference.SecondaryZone = to.PreferredSecondaryZone
	}
	if err := validNew(db); err != nil {
		return nil, err
	}
	inst, err := newInstance(db)
	if err != nil {
		return nil, err
	}
	db.State = statePendingCreate
	s.state.Instances[inst.key()] = inst
	return s.begin(c, inst, &operation{}, "CLONE", []step{
		{takesClone, func(ctx context.Context) error { return s.cloneServer(ctx, src, inst, at) }},
	}, settleNew(inst))
}

// moment checks a point in time: within the recovery window of the instance. The zero time means now.
func (i *instance) moment(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	switch {
	case err != nil:
		return at, invalid("Invalid value for pointInTime: %.40q.", text)
	case !i.DB.Settings.BackupConfiguration.PointInTimeRecoveryEnabled || i.RecoverableSince.IsZero():
		return at, invalid("Point-in-time recovery is not enabled on the source instance.")
	case at.After(time.Now()):
		return at, invalid("The point in time must not be in the future.")
	case at.Before(i.RecoverableSince):
		return at, invalid("The point in time is before the earliest one that can be recovered, %s.", timestamp(i.RecoverableSince))
	}
	return at, nil
}

func (s *Server) cloneServer(ctx context.Context, src, inst *instance, at time.Time) error {
	if err := s.settleIn(ctx, inst); err != nil {
		return err
	}
	from, err := s.origin(ctx, src, inst, at)
	if err != nil {
		return err
	}
	if err := s.restoreInto(ctx, inst, from, at); err != nil {
		return err
	}
	if at.IsZero() { // it was made for this clone
		if err := s.cfg.World.RemoveBackup(from.ID); err != nil {
			return err
		}
	}
	return s.firstBackup(ctx, inst)
}

// origin is the backup that a clone starts from: a new one of the present, or any before a point in time, from which the world
// finds the last one.
func (s *Server) origin(ctx context.Context, src, inst *instance, at time.Time) (world.Backup, error) {
	s.mu.Lock()
	id, of := src.Server, src.server.Spec().Major
	s.mu.Unlock()
	if at.IsZero() {
		return s.cfg.World.Backup(ctx, id, inst.Server+".origin")
	}
	// From before an upgrade no point in time can be recovered.
	all := slices.DeleteFunc(s.cfg.World.Backups(id), func(b world.Backup) bool { return b.Major != of })
	if len(all) == 0 || at.Before(all[0].End) {
		return world.Backup{}, &opError{"INVALID_REQUEST", "There is no backup before the point in time."}
	}
	return all[0], nil
}

// restoreInto makes the instance's server from a backup and serves it with the instance's flags.
func (s *Server) restoreInto(ctx context.Context, inst *instance, from world.Backup, at time.Time) error {
	spec, err := inst.spec(secret.Value{})
	if err != nil {
		return err
	}
	leaf, err := inst.leaf(inst.ServerCA)
	if err != nil {
		return err
	}
	srv, err := s.cfg.World.Restore(ctx, from, at, spec, leaf.TLS)
	if err != nil {
		return err
	}
	if err := s.serve(ctx, inst, srv, leaf.TLS); err != nil {
		return err
	}
	return bringFlags(ctx, srv, inst.DB.Settings.DatabaseFlags)
}

// restoreBackup overwrites an instance with a backup of itself or of another one.
func (s *Server) restoreBackup(c *call) (any, error) {
	var in sqladmin.InstancesRestoreBackupRequest
	const p = "restoreBackupContext."
	f := fields{in: []string{p + "backupRunId", p + "instanceId", p + "project"}, out: []string{p + "kind"}}
	if _, err := f.decode(c.body, &in); err != nil {
		return nil, err
	}
	if in.RestoreBackupContext == nil {
		return nil, invalid("Missing parameter: restoreBackupContext.")
	}
	from := in.RestoreBackupContext
	if from.Project != "" && from.Project != c.project {
		return nil, notEmulated("a restore from another project")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	inst, err := s.instance(c)
	if err != nil {
		return nil, err
	}
	src := inst
	if from.InstanceId != "" {
		if src = s.state.Instances[key(c.project, from.InstanceId)]; src == nil {
			return nil, missing("instanceDoesNotExist", "instance")
		}
	}
	b := src.backup(from.BackupRunId)
	switch {
	case b == nil:
		return nil, missing("backupRunDoesNotExist", "backup run")
	case b.Run.Status != backupSuccessful:
		return nil, invalid("The backup run was not successful.")
	case b.Run.DatabaseVersion != inst.DB.DatabaseVersion:
		return nil, invalid("The backup is of %s, the instance of %s.", b.Run.DatabaseVersion, inst.DB.DatabaseVersion)
	case !inst.running():
		return nil, notRunning()
	case inst.Operation != "":
		return nil, busy()
	}
	inst.DB.State = stateMaintenance
	return s.begin(c, inst, &operation{Backup: b.Run.Id}, "RESTORE_VOLUME", []step{
		{takesRestore, func(ctx context.Context) error { return s.overwrite(ctx, inst, b.World) }},
	}, func(err error) {
		inst.DB.State = stateRunnable
		if err != nil && inst.server == nil {
			inst.DB.State = stateFailed
		}
	})
}

// overwrite replaces the server of an instance by one from a backup, at the same address.
func (s *Server) overwrite(ctx context.Context, inst *instance, backup string) error {
	all := s.cfg.World.Backups("")
	i := slices.IndexFunc(all, func(b world.Backup) bool { return b.ID == backup })
	if i < 0 {
		return fmt.Errorf("backup %s is gone", backup)
	}
	var port *connector
	var old string
	err := s.change(func() {
		port, old = inst.port, inst.Server
		inst.port, inst.server, inst.Server = nil, nil, newServerID(inst.DB.Name)
		inst.RecoverableSince = time.Time{}
	})
	if err != nil {
		return err
	}
	if err := port.Close(); err != nil {
		return err
	}
	if err := s.cfg.World.Remove(ctx, old); err != nil {
		return err
	}
	if err := s.restoreInto(ctx, inst, all[i], time.Time{}); err != nil {
		return err
	}
	return s.firstBackup(ctx, inst)
}
