package core

import (
	"context"

	"dbops/internal/app"
)

// Backups is from what instances can be restored.
type Backups interface {
	// Recovery asks the provider of one instance for its backups, and the state for its restore drills, which may be missing.
	Recovery(ctx context.Context, env, instance string) (*app.Recovery, error)
}
