package backup

import (
	"context"
	"strconv"

	"dbops/internal/cloud"
	"dbops/internal/op"
)

// ProtectRequest asks for deletion protection, or for its end: the kind says which.
type ProtectRequest struct{}

type protectFacts struct {
	Name  string `json:"name"`
	State string `json:"state"`
	On    bool   `json:"deletion_protection"`
}

func (r *Room) protect(on bool) op.Operation[ProtectRequest, protectFacts] {
	kind, verb := ProtectKind, "protect"
	if !on {
		kind, verb = UnprotectKind, "unprotect"
	}
	return op.Operation[ProtectRequest, protectFacts]{
		Kind: kind,
		Observe: func(ctx context.Context, t op.Target, _ ProtectRequest) (f protectFacts, err error) {
			_, live, err := r.look(ctx, t)
			if err != nil {
				return f, err
			}
			return protectFacts{Name: live.Name, State: string(seen(live).State), On: live.DeletionProtection}, nil
		},
		Derive: func(t op.Target, _ ProtectRequest, f protectFacts) op.Draft {
			d := op.Draft{
				Title:    verb + " " + t.String(),
				Downtime: op.Downtime{Expected: "none", Text: "deletion protection changes at once, and nothing else does"},
				Back:     map[bool]string{true: "dbops unprotect", false: "dbops protect"}[on] + " -e " + t.Environment + " " + t.Instance,
			}
			if f.On == on {
				return d
			}
			d.Changes = []op.Change{{Setting: "deletion_protection", From: strconv.FormatBool(f.On), To: strconv.FormatBool(on)}}
			if f.State == string(cloud.Deleting) {
				d.Findings = append(d.Findings, block("state", "", f.Name+" is being removed"))
			}
			if !on && t.Protected {
				d.Findings = append(d.Findings, warn("unprotected", "protect it again when you are done",
					"anybody who may delete instances can delete it with its automatic backups in one call"))
			}
			return d
		},
		Steps: func(t op.Target, _ ProtectRequest, f protectFacts) []op.Step {
			set := func(on bool) func(context.Context, *op.Session) (op.Result, error) {
				return func(ctx context.Context, s *op.Session) (op.Result, error) {
					c, err := r.cloudOf(ctx, s)
					if err != nil {
						return op.Result{}, err
					}
					return r.modify(ctx, s, c, f.Name, cloud.Settings{DeletionProtection: &on})
				}
			}
			return []op.Step{{Name: verb, Title: verb + " " + t.String(), Do: set(on), Undo: set(f.On), UndoTitle: "set deletion protection back"}}
		},
	}
}
