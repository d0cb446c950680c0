package cloudtest

import (
	"strings"
	"testing"

	"dbops/internal/cloud"
	"dbops/internal/fault"
)

// trouble checks what becomes of a change when the provider has trouble.
func (s *Stage) trouble(t *testing.T) {
	p := s.Changer
	requests := map[string]func() error{
		"Modify": func() error {
			_, err := p.Modify(t.Context(), s.Known, cloud.Modify{Settings: cloud.Settings{RetentionDays: new(3)}})
			return err
		},
		"Failover":     func() error { _, err := p.Failover(t.Context(), s.Known); return err },
		"CreateBackup": func() error { _, err := p.CreateBackup(t.Context(), s.Known, "trouble"); return err },
		"Restore": func() error {
			_, err := p.Restore(t.Context(), cloud.Restore{Source: s.Known, Target: "copy"})
			return err
		},
	}
	before := get(t, p, s.Known)
	for method, request := range requests {
		for effect, kind := range map[string]fault.Kind{
			"throttle": fault.Throttled, "deny": fault.Denied, "unavailable": fault.Unavailable, "drop": fault.Unavailable,
		} {
			t.Run(method+" is asked once to "+effect, func(t *testing.T) {
				s.Fault(method, effect, 2)
				err := request()
				left := s.Faults()
				failed(t, err, kind)
				if left != 1 {
					t.Errorf("%d of 2 failures are left", left)
				}
				if effect == "deny" && fault.PermissionOf(err) != s.Permissions[method] {
					t.Errorf("missing %q, want %q: %v", fault.PermissionOf(err), s.Permissions[method], err)
				}
				if open := strings.Contains(fault.HintOf(err), "may have been accepted"); open != (kind == fault.Unavailable) {
					t.Errorf("hint %q", fault.HintOf(err))
				}
				if !strings.Contains(err.Error(), s.Known) {
					t.Errorf("it does not say of what: %v", err)
				}
			})
		}
	}
	same(t, before, get(t, p, s.Known))
	t.Run("looking is tried again", func(t *testing.T) {
		r := s.modify(t, s.Known, cloud.Settings{Labels: []cloud.Label{{Key: "looked", Value: "at"}}})
		s.Fault("Progress", "throttle", 1)
		defer s.Faults()
		if progress, err := p.Progress(t.Context(), r); err != nil || !progress.Done {
			t.Errorf("got %+v, %v", progress, err)
		}
		s.modify(t, s.Known, cloud.Settings{Labels: []cloud.Label{{Key: "looked", Remove: true}}})
	})
	t.Run("what hangs is never done, and keeps others away", func(t *testing.T) {
		for method, begin := range map[string]func(name string) (cloud.Receipt, error){
			"Modify": func(name string) (cloud.Receipt, error) {
				return p.Modify(t.Context(), name, cloud.Modify{Settings: cloud.Settings{Availability: new(cloud.Zonal)}})
			},
			"Failover": func(name string) (cloud.Receipt, error) { return p.Failover(t.Context(), name) },
		} {
			name := "hung-" + strings.ToLower(method)
			s.Spare(t, name)
			s.Fault(method, "hang", 1)
			r, err := begin(name)
			if err != nil {
				t.Fatal(err)
			}
			for range 20 {
				if progress, err := p.Progress(t.Context(), r); err != nil || progress.Done {
					t.Fatalf("%s: got %+v, %v", method, progress, err)
				}
			}
			_, err = p.Modify(t.Context(), name, cloud.Modify{Settings: cloud.Settings{RetentionDays: new(3)}})
			failed(t, err, fault.Busy)
			_, err = p.CreateBackup(t.Context(), name, "busy")
			failed(t, err, fault.Busy)
		}
	})
	t.Run("what fails says why", func(t *testing.T) {
		s.Spare(t, "failing")
		s.Fault("Modify", "fail", 1)
		r, err := p.Modify(t.Context(), "failing", cloud.Modify{Settings: cloud.Settings{Availability: new(cloud.Zonal)}})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.ends(t, r, fault.Internal); !strings.Contains(err.Error(), "sandbox") || fault.HintOf(err) == "" {
			t.Errorf("the provider's reason is missing: %v, hint %q", err, fault.HintOf(err))
		}
	})
	t.Run("what is gone in the middle is not found", func(t *testing.T) {
		s.Spare(t, "fleeting")
		r := s.modify(t, "fleeting", cloud.Settings{RetentionDays: new(3)})
		b, err := p.CreateBackup(t.Context(), "fleeting", "last-words")
		if err != nil {
			t.Fatal(err)
		}
		s.finish(t, b)
		s.remove(t, "fleeting")
		if err := s.ends(t, r, fault.NotFound); !strings.Contains(err.Error(), "fleeting") {
			t.Errorf("it does not say what: %v", err)
		}
		left, err := p.Backups(t.Context(), "fleeting")
		if !s.Keeps {
			failed(t, err, fault.NotFound)
		} else if err != nil || len(left) != 1 || left[0].ID != "last-words" {
			t.Errorf("what was made by hand does not outlive it: %+v, %v", left, err)
		}
	})
}

// remove deletes an instance and follows it to its end.
func (s *Stage) remove(t *testing.T, name string) {
	t.Helper()
	r, err := s.Changer.Delete(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	s.finish(t, r)
	_, err = s.Changer.Get(t.Context(), name)
	failed(t, err, fault.NotFound)
	s.finish(t, r) // it stays done
	_, err = s.Changer.Delete(t.Context(), name)
	failed(t, err, fault.NotFound)
}
