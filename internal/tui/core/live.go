package core

import (
	"context"

	"dbops/internal/live"
)

// Live is what servers do now. [app.App] is one. Each call is a short session of its own.
type Live interface {
	LiveFigures(ctx context.Context, env, instance string, want live.Want) (*live.Figures, error)
	LiveSessions(ctx context.Context, env, instance string) (*live.Activity, error)
	LiveSession(ctx context.Context, env, instance string, pid int) (*live.Detail, error)
}
