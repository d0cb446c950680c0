package cloudtest

import (
	"errors"
	"strings"
	"testing"

	"dbops/internal/cloud"
	"dbops/internal/fault"
)

func (s *Stage) settings(t *testing.T) {
	p := s.Changer
	t.Run("labels are set and removed, the others stay", func(t *testing.T) {
		s.modify(t, s.Known, cloud.Settings{Labels: []cloud.Label{{Key: "team", Value: "shop"}, {Key: "tier", Value: "gold"}}})
		s.modify(t, s.Known, cloud.Settings{Labels: []cloud.Label{{Key: "team", Remove: true}, {Key: "tier", Value: "silver"}, {Key: "none", Remove: true}}})
		live := get(t, p, s.Known)
		if _, there := live.Labels["team"]; there || live.Labels["tier"] != "silver" || live.Labels["environment"] != "prod" {
			t.Errorf("got %v", live.Labels)
		}
		s.modify(t, s.Known, cloud.Settings{Labels: []cloud.Label{{Key: "tier", Remove: true}}})
	})
	t.Run("deletion protection is switched both ways, and protects", func(t *testing.T) {
		_, err := p.Delete(t.Context(), s.Known)
		failed(t, err, fault.Invalid)
		if fault.HintOf(err) == "" {
			t.Errorf("no hint for %v", err)
		}
		s.modify(t, s.Known, cloud.Settings{DeletionProtection: new(false)})
		s.modify(t, s.Known, cloud.Settings{DeletionProtection: new(true)})
		if live := get(t, p, s.Known); live.State != cloud.Available {
			t.Errorf("it is %s", live.State)
		}
	})
	t.Run("several are changed at once", func(t *testing.T) {
		live := get(t, p, s.Known)
		s.modify(t, s.Known, cloud.Settings{
			IAMLogin: new(false), RetentionDays: new(5), Labels: []cloud.Label{{Key: "team", Value: "shop"}},
		})
		s.modify(t, s.Known, cloud.Settings{
			IAMLogin: new(true), RetentionDays: &live.Backups.RetentionDays, Labels: []cloud.Label{{Key: "team", Remove: true}},
		})
		after := get(t, p, s.Known)
		after.Revision = live.Revision
		same(t, live, after)
	})
	t.Run("only the revision that was seen is changed", func(t *testing.T) {
		live := get(t, p, s.Known)
		m := cloud.Modify{Settings: cloud.Settings{RetentionDays: new(3)}, Revision: "1000000"}
		_, err := p.Modify(t.Context(), s.Known, m)
		failed(t, err, fault.Stale)
		same(t, live, get(t, p, s.Known))
		if (live.Revision != "") != s.Revisions {
			t.Errorf("its revision is %q", live.Revision)
		}
		if m.Revision = live.Revision; !s.Revisions {
			return
		}
		r, err := p.Modify(t.Context(), s.Known, m)
		if err != nil {
			t.Fatal(err)
		}
		s.finish(t, r)
		m.Settings.RetentionDays = &live.Backups.RetentionDays
		_, err = p.Modify(t.Context(), s.Known, m)
		failed(t, err, fault.Stale)
		s.modify(t, s.Known, m.Settings)
	})
	t.Run("a change may wait for the window, or may not", func(t *testing.T) {
		live := get(t, p, s.Known)
		m := cloud.Modify{Settings: cloud.Settings{IAMLogin: new(false)}, When: cloud.InWindow}
		r, err := p.Modify(t.Context(), s.Known, m)
		if !s.Windows {
			failed(t, err, fault.Invalid)
			if !errors.Is(err, cloud.ErrUnsupported) {
				t.Errorf("it is not said to be unsupported: %v", err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		progress, err := p.Progress(t.Context(), kept(t, r))
		if err != nil || !progress.Done || !strings.Contains(progress.Status, live.Maintenance.Window) {
			t.Errorf("it is not done when it is accepted: %+v, %v", progress, err)
		}
		waiting := get(t, p, s.Known)
		if !waiting.IAMLogin || len(waiting.Pending) != 1 || waiting.Pending[0].To != "false" {
			t.Errorf("it does not wait: %+v", waiting)
		}
		if again, err := p.Modify(t.Context(), s.Known, m); err != nil || again.RequestID != "" {
			t.Errorf("asked twice: %+v, %v", again, err)
		}
		m.Settings.IAMLogin = new(true) // takes it back
		if r, err = p.Modify(t.Context(), s.Known, m); err != nil {
			t.Fatal(err)
		}
		s.finish(t, r)
		same(t, live, get(t, p, s.Known))
	})
	t.Run("nothing may be asked for", func(t *testing.T) {
		s.modify(t, s.Known, cloud.Settings{})
	})
}

func (s *Stage) refusals(t *testing.T) {
	p := s.Changer
	on := func(name string) map[string]error {
		_, modify := p.Modify(t.Context(), name, cloud.Modify{Settings: cloud.Settings{RetentionDays: new(3)}})
		_, failover := p.Failover(t.Context(), name)
		_, backup := p.CreateBackup(t.Context(), name, "b")
		_, restore := p.Restore(t.Context(), cloud.Restore{Source: name, Target: "copy"})
		_, remove := p.Delete(t.Context(), name)
		_, progress := p.Progress(t.Context(), cloud.Receipt{Change: "modify", Instance: name, Operation: "1b"})
		_, rename := p.Rename(t.Context(), name, "other")
		return map[string]error{
			"Modify": modify, "Failover": failover, "CreateBackup": backup, "Restore": restore, "Delete": remove, "Progress": progress,
			"DeleteBackup": p.DeleteBackup(t.Context(), name, "1"), "Rename": rename,
		}
	}
	for method, err := range on("dbops-no-such-instance") {
		t.Run(method+" of an instance that does not exist", func(t *testing.T) {
			if method == "Rename" && !s.Renames {
				return
			}
			failed(t, err, fault.NotFound)
		})
	}
	for method, err := range on("") {
		t.Run(method+" of no instance", func(t *testing.T) { failed(t, err, fault.Invalid) })
	}
	t.Run("what it has no setting for", func(t *testing.T) {
		if s.Unknown.Empty() {
			return
		}
		_, err := p.Modify(t.Context(), s.Known, cloud.Modify{Settings: s.Unknown})
		failed(t, err, fault.Invalid)
		if !errors.Is(err, cloud.ErrUnsupported) {
			t.Errorf("it is not said to be unsupported: %v", err)
		}
	})
	t.Run("words that mean nothing", func(t *testing.T) {
		for _, m := range []cloud.Modify{
			{Settings: cloud.Settings{Availability: new(cloud.Availability("global"))}}, {When: "tomorrow"},
		} {
			_, err := p.Modify(t.Context(), s.Known, m)
			failed(t, err, fault.Invalid)
		}
		for _, r := range []cloud.Receipt{
			{Change: "dance", Instance: s.Known, Operation: "1"}, {Change: "modify", Instance: s.Known, Want: []byte("[1]")},
		} {
			_, err := p.Progress(t.Context(), r)
			failed(t, err, fault.Invalid)
		}
	})
	t.Run("a target that exists", func(t *testing.T) {
		_, err := p.Restore(t.Context(), cloud.Restore{Source: s.Known, Target: s.Known})
		failed(t, err, fault.Invalid)
		if !errors.Is(err, cloud.ErrExists) {
			t.Errorf("it is not said that the name is taken: %v", err)
		}
	})
	t.Run("who does not wait any more", func(t *testing.T) {
		_, err := p.Modify(cancelled(t), s.Known, cloud.Modify{Settings: cloud.Settings{RetentionDays: new(3)}})
		failed(t, err, fault.Interrupted)
		_, err = p.Progress(expired(t), cloud.Receipt{Change: "modify", Instance: s.Known, Operation: "1"})
		failed(t, err, fault.Unavailable)
	})
}
