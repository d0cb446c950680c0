package backup

import (
	"context"
	"strings"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
)

// restoreSteps make an instance, and make it like its source.
func (r *Room) restoreSteps(t op.Target, from string, ask cloud.Restore) []op.Step {
	return []op.Step{
		{
			Name: "restore", Title: "restore " + t.String() + " to the new instance " + ask.Target,
			Do: func(ctx context.Context, s *op.Session) (op.Result, error) { return r.start(ctx, s, mine(s, ask)) },
			Undo: func(ctx context.Context, s *op.Session) (op.Result, error) {
				return r.undoRestore(ctx, s, mine(s, ask))
			},
			UndoTitle: "remove " + ask.Target + " with all that was written to it, if this run made it",
		},
		{
			Name: "wait", Title: "wait until " + ask.Target + " is there",
			Do: func(ctx context.Context, s *op.Session) (op.Result, error) { return r.follow(ctx, s, "restore") },
		},
		{
			Name: "conform", Title: "give " + ask.Target + " the settings of " + ask.Source + " that it still lacks",
			Do: func(ctx context.Context, s *op.Session) (op.Result, error) {
				return r.conform(ctx, s, mine(s, ask), nil)
			},
		},
		{
			Name: "verify", Title: "see that " + ask.Target + " answers and is like " + ask.Source,
			Do: func(ctx context.Context, s *op.Session) (op.Result, error) {
				return r.verify(ctx, s, mine(s, ask), from)
			},
		},
	}
}

func (r *Room) start(ctx context.Context, s *op.Session, m made) (op.Result, error) {
	c, err := r.cloudOf(ctx, s)
	if err != nil {
		return op.Result{}, err
	}
	receipt, err := r.begin(ctx, s, c, m)
	if err != nil {
		return op.Result{}, err
	}
	return op.Result{
		Output: receipt, RequestID: receipt.RequestID, Text: "the provider makes " + m.Target,
		Changes: []op.Change{{Target: s.Plan.Environment + "/" + m.Target, Setting: "instance", To: "made of " + m.Source}},
	}, nil
}

func (r *Room) undoRestore(ctx context.Context, s *op.Session, m made) (op.Result, error) {
	c, err := r.cloudOf(ctx, s)
	if err != nil {
		return op.Result{}, err
	}
	if m.claimed, err = claimed(s); err != nil {
		return op.Result{}, err
	}
	return r.remove(ctx, s, c, m)
}

// follow waits for the change that an earlier step asked for.
func (r *Room) follow(ctx context.Context, s *op.Session, step string) (op.Result, error) {
	c, err := r.cloudOf(ctx, s)
	if err != nil {
		return op.Result{}, err
	}
	var receipt cloud.Receipt
	if _, err := s.Output(step, &receipt); err != nil {
		return op.Result{}, err
	}
	return op.Result{Text: receipt.Instance + " is there"}, r.wait(ctx, s, c, receipt)
}

// conformed is the output of step "conform".
type conformed struct {
	Claimed bool     `json:"claimed"` // the label is there
	Lost    []string `json:"lost,omitempty"`
}

// claimed tells whether the run's label was on what it made.
func claimed(s *op.Session) (bool, error) {
	var done conformed
	_, err := s.Output("conform", &done)
	return done.Claimed, err
}

// conform changes what an instance lacks compared to its source, of the settings that pick wants; nil wants all.
func (r *Room) conform(ctx context.Context, s *op.Session, m made, pick func(string) bool) (op.Result, error) {
	c, err := r.cloudOf(ctx, s)
	if err != nil {
		return op.Result{}, err
	}
	target, err := c.Get(ctx, m.Target)
	if err != nil {
		return op.Result{}, err
	}
	source, err := c.Get(ctx, m.Source)
	gone := is(err, fault.NotFound)
	if gone { // the label is set all the same
		source, err = &cloud.Instance{Provider: target.Provider}, nil
		pick = claims
	}
	if err != nil {
		return op.Result{}, err
	}
	left, ok, lost := c.Conform(ctx, source, target, m.Restore)
	if gone {
		lost = []string{"all settings: " + m.Source + " is gone, so that nothing can be compared"}
	}
	if pick != nil {
		left = left.Part(pick)
		ok = left.Empty()
	}
	var out op.Result
	if !ok {
		if out, err = r.modify(ctx, s, c, m.Target, left); err != nil {
			return out, err
		}
	}
	out.Output = conformed{Claimed: true, Lost: lost}
	if out.Text = m.Target + " has the settings that can be carried over"; len(lost) > 0 {
		out.Text = "not carried over: " + strings.Join(lost, "; ")
	}
	return out, nil
}

// claims picks the settings that say whose an instance is.
func claims(setting string) bool { return setting == "labels."+RunLabel }

func (r *Room) verify(ctx context.Context, s *op.Session, m made, from string) (op.Result, error) {
	c, err := r.cloudOf(ctx, s)
	if err != nil {
		return op.Result{}, err
	}
	live, err := c.Get(ctx, m.Target)
	if err != nil {
		return op.Result{}, err
	}
	if _, err := r.reachable(ctx, s, m.Target, firstDatabase); err != nil {
		return op.Result{}, err
	}
	var done conformed
	if _, err := s.Output("conform", &done); err != nil {
		return op.Result{}, err
	}
	return op.Result{
		Output: RestoreReport{Instance: m.Target, From: from, Endpoints: live.Endpoints, Lost: done.Lost},
		Text:   m.Target + " answers",
	}, nil
}
