package core

import (
	"context"

	"dbops/internal/app"
)

// Availability is how instances stand against the loss of a zone.
type Availability interface {
	// Availability asks the provider of one instance, and the state for what dbops did to it. Either part of what lies beside may be missing.
	Availability(ctx context.Context, env, instance string) (*app.Availability, error)
}
