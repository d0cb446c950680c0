package audit

import (
	"context"
	"errors"
	"strings"

	"dbops/internal/fault"
	"dbops/internal/state/db"
)

// Anchor returns the present checkpoint, whose text is to be kept where nobody who may write to the store can change it. An empty log
// is a fault.NotFound.
func (l *Log) Anchor(ctx context.Context) (Checkpoint, error) {
	c, err := l.Check(ctx)
	if err == nil && c.Size == 0 {
		err = fault.Newf(fault.NotFound, "anchor the audit log of "+l.d.Name, "it is empty")
	}
	return c, err
}

// CheckAnchor tells whether the log still holds everything that an earlier [Log.Anchor] of this store covered, and returns the anchor.
// That what came after it is intact as well is what [Log.Verify] tells. If the log does not hold it, it is a fault.Findings with a [ConflictError].
func (l *Log) CheckAnchor(ctx context.Context, text string) (Checkpoint, error) {
	op := "compare the audit log of " + l.d.Name + " with an anchor"
	text = strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n")) + "\n" // as CI logs and clipboards leave it
	anchor, err := l.openKnown(ctx, l.d.Read(), text)
	if err != nil {
		return Checkpoint{}, fault.New(fault.Findings, op, err).
			Hint("give the whole text that dbops audit anchor printed, of this store; the key that signed it must be known, also if it is not used any more")
	}
	now, err := l.Check(ctx)
	if err != nil {
		return anchor, err
	}
	err = l.continues(ctx, anchor, now)
	if _, ok := errors.AsType[*ConflictError](err); ok {
		return anchor, fault.New(fault.Findings, op, err).
			Hint("the anchor is right: keep a copy of the store, and look for who changed it or put an older one back since")
	}
	return anchor, db.Fault(op, err)
}
