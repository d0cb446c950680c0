package gcpsm

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"

	"dbops/internal/fault"
	"dbops/internal/sandbox/play"
	"dbops/internal/secret"
)

// direct reaches the played service without a network, so that pauses cost no time in a bubble.
func (s *store) direct(r *http.Request) (resp *http.Response, err error) {
	defer func() {
		if end := recover(); end == http.ErrAbortHandler { //nolint:errorlint // this very value
			resp, err = nil, io.ErrUnexpectedEOF
		} else if end != nil {
			panic(end)
		}
	}()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	s.api.ServeHTTP(w, r)
	resp = w.Result()
	resp.Request = r
	return resp, nil
}

// rotating is a secret with versions 1 previous, 2 current, 3 pending.
func rotating(t *testing.T, source *Source, name string) secret.Ref {
	t.Helper()
	ctx, r := t.Context(), orders(name)
	if err := source.Create(ctx, r); err != nil {
		t.Fatal(err)
	}
	for i, token := range []string{"one", "two", "three"} {
		v, err := source.Stage(ctx, r, token, secret.New(pw+token))
		if err == nil && i < 2 {
			err = source.Promote(ctx, r, idOf(int64(i)), v.ID)
		}
		if err != nil || v.ID != idOf(int64(i+1)) {
			t.Fatal(v, err)
		}
	}
	return r
}

func check(t *testing.T, err error, kind fault.Kind, text, hint string) {
	t.Helper()
	if err == nil || fault.KindOf(err) != kind || !strings.Contains(err.Error(), text) || !strings.Contains(fault.HintOf(err), hint) {
		t.Errorf("got %v, hint %q, want %s with %q and %q", err, fault.HintOf(err), kind, text, hint)
	}
	if err != nil && strings.Contains(err.Error()+fault.HintOf(err), pw) {
		t.Error("the error holds the secret")
	}
}

func holds(t *testing.T, source *Source, r secret.Ref, current, pending, previous string) {
	t.Helper()
	h, err := source.Inspect(t.Context(), r)
	if err != nil || h.Current.ID != current || h.Pending.ID != pending || h.Previous.ID != previous {
		t.Errorf("%+v, %v, want %q, %q, %q", h, err, current, pending, previous)
	}
}

func TestTroubleSaysWhatToDo(t *testing.T) {
	t.Parallel()
	for call, c := range map[string]struct {
		do      func(context.Context, *Source, secret.Ref) error
		actions map[string]string // and the permission
	}{
		"inspect": {func(ctx context.Context, s *Source, r secret.Ref) error { _, err := s.Inspect(ctx, r); return err }, map[string]string{
			"GetSecret": "secrets.get",
		}},
		"read": {func(ctx context.Context, s *Source, r secret.Ref) error { _, err := s.Read(ctx, r, "2"); return err }, map[string]string{
			"AccessSecretVersion": "versions.access",
		}},
		"create": {func(ctx context.Context, s *Source, _ secret.Ref) error { return s.Create(ctx, orders("new")) }, map[string]string{
			"CreateSecret": "secrets.create",
		}},
		"stage": {func(ctx context.Context, s *Source, r secret.Ref) error {
			_, err := s.Stage(ctx, r, "four", secret.New(pw))
			return err
		}, map[string]string{
			"GetSecret": "secrets.get", "ListSecretVersions": "versions.list", "UpdateSecret": "secrets.update",
			"AccessSecretVersion": "versions.access", "AddSecretVersion": "versions.add",
		}},
		"promote": {func(ctx context.Context, s *Source, r secret.Ref) error { return s.Promote(ctx, r, "2", "3") }, map[string]string{
			"GetSecret": "secrets.get", "GetSecretVersion": "versions.get", "UpdateSecret": "secrets.update",
		}},
		"retire": {func(ctx context.Context, s *Source, r secret.Ref) error { return s.Retire(ctx, r, "1") }, map[string]string{
			"GetSecret": "secrets.get", "UpdateSecret": "secrets.update", "GetSecretVersion": "versions.get", "DisableSecretVersion": "versions.disable",
		}},
	} {
		for action, permission := range c.actions {
			for effect, kind := range map[play.Effect]fault.Kind{
				play.Deny: fault.Denied, play.Throttle: fault.Throttled, play.Unavailable: fault.Unavailable, play.Drop: fault.Unavailable,
			} {
				t.Run(call+" "+action+" "+string(effect), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						s := silently(t)
						source := s.through(t, admin, roundTrip(s.direct))
						r := rotating(t, source, "api")
						s.faults.Add(play.Fault{Service: "secretmanager", Action: action, Effect: effect})
						err := c.do(t.Context(), source, r)
						check(t, err, kind, "secret gcp-sm:projects/shop-prod/secrets/", " ")
						if effect == play.Deny && (fault.PermissionOf(err) != "secretmanager."+permission || !strings.Contains(fault.HintOf(err), "grant")) {
							t.Errorf("missing %q, hint %q", fault.PermissionOf(err), fault.HintOf(err))
						}
						s.faults.Clear()
						if call != "retire" { // the aliases may be gone already
							holds(t, source, r, "2", "3", "1")
						}
						if err := c.do(t.Context(), source, r); err != nil {
							t.Errorf("afterwards: %v", err)
						}
					})
				})
			}
		}
	}
}

func TestDatesMayNotBeSeen(t *testing.T) {
	s := silently(t)
	source := s.through(t, admin, roundTrip(s.direct))
	r := rotating(t, source, "api")
	s.faults.Add(play.Fault{Action: "GetSecretVersion", Effect: play.Deny})
	if h, err := source.Inspect(t.Context(), r); err != nil || h.Current.ID != "2" || !h.Current.Created.IsZero() {
		t.Errorf("%+v, %v", h, err)
	}
}

func TestAPassingFailureMakesNoSecondVersion(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{false, true} { // the request, or its answer
		synctest.Test(t, func(t *testing.T) {
			s := silently(t)
			failures := 0
			source := s.through(t, admin, roundTrip(func(r *http.Request) (*http.Response, error) {
				if !strings.HasSuffix(r.URL.Path, ":addVersion") || failures == 2 {
					return s.direct(r)
				}
				failures++
				if lost {
					_, _ = s.direct(r)
				}
				return nil, io.ErrUnexpectedEOF
			}))
			r := rotating(t, source, "api")
			if want := map[bool]int{false: 2, true: 2}[lost]; failures != want {
				t.Errorf("%d failures", failures)
			}
			if n := s.hand(t).enabled(t, r); n != 3 {
				t.Errorf("%d versions", n)
			}
		})
	}
}

// meddler does something before the next updates reach the service.
type meddler struct {
	s      *store
	meddle func()
	times  int
}

func (m *meddler) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPatch && m.times > 0 {
		m.times--
		m.meddle()
	}
	return m.s.direct(r)
}

func TestOthersChangeTheSecretAtTheSameTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := silently(t)
		m := &meddler{s: s}
		source := s.through(t, admin, m)
		hand := s.hand(t)
		r := rotating(t, source, "api")
		count := 0
		m.meddle = func() { count++; hand.annotate(t, r, "owner", fmt.Sprint(count)) }

		m.times = 3
		if err := source.Promote(t.Context(), r, "2", "3"); err != nil || count != 3 {
			t.Errorf("only the etag moved, %d times: %v", count, err)
		}
		m.times = 5
		if v, err := source.Stage(t.Context(), r, "four", secret.New(pw)); err != nil || v.ID != "4" {
			t.Errorf("%v, %v", v, err)
		}
		m.times = 100
		check(t, source.Retire(t.Context(), r, "4"), fault.Stale, "all the time", "what updates the secret")
		if count != 3+5+tries {
			t.Errorf("it was tried %d times", count-8)
		}
		m.meddle, m.times = func() { hand.alias(t, r, current, 2) }, 1
		check(t, source.Promote(t.Context(), r, "3", "4"), fault.Stale, "the current version is 2, not 3", "make a new plan")
		m.meddle, m.times = func() { hand.alias(t, r, current, 4) }, 1
		if err := source.Promote(t.Context(), r, "2", "4"); err != nil {
			t.Errorf("somebody did the same: %v", err)
		}
		got := hand.get(t, r)
		if got.Annotations["owner"] == "" || got.VersionAliases[pending] != 0 {
			t.Errorf("%v", got)
		}
	})
}

func TestVersionsThatAPersonAddsAreNotTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := silently(t)
		added := 0
		var hand *hand
		var r secret.Ref
		killed := true
		source := s.through(t, admin, roundTrip(func(q *http.Request) (*http.Response, error) {
			if !strings.HasSuffix(q.URL.Path, ":addVersion") || hand == nil || added > 0 {
				return s.direct(q)
			}
			added++
			hand.add(t, r, pw+"by hand")
			resp, err := s.direct(q)
			hand.add(t, r, pw+"by hand, too")
			if killed {
				return nil, context.Canceled
			}
			return resp, err
		}))
		r = rotating(t, source, "api")
		hand = s.hand(t)
		if _, err := source.Stage(t.Context(), r, "four", secret.New(pw+"four")); err == nil {
			t.Fatal("it was not killed")
		}
		v, err := source.Stage(t.Context(), r, "four", secret.New(pw+"another"))
		if err != nil || v.ID != "5" {
			t.Errorf("%v, %v", v, err)
		}
		if got, err := source.Read(t.Context(), r, v.ID); err != nil || !got.Equal(pw+"four") {
			t.Errorf("another text, %v", err)
		}
		holds(t, source, r, "2", "5", "1")
	})
}

func TestWhoAsksForNoVersionNeverGetsThePending(t *testing.T) {
	s := silently(t)
	source := s.through(t, admin, roundTrip(s.direct))
	hand, r := s.hand(t), orders("by-hand")
	if err := source.Create(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	hand.add(t, r, "first")
	hand.add(t, r, "second")
	gets := func(want string) {
		t.Helper()
		if v, err := source.Get(t.Context(), r); err != nil || !v.Equal(want) {
			t.Errorf("%v, or not %s", err, want)
		}
	}
	gets("second") // the latest: nobody has written to it
	// From the first write on, at every point of it, it is the second.
	for n := range 8 {
		ctx, cancel := context.WithCancel(t.Context())
		d := &doomed{next: roundTrip(s.direct), left: n, after: true, kill: cancel}
		_, _ = s.through(t, admin, d).Stage(ctx, r, "one", secret.New("third"))
		cancel()
		gets("second")
	}
	v, err := source.Stage(t.Context(), r, "one", secret.New("third"))
	if err != nil || v.ID != "3" {
		t.Fatal(v, err)
	}
	gets("second")
	if err := source.Promote(t.Context(), r, "2", "3"); err != nil {
		t.Fatal(err)
	}
	gets("third")
	hand.add(t, r, "fourth") // who adds a version by hand has to move the alias, too
	gets("third")
	hand.alias(t, r, current, 4)
	gets("fourth")
	if _, err := hand.api.DisableSecretVersion(t.Context(), &secretmanagerpb.DisableSecretVersionRequest{Name: r.Name + "/versions/4"}); err != nil {
		t.Fatal(err)
	}
	_, err = source.Get(t.Context(), r) // and not the latest, or any other
	check(t, err, fault.Busy, "DISABLED", "")
}

func TestASecretThatCannotBeWritten(t *testing.T) {
	s := silently(t)
	source := s.through(t, admin, roundTrip(s.direct))
	hand, r := s.hand(t), rotating(t, source, "api")
	t.Run("a version that is disabled is not promoted", func(t *testing.T) {
		if _, err := hand.api.DisableSecretVersion(t.Context(), &secretmanagerpb.DisableSecretVersionRequest{Name: r.Name + "/versions/3"}); err != nil {
			t.Fatal(err)
		}
		check(t, source.Promote(t.Context(), r, "2", "3"), fault.Busy, "version 3 is DISABLED", "gcloud secrets versions enable 3 --secret api --project shop-prod")
		_, err := source.Read(t.Context(), r, "3")
		check(t, err, fault.NotFound, "DISABLED", "gcloud secrets versions enable 3")
		holds(t, source, r, "2", "3", "1")
	})
	t.Run("the ledger was changed by hand", func(t *testing.T) {
		other := rotating(t, source, "broken")
		hand.annotate(t, other, annotation, "{")
		_, err := source.Inspect(t.Context(), other)
		check(t, err, fault.Invalid, "is not what dbops wrote", "gcloud secrets update broken --project shop-prod --remove-annotations=dbops-versions")
	})
	t.Run("a reference with a version", func(t *testing.T) {
		_, err := source.Stage(t.Context(), secret.Ref{Scheme: secret.SchemeGCP, Name: r.Name + "/versions/1"}, "x", secret.New(pw))
		check(t, err, fault.Config, "does not name a secret alone", "projects/PROJECT/secrets/NAME")
	})
	for _, c := range []struct {
		name, method, suffix, answer string
		status                       int
		do                           func(*Source) error
		kind                         fault.Kind
		text, hint                   string
	}{
		{"Google rotates it", http.MethodGet, "/secrets/api", `{"name":"x","etag":"\"1\"","secretType":"CLOUD_SQL_DB_CREDENTIALS"}`, 200, func(s *Source) error {
			_, err := s.Stage(t.Context(), r, "four", secret.New(pw))
			return err
		}, fault.Blocked, "Google rotates it", "a secret of your own"},
		{"automatic replication is forbidden", http.MethodPost, "/secrets", `{"error":{"code":400,"message":"Constraint constraints/gcp.resourceLocations violated","status":"FAILED_PRECONDITION"}}`, 400, func(s *Source) error {
			return s.Create(t.Context(), orders("new"))
		}, fault.Busy, "constraints/gcp.resourceLocations", "gcloud secrets create new --project shop-prod --replication-policy=user-managed"},
		{"its key is disabled", http.MethodPost, "/secrets/api:addVersion", `{"error":{"code":400,"message":"The key is not enabled","status":"FAILED_PRECONDITION"}}`, 400, func(s *Source) error {
			_, err := s.Stage(t.Context(), r, "four", secret.New(pw))
			return err
		}, fault.Busy, "The key is not enabled", "a key of your own must be enabled"},
	} {
		t.Run(c.name, func(t *testing.T) {
			check(t, c.do(s.through(t, admin, roundTrip(func(q *http.Request) (*http.Response, error) {
				if q.Method != c.method || !strings.HasSuffix(q.URL.Path, c.suffix) {
					return s.direct(q)
				}
				return &http.Response{
					StatusCode: c.status, Header: http.Header{"Content-Type": {"application/json"}},
					Body: io.NopCloser(bytes.NewReader([]byte(c.answer))), Request: q,
				}, nil
			}))), c.kind, c.text, c.hint)
		})
	}
}

func TestTheLedgerStaysSmall(t *testing.T) {
	s := silently(t)
	source := s.through(t, admin, roundTrip(s.direct))
	r := rotating(t, source, "api")
	for i := range 2 * maxLedger {
		if _, err := source.Stage(t.Context(), r, fmt.Sprintf("a token, %d", i), secret.New(pw)); err != nil {
			t.Fatal(err)
		}
	}
	text := s.hand(t).get(t, r).Annotations[annotation]
	if len(text) > 8<<10 || strings.Count(text, "token") != maxLedger {
		t.Errorf("%d bytes, %d tokens", len(text), strings.Count(text, "token"))
	}
	if v, err := source.Stage(t.Context(), r, "two", secret.New(pw)); err != nil || v.ID != "2" {
		t.Errorf("the token of the current version was forgotten: %v, %v", v, err)
	}
}
