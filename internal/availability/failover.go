package availability

import (
	"context"
	"fmt"
	"strings"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
)

const stepMark = "mark"

func failover(d Deps) op.Kind {
	return op.Operation[FailoverRequest, Facts]{
		Kind: FailoverKind, Words: words(),
		Observe: func(ctx context.Context, t op.Target, _ FailoverRequest) (Facts, error) {
			return d.observe(ctx, t)
		},
		Derive: planFailover,
		Steps: func(t op.Target, _ FailoverRequest, f Facts) []op.Step {
			c := drill{d, t, f}
			return []op.Step{
				{Name: stepMark, Title: "note the latest failover that is known", Do: c.mark},
				{Name: stepFailover, Title: fmt.Sprintf("ask %s for a failover", title(f.Provider)), Do: c.failover},
				{Name: stepWait, Title: "wait until the standby has taken over, and measure the downtime", Do: c.wait},
				{Name: "verify", Title: "see that the zones have swapped", Do: c.verify},
			}
		},
	}.AsKind()
}

// drill is one run's failover.
//
// A failover must not happen twice because a process was killed, and no cloud takes a token that would make asking safe. So the run
// notes the latest failover that the provider's events know before it asks, and the plan knows the zones. Whoever comes to ask looks
// whether the zones have swapped since, whether the instance is at rest, and whether there is an event about a failover that is newer;
// waits a moment, in which a request of a killed process can arrive; and looks again. Only when both looks show nothing it asks.
//
// What this cannot see: a request that reaches the provider later than that moment, or that it shows in neither state, zones nor events
// for that long; somebody else's failover between the second look and the call. And somebody else's failover during the run passes for
// the run's own: the drill has then happened, once.
type drill struct {
	Deps
	t op.Target
	f Facts
}

// Mark is what the step "mark" stores.
type Mark struct {
	At     time.Time `json:"at"`              // when it was made: by this machine's clock, for the question alone
	Latest time.Time `json:"latest,omitzero"` // by the provider's clock, as are the events that are compared with it
}

// memory is how far back failovers are looked for.
const memory = 24 * time.Hour

func (c drill) what() string { return "fail over " + c.t.String() }

func (c drill) mark(ctx context.Context, _ *op.Session) (op.Result, error) {
	provider, name, err := c.Cloud(ctx, c.t)
	if err != nil {
		return op.Result{}, err
	}
	m := Mark{At: time.Now().UTC()}
	events, err := provider.Events(ctx, name, m.At.Add(-memory))
	if err != nil {
		return op.Result{}, err
	}
	text := "none in the last day"
	for _, e := range events {
		if isFailover(e) {
			m.Latest, text = e.At, e.At.Format(time.RFC3339)+": "+e.Text
		}
	}
	return op.Result{Output: m, Text: text}, nil
}

func isFailover(e cloud.Event) bool { return strings.Contains(strings.ToLower(e.Text), "failover") }

// seen is what one look tells.
type seen struct {
	rest    bool
	swapped bool
	event   *cloud.Event // the newest about a failover since the mark, unless it was given up
	status  string
}

func (s seen) happened() bool { return s.rest && (s.swapped || s.event != nil) }

func (c drill) look(ctx context.Context, provider Cloud, name string, m Mark) (out seen, err error) {
	live, err := provider.Get(ctx, name)
	if err != nil {
		return out, err
	}
	if live.State == cloud.Deleting || live.State == cloud.Failed || live.State == cloud.Stopped {
		return out, fault.Newf(fault.Invalid, c.what(), "it is %s (%s)", live.State, live.RawState).Hint("look at it in the provider's console")
	}
	out.rest, out.status = live.State == cloud.Available, live.RawState
	out.swapped = c.f.SecondaryZone != "" && live.Zone == c.f.SecondaryZone
	events, err := provider.Events(ctx, name, m.At.Add(-memory))
	if err != nil {
		return out, err
	}
	for _, e := range events {
		if !isFailover(e) || !e.At.After(m.Latest) {
			continue
		}
		out.event = &e
		if strings.Contains(strings.ToLower(e.Text), "abandon") { // RDS has not failed over, and says so
			out.event = nil
		}
	}
	return out, nil
}

func (c drill) failover(ctx context.Context, s *op.Session) (op.Result, error) {
	provider, name, err := c.Cloud(ctx, c.t)
	if err != nil {
		return op.Result{}, err
	}
	var m Mark
	if ok, err := s.Output(stepMark, &m); err != nil || !ok {
		return op.Result{}, fault.Newf(fault.Internal, c.what(), "the step %s stored nothing: %v", stepMark, err)
	}
	w := c.watch(ctx, c.t)
	defer w.stop()
	out := Asked{Before: w.before(ctx)}
	now, err := c.quiet(ctx, s, provider, name, m)
	if err != nil {
		return op.Result{}, gone(err, c.what(), s)
	}
	result := op.Result{Changes: []op.Change{
		{Setting: "zone", From: orNone(c.f.Zone), To: orNone(c.f.SecondaryZone)},
		{Setting: "secondary_zone", From: orNone(c.f.SecondaryZone), To: orNone(c.f.Zone)},
	}}
	if now.happened() {
		w.settle(ctx, out)
		out.Found, result.Text = foundDone, foundText(foundDone)
		if now.event != nil && c.f.Provider == cloud.CloudSQL { // its operation can still be followed, and tells whether it failed
			out.Receipt = &cloud.Receipt{Change: "failover", Operation: now.event.ID, Instance: name, At: now.event.At}
		}
		out.Watched, result.Output = w.stop(), &out
		return result, nil
	}
	if err := s.Fence(); err != nil {
		return op.Result{}, err
	}
	r, err := provider.Failover(ctx, name)
	if err != nil {
		return op.Result{}, err // one that passes is tried again by the engine, and looks again before
	}
	out.Receipt, out.Watched = &r, w.stop()
	result.Output, result.RequestID, result.Text = &out, r.RequestID, "accepted by "+title(c.f.Provider)
	return result, nil
}

// quiet returns what two looks agree on, with the instance at rest.
func (c drill) quiet(ctx context.Context, s *op.Session, provider Cloud, name string, m Mark) (now seen, err error) {
	looks := 0
	err = s.Poll(ctx, c.Pace, c.what(), func(ctx context.Context) (bool, string, error) {
		if now, err = c.look(ctx, provider, name, m); err != nil || !now.rest {
			looks = 0
			return false, now.status, err
		}
		if looks++; looks == 2 || now.happened() {
			return true, "", nil
		}
		return false, "looking twice", op.Sleep(ctx, c.Settle)
	})
	return now, err
}

func (c drill) wait(ctx context.Context, s *op.Session) (op.Result, error) {
	provider, name, err := c.Cloud(ctx, c.t)
	if err != nil {
		return op.Result{}, err
	}
	f := following{Deps: c.Deps, t: c.t, f: c.f, what: c.what(), c: provider, name: name, session: s}
	if _, err := s.Output(stepFailover, &f.asked); err != nil {
		return op.Result{}, err
	}
	report, _, err := f.run(ctx)
	if err != nil {
		return op.Result{}, err
	}
	return op.Result{Output: report, Text: fmt.Sprintf("from %s to %s; %s", report.Before, report.After, report.text())}, nil
}

func (c drill) verify(ctx context.Context, s *op.Session) (op.Result, error) {
	provider, name, err := c.Cloud(ctx, c.t)
	if err != nil {
		return op.Result{}, err
	}
	live, err := provider.Get(ctx, name)
	if err != nil {
		return op.Result{}, gone(err, c.what(), s)
	}
	if err := c.answers(ctx, c.what(), c.t, s); err != nil {
		return op.Result{}, err
	}
	if c.f.SecondaryZone == "" { // the operation has ended well, and nothing more is known
		return op.Result{Text: "the primary is in " + orNone(live.Zone) + "; where it was is not known"}, nil
	}
	if live.Zone != c.f.SecondaryZone {
		return op.Result{}, fault.Newf(fault.Stale, c.what(), "its primary is in zone %s, not in %s", orNone(live.Zone), c.f.SecondaryZone).
			Hint("it may have failed over again by itself, or show its zones late: see its events; dbops runs retry %s looks again", s.Run)
	}
	return op.Result{Text: zonesOf(live).String()}, nil
}
