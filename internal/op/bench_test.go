package op

import (
	"context"
	"slices"
	"strconv"
	"testing"
	"time"

	"dbops/internal/sandbox/statetest"
	"dbops/internal/state"
	"dbops/internal/state/db"
)

// What a step costs besides what it does: it is written down twice, durably, with its journal, its events and its audit entries. The
// other side, measured in turn, is as many bare commits of one row: ratio/commits is the median of the pairs. A pair is one iteration.

const benchSteps = 40

// stepTime lets a run of steps that do nothing pass, and returns the time of one.
func stepTime(b *testing.B, s *state.Store, n int) time.Duration {
	b.Helper()
	var first, last time.Time
	kind := Operation[int, int]{
		Kind:    "nothing",
		Observe: func(context.Context, Target, int) (int, error) { return 0, nil },
		Derive: func(Target, int, int) Draft {
			return Draft{Title: "nothing", Changes: []Change{{Setting: "x", To: "y"}}}
		},
		Steps: func(Target, int, int) (steps []Step) {
			for i := range benchSteps {
				steps = append(steps, Step{Name: "s" + strconv.Itoa(i), Do: func(context.Context, *Session) (Result, error) {
					if last = time.Now(); i == 0 {
						first = last
					}
					return Result{Output: i, Changes: []Change{{Setting: "x", From: "a", To: "b"}}, RequestID: "id"}, nil
				}})
			}
			return steps
		},
	}.AsKind()
	kinds, err := NewRegistry(kind)
	if err != nil {
		b.Fatal(err)
	}
	e := New(s, kinds, Options{Poll: 10 * time.Millisecond})
	p, err := e.Plan(b.Context(), PlanRequest{Kind: "nothing", Target: Target{Environment: "bench", Instance: strconv.Itoa(n)}, Request: n, Requester: robot})
	if err != nil {
		b.Fatal(err)
	}
	run, _, err := e.Submit(b.Context(), p, SubmitOptions{Actor: robot})
	if err != nil {
		b.Fatal(err)
	}
	if run, err = e.Attach(b.Context(), run.ID, 0, nil); err != nil || run.State != state.Done {
		b.Fatalf("%+v, %v", run, err)
	}
	return last.Sub(first) / (benchSteps - 1)
}

// commitTime is the time of the two commits that a step needs at least.
func commitTime(b *testing.B, d *db.DB) time.Duration {
	b.Helper()
	begin := time.Now()
	for i := range 2 * benchSteps {
		err := d.Tx(b.Context(), func(ctx context.Context, q db.Querier) error {
			_, err := q.Exec(ctx, "insert into bare (x) values ($1)", i)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(begin) / benchSteps
}

func BenchmarkStep(b *testing.B) {
	for _, kind := range statetest.Kinds {
		b.Run(kind, func(b *testing.B) {
			s := statetest.New(b, kind).Store(b)
			if _, err := s.DB.Read().Exec(b.Context(), "create table bare (x bigint)"); err != nil {
				b.Fatal(err)
			}
			stepTime(b, s, -1) // warm both up
			commitTime(b, s.DB)
			var ratios, steps, commits []float64
			for n := 0; b.Loop(); n++ {
				var step, commit time.Duration
				if n%2 == 0 {
					step, commit = stepTime(b, s, n), commitTime(b, s.DB)
				} else {
					commit, step = commitTime(b, s.DB), stepTime(b, s, n)
				}
				ratios, steps, commits = append(ratios, float64(step)/float64(commit)), append(steps, step.Seconds()*1e3), append(commits, commit.Seconds()*1e3)
			}
			b.ReportMetric(median(ratios), "ratio/commits")
			b.ReportMetric(median(steps), "step-ms")
			b.ReportMetric(median(commits), "commits-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}

// Two hundred instances and more runs, over three workers of which one is killed again and again.
func BenchmarkKilledFleet(b *testing.B) {
	for b.Loop() {
		took := killedFleet(b, statetest.New(b, "postgres"), 200)
		b.ReportMetric(250/took.Seconds(), "runs/s")
		b.ReportMetric(0, "ns/op")
	}
}
