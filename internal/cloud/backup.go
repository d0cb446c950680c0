package cloud

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"dbops/internal/fault"
)

// Backing makes one backup of an instance for a run, however often it is asked, and by however many processes: a backup of the run's label
// that is there already is taken. A provider keeps one that failed together with its label, so each attempt of the run may make one more.
type Backing struct {
	Instance string
	Label    string // what the providers keep: an identifier (rds) or a description (cloudsql). Later attempts add "-2", "-3"
	Run      string // what a retry names
	Attempt  int    // of the step, from 1
	Fence    func() error

	Made    Backup
	Receipt *Receipt // of what this process asked for
}

// BackupClient is what a Backing needs of a provider.
type BackupClient interface {
	Backups(ctx context.Context, instance string) ([]Backup, error)
	CreateBackup(ctx context.Context, instance, label string) (Receipt, error)
	Progress(ctx context.Context, r Receipt) (Progress, error)
}

// Poll goes one step on: whether the backup is ready, and what there is to say meanwhile. One that failed in this attempt is a fault.Internal.
func (b *Backing) Poll(ctx context.Context, c BackupClient) (ready bool, says string, err error) {
	if b.Receipt != nil {
		if p, err := c.Progress(ctx, *b.Receipt); err != nil || !p.Done {
			return false, p.Says(b.Instance), err
		}
	}
	all, err := c.Backups(ctx, b.Instance)
	if err != nil {
		return false, "", err
	}
	mine := BackupsOf(all, b.Label) // that of an earlier attempt may have come to its end meanwhile
	if i := slices.IndexFunc(mine, func(one Backup) bool { return !one.Spent() }); i >= 0 {
		b.Made = mine[i]
		return b.Made.Ready, "backup " + b.Made.ID + ": " + b.Made.State, nil
	}
	if len(mine) > 0 && (b.Receipt != nil || len(mine) >= b.Attempt) {
		return false, "", fault.Newf(fault.Internal, "back up "+b.Instance, "backup %s is %s", mine[0].ID, mine[0].State).
			Hint("look in the provider's console, then dbops runs retry %s makes another one", b.Run)
	}
	if b.Receipt != nil {
		return false, "the backup is not listed yet", nil
	}
	if err := b.Fence(); err != nil {
		return false, "", err
	}
	got, err := c.CreateBackup(ctx, b.Instance, free(mine, b.Label))
	if errors.Is(err, ErrExists) {
		return false, "the backup is not listed yet", nil
	}
	if err != nil {
		return false, "", err
	}
	b.Receipt = &got
	return false, "backup " + got.Backup + " has begun", nil
}

// Called is the label that the backup has: the attempt's.
func (b *Backing) Called() string {
	if b.Made.Text != "" {
		return b.Made.Text
	}
	return b.Made.ID
}

// BackupsOf are the backups made by hand of a label and of its later attempts. RDS keeps a label as the identifier, Cloud SQL as the description.
func BackupsOf(all []Backup, label string) (out []Backup) {
	for _, b := range all {
		for _, name := range []string{b.ID, b.Text} {
			rest, mine := strings.CutPrefix(name, label)
			if b.Kind == "manual" && mine && laterAttempt.MatchString(rest) {
				out = append(out, b)
				break
			}
		}
	}
	return out
}

// laterAttempt is what the label of an attempt adds to the run's.
var laterAttempt = regexp.MustCompile(`^(-[0-9]+)?$`)

// free is the first label that none of these has. Asked for again after an answer was lost, it is the same.
func free(mine []Backup, label string) string {
	for n := 1; ; n++ {
		name := label
		if n > 1 {
			name += "-" + strconv.Itoa(n)
		}
		if !slices.ContainsFunc(mine, func(b Backup) bool { return b.ID == name || b.Text == name }) {
			return name
		}
	}
}

// Spent tells that a backup will never be ready.
func (b Backup) Spent() bool {
	return slices.Contains([]string{"failed", "FAILED", "SKIPPED", "DELETED", "DELETION_PENDING"}, b.State)
}

// Says is the progress of an instance in a line.
func (p Progress) Says(instance string) string {
	text := instance + ": " + p.Status
	if p.Detail != "" {
		text += " (" + p.Detail + ")"
	}
	return text
}
