package gcpapi

import (
	"context"
	"net/http"
	"strings"
	"time"

	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/sandbox/world"
)

const (
	upgrading   = "MAJOR_VERSION_UPGRADE"
	prechecking = "PRE_CHECK_MAJOR_VERSION_UPGRADE"

	takesPrecheck = 2 * time.Minute
	takesUpgrade  = 5 * time.Minute
)

// upgradeInstance begins an upgrade to another major. The caller holds the lock.
func (s *Server) upgradeInstance(c *call, inst *instance, version string, raw map[string]any) (any, error) {
	settings, _ := raw["settings"].(map[string]any)
	delete(settings, "settingsVersion")
	if c.Method != http.MethodPatch || len(settings) > 0 {
		return nil, notEmulated("change of databaseVersion together with settings")
	}
	if err := newerVersion(inst, version); err != nil {
		return nil, err
	}
	target := clone(inst.DB)
	target.DatabaseVersion = version
	if err := validate(target); err != nil {
		return nil, err
	}
	if inst.Operation == "" {
		inst.DB.State = stateMaintenance
	}
	return s.begin(c, inst, &operation{Version: version}, upgrading, s.upgradeSteps(inst, version), settleUpgrade(inst))
}

// newerVersion refuses a version that an instance cannot be upgraded to now. The caller holds the lock.
func newerVersion(inst *instance, version string) error {
	to, err := major(version)
	if err != nil {
		return err
	}
	from, err := major(inst.DB.DatabaseVersion)
	switch {
	case err != nil:
		return err
	case to <= from:
		return invalid("Database version upgrade from %s to %s is not supported.", inst.DB.DatabaseVersion, version)
	case !inst.running():
		return notRunning()
	}
	return nil
}

// settleUpgrade: whether it has the new major or the old one, the instance serves.
func settleUpgrade(inst *instance) func(error) {
	return func(error) {
		inst.DB.State = stateRunnable
		if inst.server == nil {
			inst.DB.State = stateFailed
		}
	}
}

// upgradeSteps check, back up, upgrade, and back up again. Each may be taken twice.
func (s *Server) upgradeSteps(inst *instance, version string) []step {
	from := inst.DB.DatabaseVersion
	before := func(do func(context.Context, *world.Server, int) error) func(context.Context) error {
		return func(ctx context.Context) error {
			to, err := major(version)
			s.mu.Lock()
			srv := inst.server
			s.mu.Unlock()
			if err != nil || srv.Spec().Major == to { // an earlier try got that far
				return err
			}
			return do(ctx, srv, to)
		}
	}
	return []step{
		{takesPrecheck, before(func(ctx context.Context, srv *world.Server, to int) error {
			found, err := srv.Obstacles(ctx, to)
			if err == nil && len(found) > 0 {
				return &opError{"INVALID_REQUEST", "Major version upgrade pre-checks failed: " + strings.Join(found, "; ")}
			}
			return err
		})},
		{takesBackup, before(func(ctx context.Context, _ *world.Server, _ int) error {
			return s.upgradeBackup(ctx, inst, "Pre-upgrade backup, "+from+" to "+version+".")
		})},
		{takesUpgrade, before(func(ctx context.Context, srv *world.Server, to int) error {
			next, err := s.cfg.World.Upgrade(ctx, srv.Spec().ID, to, srv.Spec().Settings)
			if err != nil {
				return err
			}
			return s.serveNext(ctx, inst, next)
		})},
		{0, func(context.Context) error {
			return s.change(func() {
				inst.DB.DatabaseVersion = version
				inst.DB.DatabaseInstalledVersion = installedVersion(version, inst.server.Version())
				inst.RecoverableSince = time.Time{} // no point in time from before can be recovered
			})
		}},
		{takesBackup, func(ctx context.Context) error {
			return s.upgradeBackup(ctx, inst, "Post-upgrade backup, "+from+" to "+version+".")
		}},
	}
}

// serveNext lets the upgraded server be reached as the one before.
func (s *Server) serveNext(ctx context.Context, inst *instance, next *world.Server) error {
	s.mu.Lock()
	port, cert := inst.port, inst.cert
	inst.port, inst.server = nil, next
	s.mu.Unlock()
	if port != nil {
		if err := port.Close(); err != nil {
			return err
		}
	}
	return s.serve(ctx, inst, next, cert)
}

// upgradeBackup takes one of the two backups that the service takes itself.
func (s *Server) upgradeBackup(ctx context.Context, inst *instance, description string) error {
	s.mu.Lock()
	b := s.newBackup(inst, "ON_DEMAND", description)
	s.mu.Unlock()
	err := s.takeBackup(ctx, inst, b)
	if err != nil {
		_ = s.change(func() { b.Run.Status = backupFailed }) // the first error says what is wrong
	}
	return err
}

// preCheckUpgrade looks for what an upgrade would fail of. The operation itself succeeds, and tells what was found.
func (s *Server) preCheckUpgrade(c *call) (any, error) {
	var in sqladmin.InstancesPreCheckMajorVersionUpgradeRequest
	const p = "preCheckMajorVersionUpgradeContext."
	f := fields{in: []string{p + "targetDatabaseVersion"}, out: []string{p + "kind"}}
	if _, err := f.decode(c.body, &in); err != nil {
		return nil, err
	}
	if in.PreCheckMajorVersionUpgradeContext == nil {
		return nil, invalid("Missing parameter: preCheckMajorVersionUpgradeContext.")
	}
	version := in.PreCheckMajorVersionUpgradeContext.TargetDatabaseVersion
	s.mu.Lock()
	defer s.mu.Unlock()
	inst, err := s.instance(c)
	if err != nil {
		return nil, err
	}
	if err := newerVersion(inst, version); err != nil {
		return nil, err
	}
	op := &operation{Version: version}
	out, err := s.begin(c, inst, op, prechecking, s.precheckSteps(inst, op), nil)
	if err != nil {
		return nil, err
	}
	op.Op.PreCheckMajorVersionUpgradeContext = &sqladmin.PreCheckMajorVersionUpgradeContext{
		Kind: "sql#preCheckMajorVersionUpgradeContext", TargetDatabaseVersion: version,
	}
	out.PreCheckMajorVersionUpgradeContext = clone(op.Op.PreCheckMajorVersionUpgradeContext)
	return out, s.save()
}

func (s *Server) precheckSteps(inst *instance, op *operation) []step {
	return []step{{takesPrecheck, func(ctx context.Context) error {
		to, err := major(op.Version)
		if err != nil {
			return err
		}
		s.mu.Lock()
		srv := inst.server
		s.mu.Unlock()
		found, err := srv.Obstacles(ctx, to)
		if err != nil {
			return err
		}
		return s.change(func() {
			for _, text := range found {
				op.Op.PreCheckMajorVersionUpgradeContext.PreCheckResponse = append(op.Op.PreCheckMajorVersionUpgradeContext.PreCheckResponse,
					&sqladmin.PreCheckResponse{Message: text, MessageType: "ERROR", ActionsRequired: []string{"Remove it before the upgrade."}})
			}
		})
	}}}
}
