package creds

import (
	"context"
	"fmt"
	"slices"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/secret"
)

// same tells whether two credentials log in as the same.
func (l Login) same(as Login) bool {
	return l.User == as.User && l.Password.Equal(as.Password.Reveal())
}

// was is a version that dbops delivered before.
type was struct {
	version string
	login   Login
}

// mostKept is how many earlier versions are tried: those from before the last rotation log in no more.
const mostKept = 4

// delivered are versions of a place that are not current, and that dbops may have delivered: the newest first. What cannot be read is none.
func (d Deps) delivered(ctx context.Context, p PlaceFacts) (all []was, err error) {
	store, ref, err := d.Place(ctx, p.Place)
	if err != nil {
		return nil, err
	}
	var ids []string
	if k, ok := store.(secret.Keeper); ok {
		if ids, err = k.Delivered(ctx, ref); err != nil && passing(err) {
			return nil, err
		}
	}
	for _, id := range append(ids[:min(len(ids), mostKept)], p.Previous) {
		if id == "" || id == p.Current || slices.ContainsFunc(all, func(w was) bool { return w.version == id }) {
			continue
		}
		v, err := store.Read(ctx, ref, id)
		if err != nil && passing(err) {
			return nil, err
		}
		if err != nil {
			continue
		}
		if text, err := parsePayload(v); err == nil {
			all = append(all, was{id, text.Login()})
		}
	}
	return all, nil
}

// useless tells whether what is current in the first place helps nobody: no credential at all, one that does not log in, or one of somebody
// else.
func (c *ContainerFacts) useless() bool {
	if len(c.Places) == 0 {
		return false
	}
	p := c.Places[0]
	return p.Garbled || p.Trouble == "" && p.Current != "" && (!c.Works || c.Active == "")
}

// mend finds what each place should hold: where the first one's credential is useless, a version that dbops delivered and that logs in; in the
// others the same as in the first. That a credential works was seen before, unless quiet.
func (d Deps) mend(ctx context.Context, t op.Target, c *ContainerFacts, quiet bool) error {
	if len(c.Places) == 0 || len(c.Databases) == 0 {
		return nil
	}
	first := &c.Places[0]
	right := first.login
	if !quiet && c.useless() {
		right = Login{}
		all, err := d.delivered(ctx, *first)
		if err != nil {
			return err
		}
		for _, w := range all {
			if !slices.ContainsFunc(c.Slots, func(s SlotFacts) bool { return s.Role == w.login.User && s.Login }) {
				continue
			}
			err := d.try(ctx, t, c.Databases[0], w.login)
			if err != nil && passing(err) {
				return err
			}
			if err == nil {
				first.Mend, first.MendUser, right = w.version, w.login.User, w.login
				break
			}
		}
	}
	if right.User == "" {
		return nil
	}
	for i := range c.Places {
		if p := &c.Places[i]; i > 0 {
			if err := d.compare(ctx, p, right); err != nil {
				return err
			}
		}
	}
	return nil
}

// compare tells how a place differs from the credential that the first one holds, and which of its versions does not.
func (d Deps) compare(ctx context.Context, p *PlaceFacts, right Login) error {
	p.Differs, p.Mend, p.MendUser = "", "", ""
	switch {
	case p.Trouble != "" && !p.Garbled:
		return nil
	case p.Garbled:
		p.Differs = "it holds no credential that dbops understands"
	case p.Current == "":
		p.Differs = "it holds none"
	case p.login.User != right.User:
		p.Differs = fmt.Sprintf("it holds the user %s, not %s", p.login.User, right.User)
	case !p.login.same(right):
		p.Differs = "it holds another password for " + right.User
	default:
		return nil
	}
	all, err := d.delivered(ctx, *p)
	if err != nil {
		return err
	}
	for _, w := range all {
		if w.login.same(right) {
			p.Mend, p.MendUser = w.version, w.login.User
			break
		}
	}
	return nil
}

// putThere says what somebody else has put into the first place.
func (c *ContainerFacts) putThere() string {
	p := c.Places[0]
	switch {
	case p.Trouble != "":
		return fmt.Sprintf("somebody put version %s there, which is no credential", p.Current)
	case c.Active == "":
		return fmt.Sprintf("somebody put version %s there, of %s, which is none of its slots", p.Current, c.User)
	default:
		return fmt.Sprintf("somebody put version %s there, of %s, which does not log in", p.Current, c.User)
	}
}

// wayBack leads to the version that dbops delivered, where there is one that logs in; else it is the remedy.
func (c *ContainerFacts) wayBack(t op.Target, remedy string) string {
	if len(c.Places) == 0 || c.Places[0].Mend == "" {
		return remedy
	}
	p := c.Places[0]
	return fmt.Sprintf("%s makes version %s of %s, which dbops delivered and which logs in, current again", command("repair "+c.Name, t), p.Mend, p.MendUser)
}

// intruder is what a run says of a place that holds what it did not put there. The journal is searched for it: what was told may be
// overwritten.
func intruder(place, version string) string {
	if version == "" {
		return "somebody took the credential out of " + place
	}
	return fmt.Sprintf("somebody put version %s into %s", version, place)
}

// own sees that every place still holds what the run made current, and that it logs in. Nothing of the old credential may go before. back
// tells whether the run can still be undone.
func (m moving) own(ctx context.Context, s *op.Session, doing string, back bool, ours func(c *ContainerFacts, place string) string) error {
	containers, err := m.pick(m.t, containerList(m.all))
	if err != nil {
		return err
	}
	return m.each(ctx, m.all, func(ctx context.Context, c *ContainerFacts) error {
		declared := containers[slices.IndexFunc(containers, func(x Container) bool { return x.Name == c.Name })]
		for _, p := range c.Places {
			if err := m.ownPlace(ctx, s, doing, back, c, declared, p.Place, ours(c, p.Place)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (m moving) ownPlace(ctx context.Context, s *op.Session, doing string, back bool, c *ContainerFacts, declared Container, place, version string) error {
	what := m.what(doing, c)
	now, err := m.readPlace(ctx, place, declared)
	if err != nil {
		return err
	}
	undo := "dbops runs undo " + s.Run + " goes back to the old credential"
	mended := "nothing was destroyed here: make " + version + " current again there, and dbops runs retry " + s.Run
	if back && !m.onward {
		mended += "; or " + undo
	} else {
		undo = "dbops runs abandon " + s.Run + ", then " + command("list", m.t) + " says what to do"
	}
	if now.Current != version {
		if text, err := m.read(ctx, what, place, version); err != nil || now.Trouble != "" || !text.Login().same(now.login) {
			return fault.Newf(fault.Stale, what, "%s; this run's own is %s", intruder(place, now.Current), version).Hint("%s", mended)
		} // the same user and password, among something else
	}
	if now.Amiss != "" {
		return fault.Newf(fault.Stale, what, "what starts now does not find version %s in %s: %s", version, place, now.Amiss).Hint("%s", mended)
	}
	if now.Trouble != "" {
		return fault.Newf(fault.Stale, what, "the credential in %s cannot be used: %s", place, now.Trouble).Hint("%s", mended)
	}
	if err := m.try(ctx, m.t, c.Databases[0], now.login); err != nil {
		if passing(err) {
			return err
		}
		return fault.Newf(fault.Stale, what, "version %s in %s does not log in any more: %w", now.Current, place, err).
			Hint("nothing was destroyed here: %s", undo)
	}
	return nil
}

// made are the versions that the run staged, for [moving.own].
func (all staged) made(c *ContainerFacts, place string) string { return all[c.Name][place].To }

func containerList(all []ContainerFacts) []string {
	names := make([]string, len(all))
	for i := range all {
		names[i] = all[i].Name
	}
	return names
}
