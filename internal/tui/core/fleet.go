package core

import (
	"context"

	"dbops/internal/app"
	"dbops/internal/drift"
)

// Fleet is what is looked at of all instances in passing, every few minutes. It begins nothing, and logs in nowhere.
type Fleet interface {
	// CredentialAges asks the secret stores how old the credentials of all containers are. Instances without containers are left out.
	CredentialAges(ctx context.Context) ([]app.CredentialAge, error)
	// Drifts compares what is declared of all instances with what is live. What cannot be reached is in the report.
	Drifts(ctx context.Context) (*drift.Report, error)
}
