package creds

import (
	"context"
	"fmt"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/secret"
)

// RepairRequest asks that what containers read is their current credential again.
type RepairRequest struct {
	Containers []string `json:"containers"`
}

func repair(d Deps) op.Kind {
	return op.Operation[RepairRequest, Facts]{
		Kind: RepairKind, Words: words(),
		Observe: func(ctx context.Context, t op.Target, r RepairRequest) (Facts, error) {
			f, err := d.observe(ctx, t, r.Containers, false)
			return f.unused(), err
		},
		Derive: planRepair,
		Steps: func(t op.Target, _ RepairRequest, f Facts) []op.Step {
			m := moving{Deps: d, t: t, all: f.Containers}
			return []op.Step{{Name: "restore", Title: "put the current credential of " + containerNames(f.Containers) + " back where it is read", Do: m.putBack}}
		},
	}.AsKind()
}

// planRepair works out what putting back means.
func planRepair(t op.Target, _ RepairRequest, f Facts) op.Draft {
	d := op.Draft{
		Title:    fmt.Sprintf("put the credential of %s on %s back where it is read", containerNames(f.Containers), t),
		Downtime: op.Downtime{Expected: "none", Text: "what runs goes on; what could not start without it can"},
		Back:     "none is needed: no credential is changed",
	}
	for i := range f.Containers {
		c := &f.Containers[i]
		found := delivered(t, c)
		missing := 0
		for _, p := range c.Places {
			if p.Amiss != "" {
				missing++
				d.Changes = append(d.Changes, op.Change{Target: c.Name, Setting: p.Place, From: p.Amiss, To: fmt.Sprintf("version %s", p.Current)})
			}
		}
		for _, x := range found {
			if x.Check != "not-delivered" { // it is what this is about
				d.Findings = append(d.Findings, x)
			}
		}
		switch {
		case blocks(found):
		case c.Places[0].Current == "":
			d.Findings = append(d.Findings, op.Finding{
				Severity: op.Block, Check: "no-credential", Text: c.Name + " has no credential yet", Evidence: holdsNone(c.Places[0]), Remedy: command("issue "+c.Name, t),
			})
		case missing > 0 && !c.Works:
			d.Findings = append(d.Findings, op.Finding{
				Severity: op.Block, Check: "current-fails", Text: fmt.Sprintf("%s: its current credential, of %s, does not log in: to put it back helps nobody", c.Name, c.User),
				Evidence: c.Why, Remedy: command("rotate "+c.Name, t) + " --compromised makes a new one; after a revocation: " + command("issue "+c.Name, t),
			})
		}
	}
	return d
}

// putBack promotes what is current, where it is not found: a place puts itself right then.
func (m moving) putBack(ctx context.Context, s *op.Session) (op.Result, error) {
	n := 0
	for i := range m.all {
		for _, p := range m.all[i].Places {
			if p.Amiss != "" {
				n++
			}
		}
	}
	err := m.places(ctx, s, func(ctx context.Context, c *ContainerFacts, store secret.Store, ref secret.Ref, place string) error {
		p := c.place(place)
		if p.Amiss == "" {
			return nil
		}
		held, err := store.Inspect(ctx, ref)
		if err == nil && held.Current.ID != p.Current {
			err = fault.Newf(fault.Stale, m.what("put the credential back", c), "%s holds version %s, not %s", place, orNone(held.Current.ID), p.Current).
				Hint("somebody changed it since the plan was made: make it again")
		}
		if err != nil {
			return err
		}
		return store.Promote(ctx, ref, p.Current, p.Current)
	})
	var changes []op.Change
	for i := range m.all {
		for _, p := range m.all[i].Places {
			if p.Amiss != "" {
				changes = append(changes, op.Change{Target: m.all[i].Name, Setting: p.Place, From: p.Amiss, To: p.Current})
			}
		}
	}
	return op.Result{Changes: changes, Text: fmt.Sprintf("%d put back", n)}, err
}
