package drift

import (
	"context"
	"slices"
	"strings"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
)

// FixKind is the kind of the operation that sets back what drifted on one instance.
const FixKind = "drift.fix"

// FixRequest says what to set back.
type FixRequest struct {
	// Settings to set back; empty: every one that drifted. Choosing a setting is no consent to overwrite what somebody else did.
	Settings []string `json:"settings,omitempty"`

	// Overwrite names settings to set although somebody changed them elsewhere since dbops last applied them, although that removes
	// backups that are there, or although the provider has accepted the value and would apply it later. They are chosen, too.
	Overwrite []string `json:"overwrite,omitempty"`
}

// names are all settings that the request names.
func (r FixRequest) names() []string {
	all := slices.Concat(r.Settings, r.Overwrite)
	slices.Sort(all)
	return slices.Compact(all)
}

func (r FixRequest) chooses(name string) bool {
	return len(r.Settings) == 0 || slices.Contains(r.names(), name)
}

// facts are what a plan to fix an instance is made from.
type facts struct {
	Name    string         `json:"name"` // the provider's
	Profile string         `json:"profile"`
	Down    cloud.State    `json:"down,omitempty"` // a state in which nothing can be changed
	Waits   []cloud.Change `json:"waits,omitempty"`
	TLSMode string         `json:"tls_mode,omitempty"`
	view
}

// Fix is the operation. Its request is a [FixRequest].
func (x *Drift) Fix() op.Kind {
	return op.Operation[FixRequest, facts]{
		Kind: FixKind,
		Words: map[string]string{
			"live": "", "soon": "accepted for later:", "last": "last applied", "waits": "pending", "down": "state",
			"tls_mode": "tls.mode", "group": "the parameter group",
		},
		Observe: func(ctx context.Context, t op.Target, _ FixRequest) (facts, error) { return x.observe(ctx, t) },
		Derive:  derive,
		Steps:   x.steps,
	}.AsKind()
}

func (x *Drift) observe(ctx context.Context, t op.Target) (facts, error) {
	env, err := x.d.Config.Environment(t.Environment)
	if err != nil {
		return facts{}, err
	}
	inst, err := env.Instance(t.Instance)
	if err != nil {
		return facts{}, err
	}
	if inst.Kind() == cloud.Postgres {
		return facts{}, fault.Newf(fault.Usage, "look at "+t.String(), "it is a plain server, whose settings no provider tells or changes")
	}
	declared, err := x.d.Config.Declared(t.Environment, t.Instance)
	if err != nil {
		return facts{}, err
	}
	c, name, err := x.d.Open(ctx, t.Environment, t.Instance)
	if err != nil {
		return facts{}, err
	}
	live, err := x.told(ctx, c, name, declared.Values)
	if err != nil {
		return facts{}, err
	}
	last, err := x.d.Baselines(ctx, t.Environment, t.Instance)
	if err != nil {
		return facts{}, err
	}
	f := facts{Name: name, Profile: declared.Profile, Waits: live.Pending, view: viewOf(declared.Values, live, last, false), TLSMode: live.TLS.Mode}
	f.Down = notChangeable(live.State)
	return f, nil
}

// told describes an instance. What a provider tells beside the main answer may be missing once: then it is asked again, because a plan
// must not depend on that.
func (x *Drift) told(ctx context.Context, c Cloud, name string, declared map[string]string) (live *cloud.Instance, err error) {
	for range 3 {
		if live, err = c.Get(ctx, name); err != nil {
			return nil, err
		}
		if v := viewOf(declared, live, nil, false); len(v.Live) == len(declared) {
			return live, nil
		}
		if err := op.Sleep(ctx, x.d.Pace.First); err != nil {
			return nil, err
		}
	}
	return live, nil
}

// notChangeable is a state in which an instance cannot be changed and stays; empty for one that comes and goes by itself.
func notChangeable(s cloud.State) cloud.State {
	switch s {
	case cloud.Stopped, cloud.Deleting, cloud.Failed, cloud.Creating:
		return s
	case cloud.Available, cloud.Modifying, cloud.Restarting, cloud.Unreachable, cloud.Unknown:
	}
	return ""
}

// changes are the settings that a request changes: those that it may.
func (f facts) changes(r FixRequest) []verdict {
	var out []verdict
	for _, j := range f.compare() {
		if r.chooses(j.name) && f.why(r, j) == "" {
			out = append(out, j)
		}
	}
	return out
}

// Why a setting is not changed. The words are the names of findings.
const (
	asDeclared       = "as-declared"
	notTold          = "not-told"
	accepted         = "accepted-already"
	notInPlace       = "not-in-place"
	comesAlong       = "comes-along"
	changedElsewhere = "changed-elsewhere"
	destroysBackups  = "destroys-backups"
	noPrivateAddress = "no-private-address"
)

// The same in words, where a report says it, too.
const (
	cannotInPlace = "it cannot be changed in place"
	cannotReach   = "the instance has no private address, and without its public one nobody could reach it"
)

// why a setting that the request chooses is not changed; empty if it is.
func (v view) why(r FixRequest, j verdict) string {
	consent := slices.Contains(r.Overwrite, j.name)
	switch {
	case j.Status == InSync || j.Status == Unmanaged:
		return asDeclared
	case j.Status == Unknown:
		return notTold
	case j.comes != "":
		return comesAlong
	case j.want == nil:
		return notInPlace
	case v.lonely(j):
		return noPrivateAddress
	case j.Status == Pending && !consent:
		return accepted
	case j.elsewhere() && !consent:
		return changedElsewhere
	case destroys(j.name, j.Live, j.Declared) && !consent:
		return destroysBackups
	}
	return ""
}

// from is the value before, as a plan shows it.
func (j verdict) from() string {
	if j.Soon == "" || j.Soon == j.Live {
		return j.Live
	}
	return j.Live + ", " + j.Soon + " is accepted"
}

func planChanges(all []verdict) []op.Change {
	var out []op.Change
	for _, j := range all {
		out = append(out, op.Change{Setting: j.name, From: j.from(), To: j.Declared})
	}
	return out
}

func join(all []verdict, text func(verdict) string) string {
	words := make([]string, len(all))
	for i, j := range all {
		words[i] = text(j)
	}
	return strings.Join(words, ", ")
}
