package app

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"dbops/internal/availability"
	"dbops/internal/cloud"
	"dbops/internal/state"
)

// Availability is how an instance stands against the loss of a zone, what a switch or a failover would bring, and what was before.
type Availability struct {
	availability.Row
	Replicas  []string // their names at the provider
	ReplicaOf string   // it is one itself

	Events    []cloud.Event // what the provider tells of failovers and switches, newest first
	EventsErr error         // why it does not
	Changes   []Switched    // the last ones by dbops, newest first
	PastErr   error         // why they are not known
}

// Switched is a run that switched or failed over; Report is nil if it measured nothing.
type Switched struct {
	Run    state.Run
	Report *availability.Report
}

// Availability asks the provider for an instance's availability. What lies beside it, events and runs, may be missing and says why.
func (a *App) Availability(ctx context.Context, env, instance string) (*Availability, error) {
	t, err := a.Target(env, instance)
	if err != nil {
		return nil, err
	}
	out := &Availability{}
	var wg sync.WaitGroup
	wg.Go(func() {
		out.EventsErr = a.guarded("read the events of "+t.String(), func() (err error) {
			out.Events, err = a.switches(ctx, env, instance)
			return err
		})
	})
	wg.Go(func() {
		out.PastErr = a.guarded("read the last runs of "+t.String(), func() (err error) {
			out.Changes, err = a.switched(ctx, env, instance)
			return err
		})
	})
	live, err := a.get(ctx, env, instance)
	wg.Wait()
	if err != nil {
		return nil, err
	}
	out.Row = availability.Show(t, live)
	out.Replicas, out.ReplicaOf = replicas(live)
	return out, nil
}

// switches are the events about failovers and switches that the provider still knows.
func (a *App) switches(ctx context.Context, env, instance string) ([]cloud.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, besideTimeout)
	defer cancel()
	c, name, err := a.changer(ctx, env, instance)
	if err != nil {
		return nil, err
	}
	const memory = 14 * 24 * time.Hour // of RDS
	all, err := c.Events(ctx, name, time.Now().Add(-memory))
	all = slices.DeleteFunc(all, func(e cloud.Event) bool {
		text := strings.ToLower(e.Text)
		return !strings.Contains(text, "failover") && !strings.Contains(text, "multi-az") && !strings.Contains(text, "single-az")
	})
	slices.Reverse(all)
	return all, err
}

func (a *App) switched(ctx context.Context, env, instance string) (out []Switched, err error) {
	runs, err := a.past(ctx, env, instance, 3, availability.SetKind, availability.FailoverKind)
	for _, p := range runs {
		one := Switched{Run: p.Run}
		for _, s := range p.Steps {
			if s.Phase == state.Do && s.Name == availability.ReportStep && s.State == state.StepDone {
				if r, err := availability.ReadReport(s.Output); err == nil {
					one.Report = &r
				}
			}
		}
		out = append(out, one)
	}
	return out, err
}

// replicas reads the names of read replicas out of the provider's own description.
func replicas(live *cloud.Instance) (names []string, of string) {
	var raw struct {
		Names  []string `json:"ReadReplicaDBInstanceIdentifiers"`      // rds
		Source string   `json:"ReadReplicaSourceDBInstanceIdentifier"` // rds
		Google []string `json:"replicaNames"`                          // cloudsql
		Master string   `json:"masterInstanceName"`                    // cloudsql
	}
	if json.Unmarshal(live.Raw, &raw) != nil { // not one of a cloud
		return nil, ""
	}
	return append(raw.Names, raw.Google...), raw.Source + raw.Master
}
