package cloud

import (
	"testing"
	"time"
)

func TestHowFarBackARestoreGoes(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	const day = 24 * time.Hour
	auto := func(d time.Duration) Backup { return Backup{Kind: "automatic", Ready: true, Started: ago(d)} }
	for name, c := range map[string]struct {
		kind       Kind
		created    time.Duration // ago
		backups    Backups
		all        []Backup
		said, sure time.Time // by the description, and with all backups
	}{
		"an instance that was just made": {
			RDS, 23 * time.Minute, Backups{PITR: true, RetentionDays: 7}, []Backup{auto(20 * time.Minute)}, ago(23 * time.Minute), ago(20 * time.Minute),
		},
		"one without a backup yet": {RDS, 2 * time.Minute, Backups{PITR: true, RetentionDays: 7}, nil, ago(2 * time.Minute), time.Time{}},
		"an old one": {
			RDS, 900 * day, Backups{PITR: true, RetentionDays: 7}, []Backup{auto(time.Hour), auto(6 * day), auto(3 * day)}, ago(7 * day), ago(6 * day),
		},
		"backups by hand, and one that is being made": {
			RDS, 900 * day,
			Backups{PITR: true, RetentionDays: 7},
			[]Backup{{Kind: "manual", Ready: true, Started: ago(5 * day)}, {Kind: "automatic", Started: ago(4 * day)}, auto(day)},
			ago(7 * day), ago(day),
		},
		"what the provider tells": {
			CloudSQL, 900 * day, Backups{PITR: true, RetentionDays: 7, EarliestRestorable: ago(time.Hour)}, []Backup{auto(5 * day)}, ago(time.Hour), ago(time.Hour),
		},
		"logs that are kept for fewer days than backups": {
			CloudSQL, 900 * day, Backups{PITR: true, RetentionDays: 3}, []Backup{auto(5 * day)}, ago(3 * day), ago(3 * day),
		},
		"no recovery": {RDS, 900 * day, Backups{}, []Backup{auto(day)}, time.Time{}, time.Time{}},
	} {
		i := &Instance{Provider: c.kind, Created: ago(c.created), Backups: c.backups}
		if got := i.RestorableFrom(now); !got.Equal(c.said) {
			t.Errorf("%s: by its description from %s, want %s", name, got, c.said)
		}
		if got := i.RestorableFromAny(c.all, now); !got.Equal(c.sure) {
			t.Errorf("%s: from %s, want %s", name, got, c.sure)
		}
	}
}
