package backup

import (
	"context"
	"fmt"
	"strings"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
)

// RenameRequest asks for another name of an instance. Cloud SQL cannot rename: there it is a clone under that name, beside the old one.
type RenameRequest struct {
	To string `json:"to"` // the provider's name
	// Names are the places that name the instance and have to be changed by hand: of dbops.yaml, databases, deliveries.
	Names []string `json:"names,omitempty"`
}

type renameFacts struct {
	Source cloud.Instance `json:"source"`
	Taken  bool           `json:"taken"`
}

func (r *Room) rename() op.Operation[RenameRequest, renameFacts] {
	return op.Operation[RenameRequest, renameFacts]{
		Kind: RenameKind, Words: words(),
		Observe: func(ctx context.Context, t op.Target, q RenameRequest) (f renameFacts, err error) {
			c, live, err := r.look(ctx, t)
			if err != nil {
				return f, err
			}
			f.Source = seen(live)
			if q.To != live.Name {
				f.Taken, err = taken(ctx, c, q.To, live.Provider)
			}
			return f, err
		},
		Derive: deriveRename,
		Steps: func(t op.Target, q RenameRequest, f renameFacts) []op.Step {
			if f.Source.Provider == cloud.CloudSQL {
				return r.cloneSteps(t, q, f)
			}
			move := func(from, to string) func(context.Context, *op.Session) (op.Result, error) {
				return func(ctx context.Context, s *op.Session) (op.Result, error) { return r.move(ctx, s, f.Source, from, to) }
			}
			return []op.Step{
				{
					Name: "rename", Title: "rename " + f.Source.Name + " to " + q.To,
					Do: move(f.Source.Name, q.To), Undo: move(q.To, f.Source.Name), UndoTitle: "give it its old name back",
				},
				{
					Name: "verify", Title: "see that " + q.To + " answers",
					Do: func(ctx context.Context, s *op.Session) (op.Result, error) { return r.answers(ctx, s, q.To) },
				},
			}
		},
	}
}

func deriveRename(t op.Target, q RenameRequest, f renameFacts) op.Draft {
	d := op.Draft{
		Title: "rename " + t.String() + " from " + f.Source.Name + " to " + q.To, Findings: usable(f.Source),
		Notes: []string{"dbops.yaml still says " + f.Source.Name + ": change it when this is done"},
		Also:  []string{t.Environment + "/" + q.To},
	}
	if q.To == f.Source.Name {
		return d
	}
	d.Findings = append(d.Findings, newName(q.To, f.Taken, f.Source.Provider)...)
	if len(q.Names) > 0 {
		d.Findings = append(d.Findings, op.Finding{
			Severity: op.Warn, Check: "repoint", Text: fmt.Sprintf("%d places name it, and have to be changed by hand", len(q.Names)),
			Evidence: strings.Join(q.Names, "; "),
		})
	}
	if f.Source.Provider == cloud.CloudSQL {
		d.Title = "clone " + t.String() + " to " + q.To + ", as its new name"
		d.Changes = []op.Change{{Target: t.Environment + "/" + q.To, Setting: "instance", To: "a clone of " + f.Source.Name}}
		d.Downtime = op.Downtime{Expected: "some", Text: "as long as you stop writing to " + f.Source.Name + ": from before the clone until clients use " + q.To}
		d.Cost = "up: two instances until you remove " + f.Source.Name
		d.Back = "go on with " + f.Source.Name + ", which stays as it is, and remove " + q.To
		d.Findings = append(d.Findings, warn("clone", "stop the writers before you pass the first gate",
			"Cloud SQL cannot rename an instance: this is a clone under the new name, with other addresses and another server CA, and without what is written to the old one later"))
		d.Notes = append(d.Notes, f.Source.Name+" is never removed by dbops: its backups are gone with it")
		return d
	}
	d.Changes = []op.Change{{Setting: "name", From: f.Source.Name, To: q.To}}
	d.Downtime = op.Downtime{Expected: "some", Text: "RDS reboots it; the old address is gone at once, and the new one is known everywhere after some minutes"}
	d.Back = "dbops rename back to " + f.Source.Name
	d.Findings = append(d.Findings,
		warn("reboot", "choose a quiet hour", "RDS reboots the instance to rename it: every session ends"),
		warn("address", "have the new address ready where clients are configured", "the old DNS name is gone at once, the new one takes minutes; the server's certificate is made for the new name"))
	alongside(&d, ConfigureRequest{}, f.Source)
	return d
}

// move gives an instance another name, and knows by its age which one it is.
func (r *Room) move(ctx context.Context, s *op.Session, source cloud.Instance, from, to string) (op.Result, error) {
	c, err := r.cloudOf(ctx, s)
	if err != nil {
		return op.Result{}, err
	}
	what := "rename " + from + " to " + to
	var out op.Result
	var receipt *cloud.Receipt
	var nowhere time.Time // since when it has neither name
	err = s.Poll(ctx, r.d.Pace, what, func(ctx context.Context) (bool, string, error) {
		if receipt != nil {
			p, err := c.Progress(ctx, *receipt)
			return p.Done, p.Says(to), err
		}
		there, err := c.Get(ctx, to)
		switch {
		case err == nil && !there.Created.Equal(source.Created):
			return false, "", fault.New(fault.Invalid, what, fmt.Errorf("another instance is called so by now: %w", cloud.ErrExists)).Hint("undo or abandon the run")
		case err == nil:
			return there.State == cloud.Available, to + ": " + there.RawState, nil
		case !is(err, fault.NotFound):
			return false, "", err
		}
		if _, err := c.Get(ctx, from); err != nil {
			if !is(err, fault.NotFound) {
				return false, "", err
			}
			if nowhere.IsZero() {
				nowhere = time.Now()
			}
			if time.Since(nowhere) < time.Minute {
				return false, "between two names", nil
			}
			return false, "", err
		}
		if err := s.Fence(); err != nil {
			return false, "", err
		}
		got, err := c.Rename(ctx, from, to)
		if is(err, fault.NotFound) {
			return false, "between two names", nil
		}
		if err != nil {
			return false, "", err
		}
		receipt, out.RequestID = &got, got.RequestID
		return false, "", nil
	})
	if err == nil {
		out.Changes = []op.Change{{Setting: "name", From: from, To: to}}
		out.Text = "it is called " + to
	}
	return out, err
}

func (r *Room) answers(ctx context.Context, s *op.Session, name string) (op.Result, error) {
	c, err := r.cloudOf(ctx, s)
	if err != nil {
		return op.Result{}, err
	}
	live, err := c.Get(ctx, name)
	if err != nil {
		return op.Result{}, err
	}
	if _, err := r.reachable(ctx, s, name, firstDatabase); err != nil {
		return op.Result{}, err
	}
	out := op.Result{}
	if _, marked := live.Labels[cloud.LeaseLabel]; marked { // under its old name, by which it will be looked for when the run ends
		if out, err = r.modify(ctx, s, c, name, cloud.Settings{Labels: []cloud.Label{{Key: cloud.LeaseLabel, Remove: true}}}); err != nil {
			return out, err
		}
	}
	out.Output, out.Text = RestoreReport{Instance: name, Endpoints: live.Endpoints}, name+" answers"
	return out, nil
}

func (r *Room) cloneSteps(t op.Target, q RenameRequest, f renameFacts) []op.Step {
	old := f.Source.Name
	begin := op.Step{
		Name: "stop-writers", Title: "wait until the writers are stopped",
		Gate: "stop whatever writes to " + old + ": what is written to it after the clone has begun is not in " + q.To + ". " + q.To +
			" gets other addresses and another server CA; database users are copied",
	}
	repoint := op.Step{
		Name: "repoint", Title: "wait until everything names " + q.To,
		Gate: "make these name " + q.To + " in place of " + old + ", then go on: " + strings.Join(q.Names, "; ") +
			". " + old + " stays as it is: remove it yourself when nobody uses it. Undoing from here removes " + q.To + " with all that was written to it",
	}
	if len(q.Names) == 0 {
		repoint.Gate = strings.Replace(repoint.Gate, "make these name", "make whatever connects name", 1)
		repoint.Gate = strings.Replace(repoint.Gate, "go on: ", "go on", 1)
	}
	ask := cloud.Restore{Source: old, Target: q.To}
	steps := append([]op.Step{begin}, r.restoreSteps(t, "its present state", ask)...)
	return append(steps, repoint)
}
