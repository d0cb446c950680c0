package availability

import (
	"dbops/internal/cloud"
	"dbops/internal/op"
)

// Row is the availability of one instance, for a face to show.
type Row struct {
	Environment  string             `json:"environment"`
	Instance     string             `json:"instance"`
	Provider     cloud.Kind         `json:"provider"`
	State        cloud.State        `json:"state"`
	Availability cloud.Availability `json:"availability,omitempty"` // empty: nobody manages it, or a cluster does
	Zones        Zones              `json:"zones"`
	Pending      cloud.Availability `json:"pending,omitempty"` // accepted and not made yet
	Window       string             `json:"window,omitempty"`  // of maintenance, UTC
	Maintenance  []string           `json:"maintenance,omitempty"`

	// Other is what it could be set to, with what that would bring; Failover is what a drill would. Plans say the same, for they
	// are derived from the same facts.
	Other         cloud.Availability `json:"other,omitempty"`
	OtherPlan     op.Draft           `json:"other_plan"`
	FailoverPlan  op.Draft           `json:"failover_plan"`
	FailoverReady bool               `json:"failover_ready"`
}

// Show is a row of an instance. It asks nobody.
func Show(t op.Target, live *cloud.Instance) Row {
	f := factsOf(live)
	r := Row{
		Environment: t.Environment, Instance: t.Instance, Provider: f.Provider, State: f.State, Availability: f.Availability,
		Zones: zonesOf(live), Pending: waiting(f.Pending), Window: f.Window, Maintenance: f.Maintenance, Other: cloud.Regional,
	}
	if f.Availability == cloud.Regional {
		r.Other = cloud.Zonal
	}
	r.OtherPlan, r.FailoverPlan = planSet(t, SetRequest{Want: r.Other}, f), planFailover(t, FailoverRequest{}, f)
	if len(r.OtherPlan.Changes) == 0 {
		r.Other = ""
	}
	r.FailoverReady = len((&op.Plan{Draft: r.FailoverPlan}).Blocked()) == 0
	return r
}
