package rdsapi

import (
	"context"
	"time"

	"dbops/internal/sandbox/awsid"
)

// taken tells whether an instance has that identifier, or is about to get it. The caller holds the lock.
func (a *API) taken(id string) bool {
	if a.state.Instances[id] != nil {
		return true
	}
	for _, in := range a.state.Instances {
		if p := in.DB.PendingModifiedValues; p != nil && value(p.DBInstanceIdentifier) == id {
			return true
		}
	}
	return false
}

func errTaken() error {
	return awsid.Newf(400, "DBInstanceAlreadyExists", "DB instance already exists")
}

// checkName checks the new identifier of an instance. The caller holds the lock.
func (a *API) checkName(in *instance, wish *string) error {
	id, err := identifier("NewDBInstanceIdentifier", wish, 63)
	if err != nil {
		return err
	}
	if id != in.id() && id != value(in.DB.PendingModifiedValues.DBInstanceIdentifier) && a.taken(id) {
		return errTaken()
	}
	return nil
}

// rename gives an instance another identifier and a certificate for it, and reboots it. What was recorded under the old identifier
// stays there: events and snapshots.
func (a *API) rename(in *instance, id string) []step {
	name := step{status: "renaming", real: time.Minute, do: func(context.Context) error { return nil }, done: func() {
		was := in.id()
		delete(a.state.Instances, was)
		a.state.Instances[id] = in
		in.DB.DBInstanceIdentifier, in.DB.DBInstanceArn = &id, new(a.arn("db", id))
		a.notes(in, []note{{category: "configuration change", message: "Renamed instance from " + was + " to " + id}})
	}}
	certify := step{status: "renaming", do: func(context.Context) error {
		a.mu.Lock()
		ca := value(in.DB.CACertificateIdentifier)
		a.mu.Unlock()
		return a.rotate(in, ca)
	}}
	return []step{name, certify, a.restart(in, "rebooting")}
}
