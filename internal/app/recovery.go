package app

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"dbops/internal/backup"
	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/state"
)

// Recovery is from what an instance can be restored, and whether that was ever tried.
type Recovery struct {
	Unmanaged bool // no cloud makes backups of it; nothing else is set

	Live    *cloud.Instance
	Backups []cloud.Backup // newest first
	Targets backup.Targets
	Names   []string  // what in dbops.yaml names the instance, for who renames it
	Drills  []Drilled // the last ones, newest first
	PastErr error     // why they are not known
}

// Drilled is a run of a restore drill; Report is nil if it did not come to one.
type Drilled struct {
	Run    state.Run
	Report *backup.DrillReport
}

// Recovery asks the provider for the backups of an instance and how they are made, and the state for the last drills.
func (a *App) Recovery(ctx context.Context, env, instance string) (*Recovery, error) {
	out := &Recovery{}
	var err error
	if out.Targets, err = a.DrillTargets(env, instance); err != nil {
		return nil, err
	}
	if out.Names, err = a.NamesOf(env, instance); err != nil {
		return nil, err
	}
	var wg sync.WaitGroup
	var liveErr, listErr error
	wg.Go(func() {
		liveErr = a.guarded("read "+env+"/"+instance, func() (err error) {
			out.Live, err = a.get(ctx, env, instance)
			return err
		})
	})
	wg.Go(func() {
		out.PastErr = a.guarded("read the last drills of "+env+"/"+instance, func() (err error) {
			out.Drills, err = a.drills(ctx, env, instance)
			return err
		})
	})
	out.Backups, listErr = a.Backups(ctx, env, instance)
	wg.Wait()
	if errors.Is(listErr, cloud.ErrUnsupported) {
		return &Recovery{Unmanaged: true}, nil
	}
	if liveErr != nil {
		return nil, liveErr
	}
	return out, listErr
}

func (a *App) drills(ctx context.Context, env, instance string) (out []Drilled, err error) {
	runs, err := a.past(ctx, env, instance, 3, backup.DrillKind)
	for _, p := range runs {
		one := Drilled{Run: p.Run}
		if r, ok, err := backup.ReportOf(p.Steps); err == nil && ok {
			one.Report = &r
		}
		out = append(out, one)
	}
	return out, err
}

// Moment reads a moment as tables show it and as flags take it; an empty one is no moment.
func Moment(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, strings.Replace(s, " ", "T", 1))
	if err != nil {
		return at, fault.Newf(fault.Usage, "read the moment", "%q is no moment", s).Hint("write it as in 2026-11-28T03:15:00Z or 2026-11-28T04:15:00+01:00")
	}
	return at, nil
}
