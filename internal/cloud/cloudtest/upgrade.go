package cloudtest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/fault"
)

// Upgrading is what the checks of upgrades in place need beside a stage.
type Upgrading struct {
	// Session opens one on the real server of an instance, and tells as often as it is asked whether it lives.
	Session func(t *testing.T, instance string) (lives func() bool)
	// Looks says that the provider looks into the databases beforehand.
	Looks bool
	// Permission is what an upgrade needs.
	Permission string
}

// RunUpgrader checks that the provider of a stage keeps the promises of cloud.Upgrader, on an instance of PostgreSQL 16 that becomes one of 18.
func RunUpgrader(t *testing.T, s *Stage, u Upgrading) {
	t.Helper()
	p, ok := s.Changer.(cloud.Upgrader)
	if !ok {
		t.Fatalf("a %T upgrades nothing", s.Changer)
	}
	const name, to = "aging", 18
	s.Spare(t, name)
	s.Query(t, name, `CREATE TABLE item AS SELECT i AS id, md5(i::text) AS text FROM generate_series(1, 2000) i; ANALYZE item`)
	const content = `SELECT md5(string_agg(i::text, ',' ORDER BY id)) FROM item i`
	data, before := s.Query(t, name, content), get(t, p, name)
	lives := u.Session(t, name)

	asWas := func(t *testing.T) {
		t.Helper()
		if live := get(t, p, name); live.Major != 16 || live.State != cloud.Available || len(live.Pending) > 0 {
			t.Errorf("it is %s, %s with %v pending", live.EngineVersion, live.RawState, live.Pending)
		}
		if got := s.Query(t, name, content); got != data {
			t.Error("its data is another")
		}
	}
	t.Run("a wrong target is refused", func(t *testing.T) {
		for _, major := range []int{15, 19} {
			_, err := p.Upgrade(t.Context(), name, major, cloud.UpgradeOptions{})
			failed(t, err, fault.Invalid)
			if found, err := p.CanUpgrade(t.Context(), name, major); err != nil || len(found) == 0 {
				t.Errorf("%d: found %q, %v", major, found, err)
			}
		}
		_, err := p.Upgrade(t.Context(), name, to, cloud.UpgradeOptions{When: "never"})
		failed(t, err, fault.Invalid)
		_, err = p.Upgrade(t.Context(), "dbops-no-such-instance", to, cloud.UpgradeOptions{})
		failed(t, err, fault.NotFound)
		asWas(t)
	})
	t.Run("what has the major already has been upgraded", func(t *testing.T) {
		r, err := p.Upgrade(t.Context(), name, 16, cloud.UpgradeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		s.finish(t, r)
		asWas(t)
	})
	t.Run("what is in its way is found", func(t *testing.T) {
		if found, err := p.CanUpgrade(t.Context(), name, to); err != nil || len(found) > 0 {
			t.Errorf("found %q, %v", found, err)
		}
		s.Query(t, name, `CREATE TABLE odd (what regproc)`)
		s.Query(t, name, `SELECT pg_create_logical_replication_slot('cdc', 'pgoutput')`)
		found, err := p.CanUpgrade(t.Context(), name, to)
		if text := strings.Join(found, "; "); err != nil || u.Looks != (strings.Contains(text, "cdc") && strings.Contains(text, "odd.what")) {
			t.Errorf("found %q, %v", found, err)
		}
		r, err := p.Upgrade(t.Context(), name, to, cloud.UpgradeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		err = s.ends(t, r, fault.Internal)
		for _, want := range []string{"cdc", "odd.what"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("it does not say %s: %v", want, err)
			}
		}
		asWas(t)
		if !lives() {
			t.Error("a check cut a session")
		}
		s.Query(t, name, `DROP TABLE odd`)
		s.Query(t, name, `SELECT pg_drop_replication_slot('cdc')`)
	})
	t.Run("who may not is told", func(t *testing.T) {
		s.Fault("Upgrade", "deny", 1)
		_, err := p.Upgrade(t.Context(), name, to, cloud.UpgradeOptions{})
		failed(t, err, fault.Denied)
		if got := fault.PermissionOf(err); got != u.Permission {
			t.Errorf("missing %q, want %q", got, u.Permission)
		}
		asWas(t)
	})
	t.Run("an answer that is lost leaves it open", func(t *testing.T) {
		s.Fault("Upgrade", "drop", 1)
		_, err := p.Upgrade(t.Context(), name, to, cloud.UpgradeOptions{})
		failed(t, err, fault.Unavailable)
		if !strings.Contains(fault.HintOf(err), "accepted") {
			t.Errorf("the hint is %q", fault.HintOf(err))
		}
		asWas(t)
	})
	t.Run("one that fails leaves the instance as it was", func(t *testing.T) {
		s.Fault("Upgrade", "fail", 1)
		r, err := p.Upgrade(t.Context(), name, to, cloud.UpgradeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		err = s.ends(t, r, fault.Internal)
		if fault.HintOf(err) == "" {
			t.Errorf("no hint: %v", err)
		}
		asWas(t)
	})
	moment := time.Now()
	t.Run("it is upgraded, though the first answer was lost", func(t *testing.T) {
		if _, err := p.Upgrade(t.Context(), name, to, cloud.UpgradeOptions{}); err != nil {
			t.Fatal(err)
		}
		s.finish(t, s.insist(t, p, name, to))
	})
	t.Run("it is the same instance of another major", func(t *testing.T) {
		live := get(t, p, name)
		if live.Major != to || live.State != cloud.Available || !slices.Equal(live.Endpoints, before.Endpoints) || live.Availability != before.Availability ||
			live.TLS.CA != before.TLS.CA || !live.Created.Equal(before.Created) || len(live.Labels) != len(before.Labels) || !live.IAMLogin {
			t.Errorf("got  %+v\nfrom %+v", live, before)
		}
		if got := s.Query(t, name, content); got != data {
			t.Error("its data is another")
		}
		if got := s.Query(t, name, `SELECT count(*)::text FROM pg_stats WHERE tablename = 'item'`); got != "0" {
			t.Errorf("the planner has statistics of %s columns", got)
		}
		if got := s.Query(t, name, `SHOW server_version_num`); !strings.HasPrefix(got, "18") {
			t.Errorf("the server is %s", got)
		}
		if lives() {
			t.Error("a session outlives the upgrade")
		}
		again, err := p.Upgrade(t.Context(), name, to, cloud.UpgradeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		s.finish(t, again)
	})
	t.Run("the way back is a new instance", func(t *testing.T) {
		_, err := p.Restore(t.Context(), cloud.Restore{Source: name, Target: "aging-then", Time: moment, Labels: map[string]string{"run": "1"}})
		failed(t, err, fault.Invalid)
		all, err := p.Backups(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(all, func(b cloud.Backup) bool {
			return strings.Contains(strings.ReplaceAll(strings.ToLower(b.ID+b.Text), "-", ""), "preupgrade")
		})
		if i < 0 || !all[i].Ready {
			t.Fatalf("no backup from before it: %+v", all)
		}
		r, err := p.Restore(t.Context(), cloud.Restore{Source: name, Target: "aging-back", Backup: all[i].ID, Labels: map[string]string{"run": "2"}, Unprotected: true})
		if err != nil {
			t.Fatal(err)
		}
		s.finish(t, r)
		if live := get(t, p, "aging-back"); live.Major != 16 || s.Query(t, "aging-back", content) != data {
			t.Errorf("restored to %s", live.EngineVersion)
		}
	})
}

// insist asks for an upgrade again until the answer is how to follow the one that is under way.
func (s *Stage) insist(t *testing.T, p cloud.Upgrader, name string, to int) cloud.Receipt {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); ; <-tick.C {
		r, err := p.Upgrade(t.Context(), name, to, cloud.UpgradeOptions{})
		if err == nil {
			return r
		}
		failed(t, err, fault.Busy)
		if time.Since(start) > patience {
			t.Fatal(err)
		}
	}
}
