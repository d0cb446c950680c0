package creds

import (
	"context"
	"fmt"
	"time"

	"dbops/internal/op"
)

// Listed is a container with its credential, for a person.
type Listed struct {
	Environment string `json:"environment"`
	Instance    string `json:"instance"`
	ContainerFacts
	Works    *bool             `json:"works,omitempty"`  // nobody logged in as it
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

// List reads the containers of an instance: what they have, who is logged in, and what is wrong with it. It changes nothing, and logs in
// as dbops's own admin only.
func (d Deps) List(ctx context.Context, t op.Target, now time.Time) ([]Listed, error) {
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
		l := Listed{Environment: t.Environment, Instance: t.Instance, ContainerFacts: *c, Sessions: map[string]int{}, Clients: map[string]string{}}
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
		l.Findings = health(t, f, c, l.Sessions)
		for i := range l.Findings {
			if l.Findings[i].Check == "idle-in-use" {
				l.Findings[i].Evidence, l.Findings[i].Remedy = l.Clients[c.idle().Slot], "restart it, so that it reads the current credential"
			}
		}
		out[i] = l
	}
	return out, nil
}

// health are the findings about a container that nobody is changing.
func health(t op.Target, f Facts, c *ContainerFacts, sessions map[string]int) []op.Finding {
	probe := *c
	probe.Works = true // nobody logged in as it
	var all []op.Finding
	for _, x := range rotatable(t, f, &probe) {
		if x.Severity == op.Block {
			x.Severity = op.Warn
		}
		all = append(all, x)
	}
	if c.Active == "" {
		return all
	}
	old, active := c.idle(), c.old()
	if old.Login && len(c.Places) > 0 {
		all = append(all, op.Finding{
			Severity: op.Warn, Check: "both-slots", Text: fmt.Sprintf("%s: the idle slot %s may log in, too", c.Name, old.Role),
			Evidence: fmt.Sprintf("%d sessions", sessions[old.Slot]), Remedy: "an unfinished rotation leaves that: dbops runs list shows it; else rotate again",
		})
	}
	if !active.Login {
		all = append(all, op.Finding{
			Severity: op.Warn, Check: "disabled", Text: fmt.Sprintf("%s: its credential, of %s, may not log in: it was revoked, or somebody disabled the role", c.Name, active.Role),
			Remedy: command("issue "+c.Name, t) + " gives it a new one",
		})
	}
	if !active.Acts || !active.Member {
		all = append(all, op.Finding{
			Severity: op.Warn, Check: "not-acting", Text: fmt.Sprintf("%s: %s does not act as %s", c.Name, active.Role, c.Group),
			Remedy: command("rotate "+c.Name, t) + " sets the next slot right",
		})
	}
	return all
}
