package rdsapi

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/rds"

	"dbops/internal/sandbox/awsid"
)

func (a *API) rebootDBInstance(_ context.Context, in *rds.RebootDBInstanceInput) (*rds.RebootDBInstanceOutput, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	db, err := a.find(in.DBInstanceIdentifier)
	if err != nil {
		return nil, err
	}
	if err := a.idle(db, "available", "incompatible-parameters"); err != nil {
		return nil, err
	}
	if value(in.ForceFailover) && !value(db.DB.MultiAZ) {
		return nil, combination("ForceFailover cannot be specified when instance is not configured for Multi-AZ.")
	}
	w := work{Kind: kindReboot, Failover: value(in.ForceFailover)}
	if p := db.DB.PendingModifiedValues; db.RotateAtReboot && p.CACertificateIdentifier != nil {
		w.Rotate = *p.CACertificateIdentifier
	}
	a.begin(db, "RebootDBInstance", w)
	return &rds.RebootDBInstanceOutput{DBInstance: described(db)}, nil
}

func (a *API) rebootSteps(in *instance) []step {
	var steps []step
	if ca := in.Work.Rotate; ca != "" {
		steps = append(steps, step{status: "rebooting", do: func(context.Context) error { return a.rotate(in, ca) }, done: func() {
			in.DB.PendingModifiedValues.CACertificateIdentifier, in.RotateAtReboot = nil, false
		}})
	}
	if in.Work.Failover {
		steps = append(steps, a.failover(in, "rebooting"))
	} else {
		steps = append(steps, a.restart(in, "rebooting"))
	}
	return append(steps, show("rebooting", 15*time.Second))
}

// restart is the step that restarts the server of an instance.
func (a *API) restart(in *instance, status string) step {
	return step{
		status: status, real: 10 * time.Second,
		do: func(ctx context.Context) error {
			s, err := a.server(in)
			if err != nil {
				return err
			}
			return s.Restart(ctx, nil)
		},
		end: []note{{category: "availability", message: "DB instance restarted"}},
	}
}

// failover is the step that kills the primary and lets the standby take over: the same data in the other zone, after a while
// without a server.
func (a *API) failover(in *instance, status string) step {
	return step{
		status: status, real: 10 * time.Second,
		begin: []note{{category: "failover", message: "Multi-AZ instance failover started."}},
		do: func(ctx context.Context) error {
			s, err := a.server(in)
			if err != nil {
				return err
			}
			return s.Failover(ctx, a.pace.Of(75*time.Second))
		},
		done: func() {
			in.DB.AvailabilityZone, in.DB.SecondaryAvailabilityZone = in.DB.SecondaryAvailabilityZone, in.DB.AvailabilityZone
		},
		end: []note{{category: "availability", message: "DB instance restarted"}, {category: "failover", message: "Multi-AZ instance failover completed"}},
	}
}

func (a *API) stopDBInstance(_ context.Context, in *rds.StopDBInstanceInput) (*rds.StopDBInstanceOutput, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	db, err := a.find(in.DBInstanceIdentifier)
	if err != nil {
		return nil, err
	}
	if err := a.idle(db, "available"); err != nil {
		return nil, err
	}
	a.begin(db, "StopDBInstance", work{Kind: kindStop})
	return &rds.StopDBInstanceOutput{DBInstance: described(db)}, nil
}

func (a *API) stopSteps(in *instance) []step {
	return []step{
		{
			status: "stopping", real: 2 * time.Minute,
			do: func(ctx context.Context) error {
				s, err := a.server(in)
				if err != nil {
					return err
				}
				return s.Stop(ctx)
			},
			done: func() { in.DB.AutomaticRestartTime = new(a.now().UTC().Add(7 * day)) },
			end:  []note{{category: "notification", message: "DB instance stopped"}},
		},
	}
}

func (a *API) startDBInstance(_ context.Context, in *rds.StartDBInstanceInput) (*rds.StartDBInstanceOutput, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	db, err := a.find(in.DBInstanceIdentifier)
	if err != nil {
		return nil, err
	}
	if err := a.idle(db, "stopped", "incompatible-network"); err != nil {
		return nil, err
	}
	a.begin(db, "StartDBInstance", work{Kind: kindStart})
	return &rds.StartDBInstanceOutput{DBInstance: described(db)}, nil
}

func (a *API) startSteps(in *instance) []step {
	return []step{
		{
			status: "starting", real: 3 * time.Minute,
			do: func(ctx context.Context) error {
				s, err := a.server(in)
				if err != nil {
					return err
				}
				return s.Start(ctx)
			},
			done: func() { in.DB.AutomaticRestartTime = nil },
			end:  []note{{category: "notification", message: "DB instance started"}},
		},
	}
}

func (a *API) deleteDBInstance(_ context.Context, in *rds.DeleteDBInstanceInput) (*rds.DeleteDBInstanceOutput, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	db, err := a.find(in.DBInstanceIdentifier)
	if err != nil {
		return nil, err
	}
	final := fold(value(in.FinalDBSnapshotIdentifier))
	switch {
	case !value(or(in.DeleteAutomatedBackups, true)):
		return nil, notEmulated("DeleteAutomatedBackups=false")
	case value(db.DB.DeletionProtection):
		return nil, combination("Cannot delete protected DB Instance, please disable deletion protection and try again.")
	case value(in.SkipFinalSnapshot) == (final != ""):
		return nil, combination("FinalDBSnapshotIdentifier is required unless SkipFinalSnapshot is specified, and not allowed if it is.")
	}
	if err := a.idle(db, "available", "stopped", "failed", "incompatible-restore", "incompatible-network", "incompatible-parameters"); err != nil {
		return nil, err
	}
	if final != "" {
		if final, err = identifier("FinalDBSnapshotIdentifier", &final, 255); err != nil {
			return nil, err
		}
		if db.status() != "available" {
			return nil, awsid.Newf(400, "InvalidDBInstanceState", "Cannot make a final snapshot of instance %s: it is %s.", db.id(), db.status())
		}
		if _, err := a.newSnapshot(db, final, manual, nil); err != nil {
			return nil, err
		}
	}
	a.begin(db, "DeleteDBInstance", work{Kind: kindDelete, Snapshot: final})
	return &rds.DeleteDBInstanceOutput{DBInstance: described(db)}, nil
}

func (a *API) deleteSteps(in *instance) []step {
	var steps []step
	if id := in.Work.Snapshot; id != "" {
		steps = append(steps, step{
			status: "deleting", real: 2 * time.Minute,
			do:   func(ctx context.Context) error { return a.back(ctx, in, id) },
			done: func() { a.backedUp(id) },
			end:  []note{{category: "creation", message: "Manual snapshot created", snapshot: id}},
		})
	}
	return append(steps, step{
		status: "deleting", real: 2 * time.Minute,
		do: func(ctx context.Context) error {
			if err := a.world.Remove(ctx, in.ServerID); err != nil {
				return err
			}
			a.mu.Lock()
			defer a.mu.Unlock()
			return a.dropAutomated(in.ServerID)
		},
		done: func() { delete(a.state.Instances, in.id()) },
		end:  []note{{category: "deletion", message: "DB instance deleted"}},
	})
}
