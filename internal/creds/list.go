package creds

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"dbops/internal/op"
)

// Listed is a container with its credential, for a person.
type Listed struct {
	Environment string `json:"environment"`
	Instance    string `json:"instance"`
	ContainerFacts
	Works    *bool             `json:"works,omitempty"`  // the current credential logs in; nil: nobody tried
	Created  time.Time         `json:"created,omitzero"` // when the current credential was made
	Sessions map[string]int    `json:"sessions"`         // by slot
	Clients  map[string]string `json:"clients,omitempty"`
	Findings []op.Finding      `json:"findings,omitempty"`
}

// Age of the current credential at a moment; 0 if it is not known.
func (l Listed) Age(now time.Time) time.Duration {
	if l.Created.IsZero() {
		return 0
	}
	return now.Sub(l.Created)
}

// Revoked tells whether a container was given a credential once, and may not log in at all any more.
func (c *ContainerFacts) Revoked() bool {
	there := slices.ContainsFunc(c.Slots, func(s SlotFacts) bool { return s.There })
	return there && !slices.ContainsFunc(c.Slots, func(s SlotFacts) bool { return s.Login }) && len(c.Places) > 0 && c.Places[0].Current != ""
}

// Look says how closely [Deps.List] looks.
type Look struct {
	// Login tries each current credential with a login, within Patience.
	Login    bool
	Patience time.Duration // defaults to 5 s
}

// List reads the containers of an instance: what they have, who is logged in, and what is wrong with it. It changes nothing.
func (d Deps) List(ctx context.Context, t op.Target, look Look, now time.Time) ([]Listed, error) {
	if d.Concurrency <= 0 {
		d.Concurrency = 4
	}
	containers, err := d.Containers(t)
	if err != nil || len(containers) == 0 {
		return nil, err
	}
	f, err := d.observe(ctx, t, nil, true)
	if err != nil {
		return nil, err
	}
	a, err := d.admin(ctx, t, adminDatabase(containers), "count the sessions on "+t.String())
	if err != nil {
		return nil, err
	}
	defer a.close(ctx)
	out := make([]Listed, len(f.Containers))
	for i := range f.Containers {
		c := &f.Containers[i]
		out[i] = Listed{Environment: t.Environment, Instance: t.Instance, ContainerFacts: *c, Sessions: map[string]int{}, Clients: map[string]string{}}
		l := &out[i]
		if len(c.Places) > 0 {
			l.Created = c.Places[0].created
		}
		for _, s := range c.Slots {
			if !s.There {
				continue
			}
			busy, err := a.sessions(ctx, s.Role)
			if err != nil {
				return nil, err
			}
			l.Sessions[s.Slot] = busy.Count
			if busy.Who != "" {
				l.Clients[s.Slot] = busy.Who
			}
		}
	}
	if look.Login { // after the sessions were counted: these are none of a container's
		if err := d.tryAll(ctx, t, look, out); err != nil {
			return nil, err
		}
	}
	for i := range out {
		l := &out[i]
		l.Findings = health(t, f, &l.ContainerFacts, l)
		for j := range l.Findings {
			if l.Findings[j].Check == "idle-in-use" {
				l.Findings[j].Evidence, l.Findings[j].Remedy = l.Clients[l.idle().Slot], l.wayBack(t, "restart it, so that it reads the current credential")
			}
		}
	}
	return out, nil
}

// tryAll logs in with each current credential. One that could not be tried in time is neither good nor bad.
func (d Deps) tryAll(ctx context.Context, t op.Target, look Look, all []Listed) error {
	facts := make([]ContainerFacts, len(all))
	for i := range all {
		facts[i] = all[i].ContainerFacts
	}
	works, why := make([]*bool, len(all)), make([]string, len(all))
	err := d.each(ctx, facts, func(ctx context.Context, c *ContainerFacts) error {
		i := slices.IndexFunc(all, func(l Listed) bool { return l.Name == c.Name })
		one, cancel := context.WithTimeout(ctx, cmp.Or(look.Patience, 5*time.Second))
		defer cancel()
		revoked := !c.old().Login && c.Active != ""
		if c.User != "" && len(c.Databases) > 0 && !revoked {
			err := d.try(one, t, c.Databases[0], c.Places[0].login)
			if err != nil {
				why[i] = err.Error()
			}
			if err != nil && passing(err) {
				return ctx.Err()
			}
			ok := err == nil
			works[i], c.Works = &ok, ok
		}
		if err := d.mend(one, t, c, false); err != nil && !passing(err) { // the places are those of the list, too
			return err
		}
		return ctx.Err()
	})
	for i := range all {
		all[i].Works, all[i].Why = works[i], why[i]
	}
	return err
}

// health are the findings about a container that nobody is changing. l says who is logged in, and whether its credential was tried; nil if
// nobody looked.
func health(t op.Target, f Facts, c *ContainerFacts, l *Listed) []op.Finding {
	probe := *c
	probe.Works = true // as far as it is known
	if l != nil && l.Works != nil {
		probe.Works = *l.Works
	}
	var all []op.Finding
	for _, x := range rotatable(t, f, &probe) {
		if x.Severity == op.Block {
			x.Severity = op.Warn
		}
		all = append(all, x)
	}
	if l != nil && l.Works == nil && l.Why != "" {
		all = append(all, op.Finding{Severity: op.Info, Check: "not-tried", Text: c.Name + ": whether its credential logs in could not be seen", Evidence: l.Why, Remedy: "look again"})
	}
	if c.Active == "" {
		return all
	}
	old, active := c.idle(), c.old()
	if old.Login && len(c.Places) > 0 {
		x := op.Finding{
			Severity: op.Warn, Check: "both-slots", Text: fmt.Sprintf("%s: the idle slot %s may log in, too", c.Name, old.Role),
			Remedy: "a rotation under way does that, and one that was abandoned leaves it: then " + command("rotate "+c.Name, t) + " ends it",
		}
		if l != nil {
			x.Evidence = fmt.Sprintf("%d sessions", l.Sessions[old.Slot])
		}
		all = append(all, x)
	}
	if !active.Acts || !active.Member {
		all = append(all, op.Finding{
			Severity: op.Warn, Check: "not-acting", Text: fmt.Sprintf("%s: %s does not act as %s", c.Name, active.Role, c.Group),
			Remedy: command("rotate "+c.Name, t) + " sets the next slot right",
		})
	}
	return all
}
