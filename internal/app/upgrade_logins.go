package app

import (
	"context"
	"maps"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/secret"
)

// Passwords implements [upgrade.Clients]: those that containers are delivered, and those that dbops.yaml names for dbops itself.
func (c clients) Passwords(ctx context.Context, t op.Target) (map[string]secret.Value, error) {
	out, err := c.a.credentials().Passwords(ctx, t)
	if err != nil {
		return nil, err
	}
	inst, err := c.a.instance(t.Environment, t.Instance)
	if err != nil {
		return nil, err
	}
	own := map[string]secret.Value{}
	for _, login := range inst.Logins {
		if login == nil || login.User == "" || login.Secret == "" || login.IAM {
			continue
		}
		ref, err := c.a.cfg.Secret(login.Secret)
		if err != nil {
			return nil, fault.New(fault.Config, "read the logins of "+t.String(), err)
		}
		password, err := c.a.secrets.Get(ctx, ref)
		if fault.KindOf(err) == fault.Denied || fault.KindOf(err) == fault.NotFound {
			continue // of somebody else
		}
		if err != nil {
			return nil, err
		}
		own[login.User] = password
	}
	maps.Copy(out, own)
	return out, nil
}
