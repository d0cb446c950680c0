package secret

import (
	"bytes"
	"context"
	"slices"
	"time"

	"dbops/internal/fault"
)

var (
	_ Store  = File{}
	_ Keeper = File{}
)

// Inspect tells the versions of a file: the current one is the file itself, the others are in its sidecar. A file that a person wrote is
// a version, too, named after when that was.
func (f File) Inspect(_ context.Context, r Ref) (Holding, error) {
	p, err := f.place("inspect secret", r)
	if err != nil {
		return Holding{}, err
	}
	defer p.close()
	s, err := p.load()
	if err != nil {
		return Holding{}, err
	}
	return s.holding(), nil
}

// Delivered implements [Keeper].
func (f File) Delivered(_ context.Context, r Ref) (all []string, err error) {
	p, err := f.place("look for what was delivered to", r)
	if err != nil {
		return nil, err
	}
	defer p.close()
	s, err := p.load()
	if err != nil {
		return nil, err
	}
	for _, id := range []string{s.Delivered, s.Before} {
		if v := s.version(id); v != nil && v.Text != nil && id != s.Current && id != s.Pending && !slices.Contains(all, id) {
			all = append(all, id)
		}
	}
	return all, nil
}

// Read returns a version.
func (f File) Read(_ context.Context, r Ref, version string) (Value, error) {
	p, err := f.place("read a version of secret", r)
	if err != nil {
		return Value{}, err
	}
	defer p.close()
	s, err := p.load()
	if err != nil {
		return Value{}, err
	}
	v := s.version(version)
	if v == nil || v.Text == nil {
		return Value{}, fault.Newf(fault.NotFound, p.op, "there is no version %q any more", version).
			Hint("a file keeps the current version, the pending and the previous one")
	}
	return Whole(p.op, v.Text)
}

// Create makes the sidecar. The file itself comes with its first version, so nobody reads an empty one.
func (f File) Create(ctx context.Context, r Ref) error {
	return f.change(ctx, "create secret", r, func(p *filePlace, s *fileState) error {
		if s.there() {
			return nil
		}
		return p.save(&s.sidecar)
	})
}

// Stage writes the sidecar.
func (f File) Stage(ctx context.Context, r Ref, token string, v Value) (Version, error) {
	id := TokenID(token)
	var made Version
	err := f.change(ctx, "write secret", r, func(p *filePlace, s *fileState) error {
		text := []byte(v.Reveal())
		if _, err := Whole(p.op, text); err != nil {
			return err
		}
		if err := p.mustBe(s); err != nil {
			return err
		}
		if had := s.version(id); had != nil {
			if !s.kept(id) {
				return fault.Newf(fault.Stale, p.op, "the version %s was retired, or another took its place", id).
					Hint("begin anew, with a new plan")
			}
			made = Version{ID: id, Created: had.Created}
			return nil
		}
		if _, err := p.attributes(s); err != nil { // that Promote will need
			return err
		}
		made = Version{ID: id, Created: time.Now().UTC().Truncate(time.Millisecond)}
		s.Versions = append(s.Versions, fileVersion{ID: id, Created: made.Created, Text: text})
		s.Pending = id
		return p.save(&s.sidecar)
	})
	return made, err
}

// Promote replaces the file in one instant. Both texts are on the disk before that; the sidecar is told afterwards, and if that is
// missed the file itself says which version is current.
func (f File) Promote(ctx context.Context, r Ref, from, to string) error {
	return f.change(ctx, "promote a version of secret", r, func(p *filePlace, s *fileState) error {
		if err := p.mustBe(s); err != nil {
			return err
		}
		if s.now() == to && to != "" && s.amiss() == "" {
			if s.concluded {
				s.Delivered = to
			}
			return p.settle(s)
		}
		if s.now() != from && s.now() != to {
			return fault.Newf(fault.Stale, p.op, "the current version is %s, not %s", orNone(s.now()), orNone(from)).
				Hint("somebody else changed it; make a new plan")
		}
		v := s.version(to)
		if v == nil || v.Text == nil {
			return fault.Newf(fault.NotFound, p.op, "there is no version %q any more", to)
		}
		like, err := p.attributes(s)
		if err != nil {
			return err
		}
		if err := p.settle(s); err != nil { // what a person wrote must not be lost
			return err
		}
		text := bytes.Clone(v.Text)
		if s.now() != to {
			s.deliver(to)
		}
		return p.replace(text, like, &s.sidecar)
	})
}

// Retire forgets the text of a version.
func (f File) Retire(ctx context.Context, r Ref, version string) error {
	return f.change(ctx, "retire a version of secret", r, func(p *filePlace, s *fileState) error {
		if err := p.mustBe(s); err != nil {
			return err
		}
		switch {
		case version == "" || !s.kept(version):
			return nil
		case version == s.now():
			return fault.Newf(fault.Blocked, p.op, "%s is the current version", version).Hint("promote another one first")
		}
		for _, role := range []*string{&s.Pending, &s.Previous, &s.Delivered, &s.Before} {
			if *role == version {
				*role = ""
			}
		}
		return p.save(&s.sidecar)
	})
}

// change does something to a place, while nobody else does.
func (f File) change(ctx context.Context, doing string, r Ref, do func(*filePlace, *fileState) error) error {
	p, err := f.place(doing, r)
	if err != nil {
		return err
	}
	defer p.close()
	unlock, err := p.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	s, err := p.load()
	if err != nil && fault.KindOf(err) != fault.NotFound {
		return err
	}
	return do(p, s)
}

// mustBe is a fault.NotFound unless the place exists.
func (p *filePlace) mustBe(s *fileState) error {
	if s.there() {
		return nil
	}
	return p.missing()
}

// settle writes what was only concluded: that a person wrote the file, or that a promotion was killed.
func (p *filePlace) settle(s *fileState) error {
	if !s.concluded {
		return nil
	}
	return p.save(&s.sidecar)
}

func orNone(version string) string {
	if version == "" {
		return "none"
	}
	return version
}
