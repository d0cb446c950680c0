package creds

import (
	"cmp"
	"context"
	"fmt"
	"slices"

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
		Back:     "none is needed: no password and no role is changed",
	}
	for i := range f.Containers {
		c := &f.Containers[i]
		d.Findings = append(d.Findings, repairable(t, c)...)
		for _, p := range c.Places {
			if p.repair() {
				d.Changes = append(d.Changes, p.repairChange(c))
			}
		}
		if len(c.Places) > 0 && c.Places[0].Mend != "" {
			d.Notes = append(d.Notes, fmt.Sprintf("%s: %s; dbops's own is %s, of %s, which does. The other is kept as the previous version", c.Name, c.putThere(), c.Places[0].Mend, c.Places[0].MendUser))
		}
	}
	return d
}

// repair tells whether a place is to be changed.
func (p *PlaceFacts) repair() bool { return p.Amiss != "" || p.Mend != "" || p.Differs != "" }

func (p *PlaceFacts) repairChange(c *ContainerFacts) op.Change {
	ch := op.Change{Target: c.Name, Setting: p.Place, From: "version " + orNone(p.Current), To: "version " + p.Current}
	switch {
	case p.Mend != "":
		ch.To = fmt.Sprintf("version %s, of %s", p.Mend, p.MendUser)
	case p.Differs != "":
		ch.To = "a new version, with user and password of " + c.Places[0].Place
	}
	if why := cmp.Or(p.Differs, p.Amiss); why != "" {
		ch.From = why
	}
	return ch
}

// repairable are the findings about one container that a repair starts from.
func repairable(t op.Target, c *ContainerFacts) (all []op.Finding) {
	for _, x := range delivered(t, c) {
		switch {
		case x.Check == "not-delivered": // it is what this is about
		case x.Check == "delivery-unreadable" && slices.ContainsFunc(c.Places, func(p PlaceFacts) bool { return p.Garbled && p.repair() }):
		default:
			all = append(all, x)
		}
	}
	switch {
	case len(c.Places) == 0, blocks(all), c.Places[0].Mend != "":
	case c.Places[0].Current == "":
		all = append(all, op.Finding{
			Severity: op.Block, Check: "no-credential", Text: c.Name + " has no credential yet", Evidence: holdsNone(c.Places[0]), Remedy: command("issue "+c.Name, t),
		})
	case c.Active == "":
		all = append(all, op.Finding{
			Severity: op.Block, Check: "foreign-login", Text: fmt.Sprintf("%s logs in as %s, which is none of its slots, and no version beside it logs in", c.Name, c.User),
			Evidence: c.Places[0].Place, Remedy: command("adopt "+c.Name+" --login "+c.User, t) + " takes it over; if that role is none of the container's, empty the place, and " + command("issue "+c.Name, t),
		})
	case !c.old().Login:
		all = append(all, op.Finding{
			Severity: op.Block, Check: "disabled", Text: fmt.Sprintf("%s: its credential, of %s, may not log in: to put it back helps nobody", c.Name, c.User), Remedy: command("issue "+c.Name, t),
		})
	case !c.Works:
		all = append(all, op.Finding{
			Severity: op.Block, Check: "current-fails", Text: fmt.Sprintf("%s: its current credential, of %s, does not log in, and no version beside it does: to put it back helps nobody", c.Name, c.User),
			Evidence: c.Why, Remedy: command("rotate "+c.Name, t) + " --compromised --reason TEXT makes a new one",
		})
	}
	return all
}

// putBack makes current what should be, the first place before the others: a place of which only the file is gone puts itself right then.
func (m moving) putBack(ctx context.Context, s *op.Session) (op.Result, error) {
	var changes []op.Change
	for i := range m.all {
		for _, p := range m.all[i].Places {
			if p.repair() {
				changes = append(changes, p.repairChange(&m.all[i]))
			}
		}
	}
	err := m.places(ctx, s, func(ctx context.Context, c *ContainerFacts, store secret.Store, ref secret.Ref, place string) error {
		p := c.place(place)
		if !p.repair() {
			return nil
		}
		to := cmp.Or(p.Mend, p.Current)
		if p.Mend == "" && p.Differs != "" {
			var err error
			if to, err = m.copied(ctx, s, c, p, store, ref); err != nil {
				return err
			}
		}
		held, err := store.Inspect(ctx, ref)
		if err == nil && held.Current.ID != p.Current && held.Current.ID != to {
			err = fault.Newf(fault.Stale, m.what("put the credential back", c), "%s holds version %s, not %s", place, orNone(held.Current.ID), p.Current).
				Hint("somebody changed it since the plan was made: make it again")
		}
		if err != nil {
			return err
		}
		return store.Promote(ctx, ref, held.Current.ID, to)
	})
	return op.Result{Changes: changes, Text: fmt.Sprintf("%d put back", len(changes))}, err
}

// copied stages user and password of the first place in another one, in the form that this has.
func (m moving) copied(ctx context.Context, s *op.Session, c *ContainerFacts, p PlaceFacts, store secret.Store, ref secret.Ref) (string, error) {
	what, first := m.what("put the credential back", c), c.Places[0]
	text, err := m.read(ctx, what, first.Place, cmp.Or(first.Mend, first.Current))
	if err != nil {
		return "", err
	}
	l := text.Login()
	if p.Form != "" {
		if text, err = m.read(ctx, what, p.Place, p.Current); err != nil {
			return "", err
		}
	}
	for _, slot := range c.Slots {
		if slot.Role == l.User {
			text.Put(l, slot.Slot)
		}
	}
	v, err := text.Value()
	if err != nil {
		return "", fault.New(fault.Invalid, what, err)
	}
	if !p.There {
		if err := store.Create(ctx, ref); err != nil {
			return "", err
		}
	}
	made, err := store.Stage(ctx, ref, s.Run+"/"+c.Name, v)
	return made.ID, err
}
