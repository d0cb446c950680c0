package secrettest

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"dbops/internal/secret"
)

// scenario is one call, on a place in some state, that is killed everywhere and then repeated. Numbers are those of texts; 0: none.
type scenario struct {
	name    string
	prepare func(t *testing.T, s *Stage, r secret.Ref) []secret.Version // nil: there is no place
	do      func(ctx context.Context, s secret.Store, r secret.Ref, v []secret.Version, try int) error
	killed  []int // what may be current after the kill

	// What the place holds when a repeat has ended.
	current, pending, previous int
	made, retired              int // versions in all
}

// later is added to the number of a text with each try: as after a real kill, it is another one.
const later = 100

func staging(n int) func(context.Context, secret.Store, secret.Ref, []secret.Version, int) error {
	return func(ctx context.Context, s secret.Store, r secret.Ref, _ []secret.Version, try int) error {
		_, err := s.Stage(ctx, r, token(n), secret.New(text(n+later*try)))
		return err
	}
}

func (s *Stage) scenarios() []scenario {
	all := []scenario{
		{
			name: "create",
			do: func(ctx context.Context, s secret.Store, r secret.Ref, _ []secret.Version, _ int) error {
				return s.Create(ctx, r)
			},
		},
		{
			name: "stage the first", prepare: empty, do: staging(1),
			killed: []int{0}, pending: 1, made: 1,
		},
		{
			name: "promote the first", prepare: staged,
			do: func(ctx context.Context, s secret.Store, r secret.Ref, v []secret.Version, _ int) error {
				return s.Promote(ctx, r, "", v[1].ID)
			},
			killed: []int{0, 1}, current: 1, made: 1,
		},
		{
			name: "stage in a place made by hand", prepare: byHand, do: staging(2),
			killed: []int{1}, current: 1, pending: 2, made: 2,
		},
		{
			name: "stage over another's pending version", prepare: rotated, do: staging(4),
			killed: []int{2}, current: 2, pending: 4, previous: 1, made: 4,
		},
		{
			name: "promote", prepare: rotated,
			do: func(ctx context.Context, s secret.Store, r secret.Ref, v []secret.Version, _ int) error {
				return s.Promote(ctx, r, v[2].ID, v[3].ID)
			},
			killed: []int{2, 3}, current: 3, previous: 2, made: 3,
		},
		{
			name: "go back", prepare: rotated,
			do: func(ctx context.Context, s secret.Store, r secret.Ref, v []secret.Version, _ int) error {
				return s.Promote(ctx, r, v[2].ID, v[1].ID)
			},
			killed: []int{1, 2}, current: 1, pending: 3, previous: 2, made: 3,
		},
		{
			name: "promote over what a person wrote", prepare: overwritten,
			do: func(ctx context.Context, s secret.Store, r secret.Ref, v []secret.Version, _ int) error {
				return s.Promote(ctx, r, v[7].ID, v[3].ID)
			},
			killed: []int{3, 7}, current: 3, previous: 7, made: 4,
		},
		{
			name: "retire the pending", prepare: rotated,
			do: func(ctx context.Context, s secret.Store, r secret.Ref, v []secret.Version, _ int) error {
				return s.Retire(ctx, r, v[3].ID)
			},
			killed: []int{2}, current: 2, previous: 1, made: 3, retired: 1,
		},
		{
			name: "retire the previous", prepare: rotated,
			do: func(ctx context.Context, s secret.Store, r secret.Ref, v []secret.Version, _ int) error {
				return s.Retire(ctx, r, v[1].ID)
			},
			killed: []int{2}, current: 2, pending: 3, made: 3, retired: 1,
		},
	}
	if s.FirstIsCurrent {
		all[1].killed, all[1].current, all[1].pending = []int{0, 1}, 1, 0
	}
	return all
}

// The states that scenarios begin with. The versions that they return are numbered as their texts.

func empty(t *testing.T, s *Stage, r secret.Ref) []secret.Version {
	t.Helper()
	s.create(t, r)
	return nil
}

func staged(t *testing.T, s *Stage, r secret.Ref) []secret.Version {
	t.Helper()
	s.create(t, r)
	return []secret.Version{{}, s.stage(t, r, 1)}
}

func byHand(t *testing.T, s *Stage, r secret.Ref) []secret.Version {
	t.Helper()
	s.ByHand(t, r, text(1))
	return nil
}

func rotated(t *testing.T, s *Stage, r secret.Ref) []secret.Version {
	t.Helper()
	v := staged(t, s, r)
	s.promote(t, r, secret.Version{}, v[1])
	v = append(v, s.stage(t, r, 2))
	s.promote(t, r, v[1], v[2])
	return append(v, s.stage(t, r, 3))
}

func overwritten(t *testing.T, s *Stage, r secret.Ref) []secret.Version {
	t.Helper()
	v := rotated(t, s, r)
	s.ByHand(t, r, text(7))
	return append(v, secret.Version{}, secret.Version{}, secret.Version{}, s.inspect(t, r).Current)
}

func (s *Stage) crash(t *testing.T) {
	for _, c := range s.scenarios() {
		t.Run(c.name, func(t *testing.T) {
			points := 0
			for _, after := range []bool{false, true} {
				n := 0
				for ; n < 50 && s.kill(t, c, n, after); n++ {
					points++
				}
				if n == 0 || n == 50 {
					t.Errorf("it was killed at %d points", n)
				}
			}
			t.Logf("it was killed at %d points", points)
		})
	}
}

// kill does the call once, killed at a point, and then twice more, and tells whether the point was reached.
func (s *Stage) kill(t *testing.T, c scenario, n int, after bool) bool {
	t.Helper()
	at := fmt.Sprintf("killed at step %d (after it: %t)", n, after)
	r := s.New(t)
	var v []secret.Version
	if c.prepare != nil {
		v = c.prepare(t, s, r)
	}
	doomed, ctx, died := s.Doomed(t, n, after)
	err := c.do(ctx, doomed, r, v, 0)
	if died() != (err != nil) {
		t.Fatalf("%s: it came to that: %t, and the call said %v", at, died(), err)
	}
	if c.prepare != nil {
		if now, _ := s.textOf(t, r, s.inspect(t, r).Current); !slices.Contains(c.killed, now) {
			t.Fatalf("%s: text %d is current, want one of %v", at, now, c.killed)
		}
	}
	made := -1
	for try := 1; try <= 2; try++ {
		if err := c.do(t.Context(), s.Store, r, v, try); err != nil {
			t.Fatalf("%s: again: %v", at, err)
		}
		made = s.settled(t, r, c, at, made)
	}
	if made > 1 || made > 0 && !died() {
		t.Fatalf("%s: try %d made the version", at, made)
	}
	return died()
}

// settled checks what a place holds after a repeat, and returns the try whose text it kept; it must be the one before.
func (s *Stage) settled(t *testing.T, r secret.Ref, c scenario, at string, before int) (made int) {
	t.Helper()
	h := s.inspect(t, r)
	roles := 0
	for _, x := range []struct {
		role string
		v    secret.Version
		want int
	}{{"current", h.Current, c.current}, {"pending", h.Pending, c.pending}, {"previous", h.Previous, c.previous}} {
		got, try := s.textOf(t, r, x.v)
		if got != x.want {
			t.Fatalf("%s: again: text %d is %s, want %d", at, got, x.role, x.want)
		}
		if x.v.ID != "" {
			roles++
			made = max(made, try)
		}
	}
	if before >= 0 && made != before {
		t.Fatalf("%s: a repeat changed the text", at)
	}
	kept := c.made
	switch {
	case s.Forgets:
		kept = roles
	case !s.StaysReadable:
		kept -= c.retired
	}
	if got := s.Kept(t, r); got != kept {
		t.Fatalf("%s: it keeps %d versions, want %d", at, got, kept)
	}
	return made
}

// textOf is the number of the text of a version, and the try that wrote it.
func (s *Stage) textOf(t *testing.T, r secret.Ref, v secret.Version) (n, try int) {
	t.Helper()
	if v.ID == "" {
		return 0, 0
	}
	got, err := s.Store.Read(t.Context(), r, v.ID)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 * later {
		if got.Equal(text(n)) {
			return n % later, n / later
		}
	}
	t.Fatalf("the text of version %s is none that was written", v.ID)
	return 0, 0
}
