package creds

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/secret"
)

// RollbackRequest asks for the credentials that containers had before.
type RollbackRequest struct {
	Containers []string `json:"containers"`
	Grace      Span     `json:"grace"`
	Polls      int      `json:"polls"`
}

func rollback(d Deps) op.Kind {
	return op.Operation[RollbackRequest, Facts]{
		Kind: RollbackKind, Words: words(),
		Observe: func(ctx context.Context, t op.Target, r RollbackRequest) (Facts, error) {
			f, err := d.observe(ctx, t, r.Containers, false)
			return f.unused(), err
		},
		Derive: planRollback,
		Steps: func(t op.Target, r RollbackRequest, f Facts) []op.Step {
			b := returning{moving{Deps: d, t: t, all: f.Containers, grace: time.Duration(r.Grace), polls: r.Polls}}
			names := containerNames(f.Containers)
			return []op.Step{
				{Name: "enable", Title: "let the slot of the previous credential log in again", Do: b.enable, Undo: b.disablePrevious, UndoTitle: "let it log in no more"},
				{Name: stepVerify, Title: "log in with the previous credential, and see that it acts as the container", Do: b.verify},
				{Name: stepPromote, Title: "make the previous credential current", Do: b.promote, Undo: b.unpromote, UndoTitle: "make the newer credential current again, and roll out"},
				{Name: stepRollout, Title: "roll " + names + " out", Do: b.rollout},
				{Name: stepDrain, Title: fmt.Sprintf("wait until nobody has been logged in with the newer credential for %s", r.Grace), Do: b.drain},
				{Name: stepDisable, Title: "let the slot of the newer credential log in no more", Do: b.disable, Undo: b.moving.enable, UndoTitle: "let it log in again"},
			}
		},
	}.AsKind()
}

// unused are the facts without who is logged in, which comes and goes, for operations to which it does not matter.
func (f Facts) unused() Facts {
	for i := range f.Containers {
		for j := range f.Containers[i].Slots {
			f.Containers[i].Slots[j].InUse = false
		}
	}
	return f
}

// planRollback works out what going back means.
func planRollback(t op.Target, _ RollbackRequest, f Facts) op.Draft {
	d := op.Draft{
		Title:    fmt.Sprintf("give %s on %s the previous credential back", containerNames(f.Containers), t),
		Downtime: op.Downtime{Expected: "none", Text: "the newer credential works until nobody uses it"},
		Back:     "the same command again, as long as the newer credential is not destroyed",
	}
	d.Findings = capable(t, f)
	for i := range f.Containers {
		c := &f.Containers[i]
		found := delivered(t, c)
		d.Findings = append(d.Findings, found...)
		if blocks(found) {
			continue
		}
		d.Findings = append(d.Findings, manageable(f, c, c.idle(), c.old())...)
		switch {
		case c.Active == "":
			d.Findings = append(d.Findings, op.Finding{
				Severity: op.Block, Check: "foreign-login", Text: fmt.Sprintf("%s logs in as %s, which is none of its slots", c.Name, orNone(c.User)), Remedy: c.wayBack(t, command("adopt "+c.Name+" --login "+c.User, t)+" takes it over"),
			})
		case c.Places[0].Previous != "" && c.Places[0].PreviousUser != c.idle().Role:
			d.Findings = append(d.Findings, op.Finding{
				Severity: op.Block, Check: "no-previous", Text: fmt.Sprintf("%s: the previous credential is of %s, not of its slot %s", c.Name, orNone(c.Places[0].PreviousUser), c.idle().Role),
				Evidence: c.Places[0].Place, Remedy: c.wayBack(t, command("rotate "+c.Name, t)+" makes a new one"),
			})
		case c.Places[0].Previous == "":
			d.Findings = append(d.Findings, op.Finding{
				Severity: op.Block, Check: "no-previous", Text: c.Name + " has no previous credential: it was destroyed, or there was none",
				Evidence: c.Places[0].Place, Remedy: c.wayBack(t, command("rotate "+c.Name, t)+" makes a new one"),
			})
		}
		for _, p := range c.Places {
			d.Changes = append(d.Changes, op.Change{Target: c.Name, Setting: p.Place, From: orNone(p.Current), To: orNone(p.Previous)})
		}
		d.Changes = append(d.Changes, op.Change{Target: c.Name, Setting: "active_slot", From: orNone(c.User), To: c.idle().Role})
	}
	return d
}

// returning takes containers back to their previous credential: the old slot is the idle one, and the active one will be.
type returning struct{ moving }

// disable lets the newer slot log in no more, if the previous credential is where it is read.
func (b returning) disable(ctx context.Context, s *op.Session) (op.Result, error) {
	err := b.own(ctx, s, "disable the newer slot", true, func(c *ContainerFacts, place string) string {
		p := c.place(place)
		return cmp.Or(p.Previous, p.Current) // a place without one stays as it is
	})
	if err != nil {
		return op.Result{}, err
	}
	return b.disableOld(ctx, s)
}

// previous is the credential before the current one, from the first place.
func (b returning) previous(ctx context.Context, what string, c *ContainerFacts) (Login, error) {
	p, err := b.read(ctx, what, c.Places[0].Place, c.Places[0].Previous)
	if err != nil {
		return Login{}, err
	}
	l := p.Login()
	if l.User != c.idle().Role {
		return Login{}, fault.Newf(fault.Stale, what, "the previous credential is of %s, not of %s", l.User, c.idle().Role).Hint("rotate: that makes a new one")
	}
	return l, nil
}

func (b returning) enable(ctx context.Context, s *op.Session) (op.Result, error) {
	err := b.onEach(ctx, "enable the previous credential", func(ctx context.Context, c *ContainerFacts, a *admin) error {
		if _, err := b.previous(ctx, a.what, c); err != nil {
			return err
		}
		return b.login(ctx, s, a, c, c.idle().Role)
	})
	return op.Result{Changes: b.roleChanges("login", "no", "yes", (*ContainerFacts).idle), Text: "the previous slots log in again"}, err
}

func (b returning) disablePrevious(ctx context.Context, s *op.Session) (op.Result, error) {
	err := b.onEach(ctx, "disable the previous credential", func(ctx context.Context, c *ContainerFacts, a *admin) error {
		if c.idle().Login {
			return nil // as it was
		}
		return b.noLogin(ctx, s, a, c, c.idle().Role, false)
	})
	return op.Result{Changes: b.roleChanges("login", "yes", "no", (*ContainerFacts).idle), Text: "the previous slots are disabled"}, err
}

func (b returning) verify(ctx context.Context, s *op.Session) (op.Result, error) {
	err := b.each(ctx, b.all, func(ctx context.Context, c *ContainerFacts) error {
		what := b.what("verify the previous credential", c)
		l, err := b.previous(ctx, what, c)
		if err != nil {
			return err
		}
		err = b.proves(ctx, what, c, l)
		if fault.KindOf(err) == fault.Denied {
			return fault.New(fault.Failed, what, err).Hint("its password was destroyed or changed: dbops runs decide %s undo, then rotate", s.Run)
		}
		return err
	})
	return op.Result{Text: "each previous credential logs in and acts as its container"}, err
}

func (b returning) move(ctx context.Context, s *op.Session, back bool) error {
	return b.places(ctx, s, func(ctx context.Context, c *ContainerFacts, store secret.Store, ref secret.Ref, place string) error {
		for _, p := range c.Places {
			if p.Place != place || p.Previous == "" {
				continue
			}
			if back {
				held, err := store.Inspect(ctx, ref)
				if err != nil || held.Current.ID != p.Previous {
					return err
				}
				return store.Promote(ctx, ref, p.Previous, p.Current)
			}
			return store.Promote(ctx, ref, p.Current, p.Previous)
		}
		return nil
	})
}

func (b returning) changes(back bool) (out []op.Change) {
	for i := range b.all {
		for _, p := range b.all[i].Places {
			ch := op.Change{Target: b.all[i].Name, Setting: p.Place, From: p.Current, To: p.Previous}
			if back {
				ch.From, ch.To = ch.To, ch.From
			}
			out = append(out, ch)
		}
	}
	return out
}

func (b returning) promote(ctx context.Context, s *op.Session) (op.Result, error) {
	err := b.move(ctx, s, false)
	return op.Result{Changes: b.changes(false), Text: fmt.Sprintf("%d are current", len(b.all))}, err
}

func (b returning) unpromote(ctx context.Context, s *op.Session) (op.Result, error) {
	err := b.move(ctx, s, true)
	if err == nil {
		err = b.roll(ctx, s, s.Run+"/undo", func(c *ContainerFacts) string { return c.Places[0].Current })
	}
	return op.Result{Changes: b.changes(true), Text: "the newer credentials are current"}, err
}

func (b returning) rollout(ctx context.Context, s *op.Session) (op.Result, error) {
	err := b.roll(ctx, s, s.Run, func(c *ContainerFacts) string { return c.Places[0].Previous })
	return op.Result{Text: fmt.Sprintf("%d rolled out", len(b.all))}, err
}

// RevokeRequest takes the access of a container away.
type RevokeRequest struct {
	Container string `json:"container"`
	Reason    string `json:"reason,omitempty"`
}

func revoke(d Deps) op.Kind {
	return op.Operation[RevokeRequest, Facts]{
		Kind: RevokeKind, Words: words(),
		Observe: func(ctx context.Context, t op.Target, r RevokeRequest) (Facts, error) {
			f, err := d.observe(ctx, t, []string{r.Container}, true)
			return f.unused(), err
		},
		Derive: planRevoke,
		Steps: func(t op.Target, _ RevokeRequest, f Facts) []op.Step {
			m := moving{Deps: d, t: t, all: f.Containers}
			return []op.Step{
				{Name: stepDisable, Title: "let both slots log in no more", Do: m.revoke, Undo: m.restore, UndoTitle: "let the slots that could log in before do so again"},
				{Name: stepCut, Title: "end their sessions", Do: m.endAll},
				{Name: stepScrub, Title: "destroy both passwords", Do: m.forgetAll, Onward: true},
			}
		},
	}.AsKind()
}

// planRevoke works out what a revocation means.
func planRevoke(t op.Target, r RevokeRequest, f Facts) op.Draft {
	d := op.Draft{
		Title:    fmt.Sprintf("revoke the credential of %s on %s", r.Container, t),
		Downtime: op.Downtime{Expected: "some", Text: r.Container + " cannot log in any more, and its sessions are ended: that is what is asked for"},
		Back:     command("issue "+r.Container, t) + " gives it a new credential; its roles and their rights stay",
		Notes:    []string{"what is delivered stays where it is, and works no more; delete it there when nothing reads it"},
	}
	if r.Reason != "" {
		d.Notes = append(d.Notes, "reason: "+r.Reason)
	}
	d.Findings = capable(t, f)
	for i := range f.Containers {
		c := &f.Containers[i]
		d.Findings = append(d.Findings, manageable(f, c, &c.Slots[0], &c.Slots[1])...)
		for _, s := range c.Slots {
			if s.There {
				d.Changes = append(d.Changes, op.Change{Target: s.Role, Setting: "login", From: yesNo(s.Login), To: "no, without a password"})
			}
		}
		if len(d.Changes) == 0 {
			d.Notes = append(d.Notes, c.Name+" has no roles on "+t.String())
		}
	}
	return d
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// onSlots does something with each slot that is there.
func (m moving) onSlots(ctx context.Context, doing string, do func(context.Context, *ContainerFacts, *admin, *SlotFacts) error) error {
	return m.onEach(ctx, doing, func(ctx context.Context, c *ContainerFacts, a *admin) error {
		for i := range c.Slots {
			if !c.Slots[i].There {
				continue
			}
			if err := do(ctx, c, a, &c.Slots[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (m moving) slotChanges(setting, to string) (out []op.Change) {
	for i := range m.all {
		for _, s := range m.all[i].Slots {
			if s.There {
				out = append(out, op.Change{Target: s.Role, Setting: setting, From: yesNo(s.Login), To: to})
			}
		}
	}
	return out
}

func (m moving) revoke(ctx context.Context, s *op.Session) (op.Result, error) {
	err := m.onSlots(ctx, "revoke the credential", func(ctx context.Context, c *ContainerFacts, a *admin, slot *SlotFacts) error {
		return m.noLogin(ctx, s, a, c, slot.Role, false)
	})
	return op.Result{Changes: m.slotChanges("login", "no"), Text: "both slots are disabled"}, err
}

func (m moving) restore(ctx context.Context, s *op.Session) (op.Result, error) {
	err := m.onSlots(ctx, "give the credential back", func(ctx context.Context, c *ContainerFacts, a *admin, slot *SlotFacts) error {
		if !slot.Login {
			return nil
		}
		return m.login(ctx, s, a, c, slot.Role)
	})
	return op.Result{Changes: m.slotChanges("login", "as before"), Text: "the slots log in as before"}, err
}

func (m moving) endAll(ctx context.Context, s *op.Session) (op.Result, error) {
	ended := 0
	err := m.onSlots(ctx, "end the sessions", func(ctx context.Context, _ *ContainerFacts, a *admin, slot *SlotFacts) error {
		if err := s.Fence(); err != nil {
			return err
		}
		n, err := a.end(ctx, slot.Role)
		ended += n
		return err
	})
	return op.Result{Text: fmt.Sprintf("%d sessions were ended", ended)}, err
}

func (m moving) forgetAll(ctx context.Context, s *op.Session) (op.Result, error) {
	err := m.onSlots(ctx, "destroy the passwords", func(ctx context.Context, c *ContainerFacts, a *admin, slot *SlotFacts) error {
		if err := s.Fence(); err != nil {
			return err
		}
		return a.change(ctx, c.Name, func(tx pgx.Tx) error {
			return statements(ctx, tx, "ALTER ROLE "+quoted(slot.Role)+" NOLOGIN PASSWORD NULL")
		})
	})
	return op.Result{Changes: m.slotChanges("password", "none"), Text: "both passwords are destroyed"}, err
}
