// Package awsclient is how dbops reaches AWS: one configuration from the standard credential chain, one translation of failures.
//
// [Load] reads files and variables only; credentials are fetched by the first call that needs them. Everything that goes wrong,
// from a missing profile to a missing permission, becomes a *fault.Error through [Client.Fault].
package awsclient

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go/logging"

	"dbops/internal/cloud"
	"dbops/internal/fault"
)

const (
	// Timeout bounds one call of dbops with all its pages and retries, when the caller's own deadline is later.
	Timeout = 20 * time.Second
	// BatchTimeout does the same for one that tells of many instances.
	BatchTimeout = time.Minute
)

const (
	// Unless AWS_MAX_ATTEMPTS or the profile says otherwise. The mode stays the SDK's standard: the adaptive one lets a single
	// throttled answer hold up everything that shares the client.
	maxAttempts = 4
	dialTimeout = 4 * time.Second
)

// Options say which account and region.
type Options struct {
	Region  string // empty: the chain's (AWS_REGION, the profile)
	Profile string // empty: the chain's (AWS_PROFILE, default)
	// HTTPClient sends the requests. Nil: the SDK's own, which honours AWS_CA_BUNDLE and the proxy variables.
	HTTPClient *http.Client
}

// Client is a loaded configuration. Its methods may be called from any goroutine.
type Client struct {
	// Config makes the SDK's service clients.
	Config  aws.Config
	chain   *chain
	profile string
}

// Load reads the AWS configuration; nothing is contacted. A profile that does not exist, or files that cannot be read, are a
// fault.Config.
func Load(ctx context.Context, o Options) (*Client, error) {
	opts := o.load()
	cfg, err := config.LoadDefaultConfig(ctx, opts...)
	if err != nil {
		return nil, loadFault(err)
	}
	if cfg.RetryMaxAttempts == 0 {
		cfg.RetryMaxAttempts = maxAttempts
	}
	c := &Client{Config: cfg, profile: o.Profile, chain: &chain{now: cfg.Credentials}}
	c.chain.load = func(ctx context.Context) (aws.CredentialsProvider, error) {
		cfg, err := config.LoadDefaultConfig(ctx, opts...)
		if err != nil {
			return nil, loadFault(err)
		}
		return cfg.Credentials, nil
	}
	c.Config.Credentials = c.chain
	return c, nil
}

func (o Options) load() []func(*config.LoadOptions) error {
	opts := []func(*config.LoadOptions) error{
		config.WithRegion(o.Region),
		config.WithLogger(logging.Nop{}), // the SDK would write its own warnings over tables, JSON and the terminal UI
	}
	if o.Profile != "" {
		opts = append(opts, config.WithSharedConfigProfile(o.Profile))
	}
	if o.HTTPClient != nil {
		return append(opts, config.WithHTTPClient(o.HTTPClient))
	}
	return append(opts, config.WithHTTPClient(awshttp.NewBuildableClient().WithDialerOptions(func(d *net.Dialer) {
		d.Timeout = dialTimeout
	})))
}

func loadFault(err error) error {
	const op = "read the AWS configuration"
	if missing, ok := errors.AsType[config.SharedConfigProfileNotExistError](err); ok {
		return fault.New(fault.Config, op, cloud.Because("there is no profile "+missing.Profile, err)).
			Hint("aws configure list-profiles names those there are; aws configure sso makes one")
	}
	return fault.New(fault.Config, op, cloud.Because(err.Error(), err)).
		Hint("check ~/.aws/config and the AWS variables of the environment")
}

// chain is the credential chain. It marks its errors, which the SDK does not, and can be read anew, because people log in again in
// another terminal.
type chain struct {
	load func(context.Context) (aws.CredentialsProvider, error)

	mu  sync.Mutex
	now aws.CredentialsProvider
}

func (c *chain) Retrieve(ctx context.Context) (aws.Credentials, error) {
	now, err := c.provider(ctx)
	if err != nil {
		return aws.Credentials{}, err
	}
	creds, err := now.Retrieve(ctx)
	if err != nil {
		return aws.Credentials{}, &credentialsError{err}
	}
	return creds, nil
}

func (c *chain) provider(ctx context.Context) (aws.CredentialsProvider, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now == nil {
		now, err := c.load(ctx)
		if err != nil {
			return nil, err
		}
		c.now = now
	}
	return c.now, nil
}

// Forget makes the next call that needs credentials read them anew: somebody refused those in use, and another may have been logged
// in since.
func (c *Client) Forget() { c.chain.forget() }

// forget makes the next call read the files of the chain anew.
func (c *chain) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = nil
}

type credentialsError struct{ err error }

func (e *credentialsError) Error() string { return e.err.Error() }
func (e *credentialsError) Unwrap() error { return e.err }
