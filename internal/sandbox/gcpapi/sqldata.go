package gcpapi

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"

	"cloud.google.com/go/sql/apiv1beta4/sqlpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"dbops/internal/sandbox/gcpapi/googleid"
	"dbops/internal/sandbox/play"
)

// dataAction is what the SQL Data API's one method is called in faults.
const dataAction = "streamSqlData"

// sqlData is the SQL Data API: sessions with an instance inside streams of gRPC, where no network path leads to it.
type sqlData struct {
	sqlpb.UnimplementedSqlDataServiceServer
	s *Server
}

// newData returns the handler of the SQL Data API, which needs HTTP/2.
func newData(s *Server) http.Handler {
	g := grpc.NewServer(grpc.MaxRecvMsgSize(maxPacket), grpc.MaxSendMsgSize(maxPacket))
	sqlpb.RegisterSqlDataServiceServer(g, &sqlData{s: s})
	return g
}

const (
	maxPacket  = 100 << 20 // as its clients allow
	dataPacket = 32 << 10
)

// OfferData tells whether an instance is of the edition that the SQL Data API serves. None is at first.
func (s *Server) OfferData(project, name string, on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if inst := s.state.Instances[key(project, name)]; inst != nil {
		inst.offersData = on
	}
}

// isData tells a request of gRPC from one of the Admin API, which share a port.
func isData(r *http.Request) bool {
	return r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
}

// StreamSqlData carries one session.
func (d *sqlData) StreamSqlData(stream sqlpb.SqlDataService_StreamSqlDataServer) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(d.s.ctx, cancel)()
	inst, err := d.open(ctx, stream)
	if err != nil {
		d.s.cfg.Log.Info("sql data", "error", err)
		return err
	}
	if err := stream.Send(&sqlpb.StreamSqlDataResponse{Message: &sqlpb.StreamSqlDataResponse_SessionMetadata{SessionMetadata: &sqlpb.SessionMetadata{}}}); err != nil {
		return err
	}
	near, far := net.Pipe()
	defer func() { _ = far.Close() }()
	served := make(chan struct{})
	go func() {
		defer close(served)
		defer func() { _ = near.Close() }()
		_ = inst.server.Handle(ctx, near, "") // the client hears the server's own error
	}()
	go func() { // ends with the stream, at the latest
		defer cancel()
		defer func() { _ = far.Close() }()
		for {
			in, err := stream.Recv()
			if err != nil || in.GetTerminateSession() != nil {
				return
			}
			if _, err := far.Write(in.GetData().GetData()); err != nil {
				return
			}
		}
	}()
	err = send(stream, far)
	cancel()
	<-served
	return err
}

// send passes on what a server says.
func send(stream sqlpb.SqlDataService_StreamSqlDataServer, from io.Reader) error {
	b := make([]byte, dataPacket)
	for {
		n, err := from.Read(b)
		if n > 0 {
			out := &sqlpb.StreamSqlDataResponse{Message: &sqlpb.StreamSqlDataResponse_Data{Data: &sqlpb.DataPacket{Data: append([]byte(nil), b[:n]...)}}}
			if err := stream.Send(out); err != nil {
				return err
			}
		}
		if err != nil {
			return nil //nolint:nilerr // the session has ended
		}
	}
}

// open reads what a stream begins with, and finds the instance for its caller.
func (d *sqlData) open(ctx context.Context, stream sqlpb.SqlDataService_StreamSqlDataServer) (*instance, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	token, _ := strings.CutPrefix(strings.Join(md.Get("authorization"), ""), "Bearer ")
	bearer, err := d.s.identity.Check(token)
	if err != nil {
		return nil, status.Error(codes.Unauthenticated, "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.")
	}
	if !bearer.May(googleid.ScopePlatform, googleid.ScopeSQLAdmin) {
		return nil, status.Error(codes.PermissionDenied, "Request had insufficient authentication scopes.")
	}
	first, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	start := first.GetStartSession()
	if start == nil || start.GetSessionId() != "" {
		return nil, status.Error(codes.Unimplemented, "sandbox: not emulated: anything but a new session that is not resumed")
	}
	parts := strings.Split(start.GetInstanceId(), "/")
	if len(parts) != 4 || parts[0] != "projects" || parts[2] != "instances" {
		return nil, status.Error(codes.InvalidArgument, "invalid instance_id")
	}
	name := parts[3]
	switch d.s.cfg.Faults.Take(faultService, dataAction, name, play.Throttle, play.Deny, play.Unavailable) {
	case play.Throttle:
		return nil, status.Error(codes.ResourceExhausted, "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute'.")
	case play.Unavailable:
		return nil, status.Error(codes.Unavailable, "The service is currently unavailable.")
	case play.Deny:
		return nil, dataDenied()
	default: // those are all that were asked about
	}
	if !d.s.identity.Allowed(bearer.Email, "cloudsql.instances.connect") {
		return nil, dataDenied()
	}
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	inst := d.s.state.Instances[key(parts[1], name)]
	switch {
	case inst == nil:
		return nil, status.Error(codes.NotFound, "The Cloud SQL instance does not exist.")
	case start.GetLocationId() != "locations/"+inst.DB.Region:
		return nil, status.Error(codes.InvalidArgument, "the instance is not in "+start.GetLocationId())
	case !inst.offersData:
		return nil, status.Error(codes.FailedPrecondition, "unsupported instance edition: the SQL Data API does not serve it")
	case !inst.running():
		return nil, status.Error(codes.Unavailable, "The instance is not running.")
	}
	return inst, nil
}

func dataDenied() error {
	return status.Error(codes.PermissionDenied, "Permission 'cloudsql.instances.connect' denied on the instance.")
}
