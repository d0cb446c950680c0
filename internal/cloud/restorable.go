package cloud

import "time"

// RestorableFrom is the earliest moment that an instance can be restored to, as far as its description says; zero: it cannot be restored to
// a moment. It is what the provider tells, else as far back as logs are kept, and never before the instance was made.
func (i *Instance) RestorableFrom(now time.Time) time.Time {
	b := i.Backups
	switch {
	case !b.PITR:
		return time.Time{}
	case !b.EarliestRestorable.IsZero():
		return b.EarliestRestorable
	case b.RetentionDays == 0:
		return i.Created
	}
	return later(i.Created, now.AddDate(0, 0, -b.RetentionDays))
}

// RestorableFromAny is the same where all backups of the instance are known: a restore to a moment begins with an automatic backup. Zero: there
// is none yet, or no recovery.
func (i *Instance) RestorableFromAny(all []Backup, now time.Time) (from time.Time) {
	if !i.Backups.PITR || !i.Backups.EarliestRestorable.IsZero() {
		return i.RestorableFrom(now)
	}
	for _, b := range all {
		if b.Ready && b.Kind == "automatic" && (from.IsZero() || b.Started.Before(from)) {
			from = b.Started
		}
	}
	if i.Provider == CloudSQL && !from.IsZero() { // keeps backups longer than the logs between them
		return later(from, i.RestorableFrom(now))
	}
	return from
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
