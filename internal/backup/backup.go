// Package backup is backups, restores to new instances, restore drills, deletion protection, and new names.
//
// Every change is an operation of package op. A restore always makes a new instance; a drill makes one, compares it to its source,
// measures how long that took and how much could have been lost, and removes it. No operation removes an instance that its own run did
// not make: the label [RunLabel] proves which those are.
package backup

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
)

// The operations.
const (
	CreateKind    = "backup.create"
	ConfigureKind = "backup.configure"
	RestoreKind   = "backup.restore"
	DrillKind     = "backup.drill"
	ProtectKind   = "protect"
	UnprotectKind = "unprotect"
	RenameKind    = "rename"
)

// RunLabel is the label of an instance that a run made; its value is the run.
const RunLabel = "dbops-run"

// Cloud is the provider of an instance: what this room needs of a [cloud.Changer], with the same promises.
type Cloud interface {
	Get(ctx context.Context, name string) (*cloud.Instance, error)
	Modify(ctx context.Context, name string, m cloud.Modify) (cloud.Receipt, error)
	Backups(ctx context.Context, name string) ([]cloud.Backup, error)
	CreateBackup(ctx context.Context, name, label string) (cloud.Receipt, error)
	DeleteBackup(ctx context.Context, name, id string) error
	Restore(ctx context.Context, r cloud.Restore) (cloud.Receipt, error)
	Restoring(ctx context.Context, r cloud.Restore, since time.Time) (cloud.Receipt, error)
	Conform(ctx context.Context, source, target *cloud.Instance, r cloud.Restore) (left cloud.Settings, ok bool, lost []string)
	Rename(ctx context.Context, name, to string) (cloud.Receipt, error)
	Delete(ctx context.Context, name string) (cloud.Receipt, error)
	Progress(ctx context.Context, r cloud.Receipt) (cloud.Progress, error)
}

// Deps are what the operations need.
type Deps struct {
	// Cloud is the provider of a target, and the provider's name of it. It may be called at any time.
	Cloud func(ctx context.Context, t op.Target) (Cloud, string, error)
	// Connect logs in to a database of an instance, by the provider's name, in the way of the target: it need not be in dbops.yaml, and
	// is like the target. Reading every table (pg_read_all_data) is enough. The caller closes it.
	Connect func(ctx context.Context, t op.Target, instance, database string) (*pgx.Conn, error)

	Pace op.Pace // of asking a cloud how far it is. Defaults to op.CloudPace
	// Reach is how long a drill tries to log in to what it restored. Defaults to 15 min
	Reach time.Duration
	// Settle is how long a drill waits until a moment after its look at the source can be restored; a quarter of it where the source
	// is idle, because then a provider may have nothing to keep. Defaults to 6 min
	Settle time.Duration
	// ExactBytes is how large a table may be for its rows to be counted and not estimated. Defaults to 64 MiB
	ExactBytes int64
}

// Room is this capability over what it needs.
type Room struct {
	d       Deps
	process string // tells this process from another one that goes on with a run
}

// New returns the capability.
func New(d Deps) *Room {
	if d.Pace == (op.Pace{}) {
		d.Pace = op.CloudPace()
	}
	if d.Reach <= 0 {
		d.Reach = 15 * time.Minute
	}
	if d.Settle <= 0 {
		d.Settle = 6 * time.Minute
	}
	if d.ExactBytes <= 0 {
		d.ExactBytes = 64 << 20
	}
	return &Room{d: d, process: uuid.NewString()}
}

// Kinds are the operations.
func (r *Room) Kinds() []op.Kind {
	return []op.Kind{
		r.create().AsKind(), r.configure().AsKind(), r.restore().AsKind(), r.drill().AsKind(), r.protect(true).AsKind(), r.protect(false).AsKind(),
		r.rename().AsKind(),
	}
}

// List are the backups of an instance, newest first.
func (r *Room) List(ctx context.Context, t op.Target) ([]cloud.Backup, error) {
	c, name, err := r.d.Cloud(ctx, t)
	if err != nil {
		return nil, err
	}
	return c.Backups(ctx, name)
}

// look is the cloud of a target, and the instance as it is.
func (r *Room) look(ctx context.Context, t op.Target) (Cloud, *cloud.Instance, error) {
	c, name, err := r.d.Cloud(ctx, t)
	if err != nil {
		return nil, nil, err
	}
	live, err := c.Get(ctx, name)
	return c, live, err
}

// cloudOf is the cloud of a run's target. The instance's name is in the facts: it may change in the course of the run.
func (r *Room) cloudOf(ctx context.Context, s *op.Session) (Cloud, error) {
	c, _, err := r.d.Cloud(ctx, s.Plan.Target)
	return c, err
}

// seen is what a plan may depend on: nothing that changes by itself.
func seen(live *cloud.Instance) cloud.Instance {
	b := live.Backups
	b.EarliestRestorable, b.LatestRestorable = time.Time{}, time.Time{}
	s := cloud.Instance{
		Provider: live.Provider, Name: live.Name, Project: live.Project, Region: live.Region, Major: live.Major, State: live.State,
		Availability: live.Availability, Backups: b, DeletionProtection: live.DeletionProtection, Pending: live.Pending, Created: live.Created,
	}
	if s.State == cloud.Modifying || s.State == cloud.Restarting {
		s.State = cloud.Available // it will be
	}
	return s
}

// words are the settings that facts call otherwise than plans do.
func words() map[string]string {
	return map[string]string{
		"source": "", "source.pending": "pending", "taken": "the new name is taken", "backup": "the backup", "reach": "the moment to restore to",
		"closed": "databases that cannot be logged in to",
	}
}

// usable blocks what cannot be done to an instance that does not run.
func usable(live cloud.Instance) []op.Finding {
	if live.State == cloud.Available {
		return nil
	}
	return []op.Finding{{
		Severity: op.Block, Check: "state", Text: live.Name + " is " + string(live.State) + ", and has to be available",
		Remedy: "start or mend it in the provider's console, then plan again",
	}}
}

// is tells whether err is of one of those kinds.
func is(err error, kinds ...fault.Kind) bool {
	for _, k := range kinds {
		if err != nil && fault.KindOf(err) == k {
			return true
		}
	}
	return false
}

func block(check, remedy, text string) op.Finding {
	return op.Finding{Severity: op.Block, Check: check, Text: text, Remedy: remedy}
}

func warn(check, remedy, text string) op.Finding {
	return op.Finding{Severity: op.Warn, Check: check, Text: text, Remedy: remedy}
}

func info(check, text string) op.Finding {
	return op.Finding{Severity: op.Info, Check: check, Text: text}
}
