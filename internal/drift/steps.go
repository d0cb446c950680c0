package drift

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
)

// The steps of a fix.
const (
	stepModify = "modify"
	stepWait   = "wait"
	stepRecord = "record"
)

// steps modify, wait until it has truly happened, and store what was applied. There are none if nothing changes.
func (x *Drift) steps(t op.Target, r FixRequest, f facts) []op.Step {
	changes := f.changes(r)
	if len(changes) == 0 {
		return nil
	}
	m := mend{x: x, target: t, facts: f, changes: changes}
	names := join(changes, func(j verdict) string { return j.name })
	return []op.Step{
		{
			Name: stepModify, Title: "set " + names + " of " + t.String(), Do: m.modify,
			Undo: m.back, UndoTitle: "set " + names + " of " + t.String() + " to what it was",
		},
		{Name: stepWait, Title: "wait until " + t.String() + " has it", Do: m.wait},
		{
			Name: stepRecord, Title: "store what was applied to " + t.String(), Do: m.record,
			Undo: m.forget, UndoTitle: "store what was applied to " + t.String() + " before",
		},
	}
}

// mend is one fix.
type mend struct {
	x       *Drift
	target  op.Target
	facts   facts
	changes []verdict
}

// values are those before (back) or after the fix.
func (m mend) values(back bool) map[string]string {
	out := map[string]string{}
	for _, j := range m.changes {
		if out[j.name] = j.Declared; back {
			out[j.name] = j.Live
		}
	}
	return out
}

func (m mend) modify(ctx context.Context, s *op.Session) (op.Result, error) {
	receipt, err := m.ask(ctx, s, m.values(false))
	if err != nil {
		return op.Result{}, err
	}
	return op.Result{
		Output: receipt, Changes: planChanges(m.changes), RequestID: receipt.RequestID,
		Text: "accepted: " + join(m.changes, func(j verdict) string { return j.name + " " + j.Declared }),
	}, nil
}

// ask asks for values, unless they are there: after a look, because an earlier try may have asked already. An instance that is busy,
// with that try or with something else, is waited for.
func (m mend) ask(ctx context.Context, s *op.Session, values map[string]string) (receipt cloud.Receipt, err error) {
	what := "change " + m.target.String()
	want, err := asking(m.facts.Provider, values)
	if err != nil {
		return receipt, err
	}
	c, name, err := m.x.d.Open(ctx, m.target.Environment, m.target.Instance)
	if err != nil {
		return receipt, err
	}
	err = s.Poll(ctx, m.x.d.Pace, what, func(ctx context.Context) (bool, string, error) {
		live, err := c.Get(ctx, name)
		if err != nil {
			return false, "", err
		}
		if err := m.untouched(what, live); err != nil {
			return false, "", err
		}
		if live.State != cloud.Available {
			return false, live.RawState, down(what, live)
		}
		if err := s.Fence(); err != nil {
			return false, "", err
		}
		receipt, err = c.Modify(ctx, name, cloud.Modify{Settings: want, When: cloud.Now, Revision: live.Revision})
		if fault.KindOf(err) == fault.Stale { // some other setting moved between the two calls
			return false, "looking again: " + err.Error(), nil
		}
		return err == nil, "", err
	})
	return receipt, err
}

// untouched refuses values that are neither those before the fix nor those after it, and modifications that RDS would apply along
// and nobody has seen in the plan: somebody else changes the instance, too.
func (m mend) untouched(what string, live *cloud.Instance) error {
	const hint = "nothing was asked for; end the run (abandon), then make the plan again"
	for _, j := range m.changes {
		value, ok := j.live(live)
		if ok && value != j.Live && value != j.Declared {
			return fault.Newf(fault.Stale, what, "somebody changed %s to %s in the meantime; it was %s", j.name, value, j.Live).Hint(hint)
		}
	}
	for _, c := range live.Pending {
		ours := slices.ContainsFunc(m.changes, func(j verdict) bool { return j.path == c.Setting })
		if !ours && !slices.Contains(m.facts.Waits, c) {
			return fault.Newf(fault.Stale, what, "somebody asked for a change of %s to %s in the meantime, which would be applied along", c.Setting, c.To).Hint(hint)
		}
	}
	return nil
}

// down is the error for an instance that does not come to rest by itself; nil for one that does.
func down(what string, live *cloud.Instance) error {
	if notChangeable(live.State) == "" {
		return nil
	}
	return fault.Newf(fault.Invalid, what, "it is %s", live.RawState).Hint("bring it back, then try again")
}

func (m mend) wait(ctx context.Context, s *op.Session) (op.Result, error) {
	var receipt cloud.Receipt
	if _, err := s.Output(stepModify, &receipt); err != nil {
		return op.Result{}, err
	}
	live, err := m.settle(ctx, s, receipt, m.values(false))
	if err != nil {
		return op.Result{}, err
	}
	settled := map[string]string{}
	for name, declared := range m.facts.Declared {
		if st, ok := settingOf(m.facts.Provider, name); ok {
			if value, told := st.live(live); told && value == declared {
				settled[name] = value
			}
		}
	}
	return op.Result{Output: settled, Text: m.target.String() + " has it"}, nil
}

// settle waits until the provider has done what a receipt is for, and the instance shows the values at rest.
func (m mend) settle(ctx context.Context, s *op.Session, receipt cloud.Receipt, values map[string]string) (live *cloud.Instance, err error) {
	c, name, err := m.x.d.Open(ctx, m.target.Environment, m.target.Instance)
	if err != nil {
		return nil, err
	}
	err = s.Poll(ctx, m.x.d.Pace, "wait for "+m.target.String(), func(ctx context.Context) (bool, string, error) {
		p, err := c.Progress(ctx, receipt)
		if err != nil {
			return false, "", err
		}
		if !p.Done {
			return false, strings.TrimSuffix(p.Status+": "+p.Detail, ": "), nil
		}
		if live, err = c.Get(ctx, name); err != nil {
			return false, "", err
		}
		lacks := m.lacks(live, values)
		return lacks == "", lacks, nil
	})
	return live, err
}

// lacks says what keeps an instance from having values, at rest.
func (m mend) lacks(live *cloud.Instance, values map[string]string) string {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		st, _ := settingOf(m.facts.Provider, name)
		if value, ok := st.live(live); ok && value != values[name] {
			return name + " is " + value + ", not yet " + values[name]
		}
		for _, p := range live.Pending {
			if p.Setting == st.path {
				return name + " is pending: " + p.To
			}
		}
	}
	if live.State != cloud.Available && live.State != cloud.Stopped {
		return "it is " + live.RawState
	}
	return ""
}

func (m mend) record(ctx context.Context, s *op.Session) (op.Result, error) {
	var settled map[string]string
	if _, err := s.Output(stepWait, &settled); err != nil {
		return op.Result{}, err
	}
	if err := m.store(ctx, s, settled); err != nil {
		return op.Result{}, err
	}
	return op.Result{Text: fmt.Sprintf("stored what was applied: %s", strings.Join(slices.Sorted(maps.Keys(settled)), ", "))}, nil
}

func (m mend) store(ctx context.Context, s *op.Session, values map[string]string) error {
	if err := s.Fence(); err != nil {
		return err
	}
	var all []state.Baseline
	for _, name := range slices.Sorted(maps.Keys(values)) {
		all = append(all, state.Baseline{
			Environment: m.target.Environment, Instance: m.target.Instance, Setting: name, Value: values[name], Run: s.Run,
		})
	}
	return m.x.d.Record(ctx, all)
}

// back sets the former values.
func (m mend) back(ctx context.Context, s *op.Session) (op.Result, error) {
	values := m.values(true)
	receipt, err := m.ask(ctx, s, values)
	if err != nil {
		return op.Result{}, err
	}
	out := op.Result{RequestID: receipt.RequestID, Text: m.target.String() + " has what it had"}
	for _, j := range m.changes {
		out.Changes = append(out.Changes, op.Change{Setting: j.name, From: j.Declared, To: j.Live})
	}
	_, err = m.settle(ctx, s, receipt, values)
	return out, err
}

// forget stores what was last applied before the fix: of a value that nobody had applied, that it is the one that was set back.
func (m mend) forget(ctx context.Context, s *op.Session) (op.Result, error) {
	values := m.values(true)
	for name := range values {
		if last, ok := m.facts.Last[name]; ok {
			values[name] = last
		}
	}
	return op.Result{Text: "what was last applied is as before"}, m.store(ctx, s, values)
}
