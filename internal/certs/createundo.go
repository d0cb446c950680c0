package certs

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
)

// undo revokes what the run had made, and removes its files.
func (c creation) undo(ctx context.Context, s *op.Session) (op.Result, error) {
	provider, name, err := c.Cloud(ctx, c.t)
	if err != nil {
		return op.Result{}, err
	}
	if c.r.Host != c.Host {
		return op.Result{}, fault.Newf(fault.Invalid, c.what(), "its folder is on %s, and this is %s", c.r.Host, c.Host).Hint("on %s: dbops runs undo %s", c.r.Host, s.Run)
	}
	slot, err := openSlot(c.r.Dir, s.Run)
	if err != nil { // no folder, no files: what is in the cloud is left
		slot = lostSlot(c.r.Dir)
	}
	defer slot.close()
	m := making{creation: c, s: s, cloud: provider, name: name, slot: slot}
	var out Created
	known, err := s.Output(stepCreate, &out)
	if err != nil {
		return op.Result{}, err
	}
	text := "there is nothing to revoke"
	var changes []op.Change
	err = s.Poll(ctx, c.Pace, c.what(), func(ctx context.Context) (bool, string, error) {
		told, err := provider.Certificates(ctx, name)
		if err != nil {
			return false, "", err
		}
		if told.Instance.State == cloud.Modifying {
			return false, told.Instance.RawState, nil
		}
		listed := told.Client(c.r.Name)
		switch {
		case listed == nil:
			return true, "", nil
		case known && listed.ID == out.ID, slot.holdsKeyOf(*listed):
			err = m.delete(ctx, listed.ID)
		case known: // another one has the name by now
			return true, "", nil
		default:
			err = m.drop(ctx, *listed)
		}
		if err == nil {
			text = "revoked: " + listed.ID
			changes = []op.Change{{Setting: "client_certificates." + c.r.Name, From: listed.ID, To: "none"}}
		}
		return false, "revoking", err
	})
	if err != nil {
		return op.Result{}, err
	}
	return op.Result{Text: text, Changes: changes}, slot.remove()
}

// mend says what a folder needs that a run did not get its files into. Its run has that folder for good: another is for another plan.
func (c creation) mend(err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "let this user write to " + c.r.Dir
	case errors.Is(err, fs.ErrNotExist):
		return "make the folder " + c.r.Dir
	case errors.Is(err, syscall.EROFS):
		return "make " + c.r.Dir + " writable"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "make room in " + c.r.Dir
	}
	return "move what is in the way out of " + c.r.Dir
}

func (c creation) onDisk(err error) error {
	if fault.HintOf(err) == "" { // not the disk's
		return err
	}
	return fault.New(fault.Failed, c.what(), err).Hint("%s", c.mend(err))
}
