package awssm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"dbops/internal/secret"
	"dbops/internal/secret/secrettest"
)

func TestTheStoreKeepsItsPromises(t *testing.T) {
	s := start(t)
	source := s.as(t, "user/dbops", Options{Region: "eu-west-1"})
	places := 0
	secrettest.Run(t, &secrettest.Stage{
		Store: source,
		New: func(*testing.T) secret.Ref {
			places++
			name := fmt.Sprintf("prod/api-%d", places)
			if places%2 == 0 {
				name = "eu-west-1/" + name
			}
			return secret.Ref{Scheme: secret.SchemeAWS, Name: name}
		},
		Doomed: func(t *testing.T, n int, after bool) (secret.Store, context.Context, func() bool) {
			t.Helper()
			ctx, cancel := context.WithCancel(t.Context())
			t.Cleanup(cancel)
			transport := &http.Transport{}
			t.Cleanup(transport.CloseIdleConnections)
			d := &doomed{next: transport, left: n, after: after, kill: cancel}
			return s.with(t, "user/dbops", Options{Region: "eu-west-1", HTTPClient: &http.Client{Transport: d}}), ctx, d.died.Load
		},
		ByHand: func(t *testing.T, r secret.Ref, text string) {
			t.Helper()
			_, id := locate(r.Name)
			_, err := source.api.CreateSecret(t.Context(), &sdk.CreateSecretInput{Name: &id, SecretString: &text})
			if _, exists := errors.AsType[*types.ResourceExistsException](err); exists {
				_, err = source.api.PutSecretValue(t.Context(), &sdk.PutSecretValueInput{SecretId: &id, SecretString: &text})
			}
			if err != nil {
				t.Fatal(err)
			}
		},
		Kept: func(t *testing.T, r secret.Ref) int {
			t.Helper()
			_, id := locate(r.Name)
			out, err := source.api.ListSecretVersionIds(t.Context(), &sdk.ListSecretVersionIdsInput{SecretId: &id, IncludeDeprecated: new(true)})
			if err != nil {
				t.Fatal(err)
			}
			return len(out.Versions)
		},
		FirstIsCurrent: true,
		StaysReadable:  true,
	})
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
