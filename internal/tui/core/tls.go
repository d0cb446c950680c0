package core

import (
	"context"

	"dbops/internal/app"
	"dbops/internal/certs"
)

// TLS is what instances prove themselves by, and what their clients need.
type TLS interface {
	// Certificates asks the providers and makes a handshake with each server; nobody logs in.
	Certificates(ctx context.Context, r app.CertsRequest) ([]app.Certs, error)
	// FetchKit writes the files that clients need to a folder of this machine. It refuses where nothing may be changed.
	FetchKit(ctx context.Context, r app.KitRequest) (*app.Kit, error)
	// ClientRequest is the request for a client certificate, whose files go to a folder of this machine.
	ClientRequest(ctx context.Context, env, instance, name, dir, database, user string) (certs.CreateRequest, error)
}
