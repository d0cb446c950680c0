package app

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"slices"

	"dbops/internal/config"
	"dbops/internal/creds"
	"dbops/internal/encore"
	"dbops/internal/fault"
	"dbops/internal/secret"
)

// encoreStore is an infra.config.json as a place of delivery. Its versions are kept as those of a file beside it; the current one is
// patched into the config, inline, so that a reader of the config never sees a pending one.
type encoreStore struct {
	secret.Store
	at config.EncorePlace
}

// credentialFile is where the versions are kept, beside the config.
func credentialFile(e config.EncorePlace) secret.Ref {
	return secret.Ref{Scheme: secret.SchemeFile, Name: e.Path + ".credential"}
}

// Promote makes a version current, and patches it into the config. Repeated, it patches what is not there yet.
func (s encoreStore) Promote(ctx context.Context, r secret.Ref, from, to string) error {
	if err := s.Store.Promote(ctx, r, from, to); err != nil {
		return err
	}
	what := "deliver to " + s.at.Path
	if from == "" {
		if err := encore.KeepFirst(s.at.Path); err != nil {
			return err
		}
	}
	v, err := s.Read(ctx, r, to)
	if err != nil {
		return err
	}
	var p struct {
		Username, Password string
		Databases          map[string]json.RawMessage
	}
	if json.Unmarshal([]byte(v.Reveal()), &p) != nil || p.Username == "" || len(p.Databases) == 0 { // its error could quote the text
		return fault.Newf(fault.Invalid, what, "the credential is no JSON object with username, password and databases").
			Hint("deliver to another place first: what dbops creds issue writes there has all of it")
	}
	var all []encore.Delivery // at once: a container does not read a file of which half is new
	for database := range p.Databases {
		all = append(all, encore.Delivery{
			Database: database, Change: encore.Change{Username: p.Username, Password: secret.New(p.Password), Inline: true},
		})
	}
	_, err = encore.Deliver(ctx, s.at.Path, encore.Language(s.at.Language), all...)
	return err
}

// Delivered implements [secret.Keeper].
func (s encoreStore) Delivered(ctx context.Context, r secret.Ref) ([]string, error) {
	if k, ok := s.Store.(secret.Keeper); ok {
		return k.Delivered(ctx, r)
	}
	return nil, nil
}

// Probe implements [secret.Prober], for the config and for the versions beside it.
func (s encoreStore) Probe(ctx context.Context, r secret.Ref) error {
	if err := encore.Probe(s.at.Path); err != nil {
		return err
	}
	if p, ok := s.Store.(secret.Prober); ok {
		return p.Probe(ctx, r)
	}
	return nil
}

// Redirect implements [creds.Redirector].
func (s encoreStore) Redirect(ctx context.Context, databases []string, to func(host string) (string, bool), ca string) error {
	c, err := encore.Look(s.at.Path, encore.Language(s.at.Language))
	if err != nil {
		return err
	}
	if s.at.Language == string(encore.TypeScript) {
		ca = firstCertificate(ca) // that runtime knows no more than one
	}
	var all []encore.Delivery
	for _, d := range c.Databases() {
		host, ok := to(d.Host)
		if !ok || !slices.Contains(databases, d.Encore) {
			continue
		}
		change := encore.Change{Host: host}
		if d.CAs > 0 {
			change.CA = ca
		}
		all = append(all, encore.Delivery{Database: d.Encore, Change: change})
	}
	if len(all) == 0 {
		return nil
	}
	_, err = encore.Deliver(ctx, s.at.Path, encore.Language(s.at.Language), all...)
	return err
}

// firstCertificate is the first one of several.
func firstCertificate(ca string) string {
	block, _ := pem.Decode([]byte(ca))
	if block == nil {
		return ca
	}
	return string(pem.EncodeToMemory(block))
}

// Mirrored implements [creds.Mirror].
func (s encoreStore) Mirrored(_ context.Context, databases []string, l creds.Login) ([]creds.Mirrored, error) {
	c, err := encore.Look(s.at.Path, encore.Language(s.at.Language))
	if err != nil {
		return nil, err
	}
	all := c.Databases()
	var out []creds.Mirrored
	for _, name := range databases {
		h, err := c.Holds(name, encore.Change{Username: l.User, Password: l.Password, Inline: true})
		if err != nil {
			return nil, err
		}
		for _, d := range all {
			if d.Encore == name {
				out = append(out, creds.Mirrored{Database: name, Server: d.Name, Host: d.Host, User: d.Username.Text, Holds: h.Username == encore.Yes && h.Password == encore.Yes})
			}
		}
	}
	return out, nil
}
