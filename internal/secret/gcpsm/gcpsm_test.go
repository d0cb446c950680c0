package gcpsm

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"go.uber.org/goleak"

	"dbops/internal/cloud/gcpclient"
	"dbops/internal/fault"
	"dbops/internal/sandbox/gcpapi/googleid"
	"dbops/internal/sandbox/play"
	played "dbops/internal/sandbox/secretsapi/gcpsm"
	"dbops/internal/secret"
)

func TestMain(m *testing.M) {
	// Google's libraries keep idle connections in transports of their own, which nobody can close.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

const (
	pw     = "correct-horse-battery"
	admin  = "admin@shop-prod.iam.gserviceaccount.com"
	viewer = "viewer@shop-prod.iam.gserviceaccount.com"
)

// store is a played Secret Manager with its identities.
type store struct {
	url    string
	api    *played.Server
	id     *googleid.Directory
	faults *play.Faults
}

func start(t *testing.T) *store {
	t.Helper()
	s := silently(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.id.Serves(r.URL.Path) {
			s.id.ServeHTTP(w, r)
			return
		}
		s.api.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		server.CloseClientConnections()
		server.Close()
	})
	s.url = server.URL
	return s
}

// silently is start without a network.
func silently(t *testing.T) *store {
	t.Helper()
	id, err := googleid.Open(googleid.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for email, role := range map[string]string{admin: "roles/secretmanager.admin", viewer: "roles/secretmanager.viewer"} {
		if err := id.Grant(email, role); err != nil {
			t.Fatal(err)
		}
	}
	s := &store{id: id, faults: &play.Faults{}}
	api, err := played.New(played.Options{Identity: id, Faults: s.faults, Projects: map[string]string{"shop-prod": "123456789012"}})
	if err != nil {
		t.Fatal(err)
	}
	s.api, s.url = api, "http://secretmanager.test"
	return s
}

func (s *store) as(t *testing.T, email string) *Source {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key.json")
	if err := s.id.WriteKey(email, file, s.url+"/token"); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
	source, err := New(t.Context(), Options{Endpoint: s.url + "/"})
	if err != nil {
		t.Fatal(err)
	}
	return source
}

// through is as, through a network of one's own.
func (s *store) through(t *testing.T, email string, next http.RoundTripper) *Source {
	t.Helper()
	token, err := s.id.Token(email, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	source, err := New(t.Context(), Options{Endpoint: s.url, HTTPClient: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+token.Reveal())
		return next.RoundTrip(r)
	})}})
	if err != nil {
		t.Fatal(err)
	}
	return source
}

func TestThePlayedSecretManager(t *testing.T) {
	s := start(t)
	source := s.as(t, admin)
	api, err := source.client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	add := func(name, text string) *secretmanagerpb.SecretVersion {
		t.Helper()
		v, err := api.AddSecretVersion(t.Context(), &secretmanagerpb.AddSecretVersionRequest{
			Parent: "projects/shop-prod/secrets/" + name, Payload: &secretmanagerpb.SecretPayload{Data: []byte(text)},
		})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, name := range []string{"orders", "json", "empty"} {
		_, err := api.CreateSecret(t.Context(), &secretmanagerpb.CreateSecretRequest{
			Parent: "projects/shop-prod", SecretId: name,
			Secret: &secretmanagerpb.Secret{Replication: &secretmanagerpb.Replication{
				Replication: &secretmanagerpb.Replication_Automatic_{Automatic: &secretmanagerpb.Replication_Automatic{}},
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	add("orders", "first")
	disabled := add("orders", "second")
	add("orders", pw+"\n") // as `echo pw | gcloud secrets versions add` does
	add("json", `{"username":"orders","password":"`+pw+`"}`)
	if _, err := api.DisableSecretVersion(t.Context(), &secretmanagerpb.DisableSecretVersionRequest{Name: disabled.Name}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, ref string
		want      string
		kind      fault.Kind
		text      string
	}{
		{"the latest version", "gcp-sm:projects/shop-prod/secrets/orders", pw, "", ""},
		{"a version", "gcp-sm:projects/shop-prod/secrets/orders/versions/1", "first", "", ""},
		{"a field", "gcp-sm:projects/shop-prod/secrets/json#password", pw, "", ""},
		{"a field of a version", "gcp-sm:projects/shop-prod/secrets/json/versions/1#username", "orders", "", ""},
		{"a JSON object as a whole", "gcp-sm:projects/shop-prod/secrets/json", "", fault.Config, "not one password"},
		{"a version that is disabled", "gcp-sm:projects/shop-prod/secrets/orders/versions/2", "", fault.Busy, "DISABLED"},
		{"a version that does not exist", "gcp-sm:projects/shop-prod/secrets/orders/versions/9", "", fault.NotFound, "not found"},
		{"a secret without versions", "gcp-sm:projects/shop-prod/secrets/empty", "", fault.NotFound, ""},
		{"a secret that does not exist", "gcp-sm:projects/shop-prod/secrets/missing", "", fault.NotFound, "read secret gcp-sm:projects/shop-prod/secrets/missing: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := secret.ParseRef(c.ref)
			if err != nil {
				t.Fatal(err)
			}
			v, err := source.Get(t.Context(), r)
			if c.kind == "" {
				if err != nil || !v.Equal(c.want) {
					t.Errorf("%v, or another text", err)
				}
				return
			}
			if fault.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.text) || fault.HintOf(err) == "" {
				t.Errorf("got %v, hint %q", err, fault.HintOf(err))
			}
			if strings.Contains(err.Error()+fault.HintOf(err), pw) {
				t.Error("the error holds the secret")
			}
		})
	}
	ref := secret.Ref{Scheme: secret.SchemeGCP, Name: "projects/shop-prod/secrets/orders"}
	t.Run("a permission is missing", func(t *testing.T) {
		_, err := s.as(t, viewer).Get(t.Context(), ref)
		if fault.KindOf(err) != fault.Denied || fault.PermissionOf(err) != "secretmanager.versions.access" || !strings.Contains(fault.HintOf(err), "secretAccessor") {
			t.Errorf("got %v, hint %q", err, fault.HintOf(err))
		}
	})
	t.Run("a passing failure is not noticed", func(t *testing.T) {
		defer s.faults.Clear()
		s.faults.Add(play.Fault{Service: "secretmanager", Effect: play.Unavailable, Count: 1})
		if v, err := source.Get(t.Context(), ref); err != nil || !v.Equal(pw) {
			t.Error(err)
		}
	})
	t.Run("half a name", func(t *testing.T) {
		if _, err := source.Get(t.Context(), secret.Ref{Scheme: secret.SchemeGCP, Name: "orders"}); fault.KindOf(err) != fault.Config {
			t.Errorf("got %v", err)
		}
	})
	t.Run("nobody is logged in", func(t *testing.T) {
		t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere")
		other, err := New(t.Context(), Options{Endpoint: s.url})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.Get(t.Context(), ref); fault.KindOf(err) != fault.Denied || !strings.Contains(fault.HintOf(err), "gcloud auth") {
			t.Errorf("got %v", err)
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestADamagedSecretIsNotUsed(t *testing.T) {
	t.Parallel()
	for sum, ok := range map[string]bool{`"dataCrc32c":"1"`: false, `"dataCrc32c":"2154542104"`: false, `"data2":""`: true} {
		s, err := New(t.Context(), Options{Endpoint: "http://secretmanager.test", HTTPClient: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			w := httptest.NewRecorder()
			_, _ = w.WriteString(`{"name":"x","payload":{"data":"aHVudGVyMg==",` + sum + `}}`)
			resp := w.Result()
			resp.Request = r
			return resp, nil
		})}})
		if err != nil {
			t.Fatal(err)
		}
		v, err := s.Get(t.Context(), secret.Ref{Scheme: secret.SchemeGCP, Name: "projects/p/secrets/s"})
		if ok != (err == nil) || ok != v.Equal("hunter2") || !ok && fault.KindOf(err) != fault.Unavailable {
			t.Errorf("with %s: %v", sum, err)
		}
	}
}

func TestASilentServiceIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, err := New(t.Context(), Options{HTTPClient: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})}})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, err = s.Get(context.Background(), secret.Ref{Scheme: secret.SchemeGCP, Name: "projects/p/secrets/s"})
		if fault.KindOf(err) != fault.Unavailable || time.Since(start) != gcpclient.Timeout {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
	})
}
