package gcpapi

import (
	"context"
	"encoding/json"
	"time"

	sqladmin "google.golang.org/api/sqladmin/v1"
)

// patchInstance merges the body into the instance, as RFC 7396 says: what is not named stays, null removes.
func (s *Server) patchInstance(c *call) (any, error) {
	return s.alter(c, func(inst *instance, _ *sqladmin.DatabaseInstance, raw map[string]any) (*sqladmin.Settings, error) {
		next := clone(inst.DB.Settings)
		return next, overlay(next, raw["settings"])
	})
}

// updateInstance replaces the settings: what is not named goes back to its default.
func (s *Server) updateInstance(c *call) (any, error) {
	return s.alter(c, func(inst *instance, in *sqladmin.DatabaseInstance, raw map[string]any) (*sqladmin.Settings, error) {
		if in.Settings == nil || in.Settings.SettingsVersion == 0 || in.Settings.Tier == "" {
			return nil, invalid("Missing parameter: an update names settings.settingsVersion and settings.tier.")
		}
		next := defaults(inst.DB.Region)
		next.LocationPreference.Zone = inst.DB.GceZone
		return next, overlay(next, raw["settings"])
	})
}

// alter checks a change and starts the operation that brings it.
func (s *Server) alter(
	c *call, merged func(*instance, *sqladmin.DatabaseInstance, map[string]any) (*sqladmin.Settings, error),
) (any, error) {
	in := &sqladmin.DatabaseInstance{}
	raw, err := instanceFields().decode(c.body, in)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	inst, err := s.instance(c)
	if err != nil {
		return nil, err
	}
	switch {
	case in.Name != "" && in.Name != inst.DB.Name, in.Region != "" && in.Region != inst.DB.Region:
		return nil, invalid("The name and the region of an instance cannot be changed.")
	case c.Header.Get("If-Match") != "" && c.Header.Get("If-Match") != inst.etag(), in.Etag != "" && in.Etag != inst.etag():
		return nil, stale()
	case in.Settings != nil && in.Settings.SettingsVersion != 0 && in.Settings.SettingsVersion != inst.DB.Settings.SettingsVersion:
		return nil, stale()
	case inst.DB.State == stateFailed || inst.server == nil:
		return nil, notRunning()
	}
	if v := in.DatabaseVersion; v != "" && v != inst.DB.DatabaseVersion {
		return s.upgradeInstance(c, inst, v, raw)
	}
	next, err := merged(inst, in, raw)
	if err != nil {
		return nil, err
	}
	next.SettingsVersion = inst.DB.Settings.SettingsVersion
	target := clone(inst.DB)
	target.Settings = next
	if err := validate(target); err != nil {
		return nil, err
	}
	switch was := inst.DB.Settings; {
	case next.DataDiskSizeGb < was.DataDiskSizeGb:
		return nil, invalid("Disk size cannot be decreased.")
	case next.DataDiskType != was.DataDiskType:
		return nil, invalid("The type of the data disk cannot be changed.")
	}
	return s.begin(c, inst, &operation{Target: target.Settings}, "UPDATE", s.updateSteps(inst, target.Settings), nil)
}

// updateSteps bring an instance to new settings. Each may be taken twice, so that an interrupted update goes on from the start.
func (s *Server) updateSteps(inst *instance, next *sqladmin.Settings) []step {
	was := clone(inst.DB.Settings)
	stops, starts := next.ActivationPolicy == "NEVER", was.ActivationPolicy == "NEVER" && next.ActivationPolicy != "NEVER"
	switched := was.AvailabilityType != next.AvailabilityType
	recovery := next.BackupConfiguration.PointInTimeRecoveryEnabled
	// The service gives no promise for a switch of the availability: the sandbox plays the worse case, a restart. A server that
	// starts restarts once more for the flags that were set while it was stopped.
	restart := starts || switched || recovery && !was.BackupConfiguration.PointInTimeRecoveryEnabled || was.Tier != next.Tier ||
		flagsRestart(was.DatabaseFlags, next.DatabaseFlags) || was.LocationPreference.Zone != next.LocationPreference.Zone
	steps := []step{{takesSettings, nil}}
	if switched && next.AvailabilityType == regional {
		steps = append(steps, step{takesStandby, nil})
	}
	steps = append(steps, step{0, func(ctx context.Context) error {
		switch {
		case stops:
			return inst.server.Stop(ctx)
		case starts:
			if err := inst.server.Start(ctx); err != nil {
				return err
			}
		}
		if err := applyFlags(ctx, inst.server, next.DatabaseFlags); err != nil {
			return err
		}
		if restart {
			return inst.server.Restart(ctx, nil)
		}
		return nil
	}})
	if recovery && !stops && inst.RecoverableSince.IsZero() {
		steps = append(steps, step{takesBackup, func(ctx context.Context) error { return s.automatedBackup(ctx, inst) }})
	}
	return append(steps, step{takesSettings, func(context.Context) error {
		inst.server.SetRequireTLS(next.IpConfiguration.SslMode != plaintextToo)
		return s.change(func() { inst.settle(next) })
	}})
}

// settle makes the new settings those of the instance. The caller holds the lock.
func (i *instance) settle(next *sqladmin.Settings) {
	moved := i.DB.Settings.LocationPreference.Zone != next.LocationPreference.Zone ||
		i.DB.Settings.LocationPreference.SecondaryZone != next.LocationPreference.SecondaryZone ||
		i.DB.Settings.AvailabilityType != next.AvailabilityType
	version := i.DB.Settings.SettingsVersion + 1
	i.DB.Settings = clone(next)
	i.DB.Settings.SettingsVersion = version
	if moved {
		zone := i.DB.GceZone // where the primary is after failovers counts, unless a zone was asked for
		placeIn(i.DB)
		if next.LocationPreference.Zone == "" || next.LocationPreference.Zone == zone {
			i.DB.GceZone = zone
		}
		if i.DB.SecondaryGceZone == i.DB.GceZone {
			i.DB.SecondaryGceZone = otherZone(i.DB.Region, i.DB.GceZone)
		}
	}
	if !next.BackupConfiguration.PointInTimeRecoveryEnabled {
		i.RecoverableSince = time.Time{}
	}
}

// overlay merges patch, a JSON object, into settings.
func overlay(settings *sqladmin.Settings, patch any) error {
	p, ok := patch.(map[string]any)
	if patch != nil && !ok {
		return invalid("Invalid JSON payload received: settings is not an object.")
	}
	b, err := json.Marshal(settings)
	if err != nil {
		return err
	}
	var whole map[string]any
	if err := json.Unmarshal(b, &whole); err != nil {
		return err
	}
	merge(whole, p)
	if b, err = json.Marshal(whole); err != nil {
		return err
	}
	*settings = sqladmin.Settings{}
	if err := json.Unmarshal(b, settings); err != nil {
		return invalid("Invalid JSON payload received: a field of the settings has the wrong type.")
	}
	return nil
}

func merge(dst, patch map[string]any) {
	for k, v := range patch {
		into, isObject := dst[k].(map[string]any)
		from, both := v.(map[string]any)
		switch {
		case v == nil:
			delete(dst, k)
		case isObject && both:
			merge(into, from)
		default:
			dst[k] = v
		}
	}
}
