package gcpapi

import (
	"context"
	"slices"
	"strconv"
	"time"

	sqladmin "google.golang.org/api/sqladmin/v1"
)

// The states of a backup run.
const (
	backupEnqueued   = "ENQUEUED"
	backupRunning    = "RUNNING"
	backupSuccessful = "SUCCESSFUL"
	backupFailed     = "FAILED"
)

// backup is the run with that id, nil if there is none.
func (i *instance) backup(id int64) *backup {
	for _, b := range i.Backups {
		if b.Run.Id == id {
			return b
		}
	}
	return nil
}

// newBackup adds a run to an instance. The caller holds the lock.
func (s *Server) newBackup(inst *instance, kind, description string) *backup {
	id := time.Now().UnixMilli()
	for inst.backup(id) != nil {
		id++
	}
	now := timestamp(time.Now())
	b := &backup{Run: &sqladmin.BackupRun{
		Kind: "sql#backupRun", Id: id, Instance: inst.DB.Name, Type: kind, Description: description, Status: backupEnqueued,
		EnqueuedTime: now, WindowStartTime: now, BackupKind: "PHYSICAL", Location: "eu", DatabaseVersion: inst.DB.DatabaseVersion,
		SelfLink: inst.DB.SelfLink + "/backupRuns/" + strconv.FormatInt(id, 10),
	}}
	inst.Backups = append(inst.Backups, b)
	return b
}

// takeBackup makes the backup behind a run. It may be called twice.
func (s *Server) takeBackup(ctx context.Context, inst *instance, b *backup) error {
	var server string
	err := s.change(func() {
		server = inst.Server
		b.Run.Status, b.Run.StartTime = backupRunning, timestamp(time.Now())
	})
	if err != nil {
		return err
	}
	made, err := s.cfg.World.Backup(ctx, server, server+"."+strconv.FormatInt(b.Run.Id, 10))
	if err != nil {
		return err
	}
	return s.change(func() {
		b.World = made.ID
		b.Run.Status, b.Run.StartTime, b.Run.EndTime = backupSuccessful, timestamp(made.Start), timestamp(made.End)
		b.Run.MaxChargeableBytes = made.Bytes
		if inst.RecoverableSince.IsZero() {
			inst.RecoverableSince = made.End
		}
	})
}

// automatedBackup takes the backup that recovery starts from.
func (s *Server) automatedBackup(ctx context.Context, inst *instance) error {
	s.mu.Lock()
	b := s.newBackup(inst, "AUTOMATED", "")
	s.mu.Unlock()
	err := s.takeBackup(ctx, inst, b)
	if err != nil {
		_ = s.change(func() { b.Run.Status = backupFailed }) // the first error says what is wrong
	}
	return err
}

func (s *Server) listBackupRuns(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	inst, err := s.instance(c)
	if err != nil {
		return nil, err
	}
	newest := slices.Clone(inst.Backups)
	slices.Reverse(newest)
	cut, next, err := page(c, newest, 1000, 1000, func(b *backup) string { return strconv.FormatInt(b.Run.Id, 10) })
	if err != nil {
		return nil, err
	}
	out := &sqladmin.BackupRunsListResponse{Kind: "sql#backupRunsList", NextPageToken: next}
	for _, b := range cut {
		out.Items = append(out.Items, clone(b.Run))
	}
	return out, nil
}

// backupRun is the run that the call names. The caller holds the lock.
func (s *Server) backupRun(c *call) (*instance, *backup, error) {
	inst, err := s.instance(c)
	if err != nil {
		return nil, nil, err
	}
	id, err := strconv.ParseInt(c.params["id"], 10, 64)
	b := inst.backup(id)
	if err != nil || b == nil {
		return nil, nil, missing("backupRunDoesNotExist", "backup run")
	}
	return inst, b, nil
}

func (s *Server) getBackupRun(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, b, err := s.backupRun(c)
	if err != nil {
		return nil, err
	}
	return clone(b.Run), nil
}

func (s *Server) insertBackupRun(c *call) (any, error) {
	var in sqladmin.BackupRun
	f := fields{in: []string{"description"}, out: []string{"kind", "instance", "type", "id", "status"}}
	if _, err := f.decode(c.body, &in); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	inst, err := s.instance(c)
	if err != nil {
		return nil, err
	}
	switch {
	case !inst.running():
		return nil, notRunning()
	case inst.Operation != "":
		return nil, busy()
	}
	b := s.newBackup(inst, "ON_DEMAND", in.Description)
	op, err := s.begin(c, inst, &operation{Backup: b.Run.Id}, "BACKUP_VOLUME", s.backupSteps(inst, b), settleBackup(b))
	if err != nil {
		return nil, err
	}
	op.BackupContext = &sqladmin.BackupContext{Kind: "sql#backupContext", BackupId: b.Run.Id}
	return op, nil
}

func (s *Server) backupSteps(inst *instance, b *backup) []step {
	return []step{{takesBackup, func(ctx context.Context) error { return s.takeBackup(ctx, inst, b) }}}
}

func settleBackup(b *backup) func(error) {
	return func(err error) {
		if err != nil {
			b.Run.Status, b.Run.Error = backupFailed, operationError(err).Errors[0]
		}
	}
}

func (s *Server) deleteBackupRun(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	inst, b, err := s.backupRun(c)
	if err != nil {
		return nil, err
	}
	return s.begin(c, inst, &operation{Backup: b.Run.Id}, "DELETE_BACKUP", []step{{takesSmall, func(context.Context) error {
		if b.World != "" {
			if err := s.cfg.World.RemoveBackup(b.World); err != nil {
				return err
			}
		}
		left := s.cfg.World.Backups(inst.Server)
		return s.change(func() {
			inst.Backups = slices.DeleteFunc(inst.Backups, func(other *backup) bool { return other == b })
			inst.recoverable(left)
		})
	}}}, nil)
}
