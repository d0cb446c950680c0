package app

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
)

// marks keeps the mark of who changes an instance in its labels.
type marks struct {
	changer func(ctx context.Context, env, instance string) (cloud.Changer, string, error)
	// names are those that the target has, or had before a run moved it: the run's mark is on each. Nil: it was never moved.
	names func(t op.Target) []string
}

// cloud is the provider of a target; none for a plain server, which has no labels: its store's lease is all there is.
func (m marks) cloud(ctx context.Context, t op.Target) (cloud.Changer, string, error) {
	c, name, err := m.changer(ctx, t.Environment, t.Instance)
	if errors.Is(err, cloud.ErrUnsupported) {
		return nil, "", nil
	}
	return c, name, err
}

// Lock implements op.Locker. The label is compare-and-set where the provider has a revision (cloudsql); on rds two who write at the same
// moment are told apart by reading again. Setting it takes the only place for an operation that a Cloud SQL instance has, so it is not set
// oftener than it must be.
func (m marks) Lock(ctx context.Context, s *op.Session, until time.Time, ended func(string) bool) error {
	t := s.Plan.Target
	what := "mark " + t.String() + " as being changed"
	c, name, err := m.cloud(ctx, t)
	if err != nil || c == nil {
		return err
	}
	live, err := c.Get(ctx, name)
	if err != nil {
		return err
	}
	if err := free(what, live, s.Run, ended); err != nil {
		return err
	}
	if held, ends, ok := mark(live); ok && held == s.Run && time.Until(ends) >= time.Until(until)/2 {
		return nil
	}
	if err := s.Fence(); err != nil {
		return err
	}
	label := cloud.Label{Key: cloud.LeaseLabel, Value: s.Run + "-" + strconv.FormatInt(until.Unix(), 10)}
	if err := m.set(ctx, s, c, name, live.Revision, label); err != nil {
		return err
	}
	if live, err = c.Get(ctx, name); err != nil {
		return err
	}
	return free(what, live, s.Run, ended)
}

// Unlock implements op.Locker. A run that moves its target has marked what it was and what it is.
func (m marks) Unlock(ctx context.Context, t op.Target, run string) error {
	c, name, err := m.cloud(ctx, t)
	if err != nil || c == nil {
		return err
	}
	names := []string{name}
	if m.names != nil {
		names = append(names, m.names(t)...)
	}
	slices.Sort(names)
	var errs []error
	for _, name := range slices.Compact(names) {
		errs = append(errs, m.unlock(ctx, c, name, run))
	}
	return errors.Join(errs...)
}

func (m marks) unlock(ctx context.Context, c cloud.Changer, name, run string) error {
	live, err := c.Get(ctx, name)
	if err != nil {
		if fault.KindOf(err) == fault.NotFound { // renamed or removed by the run
			err = nil
		}
		return err
	}
	if held, _, ok := mark(live); !ok || held != run {
		return nil
	}
	return m.set(ctx, new(op.Session), c, name, live.Revision, cloud.Label{Key: cloud.LeaseLabel, Remove: true})
}

// set changes the label and waits until that has happened: the next change would be refused before.
func (marks) set(ctx context.Context, s *op.Session, c cloud.Changer, name, revision string, l cloud.Label) error {
	r, err := c.Modify(ctx, name, cloud.Modify{Settings: cloud.Settings{Labels: []cloud.Label{l}}, Revision: revision})
	if err != nil {
		return err
	}
	pace := op.Pace{First: 200 * time.Millisecond, Most: 5 * time.Second, Patience: 10 * time.Minute}
	return s.Poll(ctx, pace, "label "+name, func(ctx context.Context) (bool, string, error) {
		p, err := c.Progress(ctx, r)
		return p.Done, strings.TrimSuffix("waiting until "+name+" has its label "+cloud.LeaseLabel+": "+p.Status, ": "), err
	})
}

// mark reads who changes an instance, and until when.
func mark(live *cloud.Instance) (run string, until time.Time, ok bool) {
	v, ok := live.Labels[cloud.LeaseLabel]
	if !ok {
		return "", time.Time{}, false
	}
	run, seconds, _ := strings.Cut(v, "-")
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return "", time.Time{}, false
	}
	return run, time.Unix(n, 0), true
}

func free(what string, live *cloud.Instance, run string, ended func(string) bool) error {
	held, until, ok := mark(live)
	if !ok || held == run || time.Now().After(until) || ended(held) {
		return nil
	}
	return fault.Newf(fault.Busy, what, "its label %s says that run %s of another store changes it, until %s", cloud.LeaseLabel, held, until.UTC().Format(time.RFC3339)).
		Hint("ask who; if that run is dead, remove the label %s in the console", cloud.LeaseLabel)
}

// underway are the findings about what the cloud, or somebody with another store, does to an instance at the moment.
func (m marks) underway(ctx context.Context, t op.Target, known func(run string) bool) (found []op.Finding, err error) {
	c, name, err := m.cloud(ctx, t)
	if err != nil || c == nil {
		return nil, err
	}
	live, err := c.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	if s := live.State; s == cloud.Modifying || s == cloud.Restarting || s == cloud.Creating {
		found = append(found, op.Finding{
			Severity: op.Warn, Check: "state", Text: t.String() + " is " + string(s) + ": the cloud works on something else, and the change waits for that or is refused",
			Evidence: "state " + live.RawState, Remedy: "wait until it is available: dbops status -e " + t.Environment + " " + t.Instance,
		})
	}
	if run, until, ok := mark(live); ok && time.Now().Before(until) && !known(run) {
		found = append(found, op.Finding{
			Severity: op.Block, Check: "marked", Text: "run " + run + " of another store changes " + t.String(),
			Evidence: "its label " + cloud.LeaseLabel + ", good until " + until.UTC().Format(time.RFC3339),
			Remedy:   "ask who, and make the plan again when it is over; if that run is dead, remove the label in the console",
		})
	}
	return found, nil
}
