package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"dbops/internal/app"
	"dbops/internal/creds"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
)

// changes plans what somebody wants of several instances and, unless --plan stops there, runs the plans one after the other. Nothing is run
// before every plan is found possible, approved and confirmed. --confirm names the instances, with commas.
func (c *cli) changes(ctx context.Context, a *app.App, f changeFlags, wants []app.Change) error {
	const what = "read the flags"
	if c.capture != nil {
		*c.capture = append(*c.capture, wants...)
		return nil
	}
	switch {
	case f.out != "" && !f.plan:
		return fault.Newf(fault.Usage, what, "--out needs --plan")
	case f.out != "" && len(wants) > 1:
		return fault.Newf(fault.Usage, what, "there are %d plans, and --out is one file", len(wants)).Hint("plan each instance by itself: -i INSTANCE")
	}
	names := strings.FieldsFunc(f.confirm, func(r rune) bool { return r == ',' })
	for _, n := range names {
		if !slices.ContainsFunc(wants, func(w app.Change) bool { return w.Instance == n }) {
			return fault.Newf(fault.Unapproved, what, "nothing of instance %s is changed, which --confirm names", n)
		}
	}
	plans := make([]*op.Plan, 0, len(wants))
	for _, want := range wants {
		want.Key = c.sshKey(f.key)
		p, err := a.PlanChange(ctx, want)
		if err != nil {
			return err
		}
		plans = append(plans, p)
	}
	if f.plan {
		for _, p := range plans {
			if err := c.planned(ctx, a, f, p); err != nil {
				return err
			}
		}
		return nil
	}
	for _, p := range plans {
		if err := c.present(p); err != nil {
			return err
		}
	}
	if err := allBlocked(plans); err != nil {
		return err
	}
	plans = slices.DeleteFunc(plans, (*op.Plan).Nothing)
	waiting, err := c.askAll(ctx, a, f, plans)
	if err != nil {
		return err
	}
	if len(waiting) > 0 {
		return fault.Newf(fault.Unapproved, fmt.Sprintf("run what was planned for %s", wants[0].Environment), "%d of %d plans: they need the approval of somebody else", len(waiting), len(plans)).
			Hint("when they are approved, the same command again runs them; or %s", strings.Join(waiting, ", then "))
	}
	each := make([]changeFlags, len(plans))
	for i, p := range plans {
		each[i] = f
		each[i].confirm = ""
		if slices.Contains(names, p.Instance) {
			each[i].confirm = p.Instance
		}
		if err := c.confirmed(ctx, &each[i], p); err != nil {
			return err
		}
		each[i].yes = true // it was asked
	}
	for i, p := range plans {
		if err := c.run(ctx, a, each[i], p); err != nil {
			if left := len(plans) - i - 1; left > 0 {
				fmt.Fprintf(c.err, "%d more of the plans were not begun\n", left)
			}
			return err
		}
	}
	return nil
}

// allBlocked is the first thing that forbids the plans. Of rotations it names all, and how to go on without the containers that it is about.
func allBlocked(plans []*op.Plan) error {
	var texts, without, rest []string
	var first error
	for _, p := range plans {
		if err := blocked(p); first == nil {
			first = err
		}
		var r creds.RotateRequest
		if p.Kind != creds.RotateKind || json.Unmarshal(p.Request, &r) != nil {
			continue
		}
		for _, f := range p.Blocked() {
			texts = append(texts, f.Text)
		}
		unusable := creds.Unusable(p)
		without = append(without, unusable...)
		rest = append(rest, slices.DeleteFunc(r.Containers, func(n string) bool { return slices.Contains(unusable, n) })...)
	}
	if first == nil || len(texts) < 2 && (len(without) == 0 || len(rest) == 0) {
		return first
	}
	hint := fault.HintOf(first)
	if len(texts) > 1 {
		hint = "above is what to do about each"
	}
	if len(without) > 0 && len(rest) > 0 {
		hint += fmt.Sprintf("; without %s: dbops creds rotate -e %s %s", strings.Join(without, ", "), plans[0].Environment, strings.Join(rest, " "))
	}
	return fault.Newf(fault.Blocked, "rotate on "+plans[0].Environment, "%s", strings.Join(texts, "; ")).Hint("%s", hint)
}

// askAll asks for the approvals that plans need, and returns how to run those to which nobody has said yes.
func (c *cli) askAll(ctx context.Context, a *app.App, f changeFlags, plans []*op.Plan) (waiting []string, err error) {
	engine, err := a.Engine(ctx, app.EngineOptions{})
	if err != nil {
		return nil, err
	}
	for _, p := range plans {
		if p.Approvals == 0 {
			continue
		}
		who, err := a.Identity(ctx, p.Environment, p.Instance, c.sshKey(f.key))
		if err != nil {
			return nil, err
		}
		approval, err := engine.Request(ctx, p, who)
		if err != nil {
			return nil, err
		}
		if approval.State == state.Approved {
			continue
		}
		if err := c.request(ctx, a, p, who); err != nil {
			return nil, err
		}
		apply := "dbops apply " + p.Hash()[:12]
		if p.Protected {
			apply += " --confirm " + p.Instance
		}
		waiting = append(waiting, apply)
	}
	return waiting, nil
}

// confirms makes --confirm, which may name several instances with commas, the name of one, if it is among them.
func (f *changeFlags) confirms(instance string) {
	if slices.Contains(strings.Split(f.confirm, ","), instance) {
		f.confirm = instance
	}
}
