package app

import (
	"context"
	"fmt"

	"dbops/internal/migrate"
)

// RepairWays are the commands that lead out, the likeliest first.
func (a *App) RepairWays(ctx context.Context, one migrate.Ask, f migrate.RepairFacts) (out []string, err error) {
	if f.Cut != nil && f.Cut.Run != "" && f.Held == "" {
		engine, err := a.Engine(ctx, EngineOptions{})
		if err != nil {
			return nil, err
		}
		if r, err := engine.Run(ctx, f.Cut.Run); err == nil && !r.State.Ended() { // it goes on with all that it was to do
			return []string{"dbops runs resume " + r.ID}, nil
		}
	}
	return repairCommands(one, f), nil
}

func repairCommands(one migrate.Ask, f migrate.RepairFacts) (out []string) {
	base := "dbops migrate repair -e " + one.Target.Environment + " " + one.Set.String()
	if f.Held != "" {
		return []string{"wait: " + f.Held + " migrates it now"}
	}
	if f.Cut != nil && f.Cut.CanResume {
		out = append(out, base+" --resume")
	}
	for _, match := range []bool{true, false} {
		for _, v := range f.Versions {
			if (v.Compared && len(v.Differs) == 0) == match {
				version := "none"
				if v.Version >= 0 {
					version = fmt.Sprint(v.Version)
				}
				out = append(out, fmt.Sprintf("%s --at %s --reason '...'", base, version))
			}
		}
	}
	if len(f.Changed) > 0 && len(f.Unknown) == 0 {
		out = append(out, base+" --accept-changed --reason '...'")
	}
	for _, i := range f.Invalid {
		if f.Cut == nil {
			out = append(out, "drop index concurrently "+i)
		}
	}
	return out
}
