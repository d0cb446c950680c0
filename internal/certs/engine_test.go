package certs

import (
	"errors"
	"strings"
	"testing"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/sandbox/play"
	"dbops/internal/state"
)

func TestTroubleOfTheCloud(t *testing.T) {
	t.Parallel()
	s := playedCloudSQL(t)
	b := s.bench(t, 17)
	// What passes is waited for.
	for _, action := range []string{"instances.addServerCa", "instances.rotateServerCa", "sslCerts.insert", "sslCerts.delete"} {
		for _, effect := range []play.Effect{play.Throttle, play.Unavailable, play.Drop} {
			s.faults.Add(play.Fault{Service: "cloudsql", Action: action, Target: b.name, Effect: effect, Count: 1})
		}
	}
	run := b.does(t, RotateKind, RotateRequest{Now: time.Now()}, state.Gate)
	b.is(t, b.tell(t, run.ID, state.Continue), state.Done)
	dir := t.TempDir()
	b.does(t, CreateClientKind, CreateRequest{Name: "laptop", Dir: dir, Host: "here", User: "postgres"}, state.Done)
	b.usable(t, dir, "laptop")
	b.does(t, RevokeClientKind, RevokeRequest{Client: "laptop"}, state.Done)
	// An operation that the provider gives up parks the run, and leaves nothing behind.
	s.faults.Add(play.Fault{Service: "cloudsql", Action: "sslCerts.insert", Target: b.name, Effect: play.Fail, Count: 1})
	dir = t.TempDir()
	run = b.does(t, CreateClientKind, CreateRequest{Name: "phone", Dir: dir, Host: "here", User: "postgres"}, state.Parked)
	if run.Step != stepWait {
		t.Errorf("it is parked at %s: %s", run.Step, run.Problem)
	}
	b.is(t, b.tell(t, run.ID, state.UndoRun), state.Undone)
	if found, _ := inTheWay(dir); len(found) > 0 || len(b.told(t).Clients) > 0 {
		t.Errorf("left: %v, %+v", found, b.told(t).Clients)
	}
	s.faults.Add(play.Fault{Service: "cloudsql", Action: "instances.rotateServerCa", Target: b.name, Effect: play.Deny, Count: 1})
	run = b.does(t, RotateKind, RotateRequest{Back: true, Now: time.Now()}, state.Parked)
	if !strings.Contains(run.Problem, "rotateServerCa") {
		t.Errorf("who is denied learns %q, %q", run.Problem, run.Hint)
	}
	b.is(t, b.tell(t, run.ID, state.Retry), state.Done)
}

func TestAnUnknownInstanceIsNotFound(t *testing.T) {
	t.Parallel()
	for _, s := range []*stage{playedCloudSQL(t), playedRDS(t)} {
		_, err := s.cloud.Certificates(t.Context(), "nobody")
		if fault.KindOf(err) != fault.NotFound || !strings.Contains(err.Error(), "nobody") {
			t.Errorf("%s: %v", s.kind, err)
		}
		if _, err := s.cloud.Certificates(t.Context(), ""); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%s, no name: %v", s.kind, err)
		}
	}
	c := playedRDS(t).cloud
	_, add := c.AddCA(t.Context(), "x")
	_, _, _, create := c.CreateClient(t.Context(), "x", "y")
	_, revoke := c.DeleteClient(t.Context(), "x", "y")
	for _, err := range []error{add, create, revoke} {
		if !errors.Is(err, cloud.ErrUnsupported) || fault.HintOf(err) == "" {
			t.Errorf("got %v", err)
		}
	}
}
