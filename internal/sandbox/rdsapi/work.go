package rdsapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/play"
	"dbops/internal/sandbox/world"
)

// kind is a sort of transition.
type kind string

const (
	kindCreate   kind = "create"
	kindRestore  kind = "restore"
	kindModify   kind = "modify"
	kindReboot   kind = "reboot"
	kindSnapshot kind = "snapshot"
	kindDelete   kind = "delete"
	kindStop     kind = "stop"
	kindStart    kind = "start"
)

// work is a transition of an instance as it is kept on disk: what it needs, and how far it got. Its steps follow from it alone,
// so that a new process goes on where the last one ended.
type work struct {
	Kind     kind                         `json:"kind"`
	Step     int                          `json:"step"`
	Snapshot string                       `json:"snapshot,omitempty"` // to make
	Failover bool                         `json:"failover,omitempty"`
	Rotate   string                       `json:"rotate,omitempty"` // authority whose certificate waited for this reboot
	Source   *source                      `json:"source,omitempty"` // of a restore
	Apply    *types.PendingModifiedValues `json:"apply,omitempty"`  // of a modification

	// What held when a modification began.
	MultiAZ   bool   `json:"multi_az,omitempty"`
	Retention int32  `json:"retention,omitempty"` // days
	Version   string `json:"version,omitempty"`

	effect play.Effect // the failure that was asked for; it does not outlive the process
}

// source is where a restore starts.
type source struct {
	BackupID string    `json:"backup_id"`
	At       time.Time `json:"at,omitzero"` // zero: as of the backup
	Name     string    `json:"name"`        // of the instance or snapshot, for the event
}

// step is one thing that is seen to happen to an instance.
type step struct {
	status string        // shown while it lasts; empty: unchanged
	real   time.Duration // how long the real cloud takes before do
	begin  []note        // recorded when it begins
	do     func(ctx context.Context) error
	done   func()
	end    []note // recorded when it has ended
}

// note is an event to be.
type note struct {
	category, message string
	snapshot          string // the snapshot that it is about; empty: the instance
}

// idle refuses when a transition runs, or the status is none of those wanted.
func (a *API) idle(in *instance, statuses ...string) error {
	if in.Work == nil {
		for _, s := range statuses {
			if in.status() == s {
				return nil
			}
		}
	}
	return awsid.Newf(400, "InvalidDBInstanceState", "Instance %s is not in an allowed state for this operation: it is %s, want %s.",
		in.id(), in.busyWith(), strings.Join(statuses, " or "))
}

// busyWith is the status, or what will show as the status soon.
func (in *instance) busyWith() string {
	if in.Work != nil && in.status() == "available" {
		return "available with a " + string(in.Work.Kind) + " about to begin"
	}
	return in.status()
}

// begin starts a transition. The caller holds the lock, has asked [API.idle], and made its changes to the description.
func (a *API) begin(in *instance, action string, w work) {
	w.effect = a.faults.Take("rds", action, in.id(), play.Fail, play.Hang)
	in.Work = &w
	if s := a.steps(in)[0].status; s != "" {
		in.DB.DBInstanceStatus = &s
	}
	a.save()
	a.wg.Go(func() { a.run(in) })
}

// steps are all the steps of the transition of in.
func (a *API) steps(in *instance) []step {
	switch in.Work.Kind {
	case kindCreate, kindRestore:
		return a.makingSteps(in)
	case kindModify:
		return a.modifySteps(in)
	case kindReboot:
		return a.rebootSteps(in)
	case kindSnapshot:
		return a.snapshotSteps(in)
	case kindDelete:
		return a.deleteSteps(in)
	case kindStop:
		return a.stopSteps(in)
	case kindStart:
		return a.startSteps(in)
	default:
		return nil
	}
}

// run takes the steps that are left. It returns early, leaving the transition to the next process, when the API is closed.
func (a *API) run(in *instance) {
	for {
		s, ok := a.nextStep(in)
		if !ok {
			return
		}
		if a.pace.Sleep(a.life, s.real) != nil {
			return
		}
		err := a.take(in, s)
		if a.life.Err() != nil {
			return
		}
		if err != nil {
			a.fail(in, err)
			return
		}
		a.finish(in, s)
	}
}

// nextStep begins the next step; ok is false if the last one was taken.
func (a *API) nextStep(in *instance) (s step, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if in.Work == nil {
		return step{}, false
	}
	s = a.steps(in)[in.Work.Step]
	if s.status != "" {
		in.DB.DBInstanceStatus = &s.status
	}
	a.notes(in, s.begin)
	a.save()
	return s, true
}

// take does the deed of a step, or the failure that was asked for in its place.
func (a *API) take(in *instance, s step) error {
	if s.do == nil {
		return nil
	}
	switch in.Work.effect {
	case play.Hang:
		<-a.life.Done()
		return a.life.Err()
	case play.Fail:
		return errors.New("the sandbox was asked to let this fail")
	default:
		return s.do(a.life)
	}
}

// finish ends a step, and with the last one the transition: whoever sees its final status may begin another.
func (a *API) finish(in *instance, s step) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.done != nil {
		s.done()
	}
	a.notes(in, s.end)
	in.Work.Step++
	if in.Work.Step == len(a.steps(in)) {
		in.DB.DBInstanceStatus, in.Work = new(in.Work.Kind.final()), nil
	}
	a.save()
}

// final is the status after the last step.
func (k kind) final() string {
	switch k {
	case kindStop:
		return "stopped"
	case kindDelete:
		return "deleting" // until it is forgotten
	default:
		return "available"
	}
}

// fail ends a transition in the status that RDS shows when such a thing goes wrong.
func (a *API) fail(in *instance, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.log.Warn("a transition of a played instance failed", slog.String("instance", in.id()), slog.String("kind", string(in.Work.Kind)), slog.Any("error", err))
	w := in.Work
	in.Work = nil
	status, message := "failed", "DB instance put into failed state. "+err.Error()
	switch w.Kind {
	case kindCreate:
		message = "The DB instance creation failed. " + err.Error()
	case kindRestore:
		status = "incompatible-restore"
		message = "DB instance put into incompatible-restore state. RDS recommends that you initiate a point-in-time-restore. " + err.Error()
	case kindModify, kindStart, kindStop:
		status, message = "incompatible-network", "Database instance in incompatible-network. "+err.Error()
	case kindReboot:
		status, message = "incompatible-parameters", "Database instance put into incompatible-parameters. "+err.Error()
	case kindSnapshot:
		status, message = "available", "The snapshot failed. "+err.Error()
	case kindDelete:
	}
	if w.Apply != nil && w.Apply.EngineVersion != nil {
		status, message = "available", a.unupgraded(in, w, err)
	}
	for id, s := range a.state.Snapshots {
		if s.ServerID == in.ServerID && value(s.DB.Status) == "creating" {
			s.DB.Status = new("failed")
			a.record(types.SourceTypeDbSnapshot, id, "Snapshot failed. "+err.Error(), "failure")
		}
	}
	if w.Apply != nil {
		a.forget(in, w.Apply)
	}
	in.DB.DBInstanceStatus = &status
	a.notes(in, []note{{category: "failure", message: message}})
	a.save()
}

// notes records events. The caller holds the lock.
func (a *API) notes(in *instance, notes []note) {
	for _, n := range notes {
		if n.snapshot != "" {
			a.record(types.SourceTypeDbSnapshot, n.snapshot, n.message, n.category)
			continue
		}
		a.record(types.SourceTypeDbInstance, in.id(), n.message, n.category)
	}
}

// server is the real server of an instance.
func (a *API) server(in *instance) (*world.Server, error) {
	s := a.world.Server(in.ServerID)
	if s == nil {
		return nil, fmt.Errorf("the real server of %s is gone", in.id())
	}
	return s, nil
}

// show is a step that only shows a status.
func show(status string, real time.Duration) step { return step{status: status, real: real} }
