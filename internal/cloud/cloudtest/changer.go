package cloudtest

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/fault"
)

// patience is how long a played change may take.
const patience = 60 * time.Second

// Stage is a provider before a played cloud, and the hands behind the scenes.
type Stage struct {
	Changer cloud.Changer
	Who     string // what its identity is
	// Known has a standby, backups, point-in-time recovery, deletion protection, logins with a cloud identity, and the label
	// environment=prod.
	Known string
	// Spare makes one more instance like it, called name, without protection.
	Spare func(t *testing.T, name string)
	// Fault asks for an effect of package play upon the request of a method of the changer, some times.
	Fault func(method, effect string, times int)
	// Faults tells how many of the effects that were asked for have not been used, and takes them back.
	Faults func() int
	// Query asks the real server of an instance for one text.
	Query func(t *testing.T, instance, sql string) string

	Permissions map[string]string // by method: what its request for a change needs

	// What only one of the clouds does.
	Renames   bool           // an instance can get another name
	Windows   bool           // a change can wait for the maintenance window
	Labels    bool           // the label of a backup is its identifier, and not its description
	Keeps     bool           // backups made by hand outlive their instance
	Tells     bool           // a restore to a time can be told labels and protection; else they are left to do
	Revisions bool           // settings have revisions
	Unknown   cloud.Settings // it has no such settings
}

// RunChanger checks that the changer of a stage keeps the promises of cloud.Changer.
func RunChanger(t *testing.T, s *Stage) {
	t.Helper()
	t.Run("it knows who asks", func(t *testing.T) {
		if who, err := s.Changer.Identity(t.Context()); err != nil || who != s.Who {
			t.Errorf("got %q, %v, want %q", who, err, s.Who)
		}
		_, err := s.Changer.Identity(cancelled(t))
		failed(t, err, fault.Interrupted)
	})
	t.Run("availability", s.availability)
	t.Run("failover", s.failover)
	t.Run("settings", s.settings)
	t.Run("refusals", s.refusals)
	t.Run("trouble", s.trouble)
	t.Run("backups", s.backups)
	t.Run("restores", s.restores)
}

// modify asks for settings and follows the change to its end.
func (s *Stage) modify(t *testing.T, name string, settings cloud.Settings) cloud.Receipt {
	t.Helper()
	r, err := s.Changer.Modify(t.Context(), name, cloud.Modify{Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	s.finish(t, r)
	if missing := settings.Missing(get(t, s.Changer, name)); missing != nil {
		t.Fatalf("it is said to be done, and lacks %v", missing)
	}
	return r
}

// finish follows a change to its end, as another process would: with what JSON keeps of the receipt. It returns how often it looked.
func (s *Stage) finish(t *testing.T, r cloud.Receipt) (looks int) {
	t.Helper()
	if r.At.IsZero() || r.Instance == "" || r.Change == "" {
		t.Errorf("the receipt says too little: %+v", r)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); ; looks++ {
		progress, err := s.Changer.Progress(t.Context(), kept(t, r))
		if err != nil {
			t.Fatal(err)
		}
		if progress.Status == "" {
			t.Errorf("progress without a status: %+v", progress)
		}
		if progress.Done {
			return looks + 1
		}
		if time.Since(start) > patience {
			t.Fatalf("the change %s does not end: %+v", r.Change, progress)
		}
		<-tick.C
	}
}

// ends follows a change until it is said to have failed, and returns what was said.
func (s *Stage) ends(t *testing.T, r cloud.Receipt, kind fault.Kind) error {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); ; <-tick.C {
		progress, err := s.Changer.Progress(t.Context(), kept(t, r))
		if err != nil {
			failed(t, err, kind)
			return err
		}
		if progress.Done || time.Since(start) > patience {
			t.Fatalf("the change %s did not fail: %+v", r.Change, progress)
		}
	}
}

func kept(t *testing.T, r cloud.Receipt) (again cloud.Receipt) {
	t.Helper()
	b, err := json.Marshal(r)
	if err == nil {
		err = json.Unmarshal(b, &again)
	}
	if err != nil {
		t.Fatal(err)
	}
	return again
}

func (s *Stage) availability(t *testing.T) {
	p := s.Changer
	if live := get(t, p, s.Known); live.Availability != cloud.Regional || live.SecondaryZone == "" {
		t.Fatalf("%s has no standby", s.Known)
	}
	t.Run("the standby can be dropped", func(t *testing.T) {
		r := s.modify(t, s.Known, cloud.Settings{Availability: new(cloud.Zonal)})
		live := get(t, p, s.Known)
		if live.SecondaryZone != "" || live.State != cloud.Available || len(live.Pending) > 0 {
			t.Errorf("done, and yet %+v", live)
		}
		if r.RequestID == "" {
			t.Error("the provider's audit log cannot be searched for it")
		}
	})
	t.Run("without one there is no failover", func(t *testing.T) {
		_, err := p.Failover(t.Context(), s.Known)
		failed(t, err, fault.Invalid)
		if fault.HintOf(err) == "" || !strings.Contains(err.Error(), s.Known) {
			t.Errorf("got %v, hint %q", err, fault.HintOf(err))
		}
	})
	t.Run("what is so already is done at once", func(t *testing.T) {
		before := get(t, p, s.Known)
		r, err := p.Modify(t.Context(), s.Known, cloud.Modify{Settings: cloud.Settings{Availability: new(cloud.Zonal)}})
		if err != nil {
			t.Fatal(err)
		}
		if looks := s.finish(t, r); looks != 1 {
			t.Errorf("it took %d looks", looks)
		}
		same(t, before, get(t, p, s.Known))
	})
	t.Run("the standby can be had again", func(t *testing.T) {
		s.modify(t, s.Known, cloud.Settings{Availability: new(cloud.Regional)})
		live := get(t, p, s.Known)
		if live.SecondaryZone == "" || live.SecondaryZone == live.Zone || live.State != cloud.Available {
			t.Errorf("done, and yet %+v", live)
		}
	})
}

func (s *Stage) failover(t *testing.T) {
	p := s.Changer
	const started = "select pg_postmaster_start_time()::text"
	since := time.Now().Add(-time.Second)
	for _, way := range []string{"there", "back"} {
		t.Run("the zones swap, and "+way, func(t *testing.T) {
			before, up := get(t, p, s.Known), s.Query(t, s.Known, started)
			r, err := p.Failover(t.Context(), s.Known)
			if err != nil {
				t.Fatal(err)
			}
			s.finish(t, r)
			after := get(t, p, s.Known)
			if after.Zone != before.SecondaryZone || after.SecondaryZone != before.Zone || after.State != cloud.Available {
				t.Errorf("from %s and %s to %s and %s, %s", before.Zone, before.SecondaryZone, after.Zone, after.SecondaryZone, after.RawState)
			}
			if s.Query(t, s.Known, started) == up {
				t.Error("the server is still the old one")
			}
		})
	}
	t.Run("its events tell", func(t *testing.T) {
		all, err := p.Events(t.Context(), s.Known, since)
		if err != nil {
			t.Fatal(err)
		}
		told := 0
		for i, e := range all {
			if e.At.Before(since) || e.At.Location() != time.UTC || i > 0 && e.At.Before(all[i-1].At) || e.Text == "" {
				t.Errorf("event %d of %+v", i, all)
			}
			if strings.Contains(strings.ToLower(e.Text), "failover") && e.ID != "" {
				told++
			}
		}
		if told < 2 {
			t.Errorf("no word of it in %+v", all)
		}
		if all, err = p.Events(t.Context(), s.Known, time.Now().Add(time.Minute)); err != nil || len(all) > 0 {
			t.Errorf("of the future: %+v, %v", all, err)
		}
	})
}
