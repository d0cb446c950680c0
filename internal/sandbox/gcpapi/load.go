package gcpapi

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"dbops/internal/sandbox/play"
	"dbops/internal/secret"
)

// errInterrupted ends an operation that was not done when the sandbox stopped, and that cannot go on.
var errInterrupted = &opError{"INTERNAL_ERROR", "An internal error occurred (sandbox: it was stopped during the operation)."}

// load reads the state and brings it to life again.
func (s *Server) load(ctx context.Context) error {
	s.mu.Lock()
	_, err := play.Load(s.cfg.Dir, stateFile, &s.state)
	if s.state.Instances == nil {
		s.state.Instances = map[string]*instance{}
	}
	var all []*instance // the operations that go on may delete some
	for _, k := range slices.Sorted(maps.Keys(s.state.Instances)) {
		all = append(all, s.state.Instances[k])
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	for _, inst := range all {
		err := inst.open()
		if err == nil {
			err = s.recover(ctx, inst)
		}
		if err != nil {
			return fmt.Errorf("instance %s: %w", inst.key(), err)
		}
	}
	return nil
}

// open makes the authorities that came from the disk ready.
func (i *instance) open() error {
	for _, a := range []*authority{i.ServerCA, i.UpcomingCA, i.PreviousCA, i.ClientCA} {
		if a == nil {
			continue
		}
		if err := a.CA.Open(); err != nil {
			return err
		}
	}
	return nil
}

// recover serves an instance again. An operation that was interrupted goes on if its steps may be taken twice; else it ends
// with an error, and an instance that was in the making has failed.
func (s *Server) recover(ctx context.Context, inst *instance) error {
	op := s.interrupted(inst)
	kind := ""
	if op != nil {
		kind = op.Op.OperationType
	}
	if op == nil && inst.DB.State == statePendingCreate { // it was being adopted, and will be again
		return s.removeServer(ctx, inst)
	}
	lost := inst.DB.State == stateFailed || kind == "CREATE" || kind == "CLONE" || kind == "RESTORE_VOLUME"
	if !lost && kind != "DELETE" && !inst.Hollow {
		if err := s.bringBack(ctx, inst); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case op == nil:
		return nil
	case op.Hung:
	case kind == "UPDATE" && op.Target != nil:
		s.start(inst, op, s.updateSteps(inst, op.Target), nil)
		return nil
	case kind == upgrading:
		s.start(inst, op, s.upgradeSteps(inst, op.Version), settleUpgrade(inst))
		return nil
	case kind == prechecking && op.Op.PreCheckMajorVersionUpgradeContext != nil:
		s.start(inst, op, s.precheckSteps(inst, op), nil)
		return nil
	case kind == "DELETE":
		s.start(inst, op, s.deleteSteps(inst), nil)
		return nil
	case kind == "BACKUP_VOLUME" && inst.backup(op.Backup) != nil:
		s.start(inst, op, s.backupSteps(inst, inst.backup(op.Backup)), settleBackup(inst.backup(op.Backup)))
		return nil
	}
	s.finish(inst, op, errInterrupted, func(error) {
		if lost {
			inst.DB.State = stateFailed
		}
	})
	return s.save()
}

// interrupted is the operation of an instance that is not done, nil if there is none.
func (s *Server) interrupted(inst *instance) *operation {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, op := range s.state.Operations {
		if inst.Operation != "" && op.Op.Name == inst.Operation && op.Op.Status != done {
			return op
		}
	}
	inst.Operation = ""
	return nil
}

// bringBack starts the server of an instance as it was.
func (s *Server) bringBack(ctx context.Context, inst *instance) error {
	spec, err := inst.spec(secret.Value{}) // the server keeps its own
	if err != nil {
		return err
	}
	leaf, err := inst.leaf(inst.ServerCA)
	if err != nil {
		return err
	}
	srv, err := s.cfg.World.Create(ctx, spec, leaf.TLS)
	if err != nil {
		return err
	}
	if err := s.serve(ctx, inst, srv, leaf.TLS); err != nil {
		return err
	}
	if inst.DB.Settings.ActivationPolicy == "NEVER" {
		return srv.Stop(ctx)
	}
	return nil
}
