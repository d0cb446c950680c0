package dial

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/httptransport"
	"cloud.google.com/go/cloudsqlconn"
	"cloud.google.com/go/cloudsqlconn/errtype"
	"google.golang.org/api/googleapi"

	"dbops/internal/cloud/gcpclient"
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

// AddressData is the address of a [Route] that needs no network path to the instance: the SQL Data API carries the session, inside TLS that is
// verified against Google's API.
const AddressData = "sql_data"

// Connector reaches Cloud SQL instances through their connector port: mutual TLS with a certificate that is made for an hour,
// renewed before it expires while connections are made, and else when one needs it, so a laptop may sleep in between. What the Admin API said last serves while it is down. It is
// made on first use and serves every instance behind one Admin API; credentials that turn out to be expired are found anew by the
// next connection. Its methods may be called from any goroutine.
type Connector struct {
	opts   ConnectorOptions
	google *gcpclient.Client
	api    *answers

	patience time.Duration // with an address that says nothing

	mu     sync.Mutex
	key    *rsa.PrivateKey // of every client certificate, so that one outlives the credentials it was asked for with
	creds  *auth.Credentials
	dialer *cloudsqlconn.Dialer // that has creds
	closed bool

	renewals map[renewal]*time.Timer
	renewing sync.WaitGroup
	ctx      context.Context //nolint:containedctx // of what renews certificates
	stop     context.CancelFunc
}

// Route says which instance, and which of its addresses, to reach.
type Route struct {
	Project, Region, Instance string
	Address                   string // public (or empty), private, psc, [AddressData]
	IAM                       bool   // log in as the identity whose credentials are in use
}

// NewConnector returns a connector that has contacted nobody yet.
func NewConnector(opts ConnectorOptions) *Connector {
	c := &Connector{
		opts: opts, google: gcpclient.New(gcpclient.Options{Endpoint: opts.AdminEndpoint, UserAgent: opts.UserAgent}), api: newAnswers(nil),
		patience: Patience,
	}
	c.ctx, c.stop = context.WithCancel(context.Background())
	return c
}

// Dial returns a connection to the instance inside which the PostgreSQL protocol is spoken in the clear: the encryption ends here.
// Errors are *fault.Error: NotFound, Denied, Throttled, Invalid (the instance has no such address) or Unavailable.
func (c *Connector) Dial(ctx context.Context, r Route) (net.Conn, error) {
	name := r.Project + ":" + r.Region + ":" + r.Instance
	q := gcpclient.Question{
		Op: "connect to " + name, Permission: "cloudsql.instances.connect", Role: "roles/cloudsql.client", API: "sqladmin.googleapis.com", Project: r.Project,
	}
	d, err := c.open(context.WithoutCancel(ctx), q) // the dialer outlives the request that needs it first
	if err != nil {
		return nil, err
	}
	opts := []cloudsqlconn.DialOption{cloudsqlconn.WithDialIAMAuthN(r.IAM)}
	switch r.Address {
	case "private":
		opts = append(opts, cloudsqlconn.WithPrivateIP())
	case "psc":
		opts = append(opts, cloudsqlconn.WithPSC())
	case AddressData:
		return dialData(ctx, d, name)
	default:
		opts = append(opts, cloudsqlconn.WithPublicIP())
	}
	socket := &socket{}
	opts = append(opts, cloudsqlconn.WithOneOffDialFunc(func(ctx context.Context, network, addr string) (_ net.Conn, err error) {
		socket.Conn, err = c.below(ctx, network, addr)
		return socket, err
	}))
	conn, err := d.Dial(ctx, name, opts...)
	if err != nil {
		if gcpclient.Expired(err) {
			return nil, c.google.Fault(ctx, q, err)
		}
		return nil, explainConnector(name, err)
	}
	_ = conn.SetReadDeadline(time.Time{})
	c.renewLater(name, r)
	return seal(conn, socket), nil
}

// ForgetLogin makes the next connection find the Google credentials anew, after an instance refused those in use.
func (c *Connector) ForgetLogin() { c.google.Forget() }

// CertificateUntil is until when the client certificate for an instance is good; zero if none was made, or it has not been needed.
func (c *Connector) CertificateUntil(r Route) time.Time {
	return c.api.certificateUntil(r.Project, r.Instance)
}

// open returns the dialer that has the credentials in use.
func (c *Connector) open(ctx context.Context, q gcpclient.Question) (*cloudsqlconn.Dialer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, fault.Newf(fault.Internal, q.Op, "the connector is closed")
	}
	_, creds, err := c.google.Options()
	if err != nil {
		return nil, c.google.Fault(ctx, q, err)
	}
	if c.dialer != nil && c.creds == creds {
		return c.dialer, nil
	}
	d, err := c.dialerWith(ctx, creds)
	if err != nil {
		return nil, c.google.Fault(ctx, q, err)
	}
	if c.dialer != nil {
		_ = c.dialer.Close() // what it has opened stays open
	}
	c.dialer, c.creds = d, creds
	return d, nil
}

// below opens the connection that the connector's TLS is on. A server that accepts and then says nothing, such as one that was failed
// over from, is given up while there is time to try another.
func (c *Connector) below(ctx context.Context, network, addr string) (net.Conn, error) {
	dial := c.opts.Dial
	if dial == nil {
		dial = Direct()
	}
	conn, err := dial(ctx, network, addr)
	if err == nil {
		_ = conn.SetReadDeadline(time.Now().Add(c.patience))
	}
	return conn, err
}

func (c *Connector) dialerWith(ctx context.Context, creds *auth.Credentials) (*cloudsqlconn.Dialer, error) {
	if c.key == nil {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return nil, err
		}
		c.key = key
	}
	own := *creds // which is written into
	client, err := httptransport.NewClient(&httptransport.Options{
		Credentials: &own, Headers: http.Header{"User-Agent": {strings.TrimSpace(c.opts.UserAgent + " cloud-sql-go-connector")}}, DisableTelemetry: true,
	})
	if err != nil {
		return nil, err
	}
	c.api.via(client.Transport)
	opts := []cloudsqlconn.Option{
		cloudsqlconn.WithLazyRefresh(),
		// The library reports to Cloud Monitoring unless told not to; dbops sends nothing that nobody asked for.
		cloudsqlconn.WithBuiltInMetrics(false),
		cloudsqlconn.WithRSAKey(c.key),
		cloudsqlconn.WithHTTPClient(&http.Client{Transport: c.api}),
		cloudsqlconn.WithSQLDataStreamTimeout(0), // a session lasts as long as it does
	}
	if c.opts.UserAgent != "" {
		opts = append(opts, cloudsqlconn.WithUserAgent(c.opts.UserAgent))
	}
	if c.opts.AdminEndpoint != "" {
		opts = append(opts, cloudsqlconn.WithAdminAPIEndpoint(c.opts.AdminEndpoint), cloudsqlconn.WithSQLDataEndpoint(hostPort(c.opts.AdminEndpoint)))
	}
	return cloudsqlconn.NewDialer(ctx, opts...)
}

// Close ends the connector; connections that are open stay so. Closing twice is nil.
func (c *Connector) Close() error {
	c.mu.Lock()
	c.closed = true
	c.stopRenewing()
	c.mu.Unlock()
	c.renewing.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dialer == nil {
		return nil
	}
	d := c.dialer
	c.dialer = nil
	c.api.CloseIdleConnections()
	return d.Close()
}

// explainConnector gives an error of the connector a kind and a next step.
func explainConnector(name string, err error) error {
	op := "connect to " + name
	if hop, ok := errors.AsType[*fault.Error](err); ok { // of the way below, which knows what to do
		return fault.New(hop.Kind, op, hop)
	}
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
	return fault.New(fault.Unavailable, op, err).Hint("is the instance running, and does its network let this machine in (VPN, authorized networks)?")
}
