package migrate

import (
	"context"
	"slices"

	"dbops/internal/fault"
	"dbops/internal/migrate/driver"
	"dbops/internal/migrate/source"
	"dbops/internal/op"
)

// mender carries out a repair.
type mender struct {
	Deps
	t op.Target
	r RepairRequest
	f RepairFacts
}

func (m mender) do(ctx context.Context, s *op.Session) (op.Result, error) {
	set, err := m.find(m.t, m.r.Set)
	if err != nil {
		return op.Result{}, err
	}
	folder, err := source.Read(set.Folder)
	if err != nil {
		return op.Result{}, err
	}
	who := m.Who(ctx, s.Plan.Requester.Name, set.Folder)
	who.Run = s.Run
	if err := s.Fence(); err != nil {
		return op.Result{}, err
	}
	d, err := m.open(ctx, m.t, set, m.r.Manner, who, func(text string) { s.Progress(ctx, "%s", text) }, nil)
	if err != nil {
		return op.Result{}, err
	}
	defer d.Close()
	st, err := d.Read(ctx)
	if err != nil {
		return op.Result{}, err
	}
	res := op.Result{Changes: s.Plan.Changes}
	switch {
	case m.r.Accept:
		var changed []*source.Migration
		for _, one := range folder.Migrations {
			if slices.Contains(m.f.Changed, one.String()) {
				changed = append(changed, one)
			}
		}
		res.Text = "accepted " + few(m.f.Changed)
		return res, d.Adopt(ctx, driver.Record{Migrations: changed, Direction: driver.Repair, Version: st.Version, Reason: m.r.Reason})
	case !st.Dirty: // an earlier attempt did it
		res.Text = "version " + versionText(versionOf(st))
		return res, nil
	case m.r.Resume:
		return m.resume(ctx, d, folder)
	}
	affected := m.affected(folder)
	res.Text = "version " + versionText(m.r.Version)
	return res, d.Settle(ctx, driver.Record{Migrations: affected, Direction: driver.Repair, Version: *m.r.Version, Reason: m.r.Reason})
}

func (m mender) resume(ctx context.Context, d *driver.Driver, folder *source.Folder) (op.Result, error) {
	one, _, ok := folder.Find(m.f.Cut.Version)
	if !ok {
		return op.Result{}, fault.Newf(fault.Stale, "go on with "+m.f.Cut.Name, "it is gone").Hint("bring it back")
	}
	target := one.Version
	if m.f.Cut.Direction == string(source.Down) {
		target = m.f.Versions[0].Version
	}
	err := d.Resume(ctx, driver.Job{Migration: one, Direction: source.Direction(m.f.Cut.Direction), Target: target})
	if err != nil {
		r := runner{Deps: m.Deps, t: m.t, direction: source.Direction(m.f.Cut.Direction)}
		return op.Result{}, r.explain(ctx, m.f.SetFacts, err)
	}
	return op.Result{Text: one.String() + " is ended", Changes: []op.Change{{Target: m.f.Name, Setting: "version", From: versionText(m.f.Version) + " (dirty)", To: versionText(&target)}}}, nil
}

// affected are the migrations between which the database was.
func (m mender) affected(folder *source.Folder) (out []*source.Migration) {
	for _, c := range m.f.Versions {
		if one, _, ok := folder.Find(c.Version); ok && (m.f.Cut == nil || one.Version == m.f.Cut.Version) && (one.Version == *m.r.Version || m.f.Cut != nil || (m.f.Version != nil && one.Version == *m.f.Version)) {
			out = append(out, one)
		}
	}
	return out
}
