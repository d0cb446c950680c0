package certs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"dbops/internal/certs/bundle"
	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
)

// RotateRequest asks for a certificate of another CA.
type RotateRequest struct {
	// To is the CA to change to, by its identifier (rds). Empty: the one of new instances.
	To string `json:"to,omitempty"`
	// Back rotates to the previous CA (cloudsql), and not to a new one.
	Back bool         `json:"back,omitempty"`
	When cloud.CAWhen `json:"when,omitempty"` // empty: now
	// Now is when it was asked for: what has expired by then is refused.
	Now time.Time `json:"now"`
}

// The steps of a rotation.
const (
	stepAdd        = "add"
	stepDistribute = "distribute"
	stepRotate     = "rotate"
	stepWait       = "wait"
	stepVerify     = "verify"
)

const (
	settingCA     = "tls.ca"
	settingNextCA = "tls.next_ca"
)

func rotate(d Deps) op.Kind {
	return op.Operation[RotateRequest, Facts]{
		Kind: RotateKind,
		Observe: func(ctx context.Context, t op.Target, r RotateRequest) (Facts, error) {
			switch r.When {
			case "", cloud.CANow, cloud.CAInWindow, cloud.CAAtReboot:
			default:
				return Facts{}, fault.Newf(fault.Usage, "plan the rotation of the CA of "+t.String(), "there is no time of a change %q", r.When)
			}
			return d.observeCAs(ctx, t, r)
		},
		Derive: planRotate,
		Steps: func(t op.Target, r RotateRequest, f Facts) []op.Step {
			c := rotation{d, t, r, f}
			rotate := op.Step{Name: stepRotate, Title: c.title(), Do: c.rotate}
			if was := f.ca(cloud.CAActive); was != nil && !takesBack(r, f) {
				rotate.Undo, rotate.UndoTitle = c.undo, fmt.Sprintf("rotate back to %s, if the CA is the new one", was.ID)
				if c.later() {
					rotate.UndoTitle = fmt.Sprintf("take it back while it is pending, else rotate back to %s", was.ID)
				}
			}
			wait, verify := "wait until it has happened", "see it in a handshake"
			if c.later() {
				wait, verify = "wait until RDS has accepted it for "+occasion(r.when()), "see that it is pending"
			}
			steps := []op.Step{rotate, {Name: stepWait, Title: wait, Do: c.wait}, {Name: stepVerify, Title: verify, Do: c.verify}}
			if f.Provider != cloud.CloudSQL || r.Back {
				return steps
			}
			gate := op.Step{Name: stepDistribute, Title: "wait until every client trusts both CAs", Gate: fmt.Sprintf(
				"give every client both CAs, the one of now and the one to come: %s writes them to %s; clients through a connector or the dbops proxy need nothing. "+
					"Who has only the old one is locked out by the rotation; nobody is before. Go on when all have them: %s --dir FOLDER tells of a folder that has not",
				command("certs fetch", t), FileRoots, command("certs check", t))}
			steps = append([]op.Step{gate}, steps...)
			if f.ca(cloud.CANext) == nil {
				steps = append([]op.Step{{Name: stepAdd, Title: "add a CA that nothing uses yet", Do: c.add}}, steps...)
			}
			return steps
		},
	}.AsKind()
}

// wanted is the CA that a request leads to; nil if it is to be made, or there is none.
func wanted(r RotateRequest, f Facts) *cloud.ServerCA {
	switch {
	case f.Provider == cloud.CloudSQL && r.Back:
		return f.ca(cloud.CAPrevious)
	case f.Provider == cloud.CloudSQL:
		return f.ca(cloud.CANext)
	}
	id := r.To
	if id == "" {
		id = f.Default
	}
	for i := range f.CAs {
		if f.CAs[i].ID == id {
			return &f.CAs[i]
		}
	}
	return nil
}

func (r RotateRequest) when() cloud.CAWhen {
	if r.When == "" {
		return cloud.CANow
	}
	return r.When
}

// rotation is one run's change of a CA.
type rotation struct {
	Deps
	t op.Target
	r RotateRequest
	f Facts
}

func (c rotation) what() string { return "rotate the CA of " + c.t.String() }

func (c rotation) title() string {
	to := "the CA that was added"
	if ca := wanted(c.r, c.f); ca != nil {
		to = ca.ID
	}
	switch {
	case takesBack(c.r, c.f):
		return "ask for " + to + " again, in place of what is pending"
	case c.later():
		return "ask for a certificate of " + to + " for " + occasion(c.r.when())
	default:
		return "rotate to " + to
	}
}

// later tells that the run ends before the CA has changed.
func (c rotation) later() bool { return c.r.when() != cloud.CANow && !takesBack(c.r, c.f) }

// Added is what the step that adds a CA stores.
type Added struct {
	CA string `json:"ca"`
}

// add makes the next CA, or finds it: one that a killed process asked for is there, or on its way, when this one looks.
func (c rotation) add(ctx context.Context, s *op.Session) (op.Result, error) {
	provider, name, err := c.Cloud(ctx, c.t)
	if err != nil {
		return op.Result{}, err
	}
	result := op.Result{Text: "found: an earlier try of this run asked for it, or somebody else did since it was planned"}
	var next *cloud.ServerCA
	err = s.Poll(ctx, c.Pace, c.what(), func(ctx context.Context) (bool, string, error) {
		told, err := provider.Certificates(ctx, name)
		if err != nil {
			return false, "", err
		}
		if next = told.CA(cloud.CANext); next != nil {
			return told.Instance.State == cloud.Available, told.Instance.RawState, nil
		}
		if told.Instance.State != cloud.Available {
			return false, told.Instance.RawState, nil
		}
		if err := s.Fence(); err != nil {
			return false, "", err
		}
		r, err := provider.AddCA(ctx, name)
		switch {
		case errors.Is(err, cloud.ErrExists):
			return false, "it is there", nil
		case err != nil:
			return false, "", err
		}
		result.RequestID, result.Text = r.RequestID, "added"
		return false, "asked for", c.follow(ctx, s, provider, c.what(), r)
	})
	if err != nil {
		return op.Result{}, err
	}
	result.Output, result.Text = Added{next.ID}, result.Text+": "+next.ID
	result.Changes = []op.Change{{Setting: settingNextCA, From: "none", To: next.ID}}
	return result, nil
}

// Rotated is what the step that rotates stores.
type Rotated struct {
	From    string         `json:"from"`
	To      string         `json:"to"`
	Receipt *cloud.Receipt `json:"receipt,omitempty"` // none: it was found done
}

// target is the CA to rotate to: as planned, or the one that was added.
func (c rotation) target(s *op.Session) (string, error) {
	if ca := wanted(c.r, c.f); ca != nil {
		return ca.ID, nil
	}
	var added Added
	ok, err := s.Output(stepAdd, &added)
	if err == nil && !ok {
		err = fault.Newf(fault.Internal, c.what(), "the run does not know which CA was added")
	}
	return added.CA, err
}

func (c rotation) rotate(ctx context.Context, s *op.Session) (op.Result, error) {
	to, err := c.target(s)
	if err != nil {
		return op.Result{}, err
	}
	from := c.f.ca(cloud.CAActive)
	out := Rotated{To: to}
	if from != nil {
		out.From = from.ID
	}
	if err := c.ask(ctx, s, to, c.r.when(), &out); err != nil {
		return op.Result{}, err
	}
	result := op.Result{Output: out, Text: "accepted", Changes: c.changes(out)}
	if out.Receipt == nil {
		result.Text = "found done: an earlier try of this run asked for it, or somebody else did since it was planned"
	} else {
		result.RequestID = out.Receipt.RequestID
	}
	return result, nil
}

func (c rotation) changes(out Rotated) []op.Change {
	all := []op.Change{{Setting: settingCA, From: out.From, To: out.To}}
	if takesBack(c.r, c.f) {
		all = []op.Change{{Setting: settingNextCA, From: waiting(c.f.Pending), To: "none"}}
	}
	for _, p := range along(c.r, c.f) {
		all = append(all, op.Change{Setting: p.Setting, From: p.From, To: p.To})
	}
	return all
}

// ask asks for a CA, or finds that it is there. It never asks while the instance is not at rest, nor for what nobody has seen in the plan.
func (c rotation) ask(ctx context.Context, s *op.Session, to string, when cloud.CAWhen, out *Rotated) error {
	provider, name, err := c.Cloud(ctx, c.t)
	if err != nil {
		return err
	}
	again := false
	return s.Poll(ctx, c.Pace, c.what(), func(ctx context.Context) (bool, string, error) {
		told, err := provider.Certificates(ctx, name)
		if err != nil {
			return false, "", err
		}
		live, waits := told.Instance, waiting(told.Instance.Pending)
		active := told.CA(cloud.CAActive)
		switch {
		case live.State == cloud.Available && active != nil && active.ID == to && waits == "":
			return true, "", nil
		case when != cloud.CANow && waits == to && live.State == cloud.Available:
			return true, "", nil
		case live.State == cloud.Deleting, live.State == cloud.Failed, live.State == cloud.Stopped:
			return false, "", fault.Newf(fault.Invalid, c.what(), "it is %s (%s)", live.State, live.RawState).Hint("when it is available again: dbops runs retry %s", s.Run)
		case live.State != cloud.Available:
			return false, live.RawState, nil
		}
		if err := c.untouched(live, when, s); err != nil {
			return false, "", err
		}
		if err := s.Fence(); err != nil {
			return false, "", err
		}
		r, err := provider.RotateCA(ctx, name, to, when)
		if k := fault.KindOf(err); (k == fault.Invalid || k == fault.NotFound) && !again {
			again = true // what a killed process asked for may have ended since the look: look once more
			return false, "", nil
		}
		if err != nil {
			return false, "", err
		}
		out.Receipt = &r
		return true, "", nil
	})
}

// untouched refuses to apply along what was not pending when the plan was made.
func (c rotation) untouched(live *cloud.Instance, when cloud.CAWhen, s *op.Session) error {
	if live.Provider != cloud.RDS || when != cloud.CANow {
		return nil
	}
	for _, p := range others(live.Pending) {
		if !slices.Contains(c.f.Pending, p) {
			return fault.Newf(fault.Stale, c.what(), "since the plan was made somebody left a modification pending that RDS would apply along: %s to %s", p.Setting, p.To).
				Hint("nothing was asked for; end this run with dbops runs abandon %s, and plan again", s.Run)
		}
	}
	return nil
}

func (c rotation) wait(ctx context.Context, s *op.Session) (op.Result, error) {
	var out Rotated
	if ok, err := s.Output(stepRotate, &out); err != nil || !ok || out.Receipt == nil {
		return op.Result{Text: "it was done before"}, err
	}
	provider, _, err := c.Cloud(ctx, c.t)
	if err != nil {
		return op.Result{}, err
	}
	start := time.Now()
	if err := c.follow(ctx, s, provider, c.what(), *out.Receipt); err != nil {
		return op.Result{}, err
	}
	if c.later() {
		return op.Result{Text: "accepted; nothing has changed yet"}, nil
	}
	return op.Result{Text: fmt.Sprintf("done after %s", time.Since(start).Round(time.Second))}, nil
}

// verify sees that the provider and the server itself say the same.
func (c rotation) verify(ctx context.Context, s *op.Session) (op.Result, error) {
	var out Rotated
	if _, err := s.Output(stepRotate, &out); err != nil {
		return op.Result{}, err
	}
	provider, name, err := c.Cloud(ctx, c.t)
	if err != nil {
		return op.Result{}, err
	}
	told, err := provider.Certificates(ctx, name)
	if err != nil {
		return op.Result{}, err
	}
	if waiting(told.Instance.Pending) == out.To {
		until := "RDS makes it"
		switch c.r.when() {
		case cloud.CAInWindow:
			until = windowText(told.Instance.Maintenance.Window, time.Now())
		case cloud.CAAtReboot:
			until = "the instance restarts, for whatever reason"
		case cloud.CANow:
		}
		return op.Result{Text: fmt.Sprintf("pending: the server keeps its certificate of %s until %s; dbops certs check tells while it is so", out.From, until)}, nil
	}
	active := told.CA(cloud.CAActive)
	if active == nil || active.ID != out.To {
		return op.Result{}, fault.Newf(fault.Stale, c.what(), "its CA is not %s: somebody changed it since", out.To).
			Hint("dbops certs list shows it; dbops runs retry %s looks again, dbops runs abandon %s ends the run", s.Run, s.Run)
	}
	text, err := c.seen(ctx, s, *active)
	return op.Result{Text: text}, err
}

func (c rotation) seen(ctx context.Context, s *op.Session, ca cloud.ServerCA) (string, error) {
	return c.shows(ctx, c.t, s, c.what(), func(seen *Seen, e Expect) (string, bool) {
		leaf := seen.Chain[0]
		if !seen.has(e, ca.Fingerprint) && !seen.signedBy(Expect{Roots: e.Roots, Active: &ca}) {
			return "the server still shows a certificate of " + issuer(leaf), false
		}
		return fmt.Sprintf("the server at %s shows %s of %s, until %s", seen.HostPort, bundle.Name(leaf), issuer(leaf), stamp(leaf.NotAfter)), true
	})
}

// undo rotates back to the CA from before, if the present one is the run's.
func (c rotation) undo(ctx context.Context, s *op.Session) (op.Result, error) {
	was := c.f.ca(cloud.CAActive)
	what := fmt.Sprintf("rotate the CA of %s back to %s", c.t, was.ID)
	provider, name, err := c.Cloud(ctx, c.t)
	if err != nil {
		return op.Result{}, err
	}
	told, err := provider.Certificates(ctx, name)
	if err != nil {
		return op.Result{}, err
	}
	active, waits := told.CA(cloud.CAActive), waiting(told.Instance.Pending)
	if active != nil && active.ID == was.ID && waits == "" {
		return op.Result{Text: "its CA is " + was.ID + ": there is nothing to rotate back"}, nil
	}
	to, err := c.target(s)
	if err != nil {
		return op.Result{}, err
	}
	if (active == nil || active.ID != to) && waits != to {
		return op.Result{}, fault.Newf(fault.Stale, what, "its CA is neither the one that this run rotated to nor the one from before").
			Hint("dbops certs list shows what it is; end this run with dbops runs abandon %s", s.Run)
	}
	when := cloud.CANow
	if waits == to {
		when = cloud.CAInWindow // takes the wish back, and applies nothing else
	}
	out := Rotated{From: to, To: was.ID}
	if err := c.ask(ctx, s, was.ID, when, &out); err != nil {
		return op.Result{}, err
	}
	result := op.Result{Output: out, Changes: []op.Change{{Setting: settingCA, From: to, To: was.ID}}}
	if out.Receipt != nil {
		result.RequestID = out.Receipt.RequestID
		if err := c.follow(ctx, s, provider, what, *out.Receipt); err != nil {
			return op.Result{}, err
		}
	}
	result.Text, err = c.seen(ctx, s, *was)
	return result, err
}
