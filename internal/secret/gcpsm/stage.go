package gcpsm

import (
	"context"
	"time"

	gax "github.com/googleapis/gax-go/v2"

	"dbops/internal/fault"
	"dbops/internal/secret"
)

// Stage adds a version and gives it the alias pending. Adding has no token, so the token is written down in the secret's annotations
// first; whoever comes after a kill finds the version by it. The first Stage also gives the version that is current the alias current,
// because from then on the latest version may be one that nobody should read yet. A secret that Google rotates is a fault.Blocked.
func (s *Source) Stage(ctx context.Context, r secret.Ref, token string, v secret.Value) (secret.Version, error) {
	p, err := s.place(ctx, "write secret", r)
	if err != nil {
		return secret.Version{}, err
	}
	data := []byte(v.Reveal())
	if _, err := secret.Whole(p.op, data); err != nil {
		return secret.Version{}, err
	}
	id := secret.TokenID(token)
	st, err := p.claim(ctx, id, data)
	if err != nil {
		return secret.Version{}, err
	}
	e := st.of(id)
	if e.Version != 0 {
		return p.staged(st, e.Version)
	}
	n, err := p.find(ctx, st, *e)
	if err == nil && n == 0 {
		n, err = p.addOnce(ctx, id, data)
	}
	if err != nil {
		return secret.Version{}, err
	}
	return p.label(ctx, id, n)
}

// claim writes down that a token is about to make a version, unless it is written already.
func (p *place) claim(ctx context.Context, id string, data []byte) (*state, error) {
	return p.change(ctx, func(st *state) error {
		if st.managed {
			return fault.Newf(fault.Blocked, p.op, "Google rotates it").Hint("deliver to a secret of your own")
		}
		if st.of(id) != nil {
			return nil
		}
		newest, enabled, err := p.newest(ctx, st)
		if err != nil {
			return err
		}
		if st.aliases[current] == 0 && len(st.ledger) == 0 && enabled != 0 {
			st.aliases[current] = enabled
		}
		st.begin(entry{Token: id, After: newest, Text: fingerprint(id, data)})
		return nil
	})
}

// find looks for the version that a token's first try has added; 0 if it has not. Lists lag behind, while a version is seen by its number
// at once: so numbers are tried.
func (p *place) find(ctx context.Context, st *state, e entry) (int64, error) {
	for n := e.After + 1; ; n++ {
		data, err := p.access(ctx, idOf(n))
		switch {
		case fault.KindOf(err) == fault.NotFound:
			return 0, nil
		case fault.KindOf(err) == fault.Busy: // disabled or destroyed
		case err != nil:
			return 0, err
		case fingerprint(e.Token, data) == e.Text && !st.claims(n):
			return n, nil
		}
	}
}

// addOnce adds the version of a token. When it is not known whether that worked, it looks before it tries again.
func (p *place) addOnce(ctx context.Context, id string, data []byte) (int64, error) {
	text := fingerprint(id, data)
	st, err := p.change(ctx, func(st *state) error {
		if e := st.of(id); e != nil && e.Version == 0 {
			e.Text = text // of this try: an earlier one has added nothing
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	e := st.of(id)
	switch {
	case e == nil:
		return 0, p.forgotten()
	case e.Version != 0: // somebody else with the same token
		return e.Version, nil
	}
	pause := gax.Backoff{Initial: 300 * time.Millisecond, Max: 5 * time.Second, Multiplier: 2}
	for try := 1; ; try++ {
		n, addErr := p.add(ctx, data)
		if kind := fault.KindOf(addErr); addErr == nil || kind != fault.Unavailable && kind != fault.Throttled || try == tries-2 {
			return n, addErr
		}
		if err := gax.Sleep(ctx, pause.Pause()); err != nil {
			return 0, addErr
		}
		if n, err := p.find(ctx, st, entry{Token: id, After: e.After, Text: text}); err != nil || n != 0 {
			return n, err
		}
	}
}

// label makes version n that of a token, and pending. If somebody else with the same token was faster, theirs counts and n is disabled.
func (p *place) label(ctx context.Context, id string, n int64) (secret.Version, error) {
	st, err := p.change(ctx, func(st *state) error {
		e := st.of(id)
		if e == nil {
			return p.forgotten()
		}
		if e.Version == 0 {
			*e = entry{Token: id, Version: n}
			st.aliases[pending] = n
		}
		return nil
	})
	if err != nil {
		return secret.Version{}, err
	}
	theirs := st.of(id).Version
	if theirs != n {
		if err := p.disable(ctx, n); err != nil {
			return secret.Version{}, err
		}
	}
	return p.staged(st, theirs)
}

// staged is the version that a token made, unless it is out of use.
func (p *place) staged(st *state, n int64) (secret.Version, error) {
	if st.role(n) == "" {
		return secret.Version{}, fault.Newf(fault.Stale, p.op, "version %d was retired, or another took its place", n).
			Hint("begin anew, with a new plan")
	}
	return secret.Version{ID: idOf(n)}, nil
}

func (p *place) forgotten() error {
	return fault.Newf(fault.Stale, p.op, "somebody changed its annotation %s", annotation).Hint("begin anew, with a new plan")
}
