package availability

import (
	"context"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
)

// following waits until a change that was asked for has truly happened, and measures.
type following struct {
	Deps
	t       op.Target
	f       Facts
	what    string
	c       Cloud
	name    string
	session *op.Session
	asked   Asked
	blind   bool   // nothing happens that could be measured
	w       *watch // of the caller, who stops it; nil: one of its own
}

// run returns the report, and the instance as it is then.
func (f *following) run(ctx context.Context) (Report, *cloud.Instance, error) {
	report := Report{Before: Zones{f.f.Zone, f.f.SecondaryZone}}
	earlier := f.asked.Watched
	w := f.w
	switch {
	case w != nil:
		earlier = nil // the same probe goes on
	case f.blind || f.asked.Receipt == nil: // a change that was found was also waited for
		w = &watch{}
	default:
		w = f.watch(ctx, f.t)
		defer w.stop()
	}
	if r := f.asked.Receipt; r != nil {
		if f.asked.Found == "" {
			report.Asked = r.At
		}
		err := f.session.Poll(ctx, f.Pace, f.what, func(ctx context.Context) (bool, string, error) {
			p, err := f.c.Progress(ctx, *r)
			status := p.Status
			if p.Detail != "" {
				status += ": " + p.Detail
			}
			return p.Done, status, f.gaveUp(err)
		})
		if err != nil {
			return report, nil, err
		}
	}
	report.Ended = time.Now().UTC()
	w.settle(ctx, f.asked)
	report.add(earlier, w.stop())
	if !f.blind {
		report.annotate(f.asked)
	}
	live, err := f.c.Get(ctx, f.name)
	if err != nil {
		return report, nil, gone(err, f.what, f.session)
	}
	report.After = zonesOf(live)
	return report, live, nil
}

// gaveUp says what to do about a change that will never be there: to wait for it again would be to wait for ever.
func (f *following) gaveUp(err error) error {
	if fault.KindOf(err) == fault.NotFound {
		return gone(err, f.what, f.session)
	}
	if err == nil || fault.KindOf(err) != fault.Internal {
		return err
	}
	hint := fault.HintOf(err)
	if hint != "" {
		hint += "; "
	}
	return fault.New(fault.Internal, f.what, err).
		Hint("%sthen end this run (dbops runs undo %s, or abandon) and plan again", hint, f.session.Run)
}

// answers tells whether the database serves, if it can be asked and did before.
func (d Deps) answers(ctx context.Context, what string, t op.Target, s *op.Session) error {
	var r Report
	if _, err := s.Output(stepWait, &r); err != nil || !r.Measured || d.Probe == nil {
		return err
	}
	w := d.watch(ctx, t)
	defer w.stop()
	if cause := w.before(ctx); cause != "" && ctx.Err() == nil {
		return fault.Newf(fault.Unavailable, what, "it is done, and the database does not answer: %s", cause).
			Hint("if clients are served, the probe's login is at fault: dbops runs abandon %s", s.Run)
	}
	return context.Cause(ctx)
}

func zonesOf(live *cloud.Instance) Zones { return Zones{live.Zone, live.SecondaryZone} }
