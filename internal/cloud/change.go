package cloud

import (
	"context"
	"encoding/json"
	"time"
)

// Settings are what an instance is wished to have; nil leaves a setting as it is. What a provider has no such setting for, or
// cannot change in place, is a fault.Invalid that says so, and nothing is changed.
type Settings struct {
	Availability       *Availability `json:"availability,omitempty"`
	BackupsEnabled     *bool         `json:"backups_enabled,omitempty"` // cloudsql; on rds a retention of 0 days means no backups
	RetentionDays      *int          `json:"retention_days,omitempty"`  // rds: of backups and PITR; cloudsql: of transaction logs
	Retained           *int          `json:"retained,omitempty"`        // cloudsql: number of backups kept
	BackupWindow       *string       `json:"backup_window,omitempty"`   // UTC, in the provider's form: see [Backups.Window]
	PITR               *bool         `json:"pitr,omitempty"`            // cloudsql; on rds it comes with the backups
	DeletionProtection *bool         `json:"deletion_protection,omitempty"`
	TLSRequired        *bool         `json:"tls_required,omitempty"`  // cloudsql; on rds it is in the parameter group
	PublicAccess       *bool         `json:"public_access,omitempty"` // an address that the internet can reach
	IAMLogin           *bool         `json:"iam_login,omitempty"`     // roles may log in with a cloud identity
	Labels             []Label       `json:"labels,omitempty"`        // to set, or to remove
	Class              *string       `json:"class,omitempty"`         // machine class
}

// Label is one tag (rds) or label (cloudsql) to set; Remove takes it away.
type Label struct {
	Key    string `json:"key"`
	Value  string `json:"value,omitempty"`
	Remove bool   `json:"remove,omitempty"`
}

// When says when a change is made.
type When string

// The times of a change.
const (
	Now      When = "now"
	InWindow When = "in_window" // in the maintenance window: the provider does it (rds), or refuses (cloudsql: only [Now])
)

// Modify is a change of settings.
type Modify struct {
	Settings Settings
	When     When // empty: Now. On rds, Now also applies every other pending modification: see [Instance.Pending]
	// Revision, if not empty, is what [Instance.Revision] must still be: else nothing changes and the error is a fault.Stale.
	Revision string
}

// Receipt is what a provider gave for a change that it accepted. It is good in another process, and is all that is needed to
// follow the change.
type Receipt struct {
	Change    string          `json:"change"`               // what was asked: "modify", "failover", "backup", "restore", "rename", "delete"
	Operation string          `json:"operation,omitempty"`  // cloudsql: the operation's name
	RequestID string          `json:"request_id,omitempty"` // the provider's own, for its audit log
	Backup    string          `json:"backup,omitempty"`     // a backup that the change makes
	Instance  string          `json:"instance"`             // the instance to look at: of a restore the new one, of a rename the new name
	At        time.Time       `json:"at"`                   // when it was accepted, by this machine's clock
	Want      json.RawMessage `json:"want,omitempty"`       // what the provider needs to tell that the change has truly happened
}

// Progress is how far a change is.
type Progress struct {
	Done   bool   `json:"done"`             // it has truly happened, and the instance is settled
	Status string `json:"status"`           // the provider's words: "modifying", "UPDATE RUNNING"
	Detail string `json:"detail,omitempty"` // the latest event, if any
}

// Backup is one backup that can be restored.
type Backup struct {
	ID       string    `json:"id"` // rds: the snapshot identifier; cloudsql: the run's number
	Instance string    `json:"instance"`
	Kind     string    `json:"kind"`  // "automatic" or "manual"
	State    string    `json:"state"` // the provider's word
	Ready    bool      `json:"ready"` // it can be restored
	Started  time.Time `json:"started,omitzero"`
	Ended    time.Time `json:"ended,omitzero"`
	GiB      int64     `json:"gib,omitempty"`
	Text     string    `json:"text,omitempty"` // its description
}

// Restore makes a new instance from a backup, or from the state of another instance at a moment.
type Restore struct {
	Source string // the instance whose data it is
	Target string // the new instance: it must not exist
	Backup string // of Source; empty: restore to a point in time
	// Time to restore to. Zero: the latest that is possible.
	Time time.Time
	// Labels are added to the source's.
	Labels map[string]string
	// Unprotected leaves deletion protection off, for an instance that will be removed again.
	Unprotected bool
}

// Event is something that a provider says happened to an instance.
type Event struct {
	At   time.Time `json:"at"`
	ID   string    `json:"id,omitempty"` // rds: the event's number, RDS-EVENT-0025; cloudsql: the operation's name
	Text string    `json:"text"`
}

// Changer changes instances. A method starts one change and returns as soon as the provider has accepted it; [Changer.Progress]
// tells when it has happened. None is retried after an answer that leaves open whether it was accepted: the error is then a
// fault.Unavailable, and the caller looks before asking again. Errors are as for [Provider]; a state that does not allow the change
// is a fault.Busy, a name that is taken a fault.Invalid wrapping [ErrExists].
type Changer interface {
	Provider

	// Modify changes settings. Asking for what is there already is accepted and changes nothing: its receipt is done at once.
	Modify(ctx context.Context, name string, m Modify) (Receipt, error)

	// Failover makes the standby the primary. An instance without a standby is a fault.Invalid. Calling it twice fails over twice.
	Failover(ctx context.Context, name string) (Receipt, error)

	// Backups lists the backups of an instance, newest first. Those of an instance that is gone stay listed where the provider keeps
	// them.
	Backups(ctx context.Context, name string) ([]Backup, error)

	// CreateBackup starts a backup. The label is unique for the caller: a second call with the same one is refused (rds) with
	// [ErrExists], or starts a second backup with that description (cloudsql).
	CreateBackup(ctx context.Context, name, label string) (Receipt, error)

	// DeleteBackup removes a manual backup. One that is gone is a fault.NotFound.
	DeleteBackup(ctx context.Context, name, id string) error

	// Restore makes a new instance with the source's network, parameter group or flags, class, storage, availability, labels, CA,
	// IAM logins and protection, not the cloud's defaults, as far as the provider can be told when it makes it; [Changer.Conform]
	// says what is left to do.
	Restore(ctx context.Context, r Restore) (Receipt, error)

	// Restoring is the receipt of a restore that was first asked for at since and whose answer was lost: r is as it was asked for, with
	// labels that nothing else has. A fault.NotFound says that there is no such instance, so that it can be asked for; a fault.Invalid
	// wrapping [ErrExists] that one of its name is there and is not of that restore.
	Restoring(ctx context.Context, r Restore, since time.Time) (Receipt, error)

	// Conform tells which settings a restored instance still lacks compared to its source, as a change to ask for; ok if none.
	// What cannot be carried over is told in words.
	Conform(ctx context.Context, source, target *Instance, r Restore) (left Settings, ok bool, lost []string)

	// Rename gives an instance a new name. Cloud SQL cannot: fault.Invalid wrapping [ErrUnsupported].
	Rename(ctx context.Context, name, to string) (Receipt, error)

	// Delete removes an instance, without a final backup. One with deletion protection is a fault.Invalid, one that is gone a
	// fault.NotFound.
	Delete(ctx context.Context, name string) (Receipt, error)

	// Progress tells how far a change is. An operation that the provider gave up is an error of kind fault.Internal with the
	// provider's reason in it; an instance that is gone a fault.NotFound, unless its removal was the change.
	Progress(ctx context.Context, r Receipt) (Progress, error)

	// Events lists what happened to an instance since a moment, oldest first.
	Events(ctx context.Context, name string, since time.Time) ([]Event, error)

	// Identity is who the provider says is asking: an ARN of AWS, an e-mail address of Google. It is never taken from this machine.
	Identity(ctx context.Context) (string, error)
}
