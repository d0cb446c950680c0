package dial

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	answerMax      = 1 << 20          // bytes
	answerRetry    = 10 * time.Second // before an API that did not answer is asked again, with an answer at hand
	answerPatience = 3 * time.Second
)

// answers stands before the Admin API and remembers what it said. When the API is down, slow or cannot be asked because a login has
// expired, it gives the last answer: an address as long as there is no newer one, a client certificate until it expires. The
// connector itself forgets what it knew whenever a connection fails, which would make the API a condition of every reconnect.
type answers struct {
	now      func() time.Time
	patience time.Duration // with an API that is slow, when an answer is at hand

	mu    sync.Mutex
	next  http.RoundTripper
	known map[question]answer
	until map[string]time.Time // by host: it is not asked before
}

type question struct {
	method, url string
	body        [sha256.Size]byte
}

type answer struct {
	header http.Header
	body   []byte
	until  time.Time // zero: for ever
}

func newAnswers(next http.RoundTripper) *answers {
	return &answers{next: next, now: time.Now, patience: answerPatience, known: map[question]answer{}, until: map[string]time.Time{}}
}

// via makes next the way to the API.
func (a *answers) via(next http.RoundTripper) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.next = next
}

// CloseIdleConnections is what http.Client looks for.
func (a *answers) CloseIdleConnections() {
	a.mu.Lock()
	next := a.next
	a.mu.Unlock()
	if c, ok := next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// RoundTrip implements http.RoundTripper.
func (a *answers) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		var err error
		body, err = io.ReadAll(io.LimitReader(req.Body, answerMax))
		_ = req.Body.Close()
		if err != nil {
			return nil, err
		}
	}
	q := question{req.Method, req.URL.String(), sha256.Sum256(body)}
	old, have, pause := a.remembered(q, req.URL.Host)
	if pause {
		return old.response(req), nil
	}
	ctx, cancel := req.Context(), func() {}
	if have {
		ctx, cancel = context.WithTimeout(ctx, a.patience)
	}
	defer cancel()
	ask := req.Clone(ctx)
	if req.Body != nil {
		ask.Body = io.NopCloser(bytes.NewReader(body))
		ask.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}
	resp, said, err := a.ask(ask)
	switch {
	case err == nil && resp.StatusCode == http.StatusOK:
		a.remember(q, req.URL.Host, answer{resp.Header, said, expiry(said)})
	case have && req.Context().Err() == nil && (err != nil || down(resp.StatusCode)):
		a.wait(req.URL.Host)
		return old.response(req), nil
	case err != nil:
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(said))
	resp.Request = req
	return resp, nil
}

// ask sends the request and reads the whole answer, as what the answer is worth is known only then.
func (a *answers) ask(req *http.Request) (*http.Response, []byte, error) {
	a.mu.Lock()
	next := a.next
	a.mu.Unlock()
	resp, err := next.RoundTrip(req)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	said, err := io.ReadAll(io.LimitReader(resp.Body, answerMax+1))
	if err == nil && len(said) > answerMax {
		err = errors.New("the answer is too long")
	}
	if err == nil && resp.StatusCode == http.StatusOK && !json.Valid(said) {
		err = errors.New("the answer is no JSON")
	}
	return resp, said, err
}

// down tells whether an answer says nothing about what was asked, only about who should answer.
func down(status int) bool {
	return status >= http.StatusInternalServerError || status == http.StatusTooManyRequests || status == http.StatusUnauthorized ||
		status == http.StatusRequestTimeout
}

// remembered returns the last answer, if it can still be used, and whether it is too early to ask again.
func (a *answers) remembered(q question, host string) (old answer, have, pause bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	old, have = a.known[q]
	have = have && (old.until.IsZero() || now.Before(old.until))
	return old, have, have && now.Before(a.until[host])
}

func (a *answers) remember(q question, host string, new answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	for k, old := range a.known { // a login's certificate is asked for with a token, so each has a question of its own
		if !old.until.IsZero() && now.After(old.until) {
			delete(a.known, k)
		}
	}
	a.known[q] = new
	delete(a.until, host)
}

func (a *answers) wait(host string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.until[host] = a.now().Add(answerRetry).Round(0)
}

// certificateUntil is until when the newest client certificate for an instance is good; zero if there is none.
func (a *answers) certificateUntil(project, instance string) (until time.Time) {
	end := "/projects/" + project + "/instances/" + instance + ":generateEphemeralCert"
	a.mu.Lock()
	defer a.mu.Unlock()
	for q, known := range a.known {
		if u, err := url.Parse(q.url); err == nil && strings.HasSuffix(u.Path, end) && known.until.After(until) {
			until = known.until
		}
	}
	return until
}

func (o answer) response(req *http.Request) *http.Response {
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: o.header.Clone(),
		Body: io.NopCloser(bytes.NewReader(o.body)), ContentLength: int64(len(o.body)), Request: req,
	}
}

// expiry is when the client certificate in an answer expires; zero if there is none in it.
func expiry(body []byte) time.Time {
	var a struct {
		EphemeralCert struct {
			Cert string `json:"cert"`
		} `json:"ephemeralCert"`
	}
	if json.Unmarshal(body, &a) != nil {
		return time.Time{}
	}
	b, _ := pem.Decode([]byte(a.EphemeralCert.Cert))
	if b == nil {
		return time.Time{}
	}
	c, err := x509.ParseCertificate(b.Bytes)
	if err != nil {
		return time.Time{}
	}
	return c.NotAfter
}
