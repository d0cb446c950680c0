package core

import (
	"context"

	"dbops/internal/creds"
)

// Credentials is how the credentials of containers are looked at. No method tells a password.
type Credentials interface {
	// Credentials lists the containers of an instance; with look.Login it tries each current credential with a login.
	Credentials(ctx context.Context, env, instance string, look creds.Look) ([]creds.Listed, error)
	// AuditCredentials reads who can log in, and what is wrong with that.
	AuditCredentials(ctx context.Context, env, instance string) ([]*creds.AuditReport, error)
}
