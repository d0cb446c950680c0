// Package gcpclient is how dbops reaches Google Cloud: the Application Default Credentials, one way to retry reads, one translation
// of failures.
//
// Nothing is contacted before the first call that needs credentials; when they turn out to be expired they are forgotten, so that
// a login in another terminal is seen by the next call. Everything that goes wrong becomes a *fault.Error through [Client.Fault].
package gcpclient

import (
	"context"
	"net/http"
	"sync"
	"time"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"
	"google.golang.org/api/option"
)

const (
	// Timeout bounds one call of dbops with all its pages and retries, when the caller's own deadline is later.
	Timeout = 20 * time.Second
	// BatchTimeout does the same for one that tells of many instances, or is one of many.
	BatchTimeout = time.Minute
)

// tokenInfoURL tells whose an access token is.
const tokenInfoURL = "https://oauth2.googleapis.com/tokeninfo"

// Options say how to reach Google Cloud.
type Options struct {
	Endpoint  string // base URL of the API, for emulators; plain http is accepted
	UserAgent string
	// TokenInfo is the URL that tells whose an access token is. Defaults to Google's.
	TokenInfo string
	// HTTPClient sends the requests as they are, without credentials. Nil: with the Application Default Credentials.
	HTTPClient *http.Client
}

// Client holds the credentials of one way to reach Google Cloud. Its methods may be called from any goroutine.
type Client struct {
	opts Options

	mu        sync.Mutex
	creds     *auth.Credentials
	principal string
}

// New returns a client that has contacted nobody yet.
func New(o Options) *Client {
	if o.TokenInfo == "" {
		o.TokenInfo = tokenInfoURL
	}
	return &Client{opts: o}
}

// Options returns the options for a client of the SDK, and the credentials that they hold a copy of; nil with an HTTPClient of its own. Other
// credentials than last time mean that a new SDK client is needed.
func (c *Client) Options() ([]option.ClientOption, *auth.Credentials, error) {
	opts := []option.ClientOption{option.WithTelemetryDisabled()}
	if c.opts.Endpoint != "" {
		opts = append(opts, option.WithEndpoint(c.opts.Endpoint))
	}
	if c.opts.UserAgent != "" {
		opts = append(opts, option.WithUserAgent(c.opts.UserAgent))
	}
	if c.opts.HTTPClient != nil {
		return append(opts, option.WithHTTPClient(c.opts.HTTPClient)), nil, nil
	}
	creds, err := c.credentials()
	if err != nil {
		return nil, nil, err
	}
	own := *creds // the SDK writes into those that it gets, while others read
	return append(opts, option.WithAuthCredentials(&own)), creds, nil
}

// credentials finds the Application Default Credentials once.
func (c *Client) credentials() (*auth.Credentials, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.creds != nil {
		return c.creds, nil
	}
	found, err := credentials.DetectDefault(&credentials.DetectOptions{
		// The e-mail scope lets the token say whose it is.
		Scopes: []string{"https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/userinfo.email"},
	})
	if err != nil {
		return nil, &credentialsError{err}
	}
	c.creds = auth.NewCredentials(&auth.CredentialsOptions{
		TokenProvider:          tokens{found},
		JSON:                   found.JSON(),
		ProjectIDProvider:      auth.CredentialsPropertyFunc(found.ProjectID),
		QuotaProjectIDProvider: auth.CredentialsPropertyFunc(found.QuotaProjectID),
		UniverseDomainProvider: auth.CredentialsPropertyFunc(found.UniverseDomain),
	})
	return c.creds, nil
}

// Forget drops the credentials, and with them whose they are: the next call that needs them finds them anew.
func (c *Client) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.creds, c.principal = nil, ""
}

// tokens marks the errors of the credentials, which the SDK does not.
type tokens struct{ auth.TokenProvider }

func (t tokens) Token(ctx context.Context) (*auth.Token, error) {
	token, err := t.TokenProvider.Token(ctx)
	if err != nil {
		return nil, &credentialsError{err}
	}
	return token, nil
}

type credentialsError struct{ err error }

func (e *credentialsError) Error() string { return e.err.Error() }
func (e *credentialsError) Unwrap() error { return e.err }
