package dial

import (
	"context"
	"net"
	"net/url"
	"strings"

	"cloud.google.com/go/cloudsqlconn"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dbops/internal/cloud"
	"dbops/internal/fault"
)

// dialData opens a session through the SQL Data API. What is wrong with it shows when something is read: the stream is open before Google has
// looked at it.
func dialData(ctx context.Context, d *cloudsqlconn.Dialer, name string) (net.Conn, error) {
	// An instance that the API does not serve would be connected to by its address, which is not what was asked for.
	elsewhere := func(context.Context, string, string) (net.Conn, error) {
		return nil, fault.Newf(fault.Invalid, "", "the edition of the instance does not offer the SQL Data API").
			Hint("write another address (public, private, psc) in dbops.yaml; a private one can be reached with via")
	}
	conn, err := d.Dial(ctx, name, cloudsqlconn.WithSQLData(), cloudsqlconn.WithOneOffDialFunc(elsewhere))
	if err != nil {
		return nil, explainData(name, err)
	}
	return bridge(conn, place(name), func(err error) error {
		if err == nil {
			return nil
		}
		return explainData(name, err)
	}), nil
}

// hostPort is where the API behind a base URL speaks gRPC.
func hostPort(base string) string {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" {
		return base
	}
	if u.Port() != "" {
		return u.Host
	}
	return net.JoinHostPort(u.Hostname(), "443")
}

// explainData gives an error of the SQL Data API a kind and a next step.
func explainData(name string, err error) error {
	s, ok := status.FromError(err)
	if !ok || s.Code() == codes.OK {
		return explainConnector(name, err)
	}
	op := "connect to " + name + " through the SQL Data API"
	why := cloud.Because(strings.TrimPrefix(s.Message(), "rpc error: "), err)
	switch s.Code() { //nolint:exhaustive // the rest is told as it is
	case codes.Unauthenticated:
		return fault.New(fault.Denied, op, why).Hint("gcloud auth application-default login")
	case codes.PermissionDenied:
		return fault.New(fault.Denied, op, why).Missing("cloudsql.instances.connect").
			Hint("the identity needs roles/cloudsql.client, and the Cloud SQL Admin API has to be enabled in the project")
	case codes.NotFound:
		return fault.New(fault.NotFound, op, why).Hint("check project, region and instance in dbops.yaml")
	case codes.ResourceExhausted:
		return fault.New(fault.Throttled, op, why).Hint("wait a minute; the API limits the sessions and requests of an instance")
	case codes.FailedPrecondition, codes.InvalidArgument, codes.Unimplemented:
		return fault.New(fault.Invalid, op, why).Hint("write another address (public, private, psc) in dbops.yaml; a private one can be reached with via")
	}
	return fault.New(fault.Unavailable, op, why).Hint("the API did not carry the session; try again")
}
