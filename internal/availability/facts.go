package availability

import (
	"context"
	"slices"

	"dbops/internal/cloud"
	"dbops/internal/op"
)

// Facts are what a plan depends on. Nothing in them changes by itself from one moment to the next, so that a plan is stale only when
// something has happened to the instance.
type Facts struct {
	Provider      cloud.Kind         `json:"provider"`
	EngineVersion string             `json:"engine_version"`
	Class         string             `json:"class,omitempty"`
	State         cloud.State        `json:"state"`
	Availability  cloud.Availability `json:"availability,omitempty"`
	Zone          string             `json:"zone,omitempty"`
	SecondaryZone string             `json:"secondary_zone,omitempty"`
	Backups       bool               `json:"backups"`
	PITR          bool               `json:"pitr"`
	NetworkZones  []string           `json:"network_zones,omitempty"`
	Window        string             `json:"window,omitempty"`
	Maintenance   []string           `json:"maintenance,omitempty"` // announced
	Pending       []cloud.Change     `json:"pending,omitempty"`
}

// words are the settings that facts call otherwise than plans do.
func words() map[string]string {
	return map[string]string{
		"backups": "backups.enabled", "pitr": "backups.pitr", "window": "maintenance.window", "maintenance": "announced maintenance",
		"pending": "pending", "network_zones": "zones of the subnets",
	}
}

func factsOf(live *cloud.Instance) Facts {
	return Facts{
		Provider: live.Provider, EngineVersion: live.EngineVersion, Class: live.Class, State: live.State,
		Availability: live.Availability, Zone: live.Zone, SecondaryZone: live.SecondaryZone,
		Backups: live.Backups.Enabled, PITR: live.Backups.PITR, NetworkZones: live.NetworkZones,
		Window: live.Maintenance.Window, Maintenance: live.Maintenance.Pending, Pending: live.Pending,
	}
}

func (d Deps) observe(ctx context.Context, t op.Target) (Facts, error) {
	c, name, err := d.Cloud(ctx, t)
	if err != nil {
		return Facts{}, err
	}
	live, err := c.Get(ctx, name)
	if err != nil {
		return Facts{}, err
	}
	return factsOf(live), nil
}

// The settings of a cloud.Change that are looked at.
const (
	settingAvailability = "availability"
	settingParameters   = "parameter_group" // waits for a reboot, and for nothing else
	settingCA           = "tls.ca"
)

// waiting is the availability that the provider has accepted and not made yet; empty if there is none.
func waiting(pending []cloud.Change) cloud.Availability {
	for _, c := range pending {
		if c.Setting == settingAvailability {
			return cloud.Availability(c.To)
		}
	}
	return ""
}

// others are the pending modifications that RDS applies along when it is asked to apply the availability now.
func others(pending []cloud.Change) []cloud.Change {
	return slices.DeleteFunc(slices.Clone(pending), func(c cloud.Change) bool {
		return c.Setting == settingAvailability || c.Setting == settingParameters
	})
}

// is tells whether an instance has an availability, with nothing pending against it. RDS shows the standby's zone when there is one;
// Cloud SQL does not always.
func is(live *cloud.Instance, want cloud.Availability) bool {
	if live.Availability != want || waiting(live.Pending) != "" {
		return false
	}
	return live.Provider != cloud.RDS || (want == cloud.Regional) == (live.SecondaryZone != "")
}

// title is a provider's own name.
func title(k cloud.Kind) string {
	switch k {
	case cloud.RDS:
		return "RDS"
	case cloud.CloudSQL:
		return "Cloud SQL"
	case cloud.Postgres:
		return "a plain PostgreSQL server"
	default:
		return string(k)
	}
}
