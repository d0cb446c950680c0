package drift

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/op"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/state"
)

// scripted is a cloud that accepts everything, says at once that it is done, and shows what a test wants.
type scripted struct {
	mu    sync.Mutex
	asked bool
	shows []func(*cloud.Instance) // after it was asked, one look each
}

func (s *scripted) Get(context.Context, string) (*cloud.Instance, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	live := healthy(cloud.RDS)
	switch {
	case !s.asked:
		live.Availability = cloud.Zonal
	case len(s.shows) > 0:
		s.shows[0](live)
		s.shows = s.shows[1:]
	}
	return live, nil
}

func (s *scripted) Modify(context.Context, string, cloud.Modify) (cloud.Receipt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = true
	return cloud.Receipt{Change: "modify", Instance: "main", At: time.Now()}, nil
}

func (s *scripted) Progress(context.Context, cloud.Receipt) (cloud.Progress, error) {
	return cloud.Progress{Done: true, Status: "available"}, nil
}

// A receipt for what an earlier process had asked for already is done at once, and the change may still be under way.
func TestItIsNotDoneBeforeTheInstanceShowsItAtRest(t *testing.T) {
	t.Parallel()
	c := &scripted{shows: []func(*cloud.Instance){
		func(i *cloud.Instance) { i.Availability = cloud.Zonal },
		func(i *cloud.Instance) {
			i.Pending = []cloud.Change{{Setting: "availability", From: "regional", To: "regional"}}
		},
		func(i *cloud.Instance) { i.State, i.RawState = cloud.Modifying, "modifying" },
	}}
	store := statetest.New(t, "sqlite").Store(t)
	_, e, err := engineOf(depsOf(configOf(cloud.RDS, "main"), c, "main", store), store, 20*time.Second)
	must(t, err)
	p, err := e.Plan(t.Context(), op.PlanRequest{Kind: FixKind, Target: target(), Request: FixRequest{}, Requester: actor()})
	must(t, err)
	r, _, err := e.Submit(t.Context(), p, op.SubmitOptions{Actor: actor(), Confirm: "main"})
	must(t, err)
	r, err = e.Attach(t.Context(), r.ID, 0, nil)
	must(t, err)
	if r.State != state.Done || len(c.shows) > 0 {
		t.Fatalf("%d looks are left, %+v", len(c.shows), r)
	}
}

func TestWhatAnInstanceLacks(t *testing.T) {
	t.Parallel()
	f := facts{view: viewOf(production(), healthy(cloud.RDS), nil, false)}
	for want, change := range map[string]func(*cloud.Instance){
		"": func(*cloud.Instance) {},
		"availability is zonal, not yet regional": func(i *cloud.Instance) { i.Availability = cloud.Zonal },
		"availability is pending: zonal":          func(i *cloud.Instance) { i.Pending = []cloud.Change{{Setting: "availability", To: "zonal"}} },
		"it is backing-up":                        func(i *cloud.Instance) { i.State, i.RawState = cloud.Modifying, "backing-up" },
	} {
		live := healthy(cloud.RDS)
		change(live)
		got := mend{facts: f}.lacks(live, map[string]string{"availability": "regional", "deletion_protection": "true"})
		same(t, "lacks", strings.TrimSpace(got), want)
	}
}
