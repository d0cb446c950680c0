package cloudtest

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/fault"
)

func (s *Stage) backups(t *testing.T) {
	p := s.Changer
	list := func(t *testing.T) []cloud.Backup {
		t.Helper()
		all, err := p.Backups(t.Context(), s.Known)
		if err != nil {
			t.Fatal(err)
		}
		for i, b := range all {
			if b.ID == "" || b.Instance != s.Known || b.State == "" || b.Started.IsZero() || i > 0 && b.Started.After(all[i-1].Started) {
				t.Errorf("backup %d of %+v", i, all)
			}
		}
		return all
	}
	before := list(t)
	if len(before) == 0 || before[0].Kind != "automatic" {
		t.Fatalf("no automatic one in %+v", before)
	}
	r, err := p.CreateBackup(t.Context(), s.Known, "before-release")
	if err != nil {
		t.Fatal(err)
	}
	s.finish(t, r)
	all := list(t)
	i := slices.IndexFunc(all, func(b cloud.Backup) bool { return b.ID == r.Backup })
	if len(all) != len(before)+1 || i < 0 {
		t.Fatalf("%q is not in %+v", r.Backup, all)
	}
	made := all[i]
	if !made.Ready || made.Kind != "manual" || (made.ID == "before-release") != s.Labels || (made.Text == "before-release") == s.Labels {
		t.Errorf("got %+v", made)
	}
	t.Run("the same label again", func(t *testing.T) {
		again, err := p.CreateBackup(t.Context(), s.Known, "before-release")
		if s.Labels {
			failed(t, err, fault.Invalid)
			if !errors.Is(err, cloud.ErrExists) {
				t.Errorf("it is not said that the name is taken: %v", err)
			}
			return
		}
		if err != nil || again.Backup == r.Backup {
			t.Fatalf("got %+v, %v", again, err)
		}
		s.finish(t, again)
		s.dropBackup(t, again.Backup)
	})
	t.Run("one is removed once", func(t *testing.T) { s.dropBackup(t, r.Backup) })
	t.Run("an automatic one is not removed", func(t *testing.T) {
		failed(t, p.DeleteBackup(t.Context(), s.Known, before[0].ID), fault.Invalid)
	})
	if after := list(t); len(after) != len(before) {
		t.Errorf("left %+v", after)
	}
}

// dropBackup removes a backup of the known instance, and waits until it is gone and the instance at rest.
func (s *Stage) dropBackup(t *testing.T, id string) {
	t.Helper()
	if err := s.Changer.DeleteBackup(t.Context(), s.Known, id); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); ; <-tick.C {
		all, err := s.Changer.Backups(t.Context(), s.Known)
		if err != nil {
			t.Fatal(err)
		}
		there := slices.ContainsFunc(all, func(b cloud.Backup) bool { return b.ID == id })
		if !there && get(t, s.Changer, s.Known).State == cloud.Available {
			break
		}
		if time.Since(start) > patience {
			t.Fatalf("it stays: %+v", all)
		}
	}
	failed(t, s.Changer.DeleteBackup(t.Context(), s.Known, id), fault.NotFound)
}

func (s *Stage) restores(t *testing.T) {
	p := s.Changer
	const count = "select count(*)::text from item"
	s.Query(t, s.Known, "create table item (id int); insert into item values (1); select '1'")
	r, err := p.CreateBackup(t.Context(), s.Known, "one-item")
	if err != nil {
		t.Fatal(err)
	}
	s.finish(t, r)
	s.Query(t, s.Known, "insert into item values (2); select '2'")
	at := s.now(t)
	s.Query(t, s.Known, "insert into item values (3); select '3'")
	s.restorable(t, s.now(t))

	for _, c := range []struct {
		name    string
		restore cloud.Restore
		items   string
	}{
		{"from a backup", cloud.Restore{Target: "copy-backup", Backup: r.Backup}, "1"},
		{"from a backup, to a name that was used before", cloud.Restore{Target: "copy-backup", Backup: r.Backup, Unprotected: true}, "1"},
		{"to a time", cloud.Restore{Target: "copy-time", Time: at, Unprotected: true}, "2"},
		{"to the latest", cloud.Restore{Target: "copy-latest", Unprotected: true}, "3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.restore.Source, c.restore.Labels = s.Known, map[string]string{"purpose": "drill"}
			since := time.Now()
			_, err := p.Restoring(t.Context(), c.restore, since)
			failed(t, err, fault.NotFound)
			r, err := p.Restore(t.Context(), c.restore)
			if err != nil {
				t.Fatal(err)
			}
			if c.restore.Backup != "" { // as if the answer was lost
				if r, err = p.Restoring(t.Context(), c.restore, since); err != nil {
					t.Fatal(err)
				}
			}
			s.finish(t, r)
			s.lost(t, c.restore, since)
			if got := s.Query(t, c.restore.Target, count); got != c.items {
				t.Errorf("%s items, want %s", got, c.items)
			}
			s.conforms(t, c.restore)
			if !c.restore.Unprotected {
				s.modify(t, c.restore.Target, cloud.Settings{DeletionProtection: new(false)})
				s.renames(t, c.restore.Target)
			}
			s.remove(t, c.restore.Target)
		})
	}
	t.Run("one that fails says why", func(t *testing.T) {
		s.Fault("Restore", "fail", 1)
		r, err := p.Restore(t.Context(), cloud.Restore{Source: s.Known, Target: "copy-failing", Unprotected: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.ends(t, r, fault.Internal); !strings.Contains(err.Error(), "sandbox") {
			t.Errorf("the provider's reason is missing: %v", err)
		}
	})
	t.Run("what cannot be restored", func(t *testing.T) {
		for kind, restores := range map[fault.Kind][]cloud.Restore{
			fault.Invalid: {
				{Source: s.Known, Target: "copy", Time: time.Now().Add(time.Hour)}, {Source: s.Known, Target: "copy", Time: at, Backup: r.Backup},
			},
			fault.NotFound: {{Source: s.Known, Target: "copy", Backup: "777"}},
		} {
			for _, restore := range restores {
				_, err := p.Restore(t.Context(), restore)
				failed(t, err, kind)
			}
		}
	})
}

// lost checks that the receipt of a restore can be had again, and none for what somebody else made.
func (s *Stage) lost(t *testing.T, r cloud.Restore, since time.Time) {
	t.Helper()
	again, err := s.Changer.Restoring(t.Context(), r, since)
	if err != nil {
		t.Fatal(err)
	}
	s.finish(t, again)
	for _, name := range []string{s.Known, r.Target} {
		other, after := r, since
		other.Target, other.Labels = name, map[string]string{"purpose": "another"}
		if name == r.Target {
			after = time.Now().Add(time.Hour)
		}
		if _, err = s.Changer.Restoring(t.Context(), other, after); !errors.Is(err, cloud.ErrExists) {
			t.Errorf("%s is not said to be somebody else's: %v", name, err)
		}
	}
}

// now is the clock of the real server of the known instance, after what it has done and before what it will do.
func (s *Stage) now(t *testing.T) time.Time {
	t.Helper()
	text := s.Query(t, s.Known, "select pg_sleep(0.02); select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	s.Query(t, s.Known, "select pg_sleep(0.02); select '1'")
	return at
}

// restorable waits until the known instance can be restored to a moment.
func (s *Stage) restorable(t *testing.T, at time.Time) {
	t.Helper()
	s.Query(t, s.Known, "insert into item values (4); delete from item where id = 4; select pg_switch_wal()::text") // else it ships when it is full
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); ; <-tick.C {
		live := get(t, s.Changer, s.Known)
		if live.Backups.LatestRestorable.After(at) {
			return
		}
		if time.Since(start) > patience {
			t.Fatalf("it can be restored to %s, not to %s", live.Backups.LatestRestorable, at)
		}
	}
}

// conforms checks that a restored instance is like its source, or can be made so.
func (s *Stage) conforms(t *testing.T, r cloud.Restore) {
	t.Helper()
	source, target := get(t, s.Changer, s.Known), get(t, s.Changer, r.Target)
	left, ok, _ := s.Changer.Conform(t.Context(), source, target, r)
	if ok != left.Empty() || ok != (s.Tells || r.Backup != "") {
		t.Errorf("left is %+v, %v", left, ok)
	}
	s.modify(t, r.Target, left)
	target = get(t, s.Changer, r.Target)
	if left, ok, lost := s.Changer.Conform(t.Context(), source, target, r); !ok {
		t.Errorf("still left: %+v, lost %v", left, lost)
	}
	if target.DeletionProtection == r.Unprotected || target.Labels["purpose"] != "drill" || target.Labels["environment"] != "prod" {
		t.Errorf("protected %v, labels %v", target.DeletionProtection, target.Labels)
	}
	for _, differs := range []bool{
		target.Class != source.Class, target.Availability != source.Availability, target.SecondaryZone == "", target.IAMLogin != source.IAMLogin,
		target.TLS.CA != source.TLS.CA, target.TLS.Required != source.TLS.Required, target.PublicAccess != source.PublicAccess,
		target.Backups.RetentionDays != source.Backups.RetentionDays, target.Backups.Window != source.Backups.Window,
		target.Storage.Type != source.Storage.Type, target.Major != source.Major,
	} {
		if differs {
			t.Errorf("the target is not like the source:\n%+v\n%+v", target, source)
		}
	}
}

// renames checks that an instance can get another name and its old one back, where it can.
func (s *Stage) renames(t *testing.T, name string) {
	t.Helper()
	r, err := s.Changer.Rename(t.Context(), name, "renamed")
	if !s.Renames {
		failed(t, err, fault.Invalid)
		if !errors.Is(err, cloud.ErrUnsupported) {
			t.Errorf("it is not said to be unsupported: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	s.finish(t, r)
	_, err = s.Changer.Get(t.Context(), name)
	failed(t, err, fault.NotFound)
	if live := get(t, s.Changer, "renamed"); r.Instance != "renamed" || live.State != cloud.Available {
		t.Errorf("got %+v, %+v", r, live)
	}
	_, err = s.Changer.Rename(t.Context(), "renamed", s.Known)
	failed(t, err, fault.Invalid)
	if !errors.Is(err, cloud.ErrExists) {
		t.Errorf("it is not said that the name is taken: %v", err)
	}
	if r, err = s.Changer.Rename(t.Context(), "renamed", name); err != nil {
		t.Fatal(err)
	}
	s.finish(t, r)
}
