package gcpsm

import (
	"context"
	"errors"
	"slices"

	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/protobuf/proto"

	"dbops/internal/cloud"
	"dbops/internal/cloud/gcpclient"
	"dbops/internal/fault"
	"dbops/internal/secret"
)

var (
	_ secret.Store  = (*Source)(nil)
	_ secret.Keeper = (*Source)(nil)
)

// Inspect tells which versions have the aliases current, pending and previous. In a secret that dbops has not written to, and that has
// no alias current, the newest enabled version is current. Without secretmanager.versions.get the dates stay zero.
func (s *Source) Inspect(ctx context.Context, r secret.Ref) (secret.Holding, error) {
	p, err := s.place(ctx, "inspect secret", r)
	if err != nil {
		return secret.Holding{}, err
	}
	st, err := p.get(ctx)
	if err != nil {
		return secret.Holding{}, err
	}
	now, err := p.now(ctx, st)
	if err != nil {
		return secret.Holding{}, err
	}
	var h secret.Holding
	for n, v := range map[int64]*secret.Version{now: &h.Current, st.aliases[pending]: &h.Pending, st.aliases[previous]: &h.Previous} {
		if n == 0 || v != &h.Current && n == now {
			continue
		}
		v.ID = idOf(n)
		m, err := ask(ctx, p, "versions.get", p.api.GetSecretVersion, &secretmanagerpb.GetSecretVersionRequest{Name: p.version(n)}, gcpclient.Retry())
		switch fault.KindOf(err) {
		case fault.Denied, fault.NotFound:
		default:
			if err != nil {
				return secret.Holding{}, err
			}
			v.Created = m.GetCreateTime().AsTime()
		}
	}
	return h, nil
}

// Delivered implements [secret.Keeper].
func (s *Source) Delivered(ctx context.Context, r secret.Ref) (all []string, err error) {
	p, err := s.place(ctx, "look for what was delivered to", r)
	if err != nil {
		return nil, err
	}
	st, err := p.get(ctx)
	if err != nil {
		return nil, err
	}
	for _, e := range slices.Backward(st.ledger) {
		if e.Version != 0 && e.Version != st.aliases[current] && e.Version != st.aliases[pending] {
			all = append(all, idOf(e.Version))
		}
	}
	return all, nil
}

// Read returns a version by its number, which sees it as soon as it is there. One that is disabled or destroyed is a fault.NotFound.
func (s *Source) Read(ctx context.Context, r secret.Ref, version string) (secret.Value, error) {
	p, err := s.place(ctx, "read a version of secret", r)
	if err != nil {
		return secret.Value{}, err
	}
	n, err := p.byID(version)
	if err != nil {
		return secret.Value{}, err
	}
	data, err := p.access(ctx, idOf(n))
	if fault.KindOf(err) == fault.Busy {
		return secret.Value{}, fault.New(fault.NotFound, p.op, cloud.Because(cause(err), err)).
			Hint("if it is only disabled: gcloud secrets versions enable %d --secret %s --project %s", n, p.id(), p.project)
	}
	if err != nil {
		return secret.Value{}, err
	}
	return secret.Whole(p.op, data)
}

// Create makes the secret with automatic replication. One that is to have other replication or a key of your own is made by hand.
func (s *Source) Create(ctx context.Context, r secret.Ref) error {
	p, err := s.place(ctx, "create secret", r)
	if err != nil {
		return err
	}
	_, err = ask(ctx, p, "secrets.create", p.api.CreateSecret, &secretmanagerpb.CreateSecretRequest{
		Parent: "projects/" + p.project, SecretId: p.id(),
		Secret: &secretmanagerpb.Secret{Replication: &secretmanagerpb.Replication{
			Replication: &secretmanagerpb.Replication_Automatic_{Automatic: &secretmanagerpb.Replication_Automatic{}},
		}},
	}, gcpclient.Retry())
	switch {
	case errors.Is(err, cloud.ErrExists):
		return nil
	case fault.KindOf(err) == fault.Busy, fault.KindOf(err) == fault.Invalid: // an organisation may forbid automatic replication
		return fault.New(fault.KindOf(err), p.op, cloud.Because(cause(err), err)).
			Hint("make it by hand as your organisation wants it: gcloud secrets create %s --project %s --replication-policy=user-managed --locations=…", p.id(), p.project)
	}
	return err
}

// Promote moves the aliases current and previous in one update, which Google takes only if the secret is what was read. The alias says
// nothing of a version's state, so one that is not enabled is a fault.Busy: containers could not read it.
func (s *Source) Promote(ctx context.Context, r secret.Ref, from, to string) error {
	p, err := s.place(ctx, "promote a version of secret", r)
	if err != nil {
		return err
	}
	n, idErr := p.byID(to)
	looked := false
	_, err = p.change(ctx, func(st *state) error {
		now, err := p.now(ctx, st)
		if err != nil {
			return err
		}
		if id := idOf(now); id != to && id != from {
			return fault.Newf(fault.Stale, p.op, "the current version is %s, not %s", orNone(id), orNone(from)).
				Hint("somebody else changed it; make a new plan")
		}
		if idErr != nil {
			return idErr
		}
		if st.aliases[pending] == n {
			delete(st.aliases, pending)
		}
		st.aliases[current] = n
		if now == n {
			return nil
		}
		if !looked {
			if err := p.readable(ctx, n); err != nil {
				return err
			}
			looked = true
		}
		delete(st.aliases, previous)
		if now != 0 {
			st.aliases[previous] = now
		}
		return nil
	})
	return err
}

// readable is an error unless version n is enabled.
func (p *place) readable(ctx context.Context, n int64) error {
	v, err := ask(ctx, p, "versions.get", p.api.GetSecretVersion, &secretmanagerpb.GetSecretVersionRequest{Name: p.version(n)}, gcpclient.Retry())
	if err != nil {
		return err
	}
	if v.GetState() != secretmanagerpb.SecretVersion_ENABLED {
		return fault.Newf(fault.Busy, p.op, "version %d is %s", n, v.GetState()).
			Hint("if it is only disabled: gcloud secrets versions enable %d --secret %s --project %s", n, p.id(), p.project)
	}
	return nil
}

// Retire takes the aliases off a version, and then disables it. It is not destroyed: gcloud secrets versions enable brings it back.
func (s *Source) Retire(ctx context.Context, r secret.Ref, version string) error {
	p, err := s.place(ctx, "retire a version of secret", r)
	if err != nil {
		return err
	}
	n, idErr := p.byID(version)
	_, err = p.change(ctx, func(st *state) error {
		now, err := p.now(ctx, st)
		switch {
		case err != nil:
			return err
		case idErr == nil && now == n:
			return fault.Newf(fault.Blocked, p.op, "%d is the current version", n).Hint("promote another one first")
		}
		for _, alias := range []string{pending, previous} {
			if idErr == nil && st.aliases[alias] == n {
				delete(st.aliases, alias)
			}
		}
		return nil
	})
	if err != nil || idErr != nil {
		return err
	}
	return p.disable(ctx, n)
}

// disable makes version n unreadable. One that does not exist, or is destroyed, is so already.
func (p *place) disable(ctx context.Context, n int64) error {
	v, err := ask(ctx, p, "versions.get", p.api.GetSecretVersion, &secretmanagerpb.GetSecretVersionRequest{Name: p.version(n)}, gcpclient.Retry())
	if fault.KindOf(err) == fault.NotFound {
		return nil
	}
	if err != nil || v.GetState() != secretmanagerpb.SecretVersion_ENABLED {
		return err
	}
	_, err = ask(ctx, p, "versions.disable", p.api.DisableSecretVersion, &secretmanagerpb.DisableSecretVersionRequest{Name: p.version(n)}, gcpclient.Retry())
	return err
}

// access reads a version by its number or alias.
func (p *place) access(ctx context.Context, version string) ([]byte, error) {
	out, err := ask(ctx, p, "versions.access", p.api.AccessSecretVersion,
		&secretmanagerpb.AccessSecretVersionRequest{Name: p.name + "/versions/" + version}, gcpclient.Retry())
	if err != nil {
		return nil, err
	}
	data := out.GetPayload().GetData()
	if payload := out.GetPayload(); payload != nil && payload.DataCrc32C != nil && *payload.DataCrc32C != checksum(data) {
		return nil, fault.Newf(fault.Unavailable, p.op, "it was damaged on its way").Hint("try again")
	}
	return data, nil
}

// add adds a version, once: whoever calls it must look before doing so again.
func (p *place) add(ctx context.Context, data []byte) (int64, error) {
	v, err := ask(ctx, p, "versions.add", p.api.AddSecretVersion, &secretmanagerpb.AddSecretVersionRequest{
		Parent: p.name, Payload: &secretmanagerpb.SecretPayload{Data: data, DataCrc32C: proto.Int64(checksum(data))},
	})
	if err != nil {
		if fault.KindOf(err) == fault.Busy {
			err = fault.New(fault.Busy, p.op, cloud.Because(cause(err), err)).
				Hint("see gcloud secrets describe %s --project %s; a key of your own must be enabled", p.id(), p.project)
		}
		return 0, err
	}
	return numberOf(v.GetName())
}

func orNone(version string) string {
	if version == "" {
		return "none"
	}
	return version
}
