package drift

import (
	"slices"

	"dbops/internal/cloud"
	"dbops/internal/config"
	"dbops/internal/state"
)

// Status is how a setting stands.
type Status string

// The statuses.
const (
	InSync    Status = "in_sync"
	Drifted   Status = "drifted"   // live differs from declared
	Pending   Status = "pending"   // the provider has accepted the declared value, and not applied it
	Unmanaged Status = "unmanaged" // nobody declares it
	Unknown   Status = "unknown"   // the provider does not tell, or did not answer
)

// Cause is why a setting is not in sync.
type Cause string

// The causes.
const (
	Console       Cause = "console"        // live moved since it was last applied: somebody changed it elsewhere
	Declaration   Cause = "declaration"    // live is what dbops last applied, and something else is declared
	Both          Cause = "both"           // both moved
	NeverApplied  Cause = "never_applied"  // dbops has never seen or made it as declared
	PendingChange Cause = "pending_change" // it is as declared, and the provider will change it: somebody asked for that elsewhere
	NoBaseline    Cause = "no_baseline"    // what was last applied could not be read
	NotTold       Cause = "not_told"       // the provider does not tell the value
	Unreachable   Cause = "unreachable"    // the provider did not answer
)

// view is what a comparison is made of. Values are text, by setting. It holds nothing that changes by itself.
type view struct {
	Provider cloud.Kind        `json:"provider"`
	Declared map[string]string `json:"declared"`
	Live     map[string]string `json:"live"`              // what the provider tells
	Soon     map[string]string `json:"soon,omitempty"`    // what it has accepted and not applied
	Last     map[string]string `json:"last,omitempty"`    // what was last applied
	Window   string            `json:"window,omitempty"`  // when it is applied
	Group    string            `json:"group,omitempty"`   // RDS: the parameter group
	NoLast   bool              `json:"no_last,omitempty"` // what was last applied could not be read
	Private  bool              `json:"private"`           // it can be reached without a public address
}

// viewOf looks at the declared settings of an instance, and with all at the others, too.
func viewOf(declared map[string]string, live *cloud.Instance, last []state.Baseline, all bool) view {
	v := view{
		Provider: live.Provider, Declared: declared, Live: map[string]string{}, Soon: map[string]string{}, Last: map[string]string{},
		Group: parameterGroup(live),
	}
	for _, s := range settingsOf(live.Provider) {
		if _, ok := declared[s.name]; !ok && !all {
			continue
		}
		if value, ok := s.live(live); ok {
			v.Live[s.name] = value
		}
		for _, c := range live.Pending {
			if c.Setting == s.path {
				v.Soon[s.name] = c.To
				if s.soon != nil {
					v.Soon[s.name] = s.soon(c.To)
				}
			}
		}
	}
	for _, b := range last {
		if _, ok := declared[b.Setting]; ok {
			v.Last[b.Setting] = b.Value
		}
	}
	v.Private = live.Provider == cloud.RDS || slices.ContainsFunc(live.Endpoints, func(e cloud.Endpoint) bool {
		return e.Kind == cloud.EndpointPrivate || e.Kind == cloud.EndpointPSC
	})
	if len(live.Pending) > 0 {
		v.Window = live.Maintenance.Window
	}
	return v
}

// verdict is how one setting stands.
type verdict struct {
	setting
	Status                Status
	Cause                 Cause
	Declared, Live, Last  string
	HasLast, Told, Leaves bool   // Leaves: Soon is not what is declared
	Soon                  string // empty: nothing is pending
}

// compare judges the settings in their order.
func (v view) compare() []verdict {
	var out []verdict
	for _, s := range settingsOf(v.Provider) {
		declared, managed := v.Declared[s.name]
		live, told := v.Live[s.name]
		if !managed && !told {
			continue
		}
		last, hasLast := v.Last[s.name]
		soon, waits := v.Soon[s.name]
		j := verdict{
			setting: s, Declared: declared, Live: live, Last: last, HasLast: hasLast, Told: told, Soon: soon,
			Leaves: waits && soon != declared,
		}
		switch {
		case !managed:
			j.Status, j.Leaves = Unmanaged, false
		case !told:
			j.Status, j.Cause = Unknown, NotTold
		case live == declared && !j.Leaves:
			j.Status = InSync
		case live == declared:
			j.Status, j.Cause = Drifted, PendingChange
		case waits && soon == declared:
			j.Status = Pending
		default:
			j.Status, j.Cause = Drifted, v.cause(declared, live, last, hasLast)
		}
		out = append(out, j)
	}
	return out
}

func (v view) cause(declared, live, last string, hasLast bool) Cause {
	switch {
	case v.NoLast:
		return NoBaseline
	case !hasLast:
		return NeverApplied
	case last == declared:
		return Console
	case last == live:
		return Declaration
	}
	return Both
}

// elsewhere tells whether somebody has changed the setting other than through dbops, or may have.
func (j verdict) elsewhere() bool {
	return slices.Contains([]Cause{Console, Both, PendingChange, NoBaseline}, j.Cause)
}

// lonely tells whether nobody could reach the instance with the declared value.
func (v view) lonely(j verdict) bool {
	return j.name == config.PublicAccess && j.Declared == "false" && !v.Private
}
