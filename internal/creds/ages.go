package creds

import (
	"context"
	"time"

	"dbops/internal/fault"
	"dbops/internal/op"
)

// Age is when a container's current credential was made, as the first of its places tells. Nobody logs in to find it out.
type Age struct {
	Container string
	Created   time.Time // zero: there is none, or the place does not tell
	Err       error     // why the place could not be asked
}

// agePatience is how long one place may take to answer.
const agePatience = 10 * time.Second

// Ages asks the first place of each container of an instance for its current version: one call each, and no password. A place that cannot be
// asked keeps no other from being asked.
func (d Deps) Ages(ctx context.Context, t op.Target) ([]Age, error) {
	containers, err := d.Containers(t)
	if err != nil {
		return nil, err
	}
	out := make([]Age, len(containers))
	for i, c := range containers {
		out[i].Container = c.Name
		if len(c.Places) > 0 {
			out[i].Created, out[i].Err = d.created(ctx, c.Places[0])
		}
	}
	return out, nil
}

func (d Deps) created(ctx context.Context, place string) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, agePatience)
	defer cancel()
	store, ref, err := d.Place(ctx, place)
	if err != nil {
		return time.Time{}, err
	}
	holding, err := store.Inspect(ctx, ref)
	if fault.KindOf(err) == fault.NotFound { // no credential was ever put there
		err = nil
	}
	return holding.Current.Created, err
}
