package secrettest

import (
	"strings"
	"testing"

	"dbops/internal/fault"
	"dbops/internal/secret"
)

func (s *Stage) create(t *testing.T, r secret.Ref) {
	t.Helper()
	if err := s.Store.Create(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

func (s *Stage) stage(t *testing.T, r secret.Ref, n int) secret.Version {
	t.Helper()
	v, err := s.Store.Stage(t.Context(), r, token(n), secret.New(text(n)))
	if err != nil || v.ID == "" {
		t.Fatalf("stage %d: %q, %v", n, v.ID, err)
	}
	return v
}

// promote does it twice.
func (s *Stage) promote(t *testing.T, r secret.Ref, from, to secret.Version) {
	t.Helper()
	for range 2 {
		if err := s.Store.Promote(t.Context(), r, from.ID, to.ID); err != nil {
			t.Fatal(err)
		}
	}
}

// retire does it twice.
func (s *Stage) retire(t *testing.T, r secret.Ref, v secret.Version) {
	t.Helper()
	for range 2 {
		if err := s.Store.Retire(t.Context(), r, v.ID); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *Stage) inspect(t *testing.T, r secret.Ref) secret.Holding {
	t.Helper()
	h, err := s.Store.Inspect(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []secret.Version{h.Current, h.Pending, h.Previous} {
		if v.Created.IsZero() != (v.ID == "") {
			t.Errorf("a version and its date: %+v", v)
		}
	}
	return h
}

// holds compares what a place holds, by the ids.
func (s *Stage) holds(t *testing.T, r secret.Ref, want secret.Holding) {
	t.Helper()
	h := s.inspect(t, r)
	if h.Current.ID != want.Current.ID || h.Pending.ID != want.Pending.ID || h.Previous.ID != want.Previous.ID {
		t.Fatalf("it holds %+v, want %+v", h, want)
	}
}

func (s *Stage) reads(t *testing.T, r secret.Ref, v secret.Version, n int) {
	t.Helper()
	got, err := s.Store.Read(t.Context(), r, v.ID)
	if err != nil || !got.Equal(text(n)) {
		t.Fatalf("read %s: %v, or not text %d", v.ID, err, n)
	}
}

// serves checks what is read by who does not know of versions.
func (s *Stage) serves(t *testing.T, r secret.Ref, n int) {
	t.Helper()
	r.Key = "password"
	got, err := s.Store.Get(t.Context(), r)
	if err != nil || !strings.Contains(text(n), strings.ReplaceAll(got.Reveal(), `\`, `\\`)) {
		t.Fatalf("get: %v, or not text %d", err, n)
	}
}

// failed checks that an error is of a kind, says of what, gives a hint, and holds no secret.
func failed(t *testing.T, what string, err error, kind fault.Kind) {
	t.Helper()
	if fault.KindOf(err) != kind || err == nil {
		t.Errorf("%s: %v, want %s", what, err, kind)
		return
	}
	if strings.Contains(err.Error()+fault.HintOf(err), mark) {
		t.Errorf("%s: the error holds the secret", what)
	}
	if !strings.Contains(err.Error(), "secret ") {
		t.Errorf("%s: it does not say of what: %v", what, err)
	}
}
