package core

import (
	"context"

	"dbops/internal/app"
	"dbops/internal/state/audit"
)

// Audit is how the audit log is read.
type Audit interface {
	// AuditEntries are the latest that a filter means, oldest first, whatever was done to the log.
	AuditEntries(ctx context.Context, f audit.Filter) ([]audit.Entry, error)
	// VerifyAudit compares the entries from a number on with what was signed. That they are not is in the report; an error says that it could
	// not be found out.
	VerifyAudit(ctx context.Context, since int64) (audit.Report, error)
}

// Attention is how the program hears that something waits for a person.
type Attention interface {
	// Attention begins nothing: without any state there is nothing that waits.
	Attention(ctx context.Context) (app.Attention, error)
	// Approval is one approval with its plan.
	Approval(ctx context.Context, id string) (app.Waiting, error)
}
