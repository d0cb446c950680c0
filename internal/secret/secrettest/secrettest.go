// Package secrettest checks that a place of secrets keeps the promises of secret.Store.
//
// Every store runs the same suite: the two clouds' against the played services, files against a real disk. What only one of them
// does is tested beside it. Only tests import this.
package secrettest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"dbops/internal/fault"
	"dbops/internal/secret"
)

// Stage is a store, and the hands behind the scenes.
type Stage struct {
	Store secret.Store
	// New names a place that does not exist, and another one each time.
	New func(t *testing.T) secret.Ref
	// Doomed is the store of a process that is killed at its nth step (from 0) that reaches what keeps the secrets: before that step, or
	// right after it. Its context ends with it; died tells whether it came to that.
	Doomed func(t *testing.T, n int, after bool) (s secret.Store, ctx context.Context, died func() bool)
	// ByHand gives a place another current text, as a person does without dbops.
	ByHand func(t *testing.T, r secret.Ref, text string)
	// Kept counts the versions whose text a place still has.
	Kept func(t *testing.T, r secret.Ref) int

	FirstIsCurrent bool // the first version of a place is current at once
	StaysReadable  bool // a retired version can be read
	Forgets        bool // what is neither current nor pending nor previous loses its text
}

// Texts of credentials. They begin with a mark that no error may hold.
const mark = "s3cr3t-"

func text(n int) string {
	return fmt.Sprintf(`{"username":"api_%d","password":"%sq7Zr0vN2kLwX8bTfYhJm5cPdUa<&>é\\%d"}`, n, mark, n) + "\n"
}

func token(n int) string { return fmt.Sprintf("run 2026-11-21/%d", n) }

// Run checks it all.
func Run(t *testing.T, s *Stage) {
	t.Helper()
	t.Run("a place that does not exist", s.missing)
	t.Run("the life of a place", s.life)
	t.Run("a token is good for one version", s.tokens)
	t.Run("a version that is no more", s.gone)
	t.Run("a current version that was changed by hand", s.byHand)
	t.Run("a place that was made by hand", s.adopted)
	t.Run("texts that no place can keep", s.texts)
	t.Run("many at once", s.race)
	t.Run("killed anywhere", s.crash)
}

func (s *Stage) missing(t *testing.T) {
	ctx, r := t.Context(), s.New(t)
	_, inspect := s.Store.Inspect(ctx, r)
	_, read := s.Store.Read(ctx, r, secret.TokenID(token(1)))
	_, stage := s.Store.Stage(ctx, r, token(1), secret.New(text(1)))
	for what, err := range map[string]error{
		"inspect": inspect, "read": read, "stage": stage, "promote": s.Store.Promote(ctx, r, "", "1"), "retire": s.Store.Retire(ctx, r, "1"),
	} {
		failed(t, what, err, fault.NotFound)
	}
}

// life goes through a rotation, another one, and back.
func (s *Stage) life(t *testing.T) {
	ctx, r := t.Context(), s.New(t)
	s.create(t, r)
	s.create(t, r)
	s.holds(t, r, secret.Holding{})

	one := s.stage(t, r, 1)
	s.reads(t, r, one, 1)
	if s.FirstIsCurrent {
		s.holds(t, r, secret.Holding{Current: one})
	} else {
		s.holds(t, r, secret.Holding{Pending: one})
	}
	s.promote(t, r, secret.Version{}, one)
	s.holds(t, r, secret.Holding{Current: one})
	s.serves(t, r, 1)

	two := s.stage(t, r, 2)
	s.holds(t, r, secret.Holding{Current: one, Pending: two})
	s.serves(t, r, 1)
	s.reads(t, r, one, 1)
	s.reads(t, r, two, 2)
	s.promote(t, r, one, two)
	s.holds(t, r, secret.Holding{Current: two, Previous: one})
	s.serves(t, r, 2)
	s.reads(t, r, one, 1)
	failed(t, "promote from what is current no more", s.Store.Promote(ctx, r, one.ID, one.ID+"0"), fault.Stale)
	failed(t, "promote from none", s.Store.Promote(ctx, r, "", one.ID), fault.Stale)

	s.promote(t, r, two, one) // back
	s.holds(t, r, secret.Holding{Current: one, Previous: two})
	s.serves(t, r, 1)
	s.promote(t, r, one, two) // and forth
	s.holds(t, r, secret.Holding{Current: two, Previous: one})

	failed(t, "retire the current version", s.Store.Retire(ctx, r, two.ID), fault.Blocked)
	s.retire(t, r, one)
	s.holds(t, r, secret.Holding{Current: two})
	three := s.stage(t, r, 3)
	s.retire(t, r, three)
	s.holds(t, r, secret.Holding{Current: two})
	s.serves(t, r, 2)
	s.create(t, r) // changes nothing
	s.holds(t, r, secret.Holding{Current: two})
}

func (s *Stage) tokens(t *testing.T) {
	r := s.New(t)
	s.create(t, r)
	one := s.stage(t, r, 1)
	s.promote(t, r, secret.Version{}, one)
	again := func(token string, want secret.Version) {
		t.Helper()
		before := s.inspect(t, r)
		v, err := s.Store.Stage(t.Context(), r, token, secret.New(text(9)))
		if err != nil || v.ID != want.ID {
			t.Errorf("the same token again: %v, %v, want %v", v.ID, err, want.ID)
		}
		s.holds(t, r, before)
	}
	again(token(1), one)
	s.reads(t, r, one, 1)
	two := s.stage(t, r, 2)
	again(token(2), two)
	again(token(1), one)
	s.reads(t, r, two, 2)
	three := s.stage(t, r, 3)
	s.holds(t, r, secret.Holding{Current: one, Pending: three})
	_, err := s.Store.Stage(t.Context(), r, token(2), secret.New(text(2)))
	failed(t, "a token whose version was pushed aside", err, fault.Stale)
	s.holds(t, r, secret.Holding{Current: one, Pending: three})
	s.promote(t, r, one, three)
	again(token(3), three)
	again(token(1), one) // is previous now
	s.retire(t, r, one)
	_, err = s.Store.Stage(t.Context(), r, token(1), secret.New(text(1)))
	failed(t, "a token whose version was retired", err, fault.Stale)
	s.holds(t, r, secret.Holding{Current: three})

	long := strings.Repeat("a token of any length ", 20)
	four, err := s.Store.Stage(t.Context(), r, long, secret.New(text(4)))
	if err != nil {
		t.Fatal(err)
	}
	again(long, four)
}

func (s *Stage) gone(t *testing.T) {
	ctx, r := t.Context(), s.New(t)
	s.create(t, r)
	one := s.stage(t, r, 1)
	s.promote(t, r, secret.Version{}, one)
	two := s.stage(t, r, 2)
	for _, id := range []string{"", "99", "never-there", secret.TokenID(token(99))} {
		_, err := s.Store.Read(ctx, r, id)
		failed(t, "read a version that never was", err, fault.NotFound)
		failed(t, "promote a version that never was", s.Store.Promote(ctx, r, one.ID, id), fault.NotFound)
		if err := s.Store.Retire(ctx, r, id); err != nil {
			t.Errorf("retire a version that never was: %v", err)
		}
	}
	s.holds(t, r, secret.Holding{Current: one, Pending: two})
	s.retire(t, r, two)
	_, err := s.Store.Read(ctx, r, two.ID)
	if s.StaysReadable {
		s.reads(t, r, two, 2)
	} else {
		failed(t, "read a retired version", err, fault.NotFound)
	}
}

func (s *Stage) byHand(t *testing.T) {
	ctx, r := t.Context(), s.New(t)
	s.create(t, r)
	one := s.stage(t, r, 1)
	s.promote(t, r, secret.Version{}, one)
	two := s.stage(t, r, 2)
	s.ByHand(t, r, text(7))
	failed(t, "promote", s.Store.Promote(ctx, r, one.ID, two.ID), fault.Stale)
	s.serves(t, r, 7)
	hand := s.inspect(t, r).Current
	if hand.ID == "" || hand.ID == one.ID || hand.ID == two.ID {
		t.Fatalf("current is %q", hand.ID)
	}
	s.reads(t, r, hand, 7)
	s.delivered(t, r, one)
	three := s.stage(t, r, 3)
	if h := s.inspect(t, r); h.Current.ID != hand.ID || h.Pending.ID != three.ID {
		t.Fatalf("%+v", h)
	}
	s.promote(t, r, hand, three)
	s.holds(t, r, secret.Holding{Current: three, Previous: hand})
	s.reads(t, r, hand, 7)
	s.promote(t, r, three, hand) // back to what the person wrote
	s.serves(t, r, 7)
	s.holds(t, r, secret.Holding{Current: hand, Previous: three})
	s.promote(t, r, hand, three)
	for n := range 2 { // the second one takes every label from what dbops delivered
		s.ByHand(t, r, text(8+n))
	}
	s.delivered(t, r, three)
	s.reads(t, r, three, 3)
	s.promote(t, r, s.inspect(t, r).Current, three)
	s.serves(t, r, 3)
}

// delivered sees that the place knows what dbops delivered last.
func (s *Stage) delivered(t *testing.T, r secret.Ref, want secret.Version) {
	t.Helper()
	k, ok := s.Store.(secret.Keeper)
	if !ok {
		t.Fatal("it does not tell what was delivered")
	}
	if all, err := k.Delivered(t.Context(), r); err != nil || len(all) == 0 || all[0] != want.ID {
		t.Errorf("delivered were %v, not %s: %v", all, want.ID, err)
	}
}

func (s *Stage) adopted(t *testing.T) {
	r := s.New(t)
	s.ByHand(t, r, text(1))
	one := s.inspect(t, r).Current
	s.holds(t, r, secret.Holding{Current: one})
	s.reads(t, r, one, 1)
	s.create(t, r)
	s.holds(t, r, secret.Holding{Current: one})
	two := s.stage(t, r, 2)
	s.holds(t, r, secret.Holding{Current: one, Pending: two})
	s.serves(t, r, 1)
	s.promote(t, r, one, two)
	s.holds(t, r, secret.Holding{Current: two, Previous: one})
	s.reads(t, r, one, 1)
	s.serves(t, r, 2)
}

func (s *Stage) texts(t *testing.T) {
	ctx, r := t.Context(), s.New(t)
	s.create(t, r)
	one := s.stage(t, r, 1)
	s.promote(t, r, secret.Version{}, one)
	for name, bad := range map[string]string{
		"none": "", "too large": mark + strings.Repeat("x", 64<<10), "no text": mark + "\xff", "with a zero": mark + "\x00",
	} {
		_, err := s.Store.Stage(ctx, r, token(2), secret.New(bad))
		failed(t, name, err, fault.Invalid)
	}
	s.holds(t, r, secret.Holding{Current: one})
	largest := mark + strings.Repeat("x", 64<<10-len(mark))
	v, err := s.Store.Stage(ctx, r, token(2), secret.New(largest))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Store.Read(ctx, r, v.ID); err != nil || !got.Equal(largest) {
		t.Errorf("the largest text: %v, or another one", err)
	}
}

// race lets several runners work on one place, which leases forbid.
func (s *Stage) race(t *testing.T) {
	ctx, r := t.Context(), s.New(t)
	s.create(t, r)
	one := s.stage(t, r, 1)
	s.promote(t, r, secret.Version{}, one)
	var wg sync.WaitGroup
	got := make([]secret.Version, 4)
	for i := range got {
		wg.Go(func() {
			v, err := s.Store.Stage(ctx, r, token(2), secret.New(text(20+i)))
			if err != nil {
				t.Errorf("one of many: %v", err)
			}
			got[i] = v
		})
	}
	wg.Wait()
	two := got[0]
	for _, v := range got {
		if v.ID != two.ID {
			t.Fatalf("one token made the versions %v", got)
		}
	}
	s.holds(t, r, secret.Holding{Current: one, Pending: two})
	for range 3 {
		r := s.New(t)
		v := rotated(t, s, r)
		errs := make([]error, 2)
		wg.Go(func() { errs[0] = s.Store.Promote(ctx, r, v[2].ID, v[1].ID) })
		wg.Go(func() { errs[1] = s.Store.Promote(ctx, r, v[2].ID, v[3].ID) })
		wg.Wait()
		won, late := v[1], errs[1]
		if errs[0] != nil {
			won, late = v[3], errs[0]
		}
		failed(t, "who came too late", late, fault.Stale)
		if h := s.inspect(t, r); h.Current.ID != won.ID || h.Previous.ID != v[2].ID {
			t.Fatalf("%s won, but %+v", won.ID, h)
		}
	}
}
