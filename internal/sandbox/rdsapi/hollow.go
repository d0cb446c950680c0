package rdsapi

import (
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
)

// Hollow is an instance that only the control plane plays: it has a description and no server. A change that needs one fails.
type Hollow struct {
	// Create is as in a [Seed].
	Create rds.CreateDBInstanceInput
	// At is host:port of its endpoint: whoever listens there is no business of the API.
	At string
}

// AdoptHollow makes hollow instances at once. Those that exist are left as they are.
func (a *API) AdoptHollow(all []Hollow) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, h := range all {
		if err := a.adoptHollow(h); err != nil {
			return fmt.Errorf("adopt %s: %w", value(h.Create.DBInstanceIdentifier), err)
		}
	}
	a.save()
	return nil
}

// adoptHollow makes one. The caller holds the lock and saves.
func (a *API) adoptHollow(h Hollow) error {
	in := h.Create
	in.Engine, in.MasterUserPassword = or(in.Engine, "postgres"), new("nobody-logs-in")
	in.DBInstanceClass, in.AllocatedStorage = or(in.DBInstanceClass, "db.t4g.medium"), or(in.AllocatedStorage, 100)
	if err := a.ops["CreateDBInstance"].refuse(&in); err != nil {
		return err
	}
	w, err := a.created(&in)
	if err != nil || a.taken(w.id) {
		return err
	}
	host, number, err := net.SplitHostPort(h.At)
	if err != nil {
		return err
	}
	port, err := strconv.ParseInt(number, 10, 32)
	if err != nil {
		return err
	}
	db, err := a.describe(w)
	if err != nil {
		return err
	}
	ca, err := a.authority(*db.CACertificateIdentifier)
	if err != nil {
		return err
	}
	now := a.now().UTC()
	ends := now.Add(min(leafLife, time.Until(ca.CA.Certificate().NotAfter)))
	db.DBInstanceStatus, db.InstanceCreateTime = new("available"), &now
	db.Endpoint = &types.Endpoint{Address: &host, Port: new(int32(port)), HostedZoneId: new("ZSANDBOX")}
	db.CertificateDetails = &types.CertificateDetails{CAIdentifier: db.CACertificateIdentifier, ValidTill: &ends}
	if value(db.MultiAZ) {
		db.SecondaryAvailabilityZone = new(a.otherZone(value(db.AvailabilityZone)))
	}
	a.state.Instances[w.id] = &instance{DB: db, Major: w.major, Listen: h.At}
	return nil
}
