package backup

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
)

// CreateRequest asks for a backup.
type CreateRequest struct {
	Label string `json:"label,omitempty"` // what it is for: letters, digits and single hyphens. The run's name is added. Defaults to "dbops"
}

// CreateReport is the output of step "backup".
type CreateReport struct {
	cloud.Backup
	Label string `json:"label"`
}

type createFacts struct {
	Source cloud.Instance `json:"source"`
}

// validLabel is what RDS takes as an identifier of a snapshot.
var validLabel = regexp.MustCompile(`^[a-z](-?[a-z0-9])*$`)

func (q CreateRequest) label() string {
	if q.Label == "" {
		return "dbops"
	}
	return strings.ToLower(q.Label)
}

func (r *Room) create() op.Operation[CreateRequest, createFacts] {
	return op.Operation[CreateRequest, createFacts]{
		Kind: CreateKind, Words: words(),
		Observe: func(ctx context.Context, t op.Target, _ CreateRequest) (f createFacts, err error) {
			_, live, err := r.look(ctx, t)
			if err != nil {
				return f, err
			}
			s := seen(live)
			// None of these matters to a backup.
			s.Backups, s.DeletionProtection, s.Pending = cloud.Backups{}, false, nil
			return createFacts{s}, nil
		},
		Derive: deriveCreate,
		Steps: func(t op.Target, q CreateRequest, f createFacts) []op.Step {
			return []op.Step{{
				Name: "backup", Title: "back up " + t.String() + ", and see that the backup is ready",
				Do: func(ctx context.Context, s *op.Session) (op.Result, error) { return r.backUp(ctx, s, f.Source.Name, q) },
				Undo: func(ctx context.Context, s *op.Session) (op.Result, error) {
					return r.dropBackup(ctx, s, f.Source.Name, q)
				},

				UndoTitle: "remove the backup that this run made",
			}}
		},
	}
}

func deriveCreate(t op.Target, q CreateRequest, f createFacts) op.Draft {
	d := op.Draft{
		Title:    "back up " + t.String(),
		Findings: usable(f.Source),
		Changes:  []op.Change{{Setting: "backups", To: "a new one, " + q.label() + "-RUN"}},
		Downtime: op.Downtime{Expected: "none", Text: "the databases can be used meanwhile"},
		Cost:     "up: a backup made by hand is kept, and paid for, until somebody removes it",
	}
	switch {
	case !validLabel.MatchString(q.label()) || len(q.label()) > 60:
		d.Findings = append(d.Findings, block("label", "write it as in before-release",
			"a label is up to 60 letters, digits and single hyphens, and begins with a letter: "+q.Label))
	case f.Source.Provider == cloud.CloudSQL:
		d.Findings = append(d.Findings, info("one backup", "Cloud SQL would take the same label twice: dbops looks for it before it asks again"))
		d.Notes = append(d.Notes, "the backup is removed together with the instance")
	case f.Source.Provider == cloud.RDS:
		d.Notes = append(d.Notes, "the backup outlives the instance")
	}
	if f.Source.Provider == cloud.RDS && f.Source.Availability == cloud.Zonal {
		d.Downtime = op.Downtime{Expected: "brief", Text: "without a standby RDS suspends I/O for a few seconds when a backup begins"}
	}
	return d
}

func (r *Room) backUp(ctx context.Context, s *op.Session, name string, q CreateRequest) (out op.Result, err error) {
	c, err := r.cloudOf(ctx, s)
	if err != nil {
		return op.Result{}, err
	}
	b := &cloud.Backing{Instance: name, Label: q.label() + "-" + s.Run, Run: s.Run, Attempt: s.Attempt, Fence: s.Fence}
	err = s.Poll(ctx, r.d.Pace, "back up "+name, func(ctx context.Context) (bool, string, error) { return b.Poll(ctx, c) })
	if b.Receipt != nil {
		out.RequestID = b.Receipt.RequestID
	}
	if err != nil {
		return out, err
	}
	out.Output = CreateReport{Backup: b.Made, Label: b.Called()}
	out.Changes = []op.Change{{Setting: "backups", To: b.Made.ID + " (" + b.Called() + ")"}}
	out.Text = "backup " + b.Made.ID + " is ready"
	return out, nil
}

func (r *Room) dropBackup(ctx context.Context, s *op.Session, name string, q CreateRequest) (op.Result, error) {
	c, err := r.cloudOf(ctx, s)
	if err != nil {
		return op.Result{}, err
	}
	label := q.label() + "-" + s.Run
	out := op.Result{Text: "there is no backup of this run"}
	err = s.Poll(ctx, r.d.Pace, "remove backup "+label, func(ctx context.Context) (bool, string, error) {
		all, err := c.Backups(ctx, name)
		if err != nil {
			return false, "", err
		}
		mine := cloud.BackupsOf(all, label)
		if len(mine) == 0 {
			return true, "", nil
		}
		made := mine[0]
		if err := s.Fence(); err != nil {
			return false, "", err
		}
		err = c.DeleteBackup(ctx, name, made.ID)
		if is(err, fault.NotFound) {
			err = nil
		}
		if err == nil {
			out.Text = "backup " + made.ID + " is removed"
			if c := (op.Change{Setting: "backups", From: made.ID, To: "removed"}); !slices.Contains(out.Changes, c) {
				out.Changes = append(out.Changes, c)
			}
		}
		return false, "removing backup " + made.ID, err
	})
	return out, err
}
