package upgrade

import (
	"context"
	"fmt"
	"strings"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
)

// remnant is the new instance of an upgrade that was rolled back, as the cloud tells of it.
type remnant struct {
	Gone bool `json:"gone,omitempty"`
	// Taken: it has not the label of the upgrade: somebody keeps it, or it is another one of that name.
	Taken  bool   `json:"taken,omitempty"`
	Serves string `json:"serves"` // what the target is now: the source, unless it was upgraded again since
}

// makes tells whether the upgrade made its new instance, which a rollback then leaves.
func (p past) makes() bool {
	return !p.InPlace && p.Facts.Source.Provider != cloud.Postgres && !p.Facts.Target.Server.Declared
}

// look sees what became of the new instance of an upgrade that was rolled back, and of what clients use in its place.
func (p *past) look(ctx context.Context, m *moving) error {
	if !p.Back || p.Cleared != "" || !p.makes() {
		return nil
	}
	c, name, err := m.r.d.Cloud(ctx, m.t)
	if err != nil {
		return err
	}
	serves, err := c.Get(ctx, name)
	if err != nil {
		return err
	}
	p.Source, p.Remnant = string(serves.State), &remnant{Serves: name}
	live, err := c.Get(ctx, m.to.Name)
	if is(err, fault.NotFound) {
		p.Remnant.Gone = true
		return nil
	}
	if err != nil {
		return err
	}
	p.Remnant.Taken = live.Labels[RunLabel] != m.run
	return nil
}

// clears tells whether the clean-up after a rollback removes the new instance.
func (p past) clears(q CleanupRequest) bool {
	r := p.Remnant
	return r != nil && !r.Gone && !r.Taken && r.Serves != p.Facts.Target.Server.Name && !q.Remove && p.Source == string(cloud.Available)
}

// clear is the clean-up after a rollback: clients use the source again, and what is over is the new instance.
func (p past) clear(t op.Target, q CleanupRequest) op.Draft {
	from, to := p.Facts.Source.Server.Name, p.Facts.Target.Server.Name
	d := op.Draft{
		Title:    fmt.Sprintf("remove %s, PostgreSQL %d, from which %s went back to %s", to, p.Request.To, t, from),
		Downtime: op.Downtime{Expected: "none", Text: p.clients()},
		Also:     []string{t.Environment + "/" + to},
	}
	add := func(f op.Finding) { d.Findings = append(d.Findings, f) }
	if q.Remove {
		add(block("source-in-use", "leave --remove-source out", "upgrade "+q.Run+" was rolled back to "+from+", which is not removed"))
	}
	switch r := p.Remnant; {
	case p.Cleared != "":
		add(block("ended", "there is nothing to do", "upgrade "+q.Run+" was ended by "+p.After+", and what it left by "+p.Cleared))
	case r == nil && p.InPlace:
		add(block("ended", "there is nothing to do", "upgrade "+q.Run+" was ended by "+p.After))
	case r == nil:
		add(block("not-made", "drop what it holds by hand where nobody needs it", to+" was there before upgrade "+q.Run+", which was ended by "+p.After+": dbops does not remove it"))
	case r.Gone:
		d.Title = to + " is gone, and nothing else is left of upgrade " + q.Run
	case r.Serves == to:
		add(block("in-use", "write "+from+" in place of "+to+" into dbops.yaml, then plan again", "dbops.yaml says that "+t.String()+" is "+to))
	case r.Taken:
		add(block("not-made", "remove it in the provider's console if nobody needs it", fmt.Sprintf("%s has no label %s=%s: somebody keeps it", to, RunLabel, q.Run)))
	case p.Source != string(cloud.Available):
		add(block("source", "start it in the provider's console; until then "+to+" is kept", r.Serves+", which clients use, is "+p.Source))
	}
	if !p.clears(q) {
		return d
	}
	d.Changes = []op.Change{{Target: t.Environment + "/" + to, Setting: "instance", From: to, To: "removed"}}
	d.Cost = "down: one instance"
	d.Back = "nothing brings the instance back; a backup that is restored makes a new one"
	add(warn("remove", "copy what matters by hand first", to+" is removed, with all that is in it: what clients wrote to it and nobody carried back is lost"))
	if p.Facts.Source.Provider == cloud.CloudSQL {
		add(warn("backups", "export what has to be kept", "the backups of an instance of Cloud SQL are gone with it"))
	}
	return d
}

func (m *moving) clearSteps(p past, q CleanupRequest) (steps []op.Step) {
	if !p.clears(q) {
		return nil
	}
	if p.Facts.Source.Provider == cloud.RDS {
		steps = append(steps, m.onward(m.step("last-backup", "make a last backup of "+m.to.Name, func(m *moving, ctx context.Context, s *op.Session) (op.Result, error) {
			return m.lastBackup(ctx, s, m.to.Name)
		})))
	}
	return append(steps, m.onward(m.step("remove-new", "remove "+m.to.Name, (*moving).removeNew)))
}

// removeNew removes the new instance, and what was made for it alone.
func (m *moving) removeNew(ctx context.Context, s *op.Session) (op.Result, error) {
	c, err := m.cloud(ctx)
	if err != nil {
		return op.Result{}, err
	}
	out, err := m.remove(ctx, s, c, m.to.Name, func(context.Context, *cloud.Instance) (bool, error) { return false, nil })
	if err == nil && !strings.Contains(out.Text, "left as it is") {
		err = c.Discard(ctx, m.wanted(m.run))
	}
	return out, err
}

// clients says where they are after an upgrade, and that a clean-up leaves them there.
func (p past) clients() string {
	from, to := p.Facts.Source.Server.Name, p.Facts.Target.Server.Name
	switch {
	case p.Remnant != nil:
		return "clients use " + p.Remnant.Serves + ", which is not touched"
	case p.After != "": // since then they may have gone anywhere
		return "nothing is touched"
	case p.Left:
		return "clients are shut out of " + from + ", which is not touched"
	case !p.Switched:
		return "clients use " + from + ", which is not touched"
	case p.Part, p.Begun != "":
		return "some clients may use " + from + ", and some " + to
	}
	return "clients use " + to + ", which is not touched"
}

// stays says what becomes of the new instance that a rollback leaves.
func (p past) stays(t op.Target, how string) string {
	to := p.Facts.Target.Server.Name
	if !p.makes() {
		return to + " stays " + how + ": empty it when nobody needs it"
	}
	return fmt.Sprintf("%s stays %s, and costs until dbops upgrade cleanup -e %s %s removes it", to, how, t.Environment, t.Instance)
}
