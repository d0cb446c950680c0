package app

import (
	"context"

	"dbops/internal/state"
	"dbops/internal/state/audit"
)

// AuditEntries reads the latest entries of the audit log that f means, oldest first, whatever was done to the log.
func (a *App) AuditEntries(ctx context.Context, f audit.Filter) ([]audit.Entry, error) {
	s, done, err := a.auditStore(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	return s.Log.List(ctx, s.DB.Read(), f)
}

// VerifyAudit compares the entries from a number on with what was signed and with what this machine has seen before. That the log is not what
// was signed is in the report; an error says that it could not be found out.
func (a *App) VerifyAudit(ctx context.Context, since int64) (audit.Report, error) {
	s, done, err := a.auditStore(ctx)
	if err != nil {
		return audit.Report{}, err
	}
	defer done()
	return s.Log.Verify(ctx, since)
}

// auditStore is the state that is open, or one for reading only.
func (a *App) auditStore(ctx context.Context) (s *state.Store, done func(), err error) {
	a.engine.mu.Lock()
	s = a.engine.store
	a.engine.mu.Unlock()
	if s != nil {
		return s, func() {}, nil
	}
	if s, err = a.ReadStore(ctx); err != nil {
		return nil, nil, err
	}
	return s, func() { _ = s.Close() }, nil // only read
}
