package creds

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"dbops/internal/op"
)

// Pointing is what a container's places say of an address.
type Pointing struct {
	Container string          `json:"container"`
	User      string          `json:"user,omitempty"` // whom it logs in as
	Ours      bool            `json:"ours"`           // which is one of its slots
	Rollout   string          `json:"rollout,omitempty"`
	Places    []PlacePointing `json:"places,omitempty"`
}

// PlacePointing is what one place says.
type PlacePointing struct {
	Place   string `json:"place"`
	Version string `json:"version,omitempty"`
	Names   bool   `json:"names"` // the address that is looked for
	// Other are addresses that it says besides, such as a proxy's; they stay.
	Other []string `json:"other,omitempty"`
	// Rest are fields that name the host too, and that dbops does not write.
	Rest []string `json:"rest,omitempty"`
	// Certificates are fields with certificates, by which the container may know the server.
	Certificates []string `json:"certificates,omitempty"`
	Pending      string   `json:"pending,omitempty"` // of a rotation that is not finished
	Cannot       string   `json:"cannot,omitempty"`  // why it cannot be written
	Next         string   `json:"next,omitempty"`    // what to do about that
}

// Names tells whether any place of the container names the address.
func (p Pointing) Names() bool {
	return slices.ContainsFunc(p.Places, func(one PlacePointing) bool { return one.Names })
}

// LookRepoint tells which containers of an instance name an address, and what [Deps.Repoint] could not change. It changes nothing.
func (d Deps) LookRepoint(ctx context.Context, t op.Target, from Address) ([]Pointing, error) {
	d = d.complete()
	if declared, err := d.pick(t, nil); err != nil || len(declared) == 0 {
		return nil, err
	}
	f, err := d.observe(ctx, t, nil, true)
	if err != nil {
		return nil, err
	}
	out := make([]Pointing, len(f.Containers))
	index := map[string]int{}
	for i := range f.Containers {
		index[f.Containers[i].Name] = i
	}
	err = d.each(ctx, f.Containers, func(ctx context.Context, c *ContainerFacts) error {
		p := Pointing{Container: c.Name, User: c.User, Ours: c.Active != "", Rollout: c.Rollout}
		for i := range c.Places {
			one, err := d.pointing(ctx, c.Places[i], from)
			if err != nil {
				return err
			}
			p.Places = append(p.Places, one)
		}
		out[index[c.Name]] = p
		return nil
	})
	return out, err
}

// pointing is what one place says of an address.
func (d Deps) pointing(ctx context.Context, f PlaceFacts, from Address) (PlacePointing, error) {
	out := PlacePointing{Place: f.Place, Version: f.Current, Pending: f.Pending}
	switch {
	case f.Trouble != "":
		out.Cannot, out.Next = f.Trouble, f.Next
	case f.Shut != "":
		out.Cannot, out.Next = f.Shut, f.Next
	}
	if f.Current == "" || f.Trouble != "" {
		return out, nil
	}
	for _, a := range f.addresses { // of a mirror: what it says itself
		if from.names(ctx, a.Host, a.Port) {
			out.Names = true
		} else if says := a.String(); !slices.Contains(out.Other, says) {
			out.Other = append(out.Other, says)
		}
	}
	store, ref, err := d.Place(ctx, f.Place)
	if err != nil {
		return out, err
	}
	text, err := store.Read(ctx, ref, f.Current)
	if err != nil {
		return out, err
	}
	p, err := readPayload("look at "+f.Place, f.Place, text)
	if err != nil {
		return out, err
	}
	same := func(host string, port int) (string, int, bool) { return host, port, from.names(ctx, host, port) }
	found, err := p.readdress(text.Reveal(), same)
	if err != nil {
		return out, err
	}
	if _, mirror := store.(Redirector); !mirror {
		out.Names = out.Names || found.hits > 0
	}
	out.Rest = naming(found.rest, append([]string{from.Host}, from.Also...))
	out.Certificates = naming(found.rest, []string{"-----BEGIN CERTIFICATE"})
	return out, nil
}

// PointingWords tell a person what a repointing concerns: who is switched, what they have to do themselves, and what cannot be switched.
func PointingWords(all []Pointing) (clients, byHand, cannot []string) {
	for _, p := range all {
		who := "container " + p.Container
		if len(p.Places) == 0 {
			byHand = append(byHand, who+": dbops.yaml names no place that its credential is delivered to")
		}
		if p.Names() && !p.Ours {
			byHand = append(byHand, fmt.Sprintf("%s logs in as %s, which is none of its slots: its address is changed, its credential stays as it is", who, orNone(p.User)))
		}
		if p.Names() && p.Rollout == "" {
			byHand = append(byHand, who+" has no rollout: restart it when the run says so")
		}
		for _, one := range p.Places {
			at := who + ": " + one.Place
			if one.Names {
				clients = append(clients, at)
			}
			if len(one.Other) > 0 {
				byHand = append(byHand, at+" says "+strings.Join(one.Other, ", ")+", which is not the instance's own address and stays")
			}
			if len(one.Rest) > 0 {
				byHand = append(byHand, at+" names the host in fields that dbops does not know: "+strings.Join(one.Rest, ", "))
			}
			if len(one.Certificates) > 0 {
				byHand = append(byHand, at+" holds certificates, which must be those of the new server too: "+strings.Join(one.Certificates, ", "))
			}
			if one.Names && one.Pending != "" {
				cannot = append(cannot, at+" holds a pending credential of a rotation that is not finished: finish or undo that first")
			}
			if one.Cannot != "" {
				cannot = append(cannot, strings.TrimSuffix(at+": "+one.Cannot+": "+one.Next, ": "))
			}
		}
	}
	return clients, byHand, cannot
}
