package dial

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"dbops/internal/sandbox/pki"
)

// adminAPI answers as it is told to, and a certificate that lasts an hour.
type adminAPI struct {
	*httptest.Server
	status atomic.Int32
	hang   atomic.Bool
	asked  atomic.Int32
}

func newAdminAPI(t *testing.T) *adminAPI {
	t.Helper()
	ca, err := pki.NewCA(pkix.Name{CommonName: "clients"}, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Issue(time.Hour, func(*x509.Certificate) {})
	if err != nil {
		t.Fatal(err)
	}
	api := &adminAPI{}
	api.status.Store(http.StatusOK)
	api.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		api.asked.Add(1)
		if api.hang.Load() {
			<-r.Context().Done()
			return
		}
		w.WriteHeader(int(api.status.Load()))
		if strings.HasSuffix(r.URL.Path, "generateEphemeralCert") {
			_ = json.NewEncoder(w).Encode(map[string]any{"ephemeralCert": map[string]string{"cert": string(cert.CertPEM)}})
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"region": "here"})
	}))
	t.Cleanup(api.Close) // and the idle connections of the default transport to it
	return api
}

func ask(t *testing.T, a *answers, method, url, body string) (status int, said string, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := a.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

func TestTheLastAnswerServesWhileTheAPIIsDown(t *testing.T) {
	api := newAdminAPI(t)
	a := newAnswers(http.DefaultTransport)
	now := time.Now()
	a.now = func() time.Time { return now }
	settings, certificate := api.URL+"/p/i/connectSettings", api.URL+"/p/i:generateEphemeralCert"
	for _, status := range []int{500, 503, 429, 401} { // with nothing at hand the API's own answer counts
		api.status.Store(int32(status))
		if got, _, err := ask(t, a, "GET", settings, ""); got != status || err != nil {
			t.Errorf("%d %v", got, err)
		}
	}
	api.status.Store(200)
	_, first, err := ask(t, a, "POST", certificate, "key")
	if err != nil || !strings.Contains(first, "BEGIN CERTIFICATE") {
		t.Fatalf("%s %v", first, err)
	}
	if _, _, err := ask(t, a, "GET", settings, ""); err != nil {
		t.Fatal(err)
	}
	for _, status := range []int{500, 503, 429, 401} {
		now = now.Add(answerRetry + time.Second)
		api.status.Store(int32(status))
		if got, said, err := ask(t, a, "POST", certificate, "key"); got != 200 || said != first || err != nil {
			t.Errorf("while it answers %d: %d %v", status, got, err)
		}
	}
	before := api.asked.Load()
	for range 100 {
		if got, _, err := ask(t, a, "GET", settings, ""); got != 200 || err != nil {
			t.Errorf("%d %v", got, err)
		}
	}
	if n := api.asked.Load() - before; n != 0 {
		t.Errorf("an API that is down was asked %d times at once", n)
	}
	// Another key, or another login's token, is another question.
	if got, _, err := ask(t, a, "POST", certificate, "another key"); got == 200 || err != nil {
		t.Errorf("%d %v", got, err)
	}
	// What the API says about the question counts.
	now = now.Add(answerRetry + time.Second)
	for _, status := range []int{403, 404} {
		api.status.Store(int32(status))
		if got, _, _ := ask(t, a, "GET", settings, ""); got != status {
			t.Errorf("%d in place of %d", got, status)
		}
	}
	// A certificate serves until it expires, an address longer.
	api.status.Store(503)
	now = now.Add(2 * time.Hour)
	if got, _, err := ask(t, a, "POST", certificate, "key"); got != 503 || err != nil {
		t.Errorf("a certificate that has expired was given: %d %v", got, err)
	}
	if got, _, err := ask(t, a, "GET", settings, ""); got != 200 || err != nil {
		t.Errorf("%d %v", got, err)
	}
}

func TestTheLastAnswerServesWhileTheAPICannotBeReached(t *testing.T) {
	api := newAdminAPI(t)
	broken := errors.New("no credentials")
	var fails atomic.Bool
	a := newAnswers(roundTrip(func(r *http.Request) (*http.Response, error) {
		if fails.Load() {
			return nil, broken
		}
		return http.DefaultTransport.RoundTrip(r)
	}))
	if _, _, err := ask(t, a, "GET", api.URL+"/x", ""); err != nil {
		t.Fatal(err)
	}
	fails.Store(true)
	if got, _, err := ask(t, a, "GET", api.URL+"/x", ""); got != 200 || err != nil {
		t.Errorf("%d %v", got, err)
	}
	if _, _, err := ask(t, a, "GET", api.URL+"/y", ""); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

func TestAnAPIThatHangsIsNotWaitedForLong(t *testing.T) {
	api := newAdminAPI(t)
	a := newAnswers(http.DefaultTransport)
	a.patience = 50 * time.Millisecond
	if _, _, err := ask(t, a, "GET", api.URL+"/x", ""); err != nil {
		t.Fatal(err)
	}
	api.hang.Store(true)
	if got, _, err := ask(t, a, "GET", api.URL+"/x", ""); got != 200 || err != nil {
		t.Errorf("%d %v", got, err)
	}
	// Who asked and went away gets no answer, and does not make the others wait.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, api.URL+"/y", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := a.RoundTrip(req); !errors.Is(err, context.Canceled) {
		_ = resp.Body.Close()
		t.Errorf("%v", err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
