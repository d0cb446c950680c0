package fake

import (
	"context"
	"fmt"
	"time"

	"dbops/internal/app"
	"dbops/internal/backup"
	"dbops/internal/cloud"
	"dbops/internal/state"
)

// Recovery implements [core.Backups].
func (c *Core) Recovery(ctx context.Context, env, instance string) (*app.Recovery, error) {
	st := c.ask(ctx, c.instance(env, instance))
	switch {
	case st.Err != nil:
		return nil, st.Err
	case st.Live.Provider == cloud.Postgres:
		return &app.Recovery{Unmanaged: true}, nil
	}
	out := &app.Recovery{
		Live: st.Live, Targets: backup.Targets{RPO: backup.Span(5 * time.Minute), RTO: backup.Span(time.Hour)},
		Names: []string{"dbops.yaml: environments." + env + ".instances." + instance},
	}
	if !st.Live.Backups.Enabled {
		return out, nil
	}
	night := st.At.Add(-3 * time.Hour)
	for n := range 7 {
		at := night.AddDate(0, 0, -n)
		if at.Before(st.Live.Created) {
			break
		}
		out.Backups = append(out.Backups, cloud.Backup{
			ID: fmt.Sprintf("rds:%s-%s", st.Live.Name, at.Format("2006-01-02-15-04")), Instance: st.Live.Name, Kind: "automatic", State: "available", Ready: true,
			Started: at, Ended: at.Add(14 * time.Minute), GiB: st.Live.Storage.GiB - int64(n),
		})
	}
	out.Backups = append([]cloud.Backup{{
		ID: "before-migration-0190a1", Instance: st.Live.Name, Kind: "manual", State: "creating", Started: st.At.Add(-4 * time.Minute), Text: "before-migration",
	}}, out.Backups...)
	if env != "prod" {
		return out, nil
	}
	at := st.At.AddDate(0, 0, -50)
	out.Drills = []app.Drilled{{
		Run: state.Run{
			ID: "0188c3d4", Kind: backup.DrillKind, Environment: env, Instance: instance, Title: "drill a restore of " + env + "/" + instance,
			Requester: "li@example.com", State: state.Done, Created: at, Started: at, Ended: at.Add(2 * time.Hour),
		},
		Report: &backup.DrillReport{
			Source: st.Live.Name, RPO: backup.Span(4 * time.Minute), RTO: backup.Span(108 * time.Minute), Targets: out.Targets,
			Text: "failed: it took 1h48m0s, and 1h0m0s is the target",
		},
	}}
	return out, nil
}
