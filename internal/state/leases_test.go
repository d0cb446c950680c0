package state_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"dbops/internal/sandbox/statetest"
	"dbops/internal/state"
	"dbops/internal/state/db"
)

// leaseModel is what leases should be; each action does the same to a real store and compares.
type leaseModel struct {
	ctx context.Context
	s   *state.Store

	alive map[string]bool
	held  map[string]state.Lease // by target; Run is empty when it is free
	given []state.Lease          // every lease that was ever given
}

func aRunner(t *rapid.T) string {
	return rapid.SampledFrom([]string{"w1", "w2", "w3"}).Draw(t, "runner")
}
func aRun(t *rapid.T) string { return rapid.SampledFrom([]string{"r1", "r2", "r3"}).Draw(t, "run") }
func aTarget(t *rapid.T) string {
	return rapid.SampledFrom([]string{"prod/a", "prod/b"}).Draw(t, "target")
}

func (m *leaseModel) tx(t *rapid.T, fn func(ctx context.Context, tx *state.Tx) error) error {
	var result error
	err := m.s.DB.Tx(m.ctx, func(ctx context.Context, q db.Querier) error {
		result = fn(ctx, m.s.On(q))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// Start registers a runner.
func (m *leaseModel) Start(t *rapid.T) {
	id := aRunner(t)
	if _, ok := m.alive[id]; ok {
		return
	}
	if err := m.tx(t, func(ctx context.Context, tx *state.Tx) error {
		return tx.AddRunner(ctx, state.Runner{ID: id}, time.Hour)
	}); err != nil {
		t.Fatal(err)
	}
	m.alive[id] = true
}

// Expire lets a runner's time pass.
func (m *leaseModel) Expire(t *rapid.T) {
	id := aRunner(t)
	if _, err := m.s.DB.SQL.ExecContext(m.ctx, "update runners set expires_ms = 1 where id = $1", id); err != nil {
		t.Fatal(err)
	}
	if m.alive[id] {
		m.alive[id] = false
	}
}

// Renew works for who is alive.
func (m *leaseModel) Renew(t *rapid.T) {
	id := aRunner(t)
	err := m.tx(t, func(ctx context.Context, tx *state.Tx) error { return tx.RenewRunner(ctx, id, time.Hour) })
	if (err == nil) != m.alive[id] || err != nil && !errors.Is(err, state.ErrLost) {
		t.Fatalf("renew %s, alive %v: %v", id, m.alive[id], err)
	}
}

// End removes a runner.
func (m *leaseModel) End(t *rapid.T) {
	id := aRunner(t)
	if err := m.tx(t, func(ctx context.Context, tx *state.Tx) error { return tx.RemoveRunner(ctx, id) }); err != nil {
		t.Fatal(err)
	}
	delete(m.alive, id)
}

// Acquire gives a free target, or one whose runner is dead to the same run.
func (m *leaseModel) Acquire(t *rapid.T) {
	target, run, runner := aTarget(t), aRun(t), aRunner(t)
	var got state.Lease
	err := m.tx(t, func(ctx context.Context, tx *state.Tx) (err error) {
		got, err = tx.Acquire(ctx, target, run, runner)
		return err
	})
	was := m.held[target]
	want := state.Lease{Target: target, Run: run, Runner: runner, Token: was.Token + 1}
	held, isHeld := errors.AsType[*state.HeldError](err)
	switch {
	case !m.alive[runner]:
		if !errors.Is(err, state.ErrLost) {
			t.Fatalf("a dead runner acquired: %v", err)
		}
	case was.Run == run && was.Runner == runner:
		if err != nil || got != was {
			t.Fatalf("again: %+v, %v", got, err)
		}
	case was.Run == "" || was.Run == run && !m.alive[was.Runner]:
		if err != nil || got != want {
			t.Fatalf("got %+v, %v, want %+v", got, err, want)
		}
		m.held[target], m.given = got, append(m.given, got)
	default:
		if !isHeld || held.Lease != was || held.Alive != m.alive[was.Runner] {
			t.Fatalf("%+v is held: %v", was, err)
		}
	}
}

// Release frees what a run has.
func (m *leaseModel) Release(t *rapid.T) {
	run := aRun(t)
	if err := m.tx(t, func(ctx context.Context, tx *state.Tx) error { return tx.Release(ctx, run) }); err != nil {
		t.Fatal(err)
	}
	for target, l := range m.held {
		if l.Run == run {
			m.held[target] = state.Lease{Target: target, Token: l.Token}
		}
	}
}

// Check is what [rapid.T.Repeat] calls after each action: of all leases that were ever given only the last of a target is good, and
// only while its runner lives.
func (m *leaseModel) Check(t *rapid.T) {
	err := m.tx(t, func(ctx context.Context, tx *state.Tx) error {
		for _, l := range m.given {
			good := m.held[l.Target] == l && m.alive[l.Runner]
			if err := tx.Check(ctx, l); (err == nil) != good || err != nil && !errors.Is(err, state.ErrLost) {
				return fmt.Errorf("%+v: %w; should be good: %v", l, err, good)
			}
		}
		all, err := tx.Leases(ctx)
		for _, l := range all {
			if m.held[l.Target] != l {
				return fmt.Errorf("the store has %+v, not %+v", l, m.held[l.Target])
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestLeasesFollowTheirModel(t *testing.T) {
	for _, kind := range statetest.Kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := statetest.New(t, kind).Store(t)
			n := 0
			rapid.Check(t, func(rt *rapid.T) {
				if n++; s.Team() && n > 15 { // the same statements, and every one a round trip
					return
				}
				for _, table := range []string{"leases", "runners"} {
					if _, err := s.DB.SQL.ExecContext(t.Context(), "delete from "+table); err != nil {
						rt.Fatal(err)
					}
				}
				m := &leaseModel{ctx: t.Context(), s: s, alive: map[string]bool{}, held: map[string]state.Lease{}}
				actions := map[string]func(*rapid.T){
					"start": m.Start, "expire": m.Expire, "renew": m.Renew, "end": m.End, "acquire": m.Acquire, "acquire more": m.Acquire, "release": m.Release, "": m.Check,
				}
				rt.Repeat(actions)
			})
		})
	}
}
