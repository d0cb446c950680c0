package creds

import (
	"context"
	"fmt"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/secret"
)

// unpend takes what the run staged out of use, also where it was killed or refused before it could write down what that is.
func (m moving) unpend(ctx context.Context, s *op.Session) (op.Result, error) {
	all := staged{}
	if _, err := s.Output(stepPending, &all); err != nil {
		return op.Result{}, err
	}
	return op.Result{Text: "the new credential is out of use"}, m.places(ctx, s, func(ctx context.Context, c *ContainerFacts, store secret.Store, ref secret.Ref, place string) error {
		held, err := store.Inspect(ctx, ref)
		if fault.KindOf(err) == fault.NotFound {
			return nil
		}
		if err != nil {
			return err
		}
		made := all[c.Name][place].To
		if made == "" && held.Pending.ID != "" && held.Pending.ID != c.place(place).Pending {
			p, err := m.read(ctx, m.what("take back the credential", c), place, held.Pending.ID)
			if err != nil || p.Login().User != c.idle().Role {
				return err // somebody else's
			}
			made = held.Pending.ID
		}
		if made == "" || held.Current.ID == made {
			return nil // the first version of a place is current at once in some stores; its slot logs in no more
		}
		return store.Retire(ctx, ref, made)
	})
}

func (m moving) unset(ctx context.Context, s *op.Session) (op.Result, error) {
	err := m.onEach(ctx, "disable the new slot", func(ctx context.Context, c *ContainerFacts, a *admin) error {
		if c.idle().Login {
			return nil // it could log in before: whose sessions those are is not known
		}
		if c.User != "" { // there is another credential to go back to
			if err := m.emptied(ctx, s, a, c, c.idle().Role); err != nil {
				return err
			}
		}
		return m.noLogin(ctx, s, a, c, c.idle().Role, true)
	})
	return op.Result{Changes: m.roleChanges("login", "yes", "no", (*ContainerFacts).idle), Text: "the new slot logs in no more"}, err
}

// unpromote sees that the old credential works, makes it current again, and rolls out.
func (m moving) unpromote(ctx context.Context, s *op.Session) (op.Result, error) {
	all, err := m.staged(s)
	if err != nil {
		return op.Result{}, err
	}
	if err := m.each(ctx, m.all, func(ctx context.Context, c *ContainerFacts) error { return m.oldWorks(ctx, s, all, c) }); err != nil {
		return op.Result{}, err
	}
	var over gather
	err = m.places(ctx, s, func(ctx context.Context, c *ContainerFacts, store secret.Store, ref secret.Ref, place string) error {
		v := all[c.Name][place]
		held, err := store.Inspect(ctx, ref)
		if err != nil || held.Current.ID == v.From || v.From == "" {
			return err // it was never promoted, or is back, or there was none before
		}
		if now := held.Current.ID; now != v.To {
			told, err := m.Told(ctx, s.Run, intruder(place, now)) // who decided since has read it
			if err == nil && !told {
				err = fault.Newf(fault.Stale, m.what("go back to the old credential", c), "%s; this run's own is %s, and the old one %s", intruder(place, now), v.To, v.From).
					Hint("dbops runs retry %s makes %s current again all the same", s.Run, v.From)
			}
			if err != nil {
				return err
			}
			over.add(c.Name, place, versions{now, v.From})
		}
		return store.Promote(ctx, ref, held.Current.ID, v.From)
	})
	if err == nil {
		err = m.roll(ctx, s, s.Run+"/undo", func(c *ContainerFacts) string { return all[c.Name][c.Places[0].Place].From })
	}
	text := "the old credentials are current"
	for container, places := range over.all {
		for place, v := range places {
			text += fmt.Sprintf("; of %s, in place of the version %s that somebody put into %s", container, v.From, place)
			all[container][place] = versions{From: v.To, To: v.From}
		}
	}
	return op.Result{Changes: m.versionChanges(all, true), Text: text}, err
}

// oldWorks refuses to go back to a credential that does not log in any more: who runs would be locked out at its next start.
func (m moving) oldWorks(ctx context.Context, s *op.Session, all staged, c *ContainerFacts) error {
	what, first := m.what("go back to the old credential", c), c.Places[0].Place
	p, err := m.read(ctx, what, first, all[c.Name][first].From)
	if err == nil {
		err = m.try(ctx, m.t, c.Databases[0], p.Login())
	}
	if err == nil || passing(err) {
		return err
	}
	return fault.Newf(fault.Failed, what, "it does not log in any more, so it is not made current: %w", err).
		Hint("the new credential stays current, and works: dbops runs abandon %s ends the run; to change it once more: %s", s.Run, command("rotate "+c.Name, m.t))
}

func (m moving) enable(ctx context.Context, s *op.Session) (op.Result, error) {
	err := m.onEach(ctx, "enable the old slot", func(ctx context.Context, c *ContainerFacts, a *admin) error {
		if c.old().Role == "" {
			return nil
		}
		return m.login(ctx, s, a, c, c.old().Role)
	})
	return op.Result{Changes: m.roleChanges("login", "no", "yes", (*ContainerFacts).old), Text: "the old slots log in again"}, err
}
