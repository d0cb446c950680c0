package core

import (
	"context"

	"dbops/internal/drift"
)

// Drift is how what is declared compares with what is live.
type Drift interface {
	// Drift looks at the instances of env, or one of them; with all also at settings that nobody declares. What cannot be reached is in the report.
	Drift(ctx context.Context, env, instance string, all bool) (*drift.Report, error)
}
