package dial

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"

	"cloud.google.com/go/cloudsqlconn"
	"cloud.google.com/go/cloudsqlconn/errtype"
	"google.golang.org/api/googleapi"

	"dbops/internal/fault"
)

// ConnectorOptions configure a [Connector].
type ConnectorOptions struct {
	// AdminEndpoint is the base URL of the Cloud SQL Admin API; empty means Google's.
	AdminEndpoint string
	// UserAgent is sent to the Admin API.
	UserAgent string
	// Dial opens the connection below TLS. Defaults to [Direct].
	Dial Func
}

// Connector reaches Cloud SQL instances through their connector port: mutual TLS with a certificate that is made for an hour and
// renewed when a connection needs it, so a laptop may sleep in between. It is made on first use and serves every instance
// behind one Admin API. Its methods may be called from any goroutine.
type Connector struct {
	opts ConnectorOptions

	mu     sync.Mutex
	dialer *cloudsqlconn.Dialer
	closed bool
}

// Route says which instance, and which of its addresses, to reach.
type Route struct {
	Project, Region, Instance string
	Address                   string // public (or empty), private, psc
	IAM                       bool   // log in as the identity whose credentials are in use
}

// NewConnector returns a connector that has contacted nobody yet.
func NewConnector(opts ConnectorOptions) *Connector { return &Connector{opts: opts} }

// Dial returns a connection to the instance inside which the PostgreSQL protocol is spoken in the clear: the encryption ends here.
// Errors are *fault.Error: NotFound, Denied, Throttled, Invalid (the instance has no such address) or Unavailable.
func (c *Connector) Dial(ctx context.Context, r Route) (net.Conn, error) {
	name := r.Project + ":" + r.Region + ":" + r.Instance
	d, err := c.open(context.WithoutCancel(ctx), name) // the dialer outlives the request that needs it first
	if err != nil {
		return nil, err
	}
	opts := []cloudsqlconn.DialOption{cloudsqlconn.WithDialIAMAuthN(r.IAM)}
	switch r.Address {
	case "private":
		opts = append(opts, cloudsqlconn.WithPrivateIP())
	case "psc":
		opts = append(opts, cloudsqlconn.WithPSC())
	default:
		opts = append(opts, cloudsqlconn.WithPublicIP())
	}
	conn, err := d.Dial(ctx, name, opts...)
	if err != nil {
		return nil, explainConnector(name, err)
	}
	return conn, nil
}

func (c *Connector) open(ctx context.Context, name string) (*cloudsqlconn.Dialer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, fault.Newf(fault.Internal, "connect to "+name, "the connector is closed")
	}
	if c.dialer != nil {
		return c.dialer, nil
	}
	below := c.opts.Dial
	if below == nil {
		below = Direct()
	}
	opts := []cloudsqlconn.Option{
		cloudsqlconn.WithLazyRefresh(),
		// The library reports to Cloud Monitoring unless told not to; dbops sends nothing that nobody asked for.
		cloudsqlconn.WithBuiltInMetrics(false),
		cloudsqlconn.WithDialFunc(below),
	}
	if c.opts.UserAgent != "" {
		opts = append(opts, cloudsqlconn.WithUserAgent(c.opts.UserAgent))
	}
	if c.opts.AdminEndpoint != "" {
		opts = append(opts, cloudsqlconn.WithAdminAPIEndpoint(c.opts.AdminEndpoint))
	}
	d, err := cloudsqlconn.NewDialer(ctx, opts...)
	if err != nil {
		return nil, fault.New(fault.Denied, "find Google credentials for "+name, err).
			Hint("gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS")
	}
	c.dialer = d
	return d, nil
}

// Close ends the connector; connections that are open stay so. Closing twice is nil.
func (c *Connector) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.dialer == nil {
		return nil
	}
	d := c.dialer
	c.dialer = nil
	return d.Close()
}

// explainConnector gives an error of the connector a kind and a next step.
func explainConnector(name string, err error) error {
	op := "connect to " + name
	if api, ok := errors.AsType[*googleapi.Error](err); ok {
		switch {
		case api.Code == http.StatusUnauthorized:
			return fault.New(fault.Denied, op, api).Hint("gcloud auth application-default login")
		case api.Code == http.StatusForbidden:
			return fault.New(fault.Denied, op, api).Missing("cloudsql.instances.connect").
				Hint("the identity needs roles/cloudsql.client, which holds cloudsql.instances.connect and cloudsql.instances.get")
		case api.Code == http.StatusNotFound:
			return fault.New(fault.NotFound, op, api).Hint("check project, region and instance in dbops.yaml")
		case api.Code == http.StatusTooManyRequests:
			return fault.New(fault.Throttled, op, api).Hint("wait a minute; the quota of the Admin API is used up")
		case api.Code >= http.StatusInternalServerError:
			return fault.New(fault.Unavailable, op, api).Hint("the control plane has trouble; connections that are open go on")
		}
		return fault.New(fault.Invalid, op, api)
	}
	if _, ok := errors.AsType[*errtype.ConfigError](err); ok {
		return fault.New(fault.Invalid, op, err).Hint("check region and address (public, private, psc) of the instance in dbops.yaml")
	}
	if _, ok := errors.AsType[*errtype.RefreshError](err); ok {
		return fault.New(fault.Unavailable, op, err).Hint("the Cloud SQL Admin API could not be asked; connections that are open go on")
	}
	return fault.New(fault.Unavailable, op, err)
}
