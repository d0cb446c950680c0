package rdsapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/pg"
	"dbops/internal/secret"
)

// modifySteps apply pending values one after the other. The first shows nothing: RDS answers, and is still "available" for a
// while, so that a client which only waits for that status waits for nothing.
func (a *API) modifySteps(in *instance) []step {
	w := in.Work
	steps := []step{show("", 20*time.Second)}
	if w.Apply.MasterUserPassword != nil {
		steps = append(steps, a.resetPassword(in))
	}
	if on := w.Apply.IAMDatabaseAuthenticationEnabled; on != nil {
		steps = append(steps, a.changed(time.Minute, func() { in.DB.IAMDatabaseAuthenticationEnabled = on }))
	}
	if ca := w.Apply.CACertificateIdentifier; ca != nil {
		s := a.changed(time.Minute, func() {})
		s.do = func(context.Context) error { return a.rotate(in, *ca) }
		steps = append(steps, s)
		if slices.Contains(a.restarts, in.Major) {
			steps = append(steps, a.restart(in, "modifying"))
		}
	}
	if days := w.Apply.BackupRetentionPeriod; days != nil {
		steps = append(steps, a.changeRetention(in, *days)...)
	}
	if on := w.Apply.MultiAZ; on != nil {
		steps = append(steps, a.changeZones(in, *on))
	}
	if gib, sort := w.Apply.AllocatedStorage, w.Apply.StorageType; gib != nil || sort != nil {
		s := a.changed(6*time.Minute, func() {
			set(&in.DB.AllocatedStorage, gib)
			set(&in.DB.StorageType, sort)
		})
		s.begin = []note{{category: "configuration change", message: "Applying modification to allocated storage"}}
		s.end = []note{{category: "configuration change", message: "Finished applying modification to allocated storage"}}
		steps = append(steps, s)
	}
	if class := w.Apply.DBInstanceClass; class != nil {
		steps = append(steps, a.changeClass(in, *class)...)
	}
	if id := w.Apply.DBInstanceIdentifier; id != nil {
		steps = append(steps, a.rename(in, *id)...)
	}
	if version := w.Apply.EngineVersion; version != nil {
		steps = append(steps, a.upgradeSteps(in, *version)...)
	}
	return append(steps, step{done: func() { a.forget(in, w.Apply) }})
}

// changed is a step that only changes the description, and succeeds or fails like any other.
func (a *API) changed(real time.Duration, done func()) step {
	return step{status: "modifying", real: real, do: func(context.Context) error { return nil }, done: done}
}

func (a *API) changeRetention(in *instance, days int32) []step {
	s := a.changed(30*time.Second, func() { in.DB.BackupRetentionPeriod = &days })
	switch {
	case days == 0:
		s.do = func(context.Context) error {
			a.mu.Lock()
			defer a.mu.Unlock()
			return a.dropAutomated(in.ServerID)
		}
		s.end = []note{{category: "configuration change", message: "Disabled automated backups"}}
	case in.Work.Retention == 0:
		s.end = []note{{category: "configuration change", message: "Enabled automated backups"}}
		return []step{s, a.automatedBackup(in)}
	}
	return []step{s}
}

// changeZones makes or drops the standby. It is played: clients of the primary notice nothing.
func (a *API) changeZones(in *instance, multi bool) step {
	if multi {
		s := a.changed(9*time.Minute, func() {
			in.DB.MultiAZ, in.DB.SecondaryAvailabilityZone = &multi, new(a.otherZone(value(in.DB.AvailabilityZone)))
		})
		s.begin = []note{{category: "configuration change", message: "Applying modification to convert to a Multi-AZ DB Instance"}}
		s.end = []note{{category: "configuration change", message: "Finished applying modification to convert to a Multi-AZ DB Instance"}}
		return s
	}
	s := a.changed(2*time.Minute, func() { in.DB.MultiAZ, in.DB.SecondaryAvailabilityZone = &multi, nil })
	s.begin = []note{{category: "configuration change", message: "Applying modification to convert to a standard (Single-AZ) DB Instance"}}
	s.end = []note{{category: "configuration change", message: "Finished applying modification to convert to a standard (Single-AZ) DB Instance"}}
	return s
}

// changeClass has an outage: a failover with a standby, a restart without.
func (a *API) changeClass(in *instance, class string) []step {
	begin := a.changed(4*time.Minute, nil)
	begin.begin = []note{{category: "configuration change", message: "Applying modification to database instance class"}}
	outage := a.restart(in, "modifying")
	if in.Work.MultiAZ {
		outage = a.failover(in, "modifying")
	}
	end := a.changed(time.Minute, func() { in.DB.DBInstanceClass = &class })
	end.end = []note{{category: "configuration change", message: "Finished applying modification to DB instance class"}}
	return []step{begin, outage, end}
}

// resetPassword changes the real role. A password that did not outlive the last process cannot be set, and RDS has an event for
// that.
func (a *API) resetPassword(in *instance) step {
	var err error
	s := step{
		status: "resetting-master-credentials", real: 30 * time.Second,
		do: func(ctx context.Context) error {
			if in.password.IsZero() {
				err = errors.New("the sandbox ended before the password was set, and does not keep passwords")
				return nil
			}
			return a.alterPassword(ctx, in)
		},
		done: func() {
			n := note{category: "configuration change", message: "Reset master credentials"}
			if err != nil {
				n.message = "Unable to reset your password. Error information: " + err.Error()
			}
			a.notes(in, []note{n})
			in.DB.PendingModifiedValues.MasterUserPassword, in.password = nil, secret.Value{}
		},
	}
	return s
}

// alterPassword sets the master password. The server sees a verifier, never the password.
func (a *API) alterPassword(ctx context.Context, in *instance) error {
	s, err := a.server(in)
	if err != nil {
		return err
	}
	conn, err := s.DB(ctx, "postgres")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	verifier, err := pg.Verifier(in.password)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "alter role "+pgx.Identifier{value(in.DB.MasterUsername)}.Sanitize()+" password '"+verifier+"'")
	if err != nil {
		return fmt.Errorf("change the password of %s: %w", value(in.DB.MasterUsername), err)
	}
	return nil
}
