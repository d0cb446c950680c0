package creds

import (
	"context"

	"dbops/internal/op"
	"dbops/internal/secret"
)

// Passwords are those that the containers of an instance log in with now, by login role. A place that cannot be read is left out.
func (d Deps) Passwords(ctx context.Context, t op.Target) (map[string]secret.Value, error) {
	d = d.complete()
	f, err := d.observe(ctx, t, nil, true)
	if err != nil {
		return nil, err
	}
	out := map[string]secret.Value{}
	for _, c := range f.Containers {
		for _, p := range c.Places {
			if p.login.User != "" && !p.login.Password.IsZero() {
				out[p.login.User] = p.login.Password
			}
		}
	}
	return out, nil
}
