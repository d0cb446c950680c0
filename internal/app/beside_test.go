package app

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dbops/internal/availability"
	"dbops/internal/backup"
	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/sandbox/play"
	"dbops/internal/state"
)

// The instance is switched, backed up and dropped into drills by one test, so that it is played once.
func TestWhatAnInstanceHasBehindIt(t *testing.T) {
	t.Parallel()
	a := deskApp(t)
	before, err := a.Availability(t.Context(), "prod", "main")
	if err != nil || before.Availability != cloud.Zonal || before.EventsErr != nil || before.PastErr != nil || len(before.Changes) > 0 {
		t.Fatalf("%+v, %v", before, err)
	}
	had, err := a.Recovery(t.Context(), "prod", "main")
	if err != nil || had.Unmanaged || had.Live.Name != deskName || had.PastErr != nil || len(had.Drills) > 0 || !strings.Contains(strings.Join(had.Names, " "), "instances.main") {
		t.Fatalf("%+v, %v", had, err)
	}
	if _, err := os.Stat(filepath.Join(a.opts.StateDir, "state.db")); !os.IsNotExist(err) {
		t.Errorf("looking has made a state: %v", err)
	}

	d := a.Desk(DeskOptions{})
	defer d.Close()
	if _, r := d.run(t, availability.SetKind, availability.SetRequest{Want: cloud.Regional}); r.State != state.Done {
		t.Fatalf("%+v", r)
	}
	if _, r := d.run(t, backup.CreateKind, backup.CreateRequest{Label: "night"}); r.State != state.Done {
		t.Fatalf("%+v", r)
	}
	if _, r := d.run(t, backup.DrillKind, backup.DrillRequest{}); r.State != state.Done {
		t.Fatalf("%+v", r)
	}
	now, err := a.Availability(t.Context(), "prod", "main")
	if err != nil || now.Availability != cloud.Regional || now.PastErr != nil || len(now.Changes) != 1 || now.Changes[0].Report == nil || now.Changes[0].Run.Kind != availability.SetKind {
		t.Errorf("switched: %+v, %v", now, err)
	}
	if len(now.Events) == 0 || !strings.Contains(strings.ToLower(now.Events[0].Text), "multi-az") {
		t.Errorf("the provider tells of the switch: %+v", now.Events)
	}
	has, err := a.Recovery(t.Context(), "prod", "main")
	if err != nil || len(has.Backups) != len(had.Backups)+1 || len(has.Drills) != 1 || has.Drills[0].Report == nil {
		t.Errorf("backed up and drilled: %+v, %v", has, err)
	}
}

func TestWhatLiesBesideMayBeMissing(t *testing.T) {
	t.Parallel()
	s := deskStage(t)
	lost := newMachine(t, "")
	must(t, os.Mkdir(filepath.Join(lost.dir, "state.db"), 0o700)) // which nobody can open
	a := lost.app(t, deskConfig(t, s, s.URL))
	av, err := a.Availability(t.Context(), "prod", "main")
	if err != nil || av.PastErr == nil || av.EventsErr != nil || av.Instance != "main" {
		t.Errorf("without the state: %+v, %v", av, err)
	}
	re, err := a.Recovery(t.Context(), "prod", "main")
	if err != nil || re.PastErr == nil || re.Live == nil {
		t.Errorf("without the state: %+v, %v", re, err)
	}
	plain, err := a.Recovery(t.Context(), "prod", "plain")
	if err != nil || !plain.Unmanaged || plain.Live != nil {
		t.Errorf("a plain server: %+v, %v", plain, err)
	}
	for name, read := range map[string]func(env, instance string) error{
		"availability": func(env, instance string) error { _, err := a.Availability(t.Context(), env, instance); return err },
		"recovery":     func(env, instance string) error { _, err := a.Recovery(t.Context(), env, instance); return err },
	} {
		fails(t, name+" of no environment", read("prd", "main"), fault.Usage)
		fails(t, name+" of no instance", read("prod", "mian"), fault.Usage)
	}
}

func TestAProviderThatRefusesOrIsDead(t *testing.T) {
	t.Parallel()
	s := deskStage(t)
	refusing := deskConfig(t, s, s.URL)
	refusing.Environments["prod"].Instances["main"].RDS.Identifier = "desk-denied" // so that nobody else meets the faults
	s.Faults.Add(play.Fault{Service: "rds", Target: "desk-denied", Effect: play.Deny})
	dead := deskConfig(t, s, deadPlane(t))
	for name, c := range map[string]struct {
		kind fault.Kind
		a    *App
		ctx  func(testing.TB) context.Context
	}{
		"it refuses": {fault.Denied, newMachine(t, "").app(t, refusing), testing.TB.Context},
		"it is dead": {fault.Unavailable, newMachine(t, "").app(t, dead), soon},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for what, read := range map[string]func() error{
				"availability": func() error { _, err := c.a.Availability(c.ctx(t), "prod", "main"); return err },
				"recovery":     func() error { _, err := c.a.Recovery(c.ctx(t), "prod", "main"); return err },
			} {
				fails(t, what, read(), c.kind) // where it is dead, that it comes back at all is what is tested: nobody else would end it
			}
		})
	}
}

func TestAMomentIsReadAsItIsShown(t *testing.T) {
	t.Parallel()
	want := time.Date(2026, 11, 28, 3, 15, 0, 0, time.UTC)
	for _, s := range []string{"2026-11-28T03:15:00Z", "2026-11-28 03:15:00Z", "2026-11-28T04:15:00+01:00"} {
		if at, err := Moment(s); err != nil || !at.Equal(want) {
			t.Errorf("%q: %s, %v", s, at, err)
		}
	}
	if at, err := Moment(""); err != nil || !at.IsZero() {
		t.Errorf("none: %s, %v", at, err)
	}
	for _, s := range []string{"yesterday", "2026-11-28", "2026-11-28T03:15:00", "2026-13-28T03:15:00Z"} { // one without a zone could be anybody's
		_, err := Moment(s)
		fails(t, s, err, fault.Usage)
	}
}
