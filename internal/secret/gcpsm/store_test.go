package gcpsm

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"

	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"dbops/internal/secret"
	"dbops/internal/secret/secrettest"
)

func TestTheStoreKeepsItsPromises(t *testing.T) {
	s := start(t)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	source := s.through(t, admin, transport)
	hand := s.hand(t)
	places := 0
	secrettest.Run(t, &secrettest.Stage{
		Store: source,
		New: func(*testing.T) secret.Ref {
			places++
			return secret.Ref{Scheme: secret.SchemeGCP, Name: fmt.Sprintf("projects/shop-prod/secrets/api-%d", places)}
		},
		Doomed: func(t *testing.T, n int, after bool) (secret.Store, context.Context, func() bool) {
			t.Helper()
			ctx, cancel := context.WithCancel(t.Context())
			t.Cleanup(cancel)
			d := &doomed{next: transport, left: n, after: after, kill: cancel}
			return s.through(t, admin, d), ctx, d.died.Load
		},
		ByHand: func(t *testing.T, r secret.Ref, text string) {
			t.Helper()
			if err := source.Create(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			n := hand.add(t, r, text)
			if hand.get(t, r).VersionAliases[current] != 0 {
				hand.alias(t, r, current, n)
			}
		},
		Kept: func(t *testing.T, r secret.Ref) int {
			t.Helper()
			return hand.enabled(t, r)
		},
	})
}

// hand is a person with gcloud.
type hand struct{ *place }

func (s *store) hand(t *testing.T) *hand {
	t.Helper()
	p, err := s.through(t, admin, roundTrip(s.direct)).place(t.Context(), "test", secret.Ref{Name: "projects/shop-prod/secrets/none"})
	if err != nil {
		t.Fatal(err)
	}
	return &hand{p}
}

func (h *hand) add(t *testing.T, r secret.Ref, text string) int64 {
	t.Helper()
	v, err := h.api.AddSecretVersion(t.Context(), &secretmanagerpb.AddSecretVersionRequest{
		Parent: r.Name, Payload: &secretmanagerpb.SecretPayload{Data: []byte(text)},
	})
	if err != nil {
		t.Fatal(err)
	}
	n, err := numberOf(v.Name)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (h *hand) get(t *testing.T, r secret.Ref) *secretmanagerpb.Secret {
	t.Helper()
	s, err := h.api.GetSecret(t.Context(), &secretmanagerpb.GetSecretRequest{Name: r.Name})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (h *hand) alias(t *testing.T, r secret.Ref, alias string, n int64) {
	t.Helper()
	s := h.get(t, r)
	if s.VersionAliases == nil {
		s.VersionAliases = map[string]int64{}
	}
	s.VersionAliases[alias] = n
	if _, err := h.api.UpdateSecret(t.Context(), &secretmanagerpb.UpdateSecretRequest{
		Secret: s, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"version_aliases"}},
	}); err != nil {
		t.Fatal(err)
	}
}

func (h *hand) annotate(t *testing.T, r secret.Ref, key, value string) {
	t.Helper()
	s := h.get(t, r)
	if s.Annotations == nil {
		s.Annotations = map[string]string{}
	}
	s.Annotations[key] = value
	if _, err := h.api.UpdateSecret(t.Context(), &secretmanagerpb.UpdateSecretRequest{
		Secret: s, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"annotations"}},
	}); err != nil {
		t.Fatal(err)
	}
}

func (h *hand) enabled(t *testing.T, r secret.Ref) int {
	t.Helper()
	count := 0
	for v, err := range h.api.ListSecretVersions(t.Context(), &secretmanagerpb.ListSecretVersionsRequest{Parent: r.Name}).All() {
		if err != nil {
			t.Fatal(err)
		}
		if v.State == secretmanagerpb.SecretVersion_ENABLED {
			count++
		}
	}
	return count
}

// doomed is the network of a process that is killed at a request.
type doomed struct {
	next  http.RoundTripper
	left  int
	after bool
	kill  func()
	died  atomic.Bool
}

func (d *doomed) RoundTrip(r *http.Request) (*http.Response, error) {
	if d.died.Load() || d.left == 0 && !d.after {
		d.died.Store(true)
		d.kill()
		return nil, context.Canceled
	}
	resp, err := d.next.RoundTrip(r)
	if d.left == 0 {
		d.died.Store(true)
		d.kill()
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
		return nil, context.Canceled
	}
	d.left--
	return resp, err
}

func orders(name string) secret.Ref {
	return secret.Ref{Scheme: secret.SchemeGCP, Name: "projects/shop-prod/secrets/" + name}
}
